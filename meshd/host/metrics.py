"""Prometheus text from one immutable value of counters.

The node counts with plain integers; nothing below the daemon knows of Prometheus. Each scrape
renders a fresh `Statistics` through a registry of its own, so nothing is global. The first call
imports prometheus_client, a tenth of a second: call it off the event loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `render` returns: the text exposition format."""

USUAL_DROPS = ("malformed", "no-session", "no-route", "replay")
"""Reasons that are shown from the start, at zero, so that a rate can be taken of the first drop."""

DIRECTIONS = ("received", "sent")

MEMBER_STATES = ("alive", "suspect", "dead", "left")


@dataclass(frozen=True, slots=True)
class Statistics:
    """What one scrape tells. Counters run from the daemon's start."""

    version: str
    connected_peers: int
    """Members with a live session."""
    bytes_sent: int
    """Bytes of IP packets sent into sessions, whatever the path."""
    bytes_received: int
    """Bytes of IP packets received from sessions and accepted."""
    packets_sent: int
    packets_received: int
    auth_failures: int
    """Handshakes, certificates and invitations refused."""
    certificate_expiry: float
    """Unix time, seconds, at which this node's certificate ends."""
    drops: Mapping[str, int] = field(default_factory=dict)
    """Packets and datagrams dropped, by reason (`a-z` and `-`)."""
    latency: Mapping[str, float] = field(default_factory=dict)
    """Round trip to each connected peer, seconds, by node id in hex."""
    loss: Mapping[str, float] = field(default_factory=dict)
    """Share of the segments to each connected peer that was lost lately, by node id in hex."""
    parity: Mapping[str, float] = field(default_factory=dict)
    """Parity's share of the segments of long frames to it."""
    recovered: Mapping[str, int] = field(default_factory=dict)
    """Frames to each member that parity saved, as it tells."""
    members: Mapping[str, int] = field(default_factory=dict)
    """Other members by state: alive, suspect, dead, left."""
    stream_connections: int = 0
    """Streams to members."""
    streams_refused: int = 0
    """Connections to the TLS port that were no members'."""
    stream_bytes: Mapping[str, int] = field(default_factory=dict)
    """What streams carried, without TLS, by direction: received, sent."""
    relayed_bytes: int = 0
    """Bytes of other members' datagrams that this node passed on."""
    gossip_messages_sent: int = 0
    gossip_messages_received: int = 0
    gossip_equivocations: int = 0
    gossip_neighbours: int = 0
    """Members that news is told to: all live ones, or in partial view a few."""


def render(statistics: Statistics) -> bytes:
    """`statistics`, and the process's memory, CPU and descriptors, in `CONTENT_TYPE`."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(statistics))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Collector:
    """What a registry asks for metric families."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        """The metric families of one scrape."""
        yield from _totals(self._statistics)
        yield from _labelled(self._statistics)


def _totals(now: Statistics) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for name, text, gauge in (
        ("connected_peers", "Members with a live session.", now.connected_peers),
        (
            "certificate_expiry_timestamp_seconds",
            "Unix time at which this node's certificate ends.",
            now.certificate_expiry,
        ),
        ("stream_connections", "Streams to members, TLS over TCP.", now.stream_connections),
        ("gossip_neighbours", "Members that gossip tells news to.", now.gossip_neighbours),
    ):
        yield GaugeMetricFamily(f"aegisray_{name}", text, value=gauge)
    for name, text, count in (
        ("bytes_sent", "Bytes of IP packets sent to peers.", now.bytes_sent),
        ("bytes_received", "Bytes of IP packets received from peers.", now.bytes_received),
        ("packets_sent", "IP packets sent to peers.", now.packets_sent),
        ("packets_received", "IP packets received from peers.", now.packets_received),
        (
            "auth_failures",
            "Handshakes, certificates and invitations refused.",
            now.auth_failures,
        ),
        (
            "stream_refused",
            "Connections to the TLS port that were no members'.",
            now.streams_refused,
        ),
        ("relayed_bytes", "Bytes passed on between other members.", now.relayed_bytes),
        ("gossip_messages_sent", "Gossip messages sent.", now.gossip_messages_sent),
        ("gossip_messages_received", "Gossip messages received.", now.gossip_messages_received),
        (
            "gossip_equivocations",
            "Proofs that a node signed two records of one sequence.",
            now.gossip_equivocations,
        ),
    ):
        yield CounterMetricFamily(f"aegisray_{name}", text, value=count)


def _labelled(now: Statistics) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    drops = CounterMetricFamily(
        "aegisray_packets_dropped", "Packets and datagrams dropped, by reason.", labels=["reason"]
    )
    for reason in sorted({*USUAL_DROPS, *now.drops}):
        drops.add_metric([reason], now.drops.get(reason, 0))
    yield drops
    carried = CounterMetricFamily(
        "aegisray_stream_bytes", "Bytes of datagrams carried by streams.", labels=["direction"]
    )
    for direction in DIRECTIONS:
        carried.add_metric([direction], now.stream_bytes.get(direction, 0))
    yield carried
    latency = GaugeMetricFamily(
        "aegisray_peer_latency_seconds", "Round trip to a connected peer.", labels=["peer_id"]
    )
    for peer, seconds in sorted(now.latency.items()):
        latency.add_metric([peer], seconds)
    yield latency
    for name, text, shares in (
        ("path_loss_ratio", "Segments lost lately on the path in use.", now.loss),
        ("path_parity_ratio", "Parity among the segments of long frames.", now.parity),
    ):
        ratio = GaugeMetricFamily(f"aegisray_{name}", text, labels=["peer_id"])
        for peer, share in sorted(shares.items()):
            ratio.add_metric([peer], share)
        yield ratio
    recovered = CounterMetricFamily(
        "aegisray_frames_recovered", "Frames to a peer that parity saved.", labels=["peer_id"]
    )
    for peer, count in sorted(now.recovered.items()):
        recovered.add_metric([peer], count)
    yield recovered
    members = GaugeMetricFamily("aegisray_members", "Other members, by state.", labels=["state"])
    for state in MEMBER_STATES:
        members.add_metric([state], now.members.get(state, 0))
    yield members
    build = GaugeMetricFamily("aegisray_build_info", "The version, as a label.", labels=["version"])
    build.add_metric([now.version], 1)
    yield build
