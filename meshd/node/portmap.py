"""A gateway that forwards our port: asked by PCP and by NAT-PMP, kept, noticed when it forgets.

Both protocols are asked at once (RFC 6887 appendix A would try one after the other): PCP for a
mapping, NAT-PMP only for the outer address, which leaves nothing behind. PCP is used if it answers;
NAT-PMP as soon as PCP is refused or stays silent a moment longer than NAT-PMP did. Requests are
repeated as the RFCs say, renewed from half of the lifetime on, and made again at once when the
gateway's epoch tells that it has lost them.

The datagrams go to port 5351 of the gateway, and come from a socket that is connected to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from random import Random
from typing import Final

from meshd.node import pcp
from meshd.node.errors import RemoteError
from meshd.node.pcp import Transport
from meshd.node.repeating import Ask, Epoch, renewal
from meshd.node.wire import Endpoint

LIFETIME: Final = 3600
"""Seconds for which a mapping is asked; gateways may grant fewer."""
LIFETIME_MIN: Final = 8.0
"""Seconds that a mapping is taken to last at least, so that no gateway can make us ask often."""
PATIENCE: Final = 2.0
"""Seconds for a gateway to answer, before something else is tried beside."""
GRACE: Final = 0.5
"""Seconds that PCP may take longer than NAT-PMP."""
POLL_INTERVAL: Final = 60.0
"""Seconds between two looks at the epoch of a gateway that forwards."""
REMAKE_INTERVAL: Final = 5.0
"""Seconds between two times that all is asked for anew, at least."""
REMAKE_TIME: Final = 30.0
"""Seconds in which a gateway that forgot a mapping has to make it again."""
REST_MIN, REST_MAX = 30.0, 900.0
"""Seconds for which a refusal is heeded."""


class Protocol(Enum):
    """What a gateway speaks."""

    PCP = "pcp"
    NAT_PMP = "nat-pmp"
    UPNP = "upnp"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A gateway sends what comes to `endpoint` to our port until `expires`."""

    protocol: Protocol
    transport: Transport
    gateway: str
    endpoint: Endpoint
    expires: float


@dataclass(slots=True)
class _Port:
    """One port of ours at the gateway."""

    transport: Transport
    internal: int
    nonce: bytes
    suggested: Endpoint
    ask: Ask
    endpoint: Endpoint | None = None
    expires: float = 0.0
    forgotten: bool = False
    """The gateway may have lost it: what is asked is no renewal."""


class Portmap:
    """Asks one gateway to forward our ports. Nothing but the gateway's word is behind a mapping."""

    def __init__(
        self,
        gateway: str,
        client: str,
        ports: Sequence[tuple[Transport, int]],
        key: bytes,
        rng: Random,
        now: float,
    ) -> None:
        """`client`: our address towards the gateway; `ports`: ours, the most important first: the
        others ask for the same number outside; `key`: 32 secret bytes, the same after a restart,
        since a gateway gives a mapping only to who knows the nonce it was made with."""
        self.gateway = gateway
        self.client = client
        self.errors: dict[Protocol, str] = {}
        """Why a protocol did not serve us when it was asked last, a few words each."""
        self._rng = rng
        anything = "::" if ":" in client else "0.0.0.0"
        self._ports = [
            _Port(transport, port, self._nonce(key, transport, port), (anything, port), Ask())
            for transport, port in ports
        ]
        self._address_ask = Ask()
        self._out: list[bytes] = []
        self._remade_at = now - REMAKE_INTERVAL
        self._closing = False
        self._begin(now)

    def _nonce(self, key: bytes, transport: Transport, port: int) -> bytes:
        where = ip_address(self.gateway).packed
        data = where + bytes((transport,)) + port.to_bytes(2, "big")
        return hashlib.blake2s(data, key=key, digest_size=pcp.NONCE_SIZE).digest()

    def _begin(self, now: float) -> None:
        """Ask everything from the start."""
        self._protocol: Protocol | None = None
        self._epochs = {Protocol.PCP: Epoch(strict=True), Protocol.NAT_PMP: Epoch(strict=False)}
        self._address: str | None = None
        self._refused = {Protocol.PCP: False, Protocol.NAT_PMP: ":" in self.gateway}
        self._begin_at: float | None = None
        self._fall_back_at: float | None = None
        self._poll_at: float | None = None
        self._patient_until = now + PATIENCE
        self._forget()
        self._ports[0].ask.begin(now)
        if not self._refused[Protocol.NAT_PMP]:
            self._address_ask.begin(now)

    def _forget(self) -> None:
        for port in self._ports:
            port.endpoint = None
            port.ask.stop()

    # What there is

    def mappings(self) -> list[Mapping]:
        """What the gateway forwards, as far as it said."""
        if self._protocol is None:
            return []
        return [
            Mapping(self._protocol, port.transport, self.gateway, port.endpoint, port.expires)
            for port in self._ports
            if port.endpoint is not None
        ]

    def failed(self, now: float) -> bool:
        """Whether it is time to try something else."""
        return not self.mappings() and (all(self._refused.values()) or now >= self._patient_until)

    @property
    def closed(self) -> bool:
        """Whether the gateway has confirmed that it forwards nothing any more."""
        return self._closing and not self.mappings()

    # Inputs

    def receive(self, data: bytes, source: Endpoint, now: float) -> None:
        """A datagram from `source`. Raises RemoteError, with nothing changed, unless it is an
        answer of the gateway's to what we ask for."""
        if source != (self.gateway, pcp.PORT):
            raise RemoteError("portmap-source")
        match pcp.decode(data):
            case pcp.Unsupported(version):
                # Who does not know PCP answers with its own version, and so does a PCP server
                # to NAT-PMP: what it names is not what it was asked.
                other = Protocol.NAT_PMP if version == pcp.PCP_VERSION else Protocol.PCP
                self._refuse(other, pcp.PCP_RESULTS[1], REST_MAX, now)
            case pcp.Announced(epoch):
                self._heard(Protocol.PCP, epoch, now)
            case pcp.Mapped() as mapped:
                self._pcp_mapped(mapped, now)
            case pcp.PublicAddress() as public:
                self._natpmp_address(public, now)
            case pcp.PortMapped() as port_mapped:
                self._natpmp_mapped(port_mapped, now)

    def nudge(self, now: float) -> None:
        """Somebody on our network says that the gateway has restarted: ask the gateway, which may
        have been up for so short a time that its epoch would not show it."""
        if self._poll_at is not None:
            self._ask_again(now)
            self._poll_at = min(self._poll_at, max(now, self._remade_at))

    def recheck(self, now: float) -> None:
        """The gateway may not know us any more, or our clock stood still: ask for all again."""
        self._remake(now)

    def close(self, now: float) -> None:
        """Take all mappings back. Go on with `receive` and `handle_timer` until `closed`."""
        self._closing = True
        self._begin_at = self._fall_back_at = self._poll_at = None
        self._address_ask.stop()
        for port in self._ports:
            port.ask.stop()
            if port.endpoint is not None:
                port.ask.begin(now)

    def handle_timer(self, now: float) -> None:
        """Do what is due. Early or late calls do no harm."""
        self._expire(now)
        if self._begin_at is not None and now >= self._begin_at:
            self._begin(now)
        if self._fall_back_at is not None and now >= self._fall_back_at:
            self._use_natpmp(now)
        for port in self._ports:
            if port.ask.due is not None and now >= port.ask.due:
                self._send_map(port, now)
        if self._address_ask.due is not None and now >= self._address_ask.due:
            self._out.append(pcp.ask_public_address())
            self._repeat_soon(self._address_ask, now)
        if self._poll_at is not None and now >= self._poll_at:
            self._poll(now)

    def next_at(self, now: float) -> float:
        """When to call `handle_timer` next."""
        times = [port.ask.due for port in self._ports]
        times += [port.expires for port in self._ports if port.endpoint is not None]
        times += [self._address_ask.due, self._begin_at, self._fall_back_at, self._poll_at]
        if now < self._patient_until:
            times.append(self._patient_until)
        return min((time for time in times if time is not None), default=now + REST_MAX)

    def drain(self) -> list[bytes]:
        """Datagrams for the gateway, each once."""
        out, self._out = self._out, []
        return out

    # Answers

    def _heard(self, protocol: Protocol, epoch: int, now: float) -> None:
        """The gateway's epoch: ask for everything again if it has lost its mappings."""
        if self._epochs[protocol].restarted(epoch, now) and protocol is self._protocol:
            self._remake(now)

    def _remake(self, now: float) -> None:
        """What is not confirmed soon is lost."""
        self._ask_again(now)
        for port in self._ports:
            port.expires = min(port.expires, max(now, self._remade_at) + REMAKE_TIME)

    def _ask_again(self, now: float) -> None:
        """Ask anew for all that is held, now or when that was not done just before."""
        if self._closing or now < self._remade_at:
            return
        self._remade_at = max(now, self._remade_at + REMAKE_INTERVAL)
        for port in self._ports:
            if port.endpoint is not None:
                port.forgotten = True
                port.ask.begin(self._remade_at)

    def _pcp_mapped(self, answer: pcp.Mapped, now: float) -> None:
        port = self._port(answer.transport, answer.internal)
        if port.nonce != answer.nonce:
            raise RemoteError("portmap-unasked", "another nonce")
        self._heard(Protocol.PCP, answer.epoch, now)
        if answer.error is not None:
            self._refuse(Protocol.PCP, answer.error, answer.lifetime, now, port)
            return
        if self._protocol is not Protocol.PCP and answer.lifetime and not self._closing:
            self._use(Protocol.PCP, now)
        if self._protocol is Protocol.PCP:
            self._take(Protocol.PCP, port, answer.external, answer.lifetime, now)

    def _natpmp_address(self, answer: pcp.PublicAddress, now: float) -> None:
        self._heard(Protocol.NAT_PMP, answer.epoch, now)
        if answer.error is not None:
            self._refuse(Protocol.NAT_PMP, answer.error, REST_MIN, now)
            return
        self._address_ask.stop()
        before, self._address = self._address, answer.address
        if self._protocol is None and not self._closing:
            if self._refused[Protocol.PCP]:
                self._use_natpmp(now)
            elif self._fall_back_at is None:
                self._fall_back_at = now + GRACE
        elif self._protocol is Protocol.NAT_PMP and before != self._address:
            self._remake(now)

    def _natpmp_mapped(self, answer: pcp.PortMapped, now: float) -> None:
        if self._protocol is not Protocol.NAT_PMP or self._address is None:
            raise RemoteError("portmap-unasked", "NAT-PMP is not in use")
        if answer.error is not None:  # it names no port of ours, only its kind
            self._heard(Protocol.NAT_PMP, answer.epoch, now)
            asked = [port for port in self._ports if port.transport is answer.transport]
            self._refuse(Protocol.NAT_PMP, answer.error, REST_MIN, now, *asked)
            return
        port = self._port(answer.transport, answer.internal)
        self._heard(Protocol.NAT_PMP, answer.epoch, now)
        endpoint = (self._address, answer.external)
        self._take(Protocol.NAT_PMP, port, endpoint, answer.lifetime, now)

    def _port(self, transport: int, internal: int) -> _Port:
        for port in self._ports:
            if (port.transport, port.internal) == (transport, internal):
                return port
        raise RemoteError("portmap-unasked", "another port")

    def _take(
        self, protocol: Protocol, port: _Port, endpoint: Endpoint, lifetime: int, now: float
    ) -> None:
        """The gateway has answered for `port`."""
        if self._closing:
            port.endpoint = None
            port.ask.stop()
        elif lifetime == 0:
            self._refuse(protocol, "taken away", REST_MIN, now, port)
        else:
            port.endpoint = port.suggested = endpoint
            port.forgotten = False
            port.expires = now + max(LIFETIME_MIN, min(lifetime, LIFETIME))
            port.ask.begin(renewal(port.expires, self._rng, now))
            for other in self._ports:
                if other.endpoint is None and other.ask.due is None:
                    other.suggested = (other.suggested[0], endpoint[1])
                    other.ask.begin(now)

    def _refuse(
        self, protocol: Protocol, error: str, lifetime: float, now: float, *ports: _Port
    ) -> None:
        """The gateway will not for `lifetime` seconds: forward these `ports`, or speak at all."""
        if self._protocol not in (None, protocol):
            return  # another one serves us
        self.errors[protocol] = error
        rest_until = now + max(REST_MIN, min(lifetime, REST_MAX))
        for port in ports:
            port.endpoint = None
            port.ask.stop()
        if self._closing:
            return
        if self._protocol is not None and self._ports[0] not in ports:
            for port in ports:
                port.ask.begin(rest_until)
            return
        if self._protocol is not None:
            self._protocol = self._poll_at = None
            self._forget()
        self._refused[protocol] = True
        self._begin_at = rest_until
        if protocol is Protocol.NAT_PMP:
            self._address_ask.stop()
            self._fall_back_at = None
        else:
            self._ports[0].ask.stop()
            if self._address is not None and not self._refused[Protocol.NAT_PMP]:
                self._use_natpmp(now)

    # What to ask

    def _use_natpmp(self, now: float) -> None:
        self._use(Protocol.NAT_PMP, now)
        self._ports[0].ask.begin(now)

    def _use(self, protocol: Protocol, now: float) -> None:
        """It is this one that serves us from now on."""
        self._protocol = protocol
        self._begin_at = self._fall_back_at = None
        self._address_ask.stop()
        self._poll_at = now + POLL_INTERVAL
        self.errors.pop(protocol, None)
        self._forget()

    def _expire(self, now: float) -> None:
        """What was not renewed in time is lost; with the first port, all is asked anew."""
        for port in self._ports:
            if port.endpoint is not None and now >= port.expires:
                port.endpoint = None
                port.ask.begin(now)
                if port is self._ports[0] and not self._closing:
                    self._begin(now)

    def _send_map(self, port: _Port, now: float) -> None:
        lifetime = 0 if self._closing else LIFETIME
        if self._protocol is Protocol.NAT_PMP:
            outside = 0 if self._closing else port.suggested[1]
            self._out.append(pcp.ask_port(port.transport, port.internal, outside, lifetime))
        else:
            what = (port.nonce, port.transport, port.internal, port.suggested, lifetime)
            self._out.append(pcp.ask_map(self.client, *what))
        if port.endpoint is not None and not port.forgotten and not self._closing:
            port.ask.due = renewal(port.expires, self._rng, now)
        elif self._protocol is Protocol.NAT_PMP or self._closing:
            self._repeat_soon(port.ask, now)
        else:
            port.ask.repeat(self._rng, now)

    def _repeat_soon(self, ask: Ask, now: float) -> None:
        if not ask.repeat_soon(now) and not self._closing:
            if self.mappings():
                ask.begin(now + REST_MAX)
            elif self._begin_at is None:
                self._begin_at = now + REST_MAX

    def _poll(self, now: float) -> None:
        natpmp = self._protocol is Protocol.NAT_PMP
        self._out.append(pcp.ask_public_address() if natpmp else pcp.ask_announce(self.client))
        self._poll_at = now + POLL_INTERVAL
