"""Whatever happens to a file: one clear sentence, or nothing lost."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.host.storage import Storage
from meshd.node.errors import LocalError
from meshd.node.grants import Grants
from meshd.node.invitation import invite
from meshd.node.keyring import OPTIONAL, REQUIRED, write_files
from meshd.node.revocation import make_list
from tests.node.meshes import CIDR, NOW, bytes_of, issuer_of

TOKEN, INVITATION = invite(
    bytes(16), bytes(32), Grants(), (("192.0.2.1", 443),), NOW, 60, bytes_of(3)
)
STATE = ("sequence", "handshakes", "records", "issued", "revocations", "invitation")
RECORDS = [b"one", b"two"]
FEW = settings().max_examples // 4
"""Each example touches the disk, and there are fourteen files."""


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    """A node's directories, complete."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(Path(folder) / "certs", Path(folder) / "state")
        identity = storage.create_mesh("alpha", "home", CIDR, "aes256gcm", NOW, bytes_of(1))
        issuer = issuer_of(identity)
        storage.save_ledger(issuer)
        revoked = make_list(issuer.key, issuer.certificate, 1, {5: NOW}, NOW)
        identity.trust.add_crl(revoked.der)
        storage.save_revocations(identity.trust)
        storage.save_sequence(7_000_000_000)
        storage.save_handshake_counter(9)
        storage.save_records(RECORDS)
        storage.save_invitation(INVITATION, NOW)
        yield Path(folder)


def path_of(folder: Path, name: str) -> Path:
    if name == "invitation":
        return folder / "state" / "invitations" / INVITATION.locator.hex()
    return folder / ("state" if name in STATE else "certs") / name


def spoil(path: Path, where: float, mask: int, cut: bool) -> bytes:
    """Flip bits in a file, or cut it there; returns what it held then."""
    content = path.read_bytes()
    at = int(where * len(content))
    spoilt = content[:at] if cut else content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]
    path.write_bytes(spoilt)
    return spoilt


damages = {
    "where": st.floats(0, 1, exclude_max=True),
    "mask": st.one_of(st.sampled_from([1 << bit for bit in range(8)]), st.integers(1, 255)),
    "cut": st.booleans(),
}


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL])
@settings(max_examples=FEW)
@given(**damages)
def test_a_damaged_certificate_or_key_is_told_or_does_not_matter(
    whole: Path, name: str, where: float, mask: int, cut: bool
) -> None:
    path = path_of(whole, name)
    before = path.read_bytes()
    storage = Storage(whole / "certs", whole / "state")
    intact = write_files(storage.load_identity(NOW))
    try:
        spoilt = spoil(path, where, mask, cut)
        try:
            assert write_files(storage.load_identity(NOW)) == intact
        except LocalError as error:
            said = str(error)
            assert str(whole / "certs") in said
            assert "\n" not in said
        assert path.read_bytes() == spoilt, "what a person may repair stays as it is"
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("name", STATE)
@settings(max_examples=FEW)
@given(**damages)
def test_damaged_state_is_set_aside_and_replaced(
    whole: Path, name: str, where: float, mask: int, cut: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(whole, Path(folder) / "copy"))
        storage = Storage(copy / "certs", copy / "state")
        spoilt = spoil(path_of(copy, name), where, mask, cut)
        sequence = storage.load_sequence(NOW)
        counter = storage.load_handshake_counter()
        identity = storage.load_identity(NOW)
        assert (sequence == NOW) == (name == "sequence")
        assert (counter == 0) == (name == "handshakes")
        assert storage.load_records() == ([] if name == "records" else RECORDS)
        assert len(issuer_of(identity).ledger) == (0 if name == "issued" else 1)
        assert len(identity.trust.lists) == (0 if name == "revocations" else 1)
        found = storage.find_invitation(TOKEN.invitation_id)
        assert found == (None if name == "invitation" else INVITATION)
        [notice] = storage.drain_notices()
        aside = path_of(copy, name).with_name(path_of(copy, name).name + ".damaged")
        assert str(aside) in notice
        assert aside.read_bytes() == spoilt
