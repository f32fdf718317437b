"""Which part takes which message, and which deadline."""

from __future__ import annotations

from collections.abc import Sequence

from gossip.antientropy import Synchroniser
from gossip.core import Core
from gossip.healing import Healer
from gossip.ids import NodeId
from gossip.keeper import Keeper
from gossip.messages import (
    Ack,
    Body,
    Buckets,
    Entries,
    Gossip,
    Nack,
    Ping,
    PingRequest,
    Records,
    Want,
)
from gossip.own import OwnRecords
from gossip.probing import Prober
from gossip.queries import Find, Found, Link, Linked, Store, Unlink
from gossip.records import Record
from gossip.resolver import Resolver
from gossip.suspects import Suspects
from gossip.timers import Timer
from gossip.views import Views


class Switch:
    """Knows the parts, and nothing of what they do."""

    def __init__(
        self,
        core: Core,
        prober: Prober,
        suspects: Suspects,
        own: OwnRecords,
        sync: Synchroniser,
        healer: Healer,
        keeper: Keeper,
        resolver: Resolver,
        views: Views,
    ) -> None:
        self._core = core
        self._prober = prober
        self._suspects = suspects
        self._own = own
        self._sync = sync
        self._healer = healer
        self._keeper = keeper
        self._resolver = resolver
        self._views = views

    def message(self, body: Body, carried: Sequence[Record], sender: NodeId, now: float) -> None:
        """A message, whose items are verified: news is applied, and `carried` is for the part."""
        match body:
            case Ping():
                self._core.send(sender, self._core.ack(body.nonce, sender), news=True)
            case Ack():
                self._prober.on_ack(body.nonce, sender, now, body.coordinate)
                self._sync.on_digest(body, sender, now)
                if self._core.in_parts or body.partial:
                    self._views.on_ack(body, sender, now)
            case PingRequest(nonce, target):
                self._prober.on_request(nonce, target, sender, now)
            case Nack(nonce):
                self._prober.on_nack(nonce, sender)
            case Buckets():
                self._sync.on_buckets(body, sender, now)
            case Entries():
                self._sync.on_entries(body, sender, now)
            case Want():
                self._sync.on_want(body, sender, now)
            case Gossip() | Records():
                pass
            case Find():
                self._keeper.on_find(body, carried, sender, now)
            case Found():
                self._resolver.on_found(body, carried, sender, now)
            case Store():
                self._keeper.on_store(body, carried, sender, now)
            case Link():
                self._views.on_link(body, carried, sender, now)
            case Linked():
                self._views.on_linked(body, carried, sender, now)
            case Unlink():
                self._views.on_unlink(body, carried, sender, now)

    def deadline(self, timer: Timer, due_at: float, about: int | NodeId | None, now: float) -> None:
        """A deadline that has come; `due_at` is when it should have."""
        match timer:
            case Timer.PROBE:
                self._probe_ended(self._prober.current, due_at, now)
                self._prober.next_round(now)
            case Timer.PROBE_TIMEOUT | Timer.PROBE_END | Timer.RELAY | Timer.LOOKUP:
                assert isinstance(about, int)
                self._numbered(timer, due_at, about, now)
            case Timer.GOSSIP:
                self._core.gossip_round(now)
            case Timer.SUSPICION | Timer.CHECK:
                assert isinstance(about, bytes)
                if timer is Timer.SUSPICION:
                    self._suspects.expired(about, due_at, now)
                else:
                    self._suspects.check(about, now)
            case Timer.OWN:
                self._own.on_timer(now)
            case Timer.SYNC:
                self._sync.on_timer(now)
            case Timer.JOIN:
                self._healer.on_join_timer(now)
            case Timer.HEAL:
                self._healer.on_heal_timer(now)
            case Timer.REAP:
                self._healer.reap(now)
            case Timer.VIEW:
                self._views.on_timer(now)
            case Timer.REPUBLISH:
                self._resolver.on_republish_timer(now)
            case Timer.REFRESH:
                self._resolver.on_refresh_timer(self._healer.seeds(), now)

    def _numbered(self, timer: Timer, due_at: float, number: int, now: float) -> None:
        if timer is Timer.PROBE_TIMEOUT:
            self._prober.on_timeout(number, now)
        elif timer is Timer.RELAY:
            self._prober.on_relay_timeout(number)
        elif timer is Timer.LOOKUP:
            self._resolver.on_lookup_timer(number, now)
        else:
            self._probe_ended(number, due_at, now)

    def _probe_ended(self, nonce: int, due_at: float, now: float) -> None:
        failed = self._prober.on_end(nonce, due_at, now)
        if failed is not None:
            self._suspects.probe_failed(failed, now)
            if self._core.guard.evaluate(now):
                self._healer.begin_burst(now)
