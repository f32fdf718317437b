"""Whatever the network does, the paths of a peer stay within their bounds and choose sensibly."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gossip import NodeId
from meshd.node.choice import CALM, CALM_MAX, STEADY
from meshd.node.path import WIDTHS4, WIDTHS6, Path, PathKind
from meshd.node.paths import MAX_PATHS, DueProbe, PathSet
from meshd.node.wire import BASE_SEGMENT, Endpoint
from tests.node.reach import Reach

SPOTS: list[Endpoint] = [(f"192.0.2.{n}", 443) for n in range(40)] + [("2001:db8::1", 443)]
RELAYS = [NodeId(bytes([n]) * 16) for n in range(4)]

spots = st.sampled_from(SPOTS)
rtts = st.floats(0.0005, 0.3)


class Paths(RuleBasedStateMachine):
    """Any order of candidates, probes, answers, losses and time."""

    @initialize(seed=st.integers(0, 1 << 32))
    def begin(self, seed: int) -> None:
        self.paths = PathSet(Random(seed))
        self.now = 0.0
        self.waiting: list[DueProbe] = []
        self.answered: set[int] = set()
        self.was: Path | None = None

    @rule(spot=spots)
    def learn(self, spot: Endpoint) -> None:
        path = self.paths.learn(spot, self.now)
        assert self.paths.direct(spot) is path

    @rule(spot=spots, relay=st.sampled_from(RELAYS), channel=st.integers(0, 5))
    def relay(self, spot: Endpoint, relay: NodeId, channel: int) -> None:
        path = self.paths.relayed(relay, channel, spot, self.now)
        assert path.channel == channel
        assert any(path is kept for kept in self.paths)

    @rule(spot=spots)
    def handshake(self, spot: Endpoint) -> None:
        self.paths.learn(spot, self.now).prove(self.now)
        self.paths.choose(self.now)

    @rule(pause=st.floats(0.05, 5.0), active=st.booleans(), lost=st.booleans())
    def probe(self, pause: float, active: bool, lost: bool) -> None:
        self.now += pause
        for probe in self.paths.due(self.now, active):
            self.paths.sent(probe, self.now)
            assert probe.size == 0 or BASE_SEGMENT < probe.size <= max(*WIDTHS4, *WIDTHS6)
            if not lost:
                self.waiting.append(probe)

    @rule(rtt=st.floats(0.0, 2.0), some=st.integers(0, 100))
    def answer(self, rtt: float, some: int) -> None:
        if not self.waiting:
            return
        self.now += rtt
        probe = self.waiting.pop(some % len(self.waiting))
        took = probe.path.measured(probe.nonce, self.now)
        if took is not None:
            assert took >= 0
            assert probe.nonce not in self.answered
            self.answered.add(probe.nonce)
            assert probe.path.valid
            self.paths.choose(self.now)

    @rule(nonce=st.integers(0, (1 << 64) - 1))
    def forge(self, nonce: int) -> None:
        before = [(path, path.valid) for path in self.paths]
        if any(nonce in path.waiting for path in self.paths):
            return
        assert all(path.measured(nonce, self.now) is None for path in self.paths)
        assert [(path, path.valid) for path in self.paths] == before

    @rule(spot=spots)
    def too_large(self, spot: Endpoint) -> None:
        path = self.paths.direct(spot)
        if path is not None:
            path.narrow(self.now)

    @rule()
    def leave(self) -> None:
        self.paths.lose_all()
        assert self.paths.current is None

    @rule()
    def hurry(self) -> None:
        self.paths.hurry(self.now)

    @invariant()
    def bounds_hold(self) -> None:
        kept = list(self.paths)
        assert len(kept) <= MAX_PATHS
        for path in kept:
            assert BASE_SEGMENT <= path.segment <= max(*WIDTHS4, *WIDTHS6)
            assert len(path.waiting) <= 5
            assert 0.0 <= path.loss <= 1.0
            assert path.frame_limit > 60_000

    @invariant()
    def the_current_path_is_a_kept_one(self) -> None:
        current = self.paths.current
        assert current is None or any(current is kept for kept in self.paths)

    @invariant()
    def a_change_is_told(self) -> None:
        if self.paths.current is not self.was:
            assert self.paths.changed
            self.was = self.paths.current
        self.paths.changed = False

    @invariant()
    def choosing_again_changes_nothing(self) -> None:
        self.paths.choose(self.now)
        chosen = self.paths.current
        assert (chosen is not None) == any(path.valid for path in self.paths)
        assert chosen is None or chosen.valid
        self.paths.choose(self.now)
        assert self.paths.current is chosen
        self.was = chosen


TestPaths = Paths.TestCase


@given(
    direct=st.lists(rtts, max_size=4),
    relayed=st.lists(rtts, max_size=3),
    seed=st.integers(0, 1 << 32),
    order=st.randoms(use_true_random=False),
)
def test_a_working_direct_path_is_used_and_never_one_much_slower_than_the_best(
    direct: list[float], relayed: list[float], seed: int, order: Random
) -> None:
    paths = PathSet(Random(seed))
    made = [paths.learn(SPOTS[n], 0.0) for n in range(len(direct))]
    made += [paths.relayed(RELAYS[n], n, SPOTS[20 + n], 0.0) for n in range(len(relayed))]
    todo = list(zip(made, direct + relayed, strict=True))
    order.shuffle(todo)
    for path, rtt in todo:
        path.prove(0.0)
        path.sample(rtt)
        path.streak = STEADY
        paths.choose(0.0)
    for turn in range(1, 8):
        paths.choose(turn * CALM_MAX)
    current = paths.current
    if not todo:
        assert current is None
        return
    assert current is not None
    assert (current.kind is PathKind.DIRECT) == bool(direct)
    best = min(direct or relayed)
    assert current.srtt is not None
    assert current.srtt <= max(best + 0.010, best / 0.85) * 1.0001


@given(
    answers=st.dictionaries(spots, rtts, max_size=4),
    silent=st.sets(spots, max_size=4),
    width=st.sampled_from([1232, 1300, 1400, 1472]),
    active=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
def test_the_probes_of_a_peer_are_few_and_find_a_path_where_there_is_one(
    answers: dict[Endpoint, float], silent: set[Endpoint], width: int, active: bool, seed: int
) -> None:
    reach = Reach(PathSet(Random(seed)), answers, active, width)
    reach.paths.consider([*sorted(silent - set(answers)), *answers], 0.0)
    reach.run(60.0)
    current = reach.paths.current
    assert (current is not None) == bool(answers)
    if current is not None:
        widths = WIDTHS6 if ":" in current.endpoint[0] else WIDTHS4
        fitting = [size for size in widths if size <= width]
        assert current.segment == max(fitting, default=BASE_SEGMENT)
        assert len(reach.changes) <= 1 + len(answers)
    reach.probes.clear()
    reach.run(120.0)
    known = len(answers) + len(silent - set(answers))
    assert len(reach.probes) <= 22 + 16 * known


@given(
    base=st.floats(0.001, 0.2),
    swings=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=40),
    lasting=st.integers(1, 90),
    jitter=st.floats(0.0, 0.5),
    seed=st.integers(0, 1 << 32),
)
def test_two_paths_that_lose_nothing_are_exchanged_at_most_once_a_minute(
    base: float, swings: list[tuple[float, float]], lasting: int, jitter: float, seed: int
) -> None:
    paths = PathSet(Random(seed))
    made = [paths.learn(SPOTS[0], 0.0), paths.learn(SPOTS[1], 0.0)]
    switched: list[float] = []
    for turn in range(300):
        now, swing = turn * 1.0, swings[turn // lasting % len(swings)]
        before = paths.current
        for path, by in zip(made, swing, strict=True):
            path.prove(now)
            path.streak += 1
            path.sample(base + jitter * abs(by))
        paths.choose(now)
        if before is not None and paths.current is not before:
            switched.append(now)
    assert all(later - earlier >= CALM for earlier, later in pairwise(switched))
