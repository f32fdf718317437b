"""The documents say what the code does: their numbers are read here and computed again."""

from __future__ import annotations

import ast
import base64
import importlib
import re
from dataclasses import fields
from hashlib import blake2s
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding

from gossip import GossipConfig, MemberState, Policy, RecordKind, records
from gossip import items as gossip_items
from gossip import messages as gossip_messages
from gossip.coordinates import Coordinate
from gossip.store import RecordStore
from meshd import cli, config, contract
from meshd.host.metrics import Statistics, render
from meshd.node import control, wire
from meshd.node.addresses import assign4, mesh_id, mesh_prefix6, node_id, overlay6
from meshd.node.chain import TrustStore
from meshd.node.cookies import CookieJar, append_macs, mac1_key, open_cookie_reply
from meshd.node.handshake import (
    EnrolPayload,
    Initiator,
    MemberPayload,
    Purpose,
    Responder,
    TransportKeys,
    prologue,
)
from meshd.node.identity import derive_issuer_key, derive_static
from meshd.node.invitation import Token, locate
from meshd.node.mesh import MeshDocument, parse_mesh
from meshd.node.noise import AES256GCM, CHACHA20POLY1305, CipherSuite
from meshd.node.payloads import static_statement
from meshd.node.reassembly import ByteBudget
from meshd.node.records import NodeRecord
from meshd.node.session import Session

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NAMES = ("architecture", "protocol", "configuration", "security", "simulations")
SOURCE: wire.Endpoint = ("192.0.2.7", 51820)


def text_of(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def section(name: str, heading: str) -> str:
    """The part of a document below `heading`, up to the next one of its level or above."""
    level = re.match(r"#+", heading)
    assert level is not None
    start = text_of(name).index(f"\n{heading}\n") + 1
    rest = text_of(name)[start + len(heading) :]
    end = re.search(rf"^#{{1,{len(level[0])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """The cells of every table row below its header, code marks taken off the first."""
    found = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    marks = [number for number, row in enumerate(found) if set(row[0]) <= set(":-")]
    headers = {number - 1 for number in marks} | set(marks)
    return [row for number, row in enumerate(found) if number not in headers]


def code(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


# Worked examples


def seed(number: int, size: int = 32) -> bytes:
    return bytes((number,)) * size


def seed_public(number: int) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed(number)).public_key().public_bytes_raw()


ROOT_KEY, ALPHA, BETA = (Ed25519PrivateKey.from_private_bytes(seed(n)) for n in (1, 2, 3))
MESH = mesh_id(ROOT_KEY.public_key().public_bytes_raw())
ALPHA_STATIC, BETA_STATIC = derive_static(ALPHA), derive_static(BETA)
ALPHA_PUBLIC = ALPHA.public_key().public_bytes_raw()
ALPHA_ID = node_id(ALPHA_PUBLIC)
BETA_ID = node_id(BETA.public_key().public_bytes_raw())
TOKEN = Token(
    MESH,
    ALPHA_STATIC.public_key().public_bytes_raw(),
    seed(4, 16),
    2_000_000_000,
    (("192.0.2.1", 443), ("2001:db8::1", 443)),
)
ANSWER = MemberPayload(
    0,
    0,
    ALPHA.sign(static_statement(MESH, ALPHA_STATIC.public_key().public_bytes_raw())),
    (),
    seed(6),
)


class Keys:
    """Signs as alpha in the mesh of the examples: as much of an authority as they need."""

    domain = MESH

    def sign(self, message: bytes) -> bytes:
        return ALPHA.sign(message)


KEYS: Any = Keys()


def identities() -> dict[str, object]:
    cidr = IPv4Network("100.64.0.0/16")
    return {
        "root seed": ROOT_KEY.private_bytes_raw(),
        "root public key": ROOT_KEY.public_key().public_bytes_raw(),
        "mesh id": MESH,
        "mesh ULA": str(mesh_prefix6(MESH)),
        "alpha seed": ALPHA.private_bytes_raw(),
        "alpha public key": ALPHA_PUBLIC,
        "alpha node id": ALPHA_ID,
        "alpha IPv6": str(overlay6(MESH, ALPHA_ID)),
        "alpha IPv4": str(assign4(ALPHA_ID, cidr, ())),
        "alpha IPv4 if that is taken": str(assign4(ALPHA_ID, cidr, (assign4(ALPHA_ID, cidr, ()),))),
        "alpha static private key": ALPHA_STATIC.private_bytes_raw(),
        "alpha static public key": ALPHA_STATIC.public_key().public_bytes_raw(),
        "alpha static signature": ANSWER.signature,
        "alpha issuer seed": derive_issuer_key(ALPHA).private_bytes_raw(),
        "beta seed": BETA.private_bytes_raw(),
        "beta node id": BETA_ID,
        "beta static public key": BETA_STATIC.public_key().public_bytes_raw(),
    }


def token() -> dict[str, object]:
    return {
        "secret": TOKEN.secret,
        "expiry": TOKEN.expiry,
        "token": TOKEN.encode(),
        "invitation id": TOKEN.invitation_id,
        "psk": TOKEN.psk,
        "locator": locate(TOKEN.invitation_id),
    }


def handshake(
    suite: CipherSuite, purpose: Purpose, psk: bytes, payload: EnrolPayload | MemberPayload
) -> tuple[dict[str, object], TransportKeys, bytes]:
    """Beta calls alpha. The example's lines, beta's transport keys, and the initiation."""
    caller = Initiator(
        suite,
        MESH,
        purpose,
        BETA_STATIC,
        ALPHA_STATIC.public_key().public_bytes_raw(),
        psk,
        seed(5),
        0x01020304,
    )
    called = Responder(suite, MESH, ALPHA_STATIC)
    initiation = caller.message(payload)
    read = called.read(initiation)
    assert read.remote_static == BETA_STATIC.public_key().public_bytes_raw()
    response, _ = called.respond(read, psk, seed(7), 0x0A0B0C0D, ANSWER)
    _, keys = caller.read_response(response)
    lines: dict[str, object] = {
        "psk": psk,
        "prologue": prologue(MESH, purpose),
        "beta ephemeral private key": seed(5),
        "payload without padding": payload.encode(),
        "initiation header": initiation[:8],
        "initiation e": initiation[8:40],
        "initiation sealed static": initiation[40:88],
        "initiation sealed payload begins": initiation[88:120],
        "initiation sealed payload ends": initiation[1136:1168],
        "mac1 key of alpha": mac1_key(ALPHA_STATIC.public_key().public_bytes_raw()),
        "initiation mac1": initiation[1168:1184],
        "BLAKE2s-256 of the initiation": blake2s(initiation).digest(),
        "alpha ephemeral private key": seed(7),
        "response header": response[:12],
        "response e": response[12:44],
        "response sealed payload begins": response[44:76],
        "response mac1": response[1168:1184],
        "BLAKE2s-256 of the response": blake2s(response).digest(),
        "handshake hash": keys.handshake_hash,
        "key beta to alpha": keys.send,
        "key alpha to beta": keys.receive,
    }
    return lines, keys, initiation


def enrolment() -> tuple[dict[str, object], TransportKeys, bytes]:
    payload = EnrolPayload(1_700_000_000_000_000_000, 0, TOKEN.invitation_id)
    return handshake(CHACHA20POLY1305, Purpose.ENROL, TOKEN.psk, payload)


def member() -> tuple[dict[str, object], TransportKeys, bytes]:
    statement = static_statement(MESH, BETA_STATIC.public_key().public_bytes_raw())
    payload = MemberPayload(1_700_000_000_000_000_001, 0, BETA.sign(statement), (), seed(9))
    return handshake(AES256GCM, Purpose.MEMBER, seed(8), payload)


def cookie() -> dict[str, object]:
    _, _, initiation = member()
    drawn = [seed(10), seed(11, 24)]
    static = ALPHA_STATIC.public_key().public_bytes_raw()
    jar = CookieJar(lambda size: drawn.pop(0)[:size], static, 0.0)
    reply = jar.reply(initiation, SOURCE, 0.0)
    opened = open_cookie_reply(reply, static, initiation[1168:1184], 0x01020304)
    return {
        "jar secret": seed(10),
        "source": wire.format_endpoint(SOURCE),
        "cookie": opened,
        "nonce": seed(11, 24),
        "cookie reply": reply,
        "mac2": append_macs(mac1_key(static), initiation[:-32], opened)[-16:],
    }


def frames(suite: CipherSuite, keys: TransportKeys) -> dict[str, object]:
    """Two frames of beta's: a probe in one segment, a packet in two."""
    session = Session(suite, keys, ALPHA_ID, ByteBudget(), 0.0)
    probe = control.encode_control(control.Probe(0x8000000000000001, 3))
    packet = wire.entry(wire.PACKET, bytes.fromhex("4500001400004000400000006440000164400002"))
    plain = packet + wire.entry(wire.PADDING, bytes(4))
    lines: dict[str, object] = {"plaintext 0": probe}
    sealed = session.seal(probe, memoryview(bytearray(128)), 1216, b"", SOURCE)
    lines["datagram 0"] = b"".join(bytes(part) for part in sealed.parts)
    lines["plaintext 1"] = plain
    sealed = session.seal(plain, memoryview(bytearray(128)), 32, b"", SOURCE)
    for at in range(sealed.count):
        parts = sealed.parts[2 * at : 2 * at + 2]
        lines[f"datagram 1, segment {at}"] = b"".join(bytes(part) for part in parts)
    return lines


def gossip() -> dict[str, object]:
    body = NodeRecord(TOKEN.inviter_static, (("192.0.2.1", 443),)).encode()
    record = records.signed(KEYS, RecordKind.MEMBER, ALPHA_PUBLIC, ALPHA_ID, 7, body)
    item = gossip_items.encode_item(gossip_items.RecordItem(record, MemberState.ALIVE))
    store = RecordStore(16)
    store.put(record)
    accusation = gossip_items.accuse(KEYS, ALPHA_ID, BETA_ID, 3)
    other = records.signed(KEYS, RecordKind.MEMBER, ALPHA_PUBLIC, ALPHA_ID, 7, b"")
    proof = gossip_items.equivocation(record, other)
    assert proof is not None
    place = Coordinate((0.02, -0.01, 0, 0, 0, 0, 0, 0), 0.004, 0.0005, 0.25)
    return {
        "node record": body,
        "record": record.encode(),
        "record digest": record.digest().to_bytes(8, "big"),
        "PING 5 with the record": gossip_messages.encode(7, gossip_messages.Ping(5), [item]),
        "ACK 5": gossip_messages.encode(7, gossip_messages.Ack(5, store.digest, place)),
        "BUCKETS": gossip_messages.encode(7, gossip_messages.Buckets(store.hashes())),
        "accusation item": gossip_items.encode_item(accusation),
        "equivocation item": gossip_items.encode_item(proof),
    }


def vectors() -> dict[str, dict[str, object]]:
    enrol_lines, _, _ = enrolment()
    member_lines, keys, _ = member()
    return {
        "identities": identities(),
        "token": token(),
        "enrolment handshake": enrol_lines,
        "member handshake": member_lines,
        "cookie": cookie(),
        "data frames": frames(AES256GCM, keys),
        "gossip": gossip(),
    }


def shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def fenced(info: str) -> str:
    """The protocol's block that begins with ``` and `info`."""
    match = re.search(rf"^```{re.escape(info)}\n(.*?)^```$", text_of("protocol"), re.M | re.S)
    assert match is not None, f"no block {info}"
    return match[1]


def read_vector(name: str) -> dict[str, str]:
    """`name = value` lines; a line that begins with a space goes on with the value."""
    found: dict[str, str] = {}
    key = ""
    for line in fenced(f"vector {name}").splitlines():
        if line.startswith(" "):
            found[key] += line.strip()
        else:
            key, _, value = line.partition(" = ")
            key = key.strip()
            found[key] = value.strip()
    return found


def write_vector(lines: dict[str, object]) -> str:
    """The text that `read_vector` reads."""
    width = max(map(len, lines))
    out = []
    for key, value in lines.items():
        text = shown(value)
        first, *more = [text[at : at + 64] for at in range(0, len(text), 64)]
        out.append(f"{key:<{width}} = {first}")
        out += [" " * (width + 3) + part for part in more]
    return "\n".join(out) + "\n"


@pytest.mark.parametrize("name", list(vectors()))
def test_the_worked_examples_are_what_the_code_does(name: str) -> None:
    assert read_vector(name) == {key: shown(value) for key, value in vectors()[name].items()}


def test_a_stranger_with_the_document_alone_can_redo_the_examples() -> None:
    """Nothing of ours below: hashlib, a cipher, and the words of the protocol."""
    ids, shake = read_vector("identities"), read_vector("member handshake")
    frame, baked, given = read_vector("data frames"), read_vector("cookie"), read_vector("token")
    raw = {name: bytes.fromhex(ids[name]) for name in ("alpha public key", "mesh id")}
    assert blake2s(raw["alpha public key"], digest_size=16).hexdigest() == ids["alpha node id"]
    assert ids["mesh ULA"].replace(":", "").startswith("fd" + ids["mesh id"][:14])

    static = bytes.fromhex(ids["alpha static public key"])
    mac1 = blake2s(b"aegisray mac1" + static).hexdigest()
    assert mac1 == shake["mac1 key of alpha"]
    key = blake2s(b"aegisray cookie" + static + bytes.fromhex(baked["nonce"])).digest()
    sealed = bytes.fromhex(baked["cookie reply"])[32:]
    aad = bytes.fromhex(shake["initiation mac1"])
    assert ChaCha20Poly1305(key).decrypt(bytes(12), sealed, aad).hex() == baked["cookie"]

    packed = given["token"].removeprefix("aegis1-")
    data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
    assert data[:16] == raw["mesh id"]
    assert data[16:48] == static
    assert blake2s(b"aegis1-" + data[:-4]).digest()[:4] == data[-4:]
    invited = blake2s(b"aegisray invitation id", key=data[48:64], digest_size=16).hexdigest()
    assert invited == given["invitation id"]

    segments = [bytes.fromhex(frame[f"datagram 1, segment {index}"]) for index in (0, 1)]
    whole = b"".join(segment[16:] for segment in segments)
    opened = AESGCM(bytes.fromhex(shake["key beta to alpha"])).decrypt(
        bytes(4) + segments[0][8:16], whole, segments[0][:16]
    )
    assert opened.hex() == frame["plaintext 1"]


def test_the_mesh_document_and_its_chain_verify() -> None:
    document = parse_mesh(fenced("toml mesh"))
    assert document == MeshDocument(
        "example", IPv4Network("100.64.0.0/16"), "aes256gcm", seed_public(1)
    ).sign(ROOT_KEY)
    loaded = x509.load_pem_x509_certificates(fenced("pem chain").encode())
    root, issuer, leaf = (item.public_bytes(Encoding.DER) for item in loaded)
    certificate = TrustStore(root).verify(leaf, [issuer], 1_800_000_000)
    assert (certificate.node, certificate.roles) == (BETA_ID, ("relay",))


def test_constants_are_those_of_the_code() -> None:
    table = rows(section("protocol", "## 16. Constants"))
    constants = [row for row in table if row[0].startswith("`") and "." in row[0]]
    assert len(constants) > 100
    wrong = {}
    for name, value, *_ in constants:
        module, _, attribute = code(name)[0].rpartition(".")
        real = getattr(importlib.import_module(module), attribute)
        if ast.literal_eval(value if value.startswith("(") else value.replace(",", "")) != real:
            wrong[name] = real
    assert wrong == {}


def test_gossip_profiles_are_those_of_the_code() -> None:
    table = rows(section("protocol", "## 16. Constants"))
    told = {code(row[0])[0]: row[1:] for row in table if "." not in row[0]}
    lan, wan = GossipConfig.lan(), GossipConfig.wan()
    assert told == {
        field.name: [str(getattr(profile, field.name)) for profile in (lan, wan)]
        for field in fields(GossipConfig)
        if field.name != "policy"
    }


def test_every_part_of_the_gossip_policy_is_told() -> None:
    told = [code(row[0])[0] for row in rows(section("protocol", "### 12.5 Suspicion"))]
    assert told == [field.name for field in fields(Policy)]


def test_every_reason_for_a_drop_is_told() -> None:
    told = set(code(section("protocol", "## 15. Errors")))
    words = {word for word in told if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]*)*", word)}
    assert words - {"certificate", "invitation", "key-"} == reasons()


def reasons() -> set[str]:
    """The literals that the code counts a refusal under."""
    found: set[str] = set()
    for path in sorted([*(ROOT / "gossip").rglob("*.py"), *(ROOT / "meshd").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            found.update(_reasons_of(node))
    return found


def _reasons_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith(("drops", "_dropped")):
        return strings(node.slice)
    if isinstance(node, ast.FunctionDef) and node.name in ("refusal", "_refusal"):
        returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
        return [word for value in returned if value is not None for word in strings(value)]
    if not isinstance(node, ast.Call):
        return []
    name, arguments = ast.unparse(node.func), node.args
    if name == "DecodeError":
        return strings(arguments[1]) if len(arguments) > 1 else ["malformed"]
    if name.endswith(
        ("RemoteError", "TrustError", "GossipError", "reading", "refuse", "_drop_oldest")
    ):
        return strings(arguments[0]) if arguments else []
    return []


def strings(node: ast.AST) -> list[str]:
    constants = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


# Configuration, shapes, metrics


def test_every_configuration_key_is_told_with_its_default() -> None:
    defaults = config.Config().as_dict()
    told = {code(row[0])[0]: code(row[2]) for row in rows(section("configuration", "## Keys"))}
    assert list(told) == list(config._PARSERS)
    for key, shown_default in told.items():
        value: Any = defaults
        for part in key.split("."):
            value = value[part]
        assert shown_default == ([] if value is None else [as_toml(value)]), key


def as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int):
        return f'"{value[0]}:{value[1]}"'
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_every_place_and_every_variable_is_told() -> None:
    text = section("configuration", "## Where it is read")
    assert re.findall(r"^\d\. `([^`]+)`", text, re.M) == [str(path) for path in config.SEARCHED]
    told = {code(row[0])[0]: code(row[1])[0] for row in rows(text)}
    assert told == config.OVERRIDES


@pytest.mark.parametrize(
    "shape",
    [
        "Status",
        "SelfStatus",
        "PortMapping",
        "PeerStatus",
        "PathStatus",
        "Pong",
        "Why",
        "EndStatus",
        "CandidateStatus",
        "TriedStatus",
        "Netcheck",
        "GatewayStatus",
        "FamilyStatus",
        "RelayStatus",
        "Found",
        "Route",
        "Revoked",
        "Renewed",
    ],
)
def test_every_field_of_the_json_is_told(shape: str) -> None:
    text = section("configuration", f"### {shape}")
    assert [code(row[0])[0] for row in rows(text)] == list(get_type_hints(getattr(contract, shape)))


def test_every_metric_is_told() -> None:
    numbers: dict[str, Any] = {
        field.name: 0 for field in fields(Statistics) if field.type in ("int", "float")
    }
    text = render(Statistics(version="0", **numbers)).decode()
    names = set(re.findall(r"^# TYPE (aegisray_\S+)", text, re.M))
    table = rows(section("configuration", "## Metrics"))
    assert {code(row[0])[0].partition("{")[0] for row in table} == names


def test_exit_codes_are_those_of_the_command_line() -> None:
    told = {row[0]: row[1] for row in rows(section("configuration", "## Exit codes"))}
    real = re.findall(r"^  (\d+) +(.+)$", cli.EXIT_CODES, re.M)
    assert told == dict(real)


# The map


def test_the_map_names_every_module_once() -> None:
    tree = section("architecture", "## The tree")
    folder, told = "", []
    for line in tree.splitlines():
        if match := re.match(r"^((?:gossip|meshd|simulations)[a-z/]*/) ", line):
            folder = match[1]
        elif match := re.match(r"^  ([a-z_0-9]+\.py) ", line):
            told.append(folder + match[1])
    real = [
        str(path.relative_to(ROOT))
        for name in ("gossip", "meshd", "simulations")
        for path in (ROOT / name).rglob("*.py")
        if path.name != "__init__.py"
    ]
    assert sorted(told) == sorted(real)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text_of(name)):
        file, _, anchor = target.partition("#")
        path = (DOCS / file) if file else DOCS / f"{name}.md"
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text()), target


def anchors(text: str) -> set[str]:
    """The fragments that a renderer makes of headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}


@pytest.mark.parametrize("name", NAMES)
def test_drawings_hold_no_semicolon_which_would_end_their_line(name: str) -> None:
    drawings = re.findall(r"^```mermaid\n(.*?)^```$", text_of(name), re.M | re.S)
    assert [drawing for drawing in drawings if ";" in drawing] == []


def test_every_flow_is_drawn() -> None:
    flows = section("architecture", "## Four flows")
    assert flows.count("```mermaid") == 4
