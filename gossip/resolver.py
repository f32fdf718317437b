"""Lookups on the wire: asks FIND until it is enough, and stores this node's keys at others.

lookup(key) -> known here? -> else ask the closest contacts, as `lookup` says
                              -> LookupDone, and a copy for the closest that did not have it
announce(keys) -> every hour, and when the own records change: STORE at the k closest
refresh -> a lookup of a random id now and then: its answers fill the routing table
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from gossip.core import Core
from gossip.directory import Bundle, keys_of
from gossip.events import LookupDone
from gossip.ids import NODE_ID_SIZE, NodeId
from gossip.keeper import Keeper
from gossip.lookup import Lookup, RoundTrip
from gossip.queries import Find, Found, Store
from gossip.records import Record, RecordKind
from gossip.timers import Timer

MAX_LOOKUPS: Final = 64
"""Lookups under way at a time."""

MAX_OWN_KEYS: Final = 16
"""Keys that a node announces beside its id."""

LOOKUP_TIMEOUTS: Final = 20
"""A lookup lasts so many of probe_timeout_max, at most."""

OWN_REFRESHES: Final = 3
"""So many refreshes in the beginning are of the own id."""

OWN_TURN: Final = 4
"""One in so many refreshes is of the own id: who is near decides what is kept here."""

PUBLISH_AGAIN: Final = 8
"""Probe periods until a publication that found nobody is repeated."""

PUBLISH_PAUSE: Final = 5.0
"""Seconds from a change of the own records to their publication: changes come in groups."""


class _Purpose(Enum):
    FIND = "find"
    PUBLISH = "publish"
    REFRESH = "refresh"


@dataclass(slots=True)
class _Run:
    lookup: Lookup
    purpose: _Purpose
    pages: int
    nonces: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Query:
    """One FIND that was sent: of which run, to whom, and which parts of the answer came."""

    run: int
    node: NodeId
    parts: dict[int, bool] = field(default_factory=dict)


class Resolver:
    """Runs the lookups of one node."""

    def __init__(self, core: Core, keeper: Keeper, now: float) -> None:
        self._core = core
        self._keeper = keeper
        config = core.config
        self._runs: dict[int, _Run] = {}
        self._queries: dict[int, _Query] = {}
        self._last_run = 0
        self._nonce = core.rng.getrandbits(32)
        self._unpublished: list[bytes] = []
        self._missed = False
        """Whether one of the keys found nobody to keep it."""
        self._answers = RoundTrip()
        self._refreshes = 0
        core.timers.schedule(Timer.REFRESH, now + config.refresh_interval * core.rng.random())
        core.timers.schedule(Timer.REPUBLISH, now + config.republish_interval * core.rng.random())

    # Calls

    def lookup(self, key: bytes, now: float) -> None:
        """Find who answers for `key`. Raises `ValueError` if that is not 16 bytes."""
        if len(key) != NODE_ID_SIZE:
            raise ValueError(f"a key has {NODE_ID_SIZE} bytes")
        core = self._core
        core.counters.lookups += 1
        known = self._keeper.known(key, now)
        if known:
            core.outputs.append(LookupDone(key, known[0].records, core.identity, 0))
        elif not any(
            run.purpose is _Purpose.FIND and run.lookup.target == key for run in self._runs.values()
        ):
            self._start(_Purpose.FIND, key, 2, now)

    def announce(self, keys: Sequence[bytes], now: float) -> None:
        """These keys are this node's own: its CERTIFICATE record proves it, or none believes it."""
        if len(keys) > MAX_OWN_KEYS or any(len(key) != NODE_ID_SIZE for key in keys):
            raise ValueError(f"at most {MAX_OWN_KEYS} keys of {NODE_ID_SIZE} bytes")
        self._keeper.own_keys = tuple(dict.fromkeys(keys))
        self.publish_soon(now)

    def publish_soon(self, now: float) -> None:
        """What this node stored elsewhere is out of date."""
        pause = PUBLISH_PAUSE * self._core.rng.uniform(0.5, 1)
        if not self._unpublished:
            self._core.timers.schedule(Timer.REPUBLISH, now + pause)
            return
        # Some keys were stored already, with what is out of date now: they come again, last.
        again = dict.fromkeys((*self._unpublished, self._core.identity, *self._keeper.own_keys))
        self._unpublished = list(again)

    def refresh_soon(self, now: float) -> None:
        """The routing table has just become what this node finds others by."""
        self._refreshes = 0
        self._core.timers.schedule(Timer.REFRESH, now + self._core.config.probe_period)

    def settle(self, now: float) -> None:
        """All is as it is after a long time: the table is full, the own keys are stored."""
        core = self._core
        self._unpublished.clear()
        self._refreshes = OWN_REFRESHES
        core.timers.schedule(Timer.REFRESH, now + core.config.refresh_interval * core.rng.random())
        pause = core.config.republish_interval * core.rng.random()
        core.timers.schedule(Timer.REPUBLISH, now + pause)

    # Messages

    def on_found(self, found: Found, records: Sequence[Record], sender: NodeId, now: float) -> None:
        """Part of an answer, perhaps a late one."""
        query = self._queries.get(found.nonce)
        run = self._runs.get(query.run) if query is not None else None
        if query is None or run is None or query.node != sender or found.index in query.parts:
            return
        asked_at = run.lookup.asked_at(sender)
        if not query.parts and asked_at is not None:
            self._answers.measure(max(0.0, now - asked_at))
        query.parts[found.index] = True
        if not self._take_values(run.lookup, records, sender):
            self.on_lie(found, sender, now)
            return
        told = [record for record in records if record.kind == RecordKind.MEMBER]
        for record in told:
            self._core.contacts.hint(record)
        last = len(query.parts) == found.total
        run.lookup.told(sender, told, last)
        if run.purpose is _Purpose.FIND:
            bundles = run.lookup.bundles()
            if bundles and (last or bundles[0].certificate):
                run.lookup.settle(sender, now + self._timeout())
        self._advance(query.run, now)

    def on_lie(self, found: Found, sender: NodeId, now: float) -> None:
        """`sender` gave an answer that cannot be right: it is out of that lookup."""
        query = self._queries.get(found.nonce)
        run = self._runs.get(query.run) if query is not None else None
        if query is not None and run is not None and query.node == sender:
            self._core.counters.refuse("lookup-lie")
            run.lookup.lied(sender)
            self._advance(query.run, now)

    # Deadlines

    def on_lookup_timer(self, run: int, now: float) -> None:
        """A query of a lookup is overdue, or its time is up."""
        if run in self._runs:
            self._runs[run].lookup.overdue(self._timeout(), now)
            self._advance(run, now)

    def on_republish_timer(self, now: float) -> None:
        """Store one of the own keys at the closest, where anyone may need it; one at a time."""
        core = self._core
        if not core.in_parts:
            self._unpublished.clear()
        elif not self._unpublished:
            self._unpublished = [core.identity, *self._keeper.own_keys]
            self._missed = False
        if self._unpublished:
            self._start(_Purpose.PUBLISH, self._unpublished.pop(0), 2, now)
        pause = core.config.republish_interval * core.rng.uniform(0.75, 1)
        if self._unpublished or self._missed:
            pause = core.config.probe_period * (1 if self._unpublished else PUBLISH_AGAIN)
        core.timers.schedule(Timer.REPUBLISH, now + pause)

    def on_refresh_timer(self, seeds: Sequence[NodeId], now: float) -> None:
        """Look up the own id in the beginning, random ids later, and ask a seed now and then too.

        Of all nodes together about `kademlia_k` ask one at each turn, however many they are: it is
        enough for those who have lost all others but themselves.
        """
        core = self._core
        self._core.directory.expire(now)
        pause = core.config.refresh_interval * core.rng.uniform(0.75, 1.25)
        if core.in_parts:
            own = self._refreshes < OWN_REFRESHES or self._refreshes % OWN_TURN == 0
            target = core.identity if own else core.contacts.table.refresh_target(core.rng)
            lost = core.rng.random() < core.config.kademlia_k / core.nodes
            asked = [core.rng.choice(seeds)] if seeds and lost else []
            self._start(_Purpose.REFRESH, target, 2 if own else 1, now, asked)
            self._refreshes += 1
            pause = min(pause, core.config.probe_period * 4.0**self._refreshes)
        core.timers.schedule(Timer.REFRESH, now + pause)

    # Helpers

    def _start(
        self,
        purpose: _Purpose,
        target: bytes,
        pages: int,
        now: float,
        seeds: Sequence[NodeId] = (),
    ) -> None:
        core, config = self._core, self._core.config
        begin = core.contacts.closest(target, config.kademlia_k)
        known = {record.subject for record in begin}
        told = [core.contacts.record(seed) for seed in seeds if seed not in known]
        begin += [record for record in told if record is not None]
        begin = [record for record in begin if record.subject != core.identity]
        if not begin or len(self._runs) >= MAX_LOOKUPS:
            if begin:
                core.counters.refuse("lookups-full")
            if purpose is _Purpose.FIND:
                self._end_without(target)
            self._missed = self._missed or purpose is _Purpose.PUBLISH
            return
        self._last_run += 1
        lookup = Lookup(
            target,
            core.identity,
            begin,
            config.kademlia_k,
            config.lookup_parallelism,
            config.lookup_paths,
            now + LOOKUP_TIMEOUTS * config.probe_timeout_max,
        )
        self._runs[self._last_run] = _Run(lookup, purpose, pages)
        self._advance(self._last_run, now)

    def _advance(self, number: int, now: float) -> None:
        """Ask whoever is to be asked next, or come to the end."""
        core, run = self._core, self._runs[number]
        asked = run.lookup.next_queries(now)
        own = core.store.get(core.identity, RecordKind.MEMBER) if asked else None
        items = [core.record_item(own)] if own is not None else []
        for node in asked:
            self._nonce = (self._nonce + 1) & 0xFFFFFFFF
            self._queries[self._nonce] = _Query(number, node)
            run.nonces.append(self._nonce)
            core.send(node, Find(self._nonce, run.lookup.target, run.pages), items)
        if run.lookup.done(now):
            self._finish(number, now)
        else:
            due = run.lookup.next_check(self._timeout())
            core.timers.schedule(Timer.LOOKUP, due, number)

    def _finish(self, number: int, now: float) -> None:
        core, run = self._core, self._runs.pop(number)
        core.timers.cancel(Timer.LOOKUP, number)
        for nonce in run.nonces:
            self._queries.pop(nonce, None)
        closest = run.lookup.closest()
        if closest:  # else it may be this node that is cut off
            for node in run.lookup.silent():
                core.contacts.table.failed(node)
        if run.purpose is _Purpose.PUBLISH:
            held = self._keeper.held(core.identity)
            if held is not None:
                for record in closest:
                    self._store(record.subject, run.lookup.target, held, cached=False)
            if not closest:
                self._missed = True
                if not self._unpublished:
                    again = now + PUBLISH_AGAIN * core.config.probe_period
                    core.timers.schedule(Timer.REPUBLISH, again)
        elif run.purpose is _Purpose.FIND:
            self._finish_find(run.lookup)
        else:
            core.measure()

    def _finish_find(self, lookup: Lookup) -> None:
        core = self._core
        bundles = [bundle for bundle in lookup.bundles() if not bundle.member.withdrawn]
        if not bundles:
            self._end_without(lookup.target)
            return
        node, hops = lookup.source(bundles[0].subject)
        cache = lookup.to_cache()
        if cache is not None:
            self._store(cache, lookup.target, bundles[0], cached=True)
        core.outputs.append(LookupDone(lookup.target, bundles[0].records, node, hops))

    def _end_without(self, key: bytes) -> None:
        """Nobody answered: tell of a member that is taken to be dead, if its key it is."""
        core = self._core
        for node in [NodeId(key), *core.keys.owners(key)]:
            held = self._keeper.held(node)
            if held is not None and not held.member.withdrawn:
                core.outputs.append(LookupDone(key, held.records, core.identity, 0))
                return
        core.counters.lookups_failed += 1
        core.outputs.append(LookupDone(key, (), None, 0))

    def _store(self, to: NodeId, key: bytes, bundle: Bundle, cached: bool) -> None:
        for items in self._keeper.pack(bundle.records, 2):
            self._core.counters.stores_sent += 1
            self._core.send(to, Store(key, cached), items)

    def _take_values(self, lookup: Lookup, records: Sequence[Record], sender: NodeId) -> bool:
        """Note what answers for the target; False if a certificate is no answer to it."""
        authority, target = self._core.authority, lookup.target
        for record in records:
            if record.kind == RecordKind.CERTIFICATE:
                if record.subject != target and target not in keys_of(authority, record):
                    return False
                member = self._core.contacts.record(record.subject)
                lookup.found(sender, [record] if member is None else [record, member])
        for record in records:
            if record.kind == RecordKind.MEMBER and (
                record.subject == target or lookup.awaits(record.subject)
            ):
                lookup.found(sender, [record])
        return True

    def _timeout(self) -> float:
        """Seconds after which a query is overdue: as RFC 6298, within the bounds of a probe."""
        config = self._core.config
        return self._answers.timeout(config.probe_timeout_min, config.probe_timeout_max)
