"""What all must agree on once the world is well: who is there, and what everyone has said.

A host with a full view must see every other. One with a partial view sees its neighbours only: the
graph of these must be in one piece, so that what one says reaches everyone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from math import inf
from typing import Final, TypeAlias

from gossip.ids import NodeId
from gossip.records import RecordKind
from simulations.checkers import Checker
from simulations.cluster import Cluster, Host

OWN_KINDS: Final = (int(RecordKind.MEMBER), int(RecordKind.CERTIFICATE))
"""Kinds of which a partial view holds some only; all others are for everyone."""

_Key: TypeAlias = tuple[NodeId, int]


class ViewsAgree(Checker):
    """In the end, all who run see exactly each other alive, and hold the same records of them.

    A scenario that loses datagrams must stop that some time before its end: a refutation may be on
    its way until then. What adversaries see, and what they say of themselves, does not count.
    """

    name = "views agree"

    def finish(self) -> None:
        """Compare what every machine says with the truth, and its records with the owners'."""
        for text in self.disagreements():
            self.violated(text)

    def disagreements(self, limit: float = inf) -> list[str]:
        """What is wrong now, in words; the first `limit` of it are enough."""
        return list(islice(self._disagreements(), None if limit == inf else int(limit)))

    def _disagreements(self) -> Iterator[str]:
        running = {host.identity: host for host in self.cluster.running}
        for host in running.values():
            if host.machine is not None and host.honest:
                yield from _wrong_states(host, host.machine.states(), running)
        yield from _lost(self.cluster, list(running.values()))
        yield from _differing_records(running)


def _wrong_states(
    host: Host, states: Mapping[NodeId, str], running: Mapping[NodeId, Host]
) -> Iterator[str]:
    assert host.machine is not None
    if not host.machine.is_partial:
        for identity, other in running.items():
            state = states.get(identity, "unknown")
            if other is not host and state != "alive":
                yield f"host {host.number} sees host {other.number} as {state}"
    for identity, state in states.items():
        if state == "alive" and identity not in running:
            yield f"host {host.number} sees {identity.hex()} alive, which is not"


def _lost(cluster: Cluster, running: list[Host]) -> Iterator[str]:
    """Those whom nothing reaches that starts at the first host, if any view is partial."""
    partial = any(host.machine is not None and host.machine.is_partial for host in running)
    if not partial:
        return
    reached, edge = {running[0].number: True}, [running[0]]
    while edge:
        host = edge.pop()
        for identity in sorted(host.alive):
            other = cluster.by_identity.get(identity)
            if other is not None and other.number not in reached:
                reached[other.number] = True
                edge.append(other)
    for host in running:
        if host.number not in reached:
            yield f"host {host.number} is cut off from host {running[0].number} by partial views"


def _differing_records(running: Mapping[NodeId, Host]) -> Iterator[str]:
    truth: dict[_Key, int] = {}
    machines = {host: host.machine for host in running.values() if host.machine is not None}
    held = {host: machine.sequences() for host, machine in machines.items() if host.honest}
    for identity, host in running.items():
        own = held.get(host, {})
        truth.update({key: value for key, value in own.items() if key[0] == identity})
    for host, sequences in held.items():
        narrow = machines[host].is_partial
        for key in {**truth, **sequences}:
            other = running.get(key[0])
            judged = other is not None and other.honest and not (narrow and key[1] in OWN_KINDS)
            found, sequence = sequences.get(key), truth.get(key)
            if judged and found != sequence:
                yield f"host {host.number} holds {found}, not {sequence}, of {key[0].hex()}"
