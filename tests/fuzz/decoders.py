"""Everything that reads bytes of others, with good samples to spoil. One entry of `DECODERS` each.

Where a checksum or a seal would turn every spoiled sample away at the door, `read` makes it right
first, as a liar who knows the keys does.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2s
from ipaddress import IPv4Network
from random import Random
from typing import Any

from gossip import (
    GossipConfig,
    GossipError,
    GossipProtocol,
    NodeId,
    RecordKind,
    codec,
    coordinates,
    queries,
    records,
)
from gossip import items as gossip_items
from gossip import messages as gossip_messages
from gossip.errors import DecodeError
from gossip.members import MemberState
from meshd.config import _PARSERS
from meshd.configvalues import Unexpected
from meshd.host import framing, proxies, website
from meshd.host.upnp import read_location
from meshd.node import account, control, pcp, wire
from meshd.node import records as mesh_records
from meshd.node.certificates import TrustError, parse_certificate, read_csr
from meshd.node.cookies import CookieJar
from meshd.node.errors import LocalError, RemoteError
from meshd.node.gate import Refuse
from meshd.node.grants import Grants
from meshd.node.handshake import Purpose
from meshd.node.introducing import read_introduction
from meshd.node.invitation import PREFIX, Invitation, Token, decode_invitation, decode_token
from meshd.node.issuing import EnrolmentRequest, decode_reply, decode_request
from meshd.node.keyring import read_key, write_key
from meshd.node.ledger import decode_ledger
from meshd.node.mesh import parse_mesh
from meshd.node.minting import make_csr
from meshd.node.noise import CHACHA20POLY1305
from meshd.node.payloads import EnrolPayload, MemberPayload
from meshd.node.portmap import Portmap
from meshd.node.revocation import make_list, parse_list
from meshd.node.visiting import Visitors
from tests.gossip.cluster import FakeAuthority, id_of, key_of, record_of
from tests.node import gateways, handshakes
from tests.node.meshes import NOW, admit, issuer_of, make_key, make_mesh, make_reply

Read = Callable[[bytes], object]
Errors = tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True)
class Decoder:
    """`read` takes any bytes, and raises nothing but `errors`; then `state()` is as before."""

    read: Read
    errors: Errors
    samples: tuple[bytes, ...]
    state: Callable[[], object] | None = None
    largest: int = 65_535
    """Bytes of the largest input: of a datagram, unless it is something else that is read."""


def plain(
    read: Read, error: type[Exception], *samples: bytes, largest: int = 65_535
) -> Callable[[], Decoder]:
    """A decoder that keeps nothing from one input to the next."""
    decoder = Decoder(read, (error,), samples, largest=largest)
    return lambda: decoder


def text(data: bytes) -> str:
    """What a person could have pasted."""
    return data.decode("utf-8", "surrogateescape")


# gossip

A, B, C = (id_of(key_of(name)) for name in "abc")
KEY_B = key_of("b")
RECORDS = (
    record_of("b", 3),
    record_of("b", 4, body=b"x" * 174),
    record_of("c", 1, withdrawn=True),
    record_of("b", 5, kind=1, body=bytes(900)),
    record_of("b", 6, kind=2, body=codec.encode(["10.0.0.0/8", "2001:db8::/32"])),
    record_of("d", 7, kind=9, body=b"unknown"),
)
_two_words = gossip_items.equivocation(record_of("d", 9), record_of("d", 9, body=b"else"))
assert _two_words is not None
_items: tuple[gossip_items.Item, ...] = (
    *(gossip_items.RecordItem(record, MemberState.ALIVE) for record in RECORDS),
    gossip_items.RecordItem(RECORDS[0], MemberState.SUSPECT),
    gossip_items.accuse(FakeAuthority(KEY_B), B, C, 1),
    gossip_items.accuse(FakeAuthority(KEY_B), B, A, 1),
    _two_words,
)
ITEMS = tuple(map(gossip_items.encode_item, _items))
_low, _high = sorted((B, C))
BODIES: tuple[gossip_messages.Body, ...] = (
    gossip_messages.Ping(7),
    gossip_messages.Ack(7, 1 << 60),
    gossip_messages.PingRequest(8, C),
    gossip_messages.Nack(8),
    gossip_messages.Gossip(),
    gossip_messages.Records(),
    gossip_messages.Buckets(tuple(range(gossip_messages.BUCKETS))),
    gossip_messages.Entries(
        bytes(16),
        b"\xff" * 16,
        tuple(gossip_messages.Entry(0, NodeId(node), 5, b"tag ") for node in (_low, _high)),
    ),
    gossip_messages.Want(((0, B), (1, C), (15, A))),
    queries.Link(True, False, 3000),
    queries.Linked(True, 9),
    queries.Unlink(True, 3000),
    queries.Find(9, C, 4),
    queries.Found(9, 0, 2),
    queries.Store(B, False),
)
MESSAGES = tuple(
    gossip_messages.encode(
        3,
        body,
        ()
        if isinstance(
            body, gossip_messages.Buckets | gossip_messages.Entries | gossip_messages.Want
        )
        else ITEMS[index % len(ITEMS) : index % len(ITEMS) + 4],
    )
    for index, body in enumerate(BODIES)
)


def _protocol(config: GossipConfig) -> GossipProtocol:
    key = key_of("a")
    protocol = GossipProtocol(
        A, key, config, FakeAuthority(key), Random("fuzz"), 0.0, first_sequence=1
    )
    protocol.publish(0, b"me", 0.0)
    protocol.accept(record_of("b"), 0.0)
    protocol.accept(record_of("c"), 0.0)
    protocol.drain()
    return protocol


def _state_of(protocol: GossipProtocol) -> Callable[[], object]:
    def state() -> object:
        statistics = replace(protocol.statistics(), refused={})
        return statistics, protocol.records(), protocol.members(), protocol.next_wakeup()

    return state


def node(config: GossipConfig) -> Decoder:
    """A running node: what it refuses leaves no trace but a count."""
    protocol = _protocol(config)

    def read(data: bytes) -> None:
        protocol.receive(data, B, 1.0)
        assert len(protocol.drain()) <= 300

    return Decoder(read, (GossipError,), MESSAGES, _state_of(protocol))


def liar() -> Decoder:
    """The same, where a member signs whatever it says of itself."""
    protocol = _protocol(GossipConfig())
    authority = FakeAuthority(KEY_B)

    def read(data: bytes) -> None:
        kind, sequence = data[0] if data else 0, int.from_bytes(data[1:9], "big")
        record = records.signed(
            authority, kind, KEY_B, B, sequence, data[9:], withdrawn=len(data) == 9
        )
        item = gossip_items.RecordItem(record, MemberState.ALIVE)
        body = gossip_messages.Gossip()
        message = gossip_messages.encode(sequence, body, [gossip_items.encode_item(item)])
        protocol.receive(message, B, 1.0)
        assert len(protocol.drain()) <= 300

    samples = (
        *(bytes((kind,)) + (kind + 5).to_bytes(8, "big") + b"body" for kind in range(16)),
        *(bytes((r.kind,)) + r.sequence.to_bytes(8, "big") + r.body for r in RECORDS),
    )
    return Decoder(read, (GossipError,), samples, _state_of(protocol))


# meshd

MESH = make_mesh()
ISSUER = issuer_of(MESH)
LEAF = admit(MESH, 2)
CSR = make_csr(make_key(2), "beta")
LIST = make_list(ISSUER.key, ISSUER.certificate, 1, {5: NOW, 6: NOW}, NOW)
CHAIN = mesh_records.encode_chain([LEAF.der])
assert CHAIN is not None
ENDPOINTS: tuple[wire.Endpoint, ...] = (("192.0.2.1", 443), ("2001:db8::1", 443))
TOKEN = Token(bytes(16), bytes(32), bytes(16), 2_000_000_000, ENDPOINTS).encode()
VIEW = account.View(
    "direct ways go first",
    (account.Candidate("192.0.2.1:443", account.ORIGINS[0]),),
    (account.Tried("relay", B.hex(), account.STANDS[0], 0.01, None, 3, 2, 0.5, ""),),
)
CONTROLS: tuple[control.Control, ...] = (
    control.Gossip(MESSAGES[0]),
    control.Probe(1 << 40, 300),
    control.ProbeAck(7, ENDPOINTS[0]),
    control.ProbeAck(7, None),
    control.RelayOpen(B),
    control.RelayOpened(9, B),
    control.RelayRefused(B),
    control.Enrol(CSR),
    control.Enrolled(b"reply"),
    control.Enrolled(None, "why not"),
    control.CertificateChain((LEAF.der, ISSUER.certificate.der)),
    control.Close(),
    control.RevocationRequest(bytes(16), 3, 100),
    control.RevocationPiece(bytes(16), 3, 400, 100, bytes(200)),
    control.Renew(CSR, True),
    control.Renewed((LEAF.der, ISSUER.certificate.der)),
    control.Renewed((), "why not"),
    control.Why(7),
    control.WhyAnswer(7, VIEW.encode()),
)
CALLER, CALLED = handshakes.initiator(), handshakes.responder()
INITIATION = CALLER.message(handshakes.MEMBER)
RESPONSE, _ = handshakes.respond(INITIATION)
ENROLMENT = handshakes.initiator(CHACHA20POLY1305, Purpose.ENROL).message(handshakes.ENROL)
COOKIE = CookieJar(lambda size: b"r" * size, handshakes.CALLED_PUBLIC, 0.0).reply(
    INITIATION, ("192.0.2.1", 4000), 0.0
)
INVITATION = Invitation(
    bytes(16), bytes(48), Grants("a", ("exit",), (IPv4Network("10.0.0.0/8"),), ("ops",)), 5, B
)


def resealed(read: Read, receiver: bytes) -> Read:
    """`read`, given the datagram with macs that are right."""
    return lambda data: read(handshakes.resealed(data, receiver))


def retoken(body: bytes) -> Token:
    """A token with the right checksum over any body."""
    checksum = blake2s(PREFIX.encode() + body, digest_size=32).digest()[:4]
    return decode_token(PREFIX + base64.urlsafe_b64encode(body + checksum).decode().rstrip("="))


def config_value(data: bytes) -> object:
    """A value for some key, as CBOR after the key's number: a file can hold no more kinds."""
    keys = sorted(_PARSERS)
    value: Any
    try:
        value = codec.decode(data[1:])
    except DecodeError:
        value = text(data[1:])
    try:
        return _PARSERS[keys[data[0] % len(keys) if data else 0]](value)
    except Unexpected as error:
        raise ValueError(error.expected) from error


def gateway() -> Decoder:
    """A host that asks for two ports: what it refuses leaves no trace."""
    ports = ((pcp.Transport.UDP, 443), (pcp.Transport.TCP, 443))
    asking = Portmap(gateways.GATEWAY, gateways.CLIENT, ports, bytes(32), Random(1), 0.0)
    asking.handle_timer(0.0)
    nonce = asking.drain()[0][24:36]

    def read(data: bytes) -> None:
        asking.receive(data, gateways.SOURCE, 1.0)
        asking.handle_timer(1.0)
        assert len(asking.drain()) <= 4

    def state() -> object:
        return asking.mappings(), asking.errors.copy(), asking.next_at(1.0), asking.failed(1.0)

    return Decoder(read, (RemoteError,), (gateways.pcp_mapped(nonce, 443), *GATEWAY_SAYS), state)


GATEWAY_SAYS = (
    gateways.pcp_mapped(bytes(12), 443),
    gateways.pcp_mapped(bytes(12), 443, result=2),
    gateways.pcp_head(0, 0, 0, 100),
    gateways.natpmp_address(),
    gateways.natpmp_mapped(443, 443),
    gateways.natpmp_mapped(443, 443, result=4, opcode=2),
)

UPNP_ANSWER = (
    b"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    b"Location: http://192.168.1.1:5000/rootDesc.xml\r\nEXT:\r\n\r\n"
)

_values: tuple[object, ...] = (443, "192.0.2.1:443", ["10.0.0.0/8", "[::1]:443"], True, "a", {})
CONFIG_VALUES = tuple(
    bytes((number,)) + codec.encode(value) for number in range(len(_PARSERS)) for value in _values
)

STREAM_ROW = framing.joined([bytes((4,)) * 40] * 6, 80, 3, 2) + framing.padding(30)


def stream_row(data: bytes) -> None:
    """Cut bytes of a stream into datagrams, which must be what it holds."""
    found: list[tuple[int, int]] = []
    framing.take(
        memoryview(bytearray(data)), len(data), lambda run, size: found.append((len(run), size))
    )
    assert all(framing.DATAGRAM_MIN <= size <= run <= framing.RUN_MAX for run, size in found)


INTRODUCTION = b"\6" + b"".join(
    len(data).to_bytes(2, "big") + data
    for data in (
        record_of(1, kind=kind).encode() for kind in (RecordKind.CERTIFICATE, RecordKind.MEMBER)
    )
)


def first_flight() -> Decoder:
    """A gate, shown good first flights that were spoilt: it lets nobody in by them."""
    rng = Random(5)
    gate = Visitors(
        bytes(32), bytes(32), lambda each: each == bytes(16), lambda now: NOW, rng.randbytes
    )
    endpoint = ("tls:192.0.2.1", 443)
    samples = [gate.greet(endpoint, bytes(32), 0.0) or b"" for _ in range(4)]

    def admit(data: bytes) -> None:
        tokens = {sample.partition(b"sid=")[2][:64] for sample in samples}
        verdict = gate.admit(data or b"\0", endpoint, bytes(32), 0.0)
        if isinstance(verdict, Refuse):
            raise RemoteError("refused")
        assert any(token in data for token in tokens)

    return Decoder(admit, (RemoteError,), tuple(samples), largest=4096)


PROXY_HEADERS = tuple(
    proxies.HEADER.pack(proxies.SIGNATURE, command, family, size) + bytes(size)
    for command, family, size in ((0x21, 0x11, 12), (0x21, 0x21, 40), (0x20, 0, 0), (0x21, 0, 9))
)
WEB_REQUESTS = (
    b"GET /a/../b%20c?d=e HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n",
    b"POST http://x/ HTTP/1.0\nContent-Length: 12\nTransfer-Encoding: chunked\n\n",
)

DECODERS: dict[str, Callable[[], Decoder]] = {
    "gossip-node": lambda: node(GossipConfig()),
    "gossip-partial": lambda: node(GossipConfig(full_view=1, active_view=1)),
    "gossip-liar": liar,
    "gossip-message": plain(gossip_messages.decode, DecodeError, *MESSAGES),
    "gossip-items": plain(lambda data: gossip_items.decode_items(data, 0), DecodeError, *ITEMS),
    "gossip-record": plain(records.decode, DecodeError, *(r.encode() for r in RECORDS)),
    "gossip-coordinate": plain(coordinates.unpack, DecodeError, coordinates.Coordinate().pack()),
    "cbor": plain(
        codec.decode,
        DecodeError,
        CONTROLS[0].payload if isinstance(CONTROLS[0], control.Gossip) else b"",
        codec.encode([1, -7, "text", b"bytes", None, True, {"a": [1, 2], 5: {}}, 1 << 63]),
        CHAIN,
    ),
    "control": plain(
        control.decode_control,
        RemoteError,
        *(control.encode_control(message)[wire.ENTRY_SIZE :] for message in CONTROLS),
    ),
    "account": plain(account.decode_view, RemoteError, VIEW.encode()),
    "endpoint": plain(wire.unpack_endpoint, ValueError, *map(wire.pack_endpoint, ENDPOINTS)),
    "initiation": plain(CALLED.read, RemoteError, INITIATION, ENROLMENT),
    "initiation-resealed": plain(
        resealed(CALLED.read, handshakes.CALLED_PUBLIC), RemoteError, INITIATION, ENROLMENT
    ),
    "response": plain(CALLER.read_response, RemoteError, RESPONSE),
    "response-resealed": plain(
        resealed(CALLER.read_response, handshakes.CALLER_PUBLIC), RemoteError, RESPONSE
    ),
    "cookie-reply": plain(CALLER.read_cookie, RemoteError, COOKIE),
    "member-payload": plain(
        MemberPayload.decode,
        RemoteError,
        handshakes.MEMBER.encode(),
        MemberPayload(1, 2, bytes(64), (), bytes(32)).encode() + bytes(50),
    ),
    "enrolment-payload": plain(EnrolPayload.decode, RemoteError, handshakes.ENROL.encode()),
    "node-record": plain(
        mesh_records.decode_node_record,
        RemoteError,
        mesh_records.NodeRecord(bytes(32), ENDPOINTS).encode(),
    ),
    "chain-record": plain(mesh_records.decode_chain, RemoteError, CHAIN),
    "routes-record": plain(
        mesh_records.decode_routes, RemoteError, mesh_records.encode_routes(["10.0.0.0/8", "::/0"])
    ),
    "revocations-record": plain(
        mesh_records.decode_revocations,
        RemoteError,
        mesh_records.encode_revocations(
            [
                mesh_records.ListNote(bytes(16), 7, bytes(16), LIST.der),
                mesh_records.ListNote(bytes(16), 8, bytes(16), None, bytes(64)),
            ]
        ),
    ),
    "certificate": plain(parse_certificate, TrustError, LEAF.der, ISSUER.certificate.der),
    "chain": plain(lambda data: MESH.trust.verify(data, [], NOW), TrustError, LEAF.der),
    "certificate-request": plain(read_csr, TrustError, CSR),
    "revocation-list": plain(
        lambda data: parse_list(data, ISSUER.certificate), TrustError, LIST.der
    ),
    "enrolment-request": plain(decode_request, TrustError, EnrolmentRequest(CSR, CSR).encode()),
    "enrolment-reply": plain(decode_reply, TrustError, make_reply(MESH, LEAF).encode()),
    "token": plain(lambda data: decode_token(text(data)), LocalError, TOKEN.encode()),
    "token-resealed": plain(
        retoken,
        LocalError,
        base64.urlsafe_b64decode(TOKEN[len(PREFIX) :] + "=" * (-len(TOKEN[len(PREFIX) :]) % 4))[
            :-4
        ],
    ),
    "invitation-file": lambda: Decoder(
        decode_invitation, (ValueError, LocalError), (INVITATION.encode(),)
    ),
    "ledger-file": plain(decode_ledger, ValueError, ISSUER.ledger.encode(), largest=8192),
    "key-file": plain(
        lambda data: read_key(data, "node.key"), LocalError, write_key(ISSUER.key), largest=4096
    ),
    "mesh-document": plain(
        lambda data: parse_mesh(text(data)), LocalError, MESH.mesh.render().encode()
    ),
    "gateway": gateway,
    "gateway-answer": plain(pcp.decode, RemoteError, *GATEWAY_SAYS),
    "upnp-answer": plain(
        lambda data: read_location(data, gateways.GATEWAY), RemoteError, UPNP_ANSWER, largest=2048
    ),
    "first-flight": first_flight,
    "introduction": plain(read_introduction, RemoteError, INTRODUCTION),
    "stream-row": plain(stream_row, framing.FramingError, STREAM_ROW, largest=8192),
    "proxy-header": plain(proxies.parse_header, RemoteError, *PROXY_HEADERS),
    "proxy-answer": plain(proxies.parse_answer, RemoteError, b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n"),
    "web-request": plain(website.parse, website.BadRequest, *WEB_REQUESTS),
    "config-value": plain(config_value, ValueError, *CONFIG_VALUES, largest=4096),
}
"""By name: makes the decoder anew, with no memory of earlier inputs."""
