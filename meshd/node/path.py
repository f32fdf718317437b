"""One way to a peer: whether it works, how long it takes, how wide it is, what it loses.

A path is proven by a round trip of authenticated frames, never by a claim. Its width is found by
probes of that size (packetization layer path MTU discovery, RFC 8899), since the sockets never
fragment.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from gossip import NodeId
from meshd.node.narrowing import WideProbes
from meshd.node.parity import MAX_SLICES
from meshd.node.redundancy import LossControl
from meshd.node.solving import SYMBOLS
from meshd.node.wire import (
    BASE_SEGMENT,
    ENTRY_SIZE,
    HEADER_SIZE,
    MAX_BATCH,
    MAX_SEGMENTS,
    STREAM,
    TAG_SIZE,
    Endpoint,
    format_endpoint,
    is_stream,
)

RETRY_FIRST = 0.5
"""Seconds before an unproven candidate is tried again, at first."""
MISSES_MAX = 3
"""Unanswered probes in a row after which a path counts as lost."""
PROBE_TIMEOUT_MIN, PROBE_TIMEOUT_MAX = 0.4, 3.0
PROBE_TIMEOUT_FIRST = 2.0
"""The same before any round trip is known."""
FAR = 0.005
"""Seconds of round trip from which a stream takes long to get over the first loss."""
WIDTHS4 = (1472, 1432, 1392, 1332)
"""Datagram payloads tried over IPv4, bytes: Ethernet, then the usual tunnels."""
WIDTHS6 = (1452, 1412, 1372, 1312)
WIDTH_TRIES = 2
WIDTH_AGAIN = 600.0
STREAM_SEGMENT = 16_350
"""Bytes of a datagram in a stream: with its length before it, it fits into one TLS record, and
four of them carry the largest frame. TCP cuts it as the way needs it: nothing is searched."""
STREAM_TIMEOUT = 3.0
"""Seconds until a probe by stream counts as lost: TCP brings it late, not never."""
RESTED, RESTS = 0.9, 3
"""What each answer leaves of the loss of a path that is not used, and answers after which probes
count too."""
KEPT_AFTER = 10.0
"""Seconds after which a relayed path that the peer still uses is worth a try, if it had none."""
FORGIVEN_AFTER = 600.0
"""Seconds after which it counts no more that a path failed."""
MAX_FAILURES = 16
REFLECTED_MAX = 3
"""Bytes that are sent, for each that came from there, to an endpoint that is not proven (QUIC's
number: RFC 9000, section 8)."""
CREDIT_MAX = 6000.0
"""Bytes of that which are saved up."""
RTT_GAIN = 42 / 256
"""EWMA weight of a new round-trip sample (babeld's)."""


class PathKind(Enum):
    """How a path gets there; the values are `status --json`'s words."""

    DIRECT = "direct"
    RELAY = "relay"
    STREAM = "stream"


@dataclass(slots=True)
class Tries:
    """What was tried on a path, for a person who asks why. Times are monotonic, None: never."""

    sent: int = 0
    """Probes, without those that only measure."""
    answered: int = 0
    sent_at: float | None = None
    proven_at: float | None = None
    """When it began to work."""
    lost_at: float | None = None
    """When it last ceased to."""


@dataclass(slots=True)
class Path:
    """One way to a peer. `endpoint` is the next hop's, so a relayed path's is the relay's."""

    kind: PathKind
    endpoint: Endpoint
    relay: NodeId | None = None
    channel: int = 0
    prefix: bytes = b""
    segment: int = BASE_SEGMENT
    """Datagram payload, bytes."""
    valid: bool = False
    """Whether a round trip has proven it."""
    srtt: float | None = None
    """Smoothed round trip, seconds."""
    last_received: float = 0.0
    misses: int = 0
    retry: float = RETRY_FIRST
    next_probe_at: float = 0.0
    claimed: bool = False
    """Whether somebody says that the peer is there, or it once was: it is tried in any case.
    Otherwise it is where frames came from, and their source may be forged."""
    credit: float = 0.0
    """Bytes that may be sent there for what came from there, while it is not proven."""
    last_error: str = ""
    """What was wrong when it last did not work; empty while it does."""
    tries: Tries = field(default_factory=Tries)
    streak: int = 0
    """Answers in a row."""
    failing: bool = False
    """Whether nothing came back though packets flowed, until something does."""
    failures: int = 0
    """How often it failed within ten minutes."""
    out: bool = False
    """Whether it has not answered since it failed: it is still the same failure."""
    failed_at: float = float("-inf")
    rests: int = 0
    """Answers since it was last measured how many segments it loses."""
    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=32))
    waiting: dict[int, tuple[float, int]] = field(default_factory=dict)
    """Nonce -> (sent at, datagram size) of probes not answered yet."""
    widths: list[int] = field(default_factory=list)
    """Sizes still to try, the next one first."""
    width_tries: int = 0
    width_search_at: float = 0.0
    wide: WideProbes = field(default_factory=WideProbes)
    """Probes that measure its loss and have its full width."""
    control: LossControl = field(default_factory=LossControl)
    """What becomes of its loss: the two below, once the path is in use."""
    parity: tuple[int, ...] | None = None
    """Parity slices of a frame of k slices, at index k; None: frames carry none."""
    span: int = MAX_SEGMENTS
    """Slices of data that a frame is to have at most."""
    by_stream: bool = False
    """Whether the relay reaches the peer by a stream, as it said."""
    parked_at: float | None = None
    """Since when this end does not ask it, see `standby`; None: it does."""

    @property
    def rank(self) -> int:
        """Which kind of way is preferred, 0 first: direct, relayed, stream, relayed by a stream on
        either side of the relay."""
        return 2 * self.by_tcp + (self.relay is not None)

    @property
    def by_tcp(self) -> bool:
        """Whether a stream is part of it, at this end or behind the relay."""
        return self.by_stream or is_stream(self.endpoint)

    @property
    def adapts(self) -> bool:
        """Whether its width and its loss are ours to look after: in a stream both are TCP's."""
        return self.kind is not PathKind.STREAM

    @property
    def words(self) -> str:
        """For a log: `direct 192.0.2.1:443`, `stream 192.0.2.1:443`, `relay ID`."""
        way = format_endpoint(self.endpoint) if self.relay is None else self.relay.hex()
        return f"{self.kind.value} {way}"

    @property
    def chunk(self) -> int:
        """Bytes of one slice."""
        return self.segment - HEADER_SIZE - len(self.prefix)

    @property
    def batch_limit(self) -> int:
        """Plaintext bytes of the largest frame that there can be."""
        return min(MAX_SEGMENTS, MAX_BATCH // self.segment) * self.chunk - TAG_SIZE

    @property
    def frame_limit(self) -> int:
        """Plaintext bytes from which a frame is so long that its loss costs too much."""
        count = min(self.span, MAX_BATCH // self.segment)
        if self.parity is None:
            return count * self.chunk - TAG_SIZE
        return min(count, MAX_SLICES) * (self.chunk // SYMBOLS * SYMBOLS) - TAG_SIZE - ENTRY_SIZE

    @property
    def loss(self) -> float:
        """Share of the segments that was lost while it was used, forgotten as it answers probes
        since; where there were few or that is long ago, at least the share of the last 32 probes
        without an answer. 0 to 1."""
        found = self.control.likely * RESTED**self.rests
        if not self.outcomes or (self.control.known and self.rests <= RESTS):
            return found
        # Probes are small: of few but long frames all may be lost.
        return max(found, self.outcomes.count(False) / len(self.outcomes))

    @property
    def timeout(self) -> float:
        """Seconds until a probe counts as lost."""
        if not self.adapts:
            return STREAM_TIMEOUT
        if self.srtt is None:
            return PROBE_TIMEOUT_FIRST
        return min(PROBE_TIMEOUT_MAX, max(PROBE_TIMEOUT_MIN, 4 * self.srtt))

    def prove(self, now: float) -> None:
        """A round trip has shown that both directions work. A path that was lost may have become
        another one: its width is looked for again, and what it lost before says nothing."""
        if not self.valid:
            self._search(now)
            self.outcomes.clear()
            self.next_probe_at = self.tries.proven_at = now
        self.valid, self.misses, self.retry, self.parked_at = True, 0, RETRY_FIRST, None
        self.failing, self.last_error, self.claimed = False, "", True
        self.last_received = now

    def park(self, now: float) -> None:
        """Ask it no more: it answers, and so do better ones, or it does not."""
        self.valid, self.parked_at, self.next_probe_at = False, now, float("inf")

    def wake(self, now: float) -> None:
        """Ask it at once."""
        self.parked_at, self.retry = None, RETRY_FIRST
        self.next_probe_at = min(self.next_probe_at, now)

    def heard(self, now: float) -> None:
        """A frame of the peer came by it. One that the peer has opened, and keeps when it has had
        the time to try it, is worth a try of ours."""
        self.last_received = now
        since = self.parked_at
        if since is not None and not self.tries.sent and now - since >= KEPT_AFTER:
            self.wake(now)

    def received(self, size: int, now: float) -> None:
        """So many bytes have come from there: if it is not proven, it may be asked again."""
        if self.valid:
            return
        self.credit = min(CREDIT_MAX, self.credit + REFLECTED_MAX * size)
        if self.next_probe_at == float("inf"):
            self.next_probe_at = now + self.retry

    def spend(self, size: int) -> bool:
        """Whether `size` bytes may be sent there, proven or not; then they count."""
        if self.valid or self.relay is not None or not self.adapts:
            return True
        if self.credit < size:
            return False
        self.credit -= size
        return True

    def fail(self, now: float) -> None:
        """It was left because it did not work, or is lost: once for both."""
        if not self.out:
            forgiven = now - self.failed_at > FORGIVEN_AFTER
            self.failures = 1 if forgiven else min(MAX_FAILURES, self.failures + 1)
        self.failed_at, self.streak, self.out = now, 0, True

    def narrow(self, now: float) -> None:
        """Segments of this size are lost: back to what every path carries, look again later."""
        self._search(now + WIDTH_AGAIN)
        self.wide = WideProbes()

    def _search(self, at: float) -> None:
        """Begin with what every path carries, and look for more from `at` on."""
        self.width_tries, self.width_search_at = 0, at
        if self.adapts:
            self.segment = BASE_SEGMENT
            wide = ":" in self.endpoint[0].removeprefix(STREAM)
            self.widths = list(WIDTHS6 if wide else WIDTHS4)
        else:
            self.segment, self.widths = STREAM_SEGMENT, []

    def sample(self, rtt: float) -> None:
        """Take one round-trip time, seconds."""
        self.srtt = rtt if self.srtt is None else self.srtt + RTT_GAIN * (rtt - self.srtt)

    def measured(self, nonce: int, now: float) -> float | None:
        """The answer to probe `nonce`: its round trip in seconds, None when nothing waits."""
        sent = self.waiting.pop(nonce, None)
        if sent is None:
            return None
        rtt, size = now - sent[0], sent[1]
        self.prove(now)
        if size > self.segment:
            self.segment, self.widths = size, []
        self.sample(rtt)
        if rtt >= FAR and self.adapts:
            self.control.assume()
            self.parity = self.control.parity
        self.outcomes.append(True)
        self.streak, self.out = self.streak + 1, False
        self.rests += 1
        self.tries.answered += 1
        if self.failures and now - self.failed_at > FORGIVEN_AFTER:
            self.failures = 0
        return rtt

    def lapse(self, now: float) -> bool:
        """Count the probes that were not answered in time; True when the path was just lost."""
        for nonce, (sent_at, size) in list(self.waiting.items()):
            if now - sent_at < self.timeout:
                continue
            del self.waiting[nonce]
            if size > self.segment:
                self._width_missed()
                continue
            self.outcomes.append(False)
            self.misses, self.streak = self.misses + 1, 0
            if size > BASE_SEGMENT and self.misses == 2:
                self.narrow(now)
            if self.valid:
                self.next_probe_at = min(self.next_probe_at, now)
        if self.valid and self.misses >= MISSES_MAX:
            self.valid, self.last_error = False, "no answer to three probes"
            self.tries.lost_at = now
            self.fail(now)
            return True
        if self.misses and not self.valid and not self.last_error:
            self.last_error = "no answer"
        return False

    def _width_missed(self) -> None:
        self.width_tries += 1
        if self.width_tries >= WIDTH_TRIES and self.widths:
            self.widths.pop(0)
            self.width_tries = 0
