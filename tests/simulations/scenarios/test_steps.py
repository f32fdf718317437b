from __future__ import annotations

from simulations.run import Run, Scenario
from simulations.scenarios.steps import boot, chosen, shuffled, victims


def run_of(nodes: int, seed: int = 1) -> Run:
    return Run(Scenario("test", "a test", boot), nodes, seed, None)


def test_victims_are_a_share_at_least_one_and_never_the_first() -> None:
    run = run_of(20)
    for share, count in ((0.0, 1), (0.1, 2), (0.5, 10)):
        numbers = victims(run, share)
        assert len(numbers) == count
        assert 0 not in numbers
        assert [host.number for host in chosen(run, numbers)] == list(numbers)


def test_shuffled_has_everyone_once_in_an_order_of_the_seed() -> None:
    orders = [shuffled(run_of(20, seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(20))


def test_booting_brings_everyone_up() -> None:
    run = run_of(9)
    boot(run)
    assert len(run.cluster.running) == 9
    assert run.expectations[0].ok
