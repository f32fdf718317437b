"""The certificates directory's files: back and forth, and every way they can be wrong."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from meshd.node.errors import LocalError
from meshd.node.identity import Identity, join
from meshd.node.keyring import (
    OPTIONAL,
    REQUIRED,
    SECRET,
    is_expired,
    read_files,
    read_key,
    write_files,
    write_key,
    write_pem,
)
from meshd.node.ledger import Ledger
from meshd.node.minting import DAY
from tests.node.meshes import NOW, admit, make_key, make_mesh, make_reply

FOUNDER = make_mesh()
FOUNDER_FILES = write_files(FOUNDER)
MEMBER = join(make_key(2), FOUNDER.mesh.mesh_id, make_reply(FOUNDER, admit(FOUNDER, 2)), NOW)
MEMBER_FILES = write_files(MEMBER)
OTHER_FILES = write_files(make_mesh(9))


def read(files: dict[str, bytes], unix_time: float = NOW) -> Identity:
    return read_files(files, "/certs", Ledger(), unix_time)


def complaint(files: dict[str, bytes], unix_time: float = NOW) -> str:
    with pytest.raises(LocalError) as caught:
        read(files, unix_time)
    said = str(caught.value)
    assert "\n" not in said
    return said


def same(one: Identity, two: Identity) -> bool:
    """Whether two identities hold the same keys and certificates."""
    return (
        write_files(one) == write_files(two)
        and one.mesh == two.mesh
        and one.certificate == two.certificate
    )


@pytest.mark.parametrize("identity", [FOUNDER, MEMBER])
def test_an_identity_reads_back(identity: Identity) -> None:
    assert same(read(write_files(identity)), identity)


def test_the_ledger_comes_with_the_issuer() -> None:
    ledger = Ledger()
    again = read_files(FOUNDER_FILES, "/certs", ledger, NOW)
    assert again.issuer is not None
    assert again.issuer.ledger is ledger


def test_the_files_are_the_ones_documented() -> None:
    assert set(FOUNDER_FILES) == {*REQUIRED, *OPTIONAL}
    assert set(MEMBER_FILES) == set(REQUIRED)
    assert list(MEMBER_FILES)[-1] == list(FOUNDER_FILES)[-1] == "node.crt"
    assert {name for name in FOUNDER_FILES if name.endswith((".key", ".secret"))} == SECRET


def test_without_the_root_key_the_founder_still_admits() -> None:
    files = {name: data for name, data in FOUNDER_FILES.items() if name != "root.key"}
    issuer = read(files).issuer
    assert issuer is not None
    assert issuer.root_key is None


def test_pem_is_what_the_library_writes() -> None:
    loaded = x509.load_der_x509_certificate(MEMBER.certificate.der)
    assert write_pem([MEMBER.certificate.der]) == loaded.public_bytes(Encoding.PEM)


def test_nothing_at_all_says_how_to_begin() -> None:
    said = complaint({})
    assert "meshd init" in said
    assert "meshd join" in said
    assert complaint({"node.key": MEMBER_FILES["node.key"]}) == said


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_file_is_named(name: str) -> None:
    files = {key: data for key, data in MEMBER_FILES.items() if key != name}
    assert complaint(files).startswith(f"/certs/{name} is missing: ")


@pytest.mark.parametrize("name", ["issuer.key", "issuer.crt"])
def test_half_an_issuer_is_named(name: str) -> None:
    files = {key: data for key, data in FOUNDER_FILES.items() if key != name}
    assert complaint(files).startswith(f"/certs/{name} is missing: ")


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL])
@pytest.mark.parametrize("damage", [b"", b"\x00" * 50, b"rubbish", "half"])
def test_a_damaged_file_is_named(name: str, damage: bytes | str) -> None:
    whole = FOUNDER_FILES[name]
    content = damage if isinstance(damage, bytes) else whole[: len(whole) // 2]
    said = complaint({**FOUNDER_FILES, name: content})
    assert said.startswith(f"/certs/{name} is damaged (")
    assert "backup" in said


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL])
def test_a_file_of_another_mesh_is_named(name: str) -> None:
    assert f"/certs/{name}" in complaint({**FOUNDER_FILES, name: OTHER_FILES[name]})


def test_the_key_of_another_node_is_named() -> None:
    files = {**MEMBER_FILES, "node.key": write_key(make_key(3))}
    assert complaint(files).startswith("/certs/node.key is not the key of /certs/node.crt: ")


def test_something_between_certificates_is_damage() -> None:
    spoilt = MEMBER_FILES["ca.crt"].replace(b"-----END CERTIFICATE-----\n", b"", 1)
    assert "ca.crt is damaged" in complaint({**MEMBER_FILES, "ca.crt": spoilt})


def test_windows_line_ends_are_no_damage() -> None:
    files = {**MEMBER_FILES, "ca.crt": MEMBER_FILES["ca.crt"].replace(b"\n", b"\r\n")}
    assert same(read(files), MEMBER)


@pytest.mark.parametrize("unix_time", [0.0, NOW - DAY, NOW + 100 * DAY, NOW + 40 * 365 * DAY])
def test_a_clock_far_off_is_told_with_all_three_times(unix_time: float) -> None:
    said = complaint(MEMBER_FILES, unix_time)
    assert said.startswith("this host's clock says ")
    assert "valid from 2027-01-15 06:00 UTC to 2027-04-15 08:00 UTC" in said
    assert "timedatectl" in said


def test_keys_of_other_kinds_are_named() -> None:
    key = ec.derive_private_key(5, ec.SECP256R1())
    other = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    locked = make_key(2).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    for data, why in ((other, "not an Ed25519 key"), (locked, "not an unencrypted private key")):
        with pytest.raises(LocalError, match=why):
            read_key(data, "/certs/node.key")


def test_a_complaint_about_a_key_holds_nothing_of_it() -> None:
    spoilt = MEMBER_FILES["node.key"][:-40]
    said = complaint({**MEMBER_FILES, "node.key": spoilt})
    assert MEMBER_FILES["node.key"].splitlines()[1][:20].decode() not in said


def test_expiry_is_told_of_a_sound_certificate_only() -> None:
    content = MEMBER_FILES["node.crt"]
    assert not is_expired(content, NOW)
    assert is_expired(content, NOW + 91 * DAY)
    assert not is_expired(b"rubbish", NOW + 91 * DAY)


def test_an_issuer_learnt_later_is_in_the_bundle() -> None:
    again = read({**FOUNDER_FILES, "ca.crt": write_pem([FOUNDER.trust.root.der])})
    assert again.trust.issuers == FOUNDER.trust.issuers
    assert same(again, FOUNDER)
