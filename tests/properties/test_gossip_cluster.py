"""Whatever happens to a small cluster, it heals once it is left alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.ids import NodeId
from tests.gossip.cluster import Cluster, id_of, key_of

COUNT = 5
steps = st.one_of(
    st.tuples(st.just("crash"), st.integers(1, COUNT - 1)),
    st.tuples(st.just("start"), st.integers(1, COUNT - 1)),
    st.tuples(st.just("cut"), st.integers(0, COUNT - 1)),
    st.tuples(st.just("lose"), st.integers(0, 5)),
    st.tuples(st.just("publish"), st.integers(0, COUNT - 1)),
    st.tuples(st.just("wait"), st.integers(1, 40)),
)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.lists(steps, max_size=8))
def test_it_converges_and_no_sequence_regresses(seed: int, story: list[tuple[str, int]]) -> None:
    cluster = Cluster(seed=seed)
    cluster.boot(COUNT)
    highest: dict[tuple[NodeId, NodeId], int] = {}
    for verb, value in story:
        node = id_of(key_of(value))
        if verb == "crash" and node in cluster.nodes:
            cluster.crash(value)
            highest = {pair: seen for pair, seen in highest.items() if pair[0] != node}
        elif verb == "start" and node not in cluster.nodes:
            cluster.start(value, [0])
        elif verb == "cut":
            cluster.reachable = lambda a, b, cut=node: cut not in (a, b)  # type: ignore[misc]
        elif verb == "lose":
            cluster.loss = value / 10
        elif verb == "publish" and node in cluster.nodes:
            cluster.nodes[node].publish(0, b"again", cluster.now)
            cluster.pump(node)
        elif verb == "wait":
            cluster.run(value)
        for observer, protocol in cluster.nodes.items():
            for record in protocol.records():
                pair = (observer, record.subject)
                assert record.sequence >= highest.get(pair, 0)
                highest[pair] = record.sequence
    cluster.loss = 0.0
    cluster.reachable = lambda a, b: True
    assert cluster.run_until(cluster.converged, 120) is not None
    assert cluster.errors == []
    for protocol in cluster.nodes.values():
        assert sum(protocol.statistics().queued) < 100
