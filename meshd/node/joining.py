"""The joiner's side of an enrolment: a token in, an identity's worth of reply out.

    initiation (psk of the invitation) to every endpoint of the token, again each second, from the
                second on by streams too
    response -> session -> ENROL with the certificate request, again each second; after three
                without an answer the inviter may have forgotten the session: from the beginning
    ENROLLED -> `reply`, or `refusal`

Always ChaCha20-Poly1305: a joiner does not know the mesh's cipher yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from meshd.node import control
from meshd.node.control import decode_control, encode_control
from meshd.node.errors import RemoteError
from meshd.node.handshake import Initiator, Purpose
from meshd.node.identity import derive_issuer_key, derive_static
from meshd.node.invitation import Token
from meshd.node.issuing import EnrolmentReply, EnrolmentRequest, decode_reply
from meshd.node.minting import make_csr
from meshd.node.noise import CHACHA20POLY1305
from meshd.node.outputs import SendDatagram
from meshd.node.payloads import EnrolPayload
from meshd.node.reassembly import ByteBudget, Shape
from meshd.node.session import Session
from meshd.node.wire import (
    BASE_SEGMENT,
    CONTROL,
    COOKIE,
    DATA,
    ENTRY,
    ENTRY_SIZE,
    HEADER,
    HEADER_SIZE,
    RESPONSE,
    STREAM,
    TAG_SIZE,
    Endpoint,
)

RETRY = 1.0
"""Seconds between two initiations, or two requests."""
MAX_ASKED = 3
"""Requests in one session."""
MAX_NEARBY = 8
"""Endpoints that are tried beside those of the token."""


class Joiner:
    """One enrolment. `reply` or `refusal` is set when it is over."""

    def __init__(
        self,
        token: Token,
        node_key: Ed25519PrivateKey,
        name: str,
        random_bytes: Callable[[int], bytes],
        unix_time: float,
    ) -> None:
        self._token = token
        self._random_bytes = random_bytes
        self._static = derive_static(node_key)
        issuer_csr = make_csr(derive_issuer_key(node_key), name)
        self._request = EnrolmentRequest(make_csr(node_key, name), issuer_csr).encode()
        self._counter = int(unix_time * 1e9)
        self._initiator: Initiator | None = None
        self._session: Session | None = None
        self._asked = 0
        self._initiations = 0
        self._nearby: list[Endpoint] = []
        self._endpoint: Endpoint | None = None
        self._cookie: bytes | None = None
        self._outputs: list[SendDatagram] = []
        self.next_at = 0.0
        """When to call `handle_timer`."""
        self.answered = False
        """Whether the inviter answered the handshake."""
        self.reply: EnrolmentReply | None = None
        self.refusal: str | None = None

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.reply is not None or self.refusal is not None

    def handle_timer(self, now: float) -> None:
        """Send again what was not answered."""
        if self.done or now < self.next_at:
            return
        self.next_at = now + RETRY
        if self._session is not None and self._asked < MAX_ASKED:
            self._ask()
        else:
            self._session = None
            self._initiate()

    def consider(self, endpoints: Iterable[Endpoint]) -> None:
        """Somebody who may be the inviter is there: try it as well. None but the inviter has the
        key that the token names, so that nobody else can answer."""
        for endpoint in endpoints:
            known = endpoint in self._nearby or endpoint in self._token.endpoints
            if not known and len(self._nearby) < MAX_NEARBY:
                self._nearby.append(endpoint)
                if self._session is None:
                    self._send_initiation([endpoint])

    def drain(self) -> list[SendDatagram]:
        """Datagrams to send, each once."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def _initiate(self) -> None:
        self._counter += 1
        self._initiations += 1
        index = int.from_bytes(self._random_bytes(4), "big")
        token = self._token
        self._initiator = Initiator(
            CHACHA20POLY1305,
            token.mesh_id,
            Purpose.ENROL,
            self._static,
            token.inviter_static,
            token.psk,
            self._random_bytes(32),
            index,
        )
        self._send_initiation()

    def _send_initiation(self, only: Sequence[Endpoint] = ()) -> None:
        if self._initiator is None:
            return
        payload = EnrolPayload(self._counter, 0, self._token.invitation_id)
        message = self._initiator.message(payload, self._cookie)
        endpoints = list(only or (*self._token.endpoints, *self._nearby))
        if self._initiations > 1 and not only:
            # UDP has brought nothing within a second: perhaps it never will.
            endpoints += [(STREAM + host, port) for host, port in self._token.endpoints]
        for endpoint in endpoints:
            self._outputs.append(SendDatagram(message, endpoint))

    def _ask(self) -> None:
        session, endpoint = self._session, self._endpoint
        if session is None or endpoint is None:
            return
        self._asked += 1
        entry = encode_control(control.Enrol(self._request))
        out = memoryview(bytearray(len(entry) + TAG_SIZE))
        frame = session.seal(entry, out, BASE_SEGMENT - HEADER_SIZE, b"", endpoint)
        for at in range(0, len(frame.parts), 2):
            datagram = bytes(frame.parts[at]) + bytes(frame.parts[at + 1])
            self._outputs.append(SendDatagram(datagram, endpoint))

    def receive(self, datagram: bytes, source: Endpoint, now: float) -> None:
        """One datagram. Raises RemoteError; the enrolment goes on."""
        kind = datagram[0] if datagram else 0
        if kind == RESPONSE and self._initiator is not None and self._session is None:
            _, keys = self._initiator.read_response(datagram)
            self._session = Session(CHACHA20POLY1305, keys, None, ByteBudget(), now)
            self._endpoint, self._asked, self.answered = source, 0, True
            self._ask()
        elif kind == COOKIE and self._initiator is not None:
            self._cookie = self._initiator.read_cookie(datagram)
            self._send_initiation()
        elif kind == DATA and self._session is not None:
            self._receive_data(self._session, datagram, now)

    def _receive_data(self, session: Session, datagram: bytes, now: float) -> None:
        if len(datagram) <= HEADER_SIZE:
            raise RemoteError("malformed")
        _, index, count, parities, receiver, counter = HEADER.unpack_from(datagram)
        if receiver != session.local_index:
            raise RemoteError("no-session")
        shape = Shape(counter, count, parities)
        joined = session.reassembler.add(shape, bytes([index]), (datagram[HEADER_SIZE:],), now)
        if joined is None:
            return
        plain = memoryview(bytearray(len(joined.sealed)))
        size = session.open(shape, joined.sealed, plain)
        start = 0
        while start + ENTRY_SIZE <= size:
            (word,) = ENTRY.unpack_from(plain, start)
            body = start + ENTRY_SIZE
            start = body + (word & 0xFFFFFF)
            if word >> 24 == CONTROL and start <= size:
                self._take(decode_control(bytes(plain[body:start])))

    def _take(self, message: control.Control) -> None:
        if isinstance(message, control.Enrolled) and not self.done:
            if message.reply is None:
                self.refusal = message.reason
            else:
                self.reply = decode_reply(message.reply)
