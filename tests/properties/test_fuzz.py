"""20,000 bad inputs over every decoder. `make fuzz` tries a million, and judges their time too."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz import runner
from tests.fuzz.__main__ import main
from tests.fuzz.decoders import DECODERS, Decoder
from tests.fuzz.mutation import MAX_HUGE, MUTATIONS, bad_input
from tests.fuzz.runner import GROWTH_LIMIT, Failure, run

CASES = 20_000


def test_bad_input_is_refused_cleanly_by_every_decoder_and_leaves_nothing_behind() -> None:
    report = run(CASES, seed=1)
    assert sum(report.cases.values()) >= CASES
    # Where nothing, or everything, is refused, the samples are not what they should be.
    assert all(0 < report.refused[name] < report.cases[name] for name in DECODERS)
    assert report.grown < GROWTH_LIMIT


@pytest.mark.parametrize("name", DECODERS)
def test_good_samples_are_taken(name: str) -> None:
    decoder = DECODERS[name]()
    assert decoder.samples
    taken = [sample for sample in decoder.samples if not runner.attempt(name, decoder, sample)[0]]
    assert taken


def test_the_same_seed_makes_the_same_inputs() -> None:
    samples = DECODERS["control"]().samples
    one, other = Random(7), Random(7)
    made = [bad_input(one, samples) for _ in range(500)]
    assert made == [bad_input(other, samples) for _ in range(500)]
    assert len(set(made)) > 400
    assert all(len(data) <= MAX_HUGE for data in made)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_takes_any_sample_even_none(mutation: object) -> None:
    assert callable(mutation)
    for seed in range(200):
        for sample in (b"", b"x", bytes(100)):
            mutation(Random(seed), bytearray(sample), (b"", sample, b"other"))


def test_what_a_decoder_must_not_do_is_found_and_the_command_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memory: list[bytes] = []

    def read(data: bytes) -> None:
        if data.startswith(b"\x07"):
            raise KeyError(data)
        memory.append(data)

    def forgetful(data: bytes) -> None:
        memory.append(data)
        raise ValueError

    monkeypatch.setitem(DECODERS, "bad", lambda: Decoder(read, (ValueError,), (b"\x07",)))
    with pytest.raises(Failure, match="KeyError") as caught:
        run(200, 1, ["bad"])
    arguments = str(caught.value).split("python -m tests.fuzz ")[1].split()
    monkeypatch.setattr(runner, "LIMIT_S", 60.0)
    assert main(arguments) == 1
    assert "KeyError" in capsys.readouterr().err
    made = Decoder(forgetful, (ValueError,), (b"x",), lambda: len(memory))
    monkeypatch.setitem(DECODERS, "bad", lambda: made)
    with pytest.raises(Failure, match="changed something"):
        run(10, 1, ["bad"])
