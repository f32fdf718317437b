"""What is done when time passes, and how seldom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshd.node.allowance import PROBE_BURST, PROBE_RATE
from meshd.node.dialogue import Dialogue
from meshd.node.outputs import PeerChanged
from meshd.node.paths import DueProbe
from meshd.node.peer import Peer
from meshd.node.redundancy import Interval
from meshd.node.upkeep import FRESH_START, RELAY_AFTER, Upkeep
from meshd.node.wire import DATA, INITIATION
from tests.node.virtual import CONFIG, Host, Mesh


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times of all runs that had something to do, of all nodes."""
    times: list[float] = []
    run = Upkeep.run

    def counted(upkeep: Upkeep, now: float) -> None:
        if now >= upkeep.next_at:
            times.append(now)
        run(upkeep, now)

    monkeypatch.setattr(Upkeep, "run", counted)
    return times


def part(mesh: Mesh, one: Host, other: Host) -> None:
    """Block everything between two hosts."""
    here, there = one.endpoints[0][0], other.endpoints[0][0]
    mesh.network.block(here, there)
    mesh.network.block(there, here)


def test_nodes_in_peace_have_little_to_do(runs: list[float]) -> None:
    mesh = Mesh()
    mesh.pair()
    mesh.run(30)
    runs.clear()
    mesh.run(60)
    assert len(runs) / 60 / 2 < 3


def test_packets_by_a_stream_are_no_reason_to_look_at_all_peers(runs: list[float]) -> None:
    mesh = Mesh()
    config = replace(CONFIG, accepts_streams=True, relays=False)
    alpha, beta = mesh.alpha(config), mesh.host("beta", config=config)
    part(mesh, alpha, beta)
    mesh.connect(alpha, beta)
    mesh.run(10)
    assert alpha.way(beta) == "stream"
    runs.clear()
    for number in range(200):
        mesh.world.after(number * 0.05, lambda: alpha.send(beta, b"alpha's"))
        mesh.world.after(number * 0.05, lambda: beta.send(alpha, b"beta's"))
    mesh.run(10)
    assert len(runs) / 10 / 2 < 3


def test_a_member_out_of_reach_costs_no_busy_waiting(runs: list[float]) -> None:
    mesh = Mesh()
    alpha, beta, gamma = (
        mesh.alpha(),
        *(mesh.host(name, config=replace(CONFIG, relays=False)) for name in ("beta", "gamma")),
    )
    mesh.connect(alpha, beta)
    part(mesh, beta, gamma)
    alpha.config = replace(CONFIG, relays=False)
    alpha.kill()
    alpha.start()
    mesh.connect(alpha, beta)
    mesh.connect(alpha, gamma)
    mesh.run(20)
    assert beta.peer(gamma).state == "alive"
    assert not beta.ready(gamma)
    runs.clear()
    mesh.run(60)
    assert len(runs) / 60 / 3 < 4


def test_a_relay_is_asked_when_the_direct_way_takes_long() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    gamma = mesh.host("gamma")
    mesh.connect(alpha, gamma)
    delta = mesh.host("delta")
    part(mesh, gamma, delta)
    mesh.connect(alpha, delta)
    tried = next(
        d.time
        for d in mesh.sent
        if d.kind == INITIATION
        and d.host in ("gamma", "delta")
        and d.destination in (*gamma.endpoints, *delta.endpoints)
    )
    mesh.connect(gamma, delta)
    assert RELAY_AFTER <= mesh.world.now - tried < RELAY_AFTER + 1
    assert gamma.way(delta) == "relay"


def test_a_path_that_dies_is_replaced_and_the_session_kept() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(5)
    session = beta.peer(gamma).current
    part(mesh, beta, gamma)
    began = mesh.world.now
    mesh.until(lambda: beta.way(gamma) == gamma.way(beta) == "relay", 20)
    assert mesh.world.now - began < 16
    assert beta.ping(gamma)
    mesh.run(10)
    assert beta.peer(gamma).state == gamma.peer(beta).state == "alive"
    assert session is not None
    lost = [e for e in beta.told(PeerChanged) if e.peer == gamma.identity.id and e.event == "lost"]
    assert lost
    assert beta.peer(gamma).last_error in (None, "no answer to three probes")


def test_packets_for_who_cannot_be_reached_are_given_up_and_counted() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(2)
    gamma.kill()
    mesh.until(lambda: alpha.peer(gamma).state == "dead", 20)
    mesh.run(200)
    for number in range(500):
        alpha.send(gamma, b"%d" % number)
    assert len(alpha.peer(gamma).packets) == 128
    mesh.run(30)
    assert len(alpha.peer(gamma).packets) == 0
    assert alpha.drops["queue"] == 500 - 128
    assert alpha.drops["unreachable"] == 128


def test_a_restarted_node_calls_on_those_it_knew() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(3)
    gamma.kill()
    mesh.run(0.5)
    gamma.start()
    restarted = mesh.world.now
    first = [d for d in mesh.sent if d.host == "gamma" and d.time == restarted]
    assert {d.destination for d in first} == {alpha.endpoints[0], beta.endpoints[0]}
    assert {d.kind for d in first} == {INITIATION}
    mesh.until(lambda: bool(gamma.ready(alpha) and gamma.ready(beta)), 1)


def test_those_known_from_disk_are_left_in_peace_after_a_while() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(2)
    beta.kill()
    alpha.kill()
    alpha.start()
    mesh.run(FRESH_START)
    began = mesh.world.now
    mesh.run(120)
    later = [d for d in mesh.sent if d.kind == INITIATION and d.time > began]
    assert len(later) < 12


def test_an_idle_mesh_is_quiet() -> None:
    mesh = Mesh()
    hosts = [mesh.alpha(), *(mesh.host(f"node-{n}") for n in range(4))]
    mesh.connect(*hosts)
    mesh.run(60)
    began = mesh.world.now
    mesh.run(60)
    data = [d for d in mesh.sent if d.time > began]
    assert {d.kind for d in data} <= {DATA, INITIATION, 2}
    assert len(data) / 60 / len(hosts) < 8


def test_probes_of_all_peers_together_have_a_budget() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(5)
    peer = alpha.peer(beta)
    for number in range(20):
        peer.paths.consider([(f"192.0.2.{200 + number}", 1000)], mesh.world.now)
    before = len(mesh.sent)
    for _ in range(100):
        for path in peer.paths:
            path.next_probe_at, path.waiting = 0.0, {}
        alpha.node._upkeep.touch(mesh.world.now)
        alpha.settle()
        mesh.run(0.1)
    sent = [d for d in list(mesh.sent)[before:] if d.destination[0].startswith("192.0.2.")]
    assert 100 < len(sent) <= PROBE_BURST + 10 * PROBE_RATE


@pytest.mark.parametrize(("wanted", "called_on"), [(2, 2), (50, 6)])
def test_no_more_peers_than_wanted_are_called_on(
    wanted: int, called_on: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = Mesh()
    others = [mesh.alpha(), *(mesh.host(f"node-{n}") for n in range(5))]
    mesh.connect(*others)
    shy = mesh.host("shy", config=replace(CONFIG, max_peers=wanted), start=False)
    for other in others:
        other.kill()
    # Gossip's messages ask for sessions too: here there are none.
    monkeypatch.setattr(Dialogue, "send", lambda *_: None)
    shy.start()
    mesh.run(0.5)
    assert len({d.destination for d in mesh.sent if d.host == "shy"}) == called_on


def test_sessions_that_end_leave_nothing_behind() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(2)
    beta.kill()
    mesh.run(400)
    assert alpha.node.state.sessions == {}
    assert alpha.peer(beta).sessions() == []
    assert alpha.node.state.budget.used == 0


@pytest.mark.parametrize(("rate", "most"), [(1.0, 6), (200.0, 24)])
def test_probes_that_measure_loss_have_a_budget_of_their_own(
    rate: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[DueProbe] = []
    probe = Dialogue.probe

    def counted(dialogue: Dialogue, peer: Peer, due: DueProbe, now: float) -> None:
        if due.measures:
            measured.append(due)
        probe(dialogue, peer, due, now)

    monkeypatch.setattr(Dialogue, "probe", counted)
    mesh = Mesh()
    alpha, beta = mesh.pair()

    def send(seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            alpha.send(beta, b"on and on")
            mesh.run(0.1)

    send(6)
    path = alpha.peer(beta).path
    assert path is not None
    assert not path.control.lossy(
        mesh.world.now
    )  # a far path of which nothing is known is probed often
    measured.clear()
    monkeypatch.setattr("meshd.node.upkeep.MEASURE_RATE", rate)
    send(5)
    assert most // 2 < len(measured) <= most


def test_measuring_one_peer_costs_no_look_at_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[float] = []
    look = Upkeep._pass

    def counted(upkeep: Upkeep, now: float) -> None:
        passes.append(now)
        look(upkeep, now)

    mesh = Mesh()
    alpha, beta = mesh.pair()
    alpha.send(beta, b"on and on")
    mesh.run(12)
    monkeypatch.setattr(Upkeep, "_pass", counted)
    alpha.send(beta, b"on and on")
    beta.send(alpha, b"yes, yes")
    mesh.run(1)
    path = alpha.peer(beta).path
    assert path is not None
    path.control.take(Interval(100, 1, 0, 0.0, 0.02, 0.05), mesh.world.now)
    alpha.send(beta, b"on and on")
    mesh.run(1)
    passes.clear()
    sent = len(mesh.sent)
    for _ in range(20):
        alpha.send(beta, b"on and on")
        mesh.run(0.1)
    assert len(mesh.sent) - sent > 80
    assert len(passes) < 12
