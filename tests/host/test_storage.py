"""The certificates and state directories, on a real file system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gossip import NodeId
from meshd.host.storage import (
    HANDSHAKE_BLOCK,
    MAX_INVITATIONS,
    SEQUENCE_BLOCK,
    Storage,
)
from meshd.node.errors import LocalError, RemoteError
from meshd.node.grants import Grants
from meshd.node.identity import Identity, join
from meshd.node.invitation import Invitation, Token, invite
from meshd.node.keyring import write_files
from meshd.node.minting import DAY, make_csr, make_issuer
from meshd.node.renewer import renew
from meshd.node.revocation import key_entry, make_list
from tests.node.meshes import (
    CIDR,
    NOW,
    admit,
    bytes_of,
    issuer_of,
    make_key,
    make_mesh,
    make_reply,
    raw,
)
from tests.node.test_renewer import second_issuer

NODE, OTHER = NodeId(b"n" * 16), NodeId(b"o" * 16)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "certs", tmp_path / "state")


def create(storage: Storage, seed: int = 1) -> Identity:
    return storage.create_mesh("alpha", "home", CIDR, "aes256gcm", NOW, bytes_of(seed))


def enrol(storage: Storage, first: Identity) -> Identity:
    """Join `first`'s mesh, as `meshd join` does."""
    key = storage.prepare_join(NOW, bytes_of(2))
    certificate = issuer_of(first).issue(make_csr(key, "beta"), Grants(), (), NOW, bytes_of(3))
    identity = join(key, first.mesh.mesh_id, make_reply(first, certificate), NOW)
    storage.save_enrolment(identity, [b"record"])
    return identity


def make_invitation(seed: int = 1, lifetime: float = 3600.0) -> tuple[Token, Invitation]:
    return invite(
        bytes(16), bytes(32), Grants("web"), (("192.0.2.1", 443),), NOW, lifetime, bytes_of(seed)
    )


def test_a_new_mesh_is_saved_and_loaded(storage: Storage) -> None:
    assert not storage.is_member()
    made = create(storage)
    assert storage.is_member()
    loaded = storage.load_identity(NOW)
    assert write_files(loaded) == write_files(made)
    assert storage.drain_notices() == []


def test_keys_are_for_their_owner_alone(storage: Storage) -> None:
    create(storage)
    modes = {path.name: path.stat().st_mode & 0o777 for path in storage.certs.iterdir()}
    for name in ("node.key", "issuer.key", "root.key", "mesh.secret"):
        assert modes.pop(name) == 0o600
    assert set(modes) == {"ca.crt", "node.crt", "issuer.crt", "mesh.toml"}
    assert storage.state.stat().st_mode & 0o077 == 0


def test_openssl_verifies_the_files_as_they_lie_there(storage: Storage) -> None:
    create(storage)
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW))]
    run = subprocess.run(
        [*command, "-CAfile", "ca.crt", "node.crt"],
        cwd=storage.certs,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "node.crt: OK\n"), run.stderr


def test_a_second_mesh_does_not_replace_the_first(storage: Storage) -> None:
    before = write_files(create(storage))
    with pytest.raises(LocalError, match="in a mesh already"):
        create(storage, 2)
    with pytest.raises(LocalError, match="in a mesh already"):
        storage.prepare_join(NOW, bytes_of(2))
    assert write_files(storage.load_identity(NOW)) == before


def test_a_root_key_that_lies_there_is_not_overwritten(storage: Storage) -> None:
    storage.certs.mkdir()
    (storage.certs / "root.key").write_text("precious")
    with pytest.raises(LocalError, match=r"root\.key is the key of a mesh"):
        create(storage)
    assert (storage.certs / "root.key").read_text() == "precious"


@pytest.mark.parametrize("unix_time", [0.0, 1_600_000_000.0])
def test_no_mesh_is_made_by_a_clock_that_was_never_set(storage: Storage, unix_time: float) -> None:
    with pytest.raises(LocalError, match=r"clock says .*timedatectl"):
        storage.create_mesh("alpha", "home", CIDR, "aes256gcm", unix_time, bytes_of(1))
    assert not storage.is_member()


def test_a_join_keeps_its_key_until_it_succeeds(storage: Storage) -> None:
    first = storage.prepare_join(NOW, bytes_of(2))
    again = storage.prepare_join(NOW, bytes_of(3))
    assert first.private_bytes_raw() == again.private_bytes_raw()
    assert not storage.is_member()
    with pytest.raises(LocalError, match="meshd join"):
        storage.load_identity(NOW)


def test_an_enrolment_is_saved_and_loaded(storage: Storage) -> None:
    joined = enrol(storage, make_mesh())
    assert write_files(storage.load_identity(NOW)) == write_files(joined)
    assert storage.load_records() == [b"record"]


def test_an_expired_member_may_join_again_with_its_key(storage: Storage) -> None:
    joined = enrol(storage, make_mesh())
    late = NOW + 91 * DAY
    key = storage.prepare_join(late, bytes_of(4))
    assert key.private_bytes_raw() == joined.node_key.private_bytes_raw()


def test_keys_of_a_mesh_that_is_no_more_are_moved_out_of_the_way(storage: Storage) -> None:
    create(storage)
    (storage.certs / "node.crt").unlink()
    enrol(storage, make_mesh(9))
    assert storage.load_identity(NOW).issuer is None
    for name in ("root.key.old", "issuer.key.old", "issuer.crt.old"):
        assert (storage.certs / name).exists()


def test_a_key_open_to_others_is_refused(storage: Storage) -> None:
    create(storage)
    for name in ("node.key", "issuer.key", "root.key", "mesh.secret"):
        (storage.certs / name).chmod(0o640)
        with pytest.raises(LocalError, match=f"{name} can be read by others .*chmod 600"):
            storage.load_identity(NOW)
        (storage.certs / name).chmod(0o600)
    storage.load_identity(NOW)


def test_a_new_issuer_is_added_to_the_bundle(storage: Storage) -> None:
    founder = create(storage)
    loaded = storage.load_identity(NOW)
    request = make_csr(make_key(30), "beta")
    made = issuer_of(founder).issue_issuer(request, NOW, bytes_of(5))
    assert loaded.trust.add_issuer(made.der)
    storage.save_trust(loaded.trust)
    assert made in storage.load_identity(NOW).trust.issuers


def test_the_ledger_is_remembered(storage: Storage) -> None:
    first = create(storage)
    before = issuer_of(storage.load_identity(NOW)).ledger
    assert [entry.name for entry in before.entries()] == ["alpha"]
    admit(first, 2, "beta")
    storage.save_ledger(issuer_of(first))
    ledger = issuer_of(storage.load_identity(NOW)).ledger
    assert [entry.name for entry in ledger.entries()] == ["alpha", "beta"]


def test_revocations_are_remembered_and_bind_the_node_itself(storage: Storage) -> None:
    first = create(storage)
    issuer = issuer_of(first)
    other = make_list(issuer.key, issuer.certificate, 1, {5: NOW}, NOW)
    first.trust.add_crl(other.der)
    storage.save_revocations(first.trust)
    assert storage.load_identity(NOW).trust.lists == (other,)
    own = make_list(issuer.key, issuer.certificate, 2, {first.certificate.serial: NOW}, NOW)
    first.trust.add_crl(own.der)
    storage.save_revocations(first.trust)
    with pytest.raises(LocalError, match="was revoked") as caught:
        storage.load_identity(NOW)
    assert "delete" not in str(caught.value)


def test_who_was_revoked_by_a_ca_that_may_be_void_since_is_told_the_way_out(
    storage: Storage,
) -> None:
    mesh = make_mesh()
    thief = issuer_of(second_issuer(mesh))
    reply = make_reply(mesh, admit(mesh, 2, "beta"))
    storage.save_enrolment(join(make_key(2), mesh.mesh.mesh_id, reply, NOW))
    identity = storage.load_identity(NOW)
    identity.trust.add_issuer(thief.certificate.der)
    storage.save_trust(identity.trust)
    listed = make_list(thief.key, thief.certificate, 1, {key_entry(identity.id): NOW}, NOW)
    storage.save_revocations(identity.trust, [listed])
    way_out = f"delete {storage.state}/revocations and type `meshd up`"
    with pytest.raises(LocalError, match=way_out):
        storage.load_identity(NOW)
    (storage.state / "revocations").unlink()
    assert storage.load_identity(NOW).id == identity.id


def test_a_new_list_is_saved_before_it_is_in_force(storage: Storage) -> None:
    first = create(storage)
    issuer = issuer_of(first)
    old, new = (
        make_list(issuer.key, issuer.certificate, number, {5: NOW}, NOW) for number in (1, 2)
    )
    first.trust.add_crl(old.der)
    storage.save_revocations(first.trust, [new])
    assert first.trust.lists == (old,)
    assert storage.load_identity(NOW).trust.lists == (new,)


def test_a_renewed_certificate_replaces_the_one_before(storage: Storage) -> None:
    first = create(storage)
    issuer = issuer_of(first)
    csr = make_csr(first.node_key, first.name)
    made = renew(issuer, first.certificate, csr, NOW + 5, bytes_of(7))
    keys = {name: (storage.certs / name).stat().st_mtime_ns for name in ("node.key", "root.key")}
    storage.save_identity(replace(first, certificate=made))
    assert storage.load_identity(NOW + 5).certificate == made
    assert {name: (storage.certs / name).stat().st_mtime_ns for name in keys} == keys
    assert issuer.root_key is not None
    root = first.trust.root
    newer = make_issuer(
        issuer.root_key, root, raw(issuer.key), issuer.certificate.grants, NOW + 9, bytes_of(8)
    )
    first.trust.add_issuer(newer.der)
    storage.save_identity(
        replace(first, certificate=made, issuer=replace(issuer, certificate=newer))
    )
    assert issuer_of(storage.load_identity(NOW + 9)).certificate == newer


def test_a_revocation_list_of_another_mesh_is_left_out_with_a_notice(storage: Storage) -> None:
    create(storage)
    other = make_mesh(9)
    issuer = issuer_of(other)
    other.trust.add_crl(make_list(issuer.key, issuer.certificate, 1, {}, NOW).der)
    storage.save_revocations(other.trust)
    assert storage.load_identity(NOW).trust.lists == ()
    assert storage.drain_notices() == ["a saved revocation list was left out (list-foreign)"]


def test_the_sequence_never_goes_back(storage: Storage) -> None:
    first = storage.load_sequence(NOW)
    assert first == NOW
    used = first
    for _ in range(300):
        used += 1
        storage.save_sequence(used)
        again = Storage(storage.certs, storage.state).load_sequence(NOW)
        assert used < again <= used + SEQUENCE_BLOCK + 1


def test_the_sequence_is_written_once_in_a_block(storage: Storage) -> None:
    path = storage.state / "sequence"
    first = storage.load_sequence(NOW)
    written = set()
    for step in range(SEQUENCE_BLOCK * 3):
        storage.save_sequence(first + step)
        written.add(path.read_bytes())
    assert len(written) == 3


def test_the_handshake_counter_never_goes_back(storage: Storage) -> None:
    assert storage.load_handshake_counter() == 0
    counter = int(NOW * 1e9)
    storage.save_handshake_counter(counter)
    again = Storage(storage.certs, storage.state).load_handshake_counter()
    assert counter < again <= counter + HANDSHAKE_BLOCK


def test_records_are_remembered(storage: Storage) -> None:
    assert storage.load_records() == []
    storage.save_records([b"one", b"two" * 1000])
    assert storage.load_records() == [b"one", b"two" * 1000]


@pytest.mark.parametrize("name", ["sequence", "handshakes", "records", "issued", "revocations"])
def test_damaged_state_is_set_aside_and_told_once(storage: Storage, name: str) -> None:
    create(storage)
    (storage.state / name).write_bytes(b"rubbish")
    for _ in range(2):
        storage.load_sequence(NOW)
        storage.load_handshake_counter()
        storage.load_records()
        storage.load_identity(NOW)
    assert (storage.state / f"{name}.damaged").read_bytes() == b"rubbish"
    notices = storage.drain_notices()
    assert len(notices) == 1
    assert notices[0].startswith(f"{storage.state}/{name} was damaged: it is now ")
    assert storage.drain_notices() == []


def test_sound_bytes_of_another_kind_are_damage(storage: Storage) -> None:
    storage.save_records([b"one"])
    os.replace(storage.state / "records", storage.state / "sequence")
    assert storage.load_sequence(NOW) == NOW
    assert len(storage.drain_notices()) == 1


def test_an_invitation_is_found_by_its_id(storage: Storage) -> None:
    token, invitation = make_invitation()
    assert storage.find_invitation(token.invitation_id) is None
    storage.save_invitation(invitation, NOW)
    assert storage.find_invitation(token.invitation_id) == invitation
    assert storage.invitations() == [invitation]


def test_no_file_holds_a_tokens_secret(storage: Storage) -> None:
    create(storage)
    token, invitation = make_invitation()
    storage.save_invitation(invitation, NOW)
    storage.save_invitation(invitation.redeem(NODE, NOW), NOW)
    needles = [token.secret, token.invitation_id, token.psk]
    needles += [needle.hex().encode() for needle in needles] + [token.encode().encode()]
    for path in [*storage.state.rglob("*"), *storage.certs.rglob("*")]:
        haystack = str(path).encode() + (path.read_bytes() if path.is_file() else b"")
        assert not any(needle in haystack for needle in needles)


def test_that_an_invitation_was_used_survives_a_restart(storage: Storage) -> None:
    token, invitation = make_invitation()
    storage.save_invitation(invitation.redeem(NODE, NOW), NOW)
    found = Storage(storage.certs, storage.state).find_invitation(token.invitation_id)
    assert found is not None
    assert found.redeem(NODE, NOW).used_by == NODE
    with pytest.raises(RemoteError, match="invitation-used"):
        found.redeem(OTHER, NOW)


def test_expired_invitations_are_forgotten(storage: Storage) -> None:
    old = make_invitation(1, lifetime=60)[1]
    new = make_invitation(2)[1]
    storage.save_invitation(old, NOW)
    assert storage.invitations() == [old]
    storage.save_invitation(new, NOW + 61)
    assert storage.invitations() == [new]


def test_open_invitations_are_bounded(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_INVITATIONS == 1000
    monkeypatch.setattr("meshd.host.storage.MAX_INVITATIONS", 3)
    made = [make_invitation(seed)[1] for seed in range(4)]
    for invitation in made[:3]:
        storage.save_invitation(invitation, NOW)
    with pytest.raises(LocalError, match="3 invitations are open"):
        storage.save_invitation(made[3], NOW)
    storage.save_invitation(made[0].redeem(NODE, NOW), NOW)


def test_a_damaged_invitation_is_unknown_and_told(storage: Storage) -> None:
    token, invitation = make_invitation()
    storage.save_invitation(invitation, NOW)
    path = storage.state / "invitations" / invitation.locator.hex()
    path.write_bytes(path.read_bytes()[:-1])
    assert storage.find_invitation(token.invitation_id) is None
    assert len(storage.drain_notices()) == 1


def test_a_second_daemon_on_the_same_state_is_told_who_has_it(storage: Storage) -> None:
    storage.lock()
    storage.lock()
    second = Storage(storage.certs, storage.state)
    with pytest.raises(LocalError, match=rf"another meshd \(process {os.getpid()}\) is using"):
        second.lock()
    with pytest.raises(LocalError, match="meshd down"):
        create(second)
    storage.unlock()
    with second.locked():
        pass
    storage.lock()


def test_the_lock_of_a_killed_process_is_free(storage: Storage) -> None:
    script = (
        "import sys; from pathlib import Path; from meshd.host.storage import Storage\n"
        "Storage(Path(sys.argv[1]), Path(sys.argv[1])).lock(); print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(storage.state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LocalError, match=f"process {holder.pid}"):
            storage.lock()
        holder.kill()
        holder.wait()
        storage.lock()


def test_after_a_kill_at_any_point_the_old_state_or_the_new_is_there(storage: Storage) -> None:
    script = (
        "import sys; from pathlib import Path; from meshd.host.storage import Storage\n"
        "storage = Storage(Path(sys.argv[1]), Path(sys.argv[1]))\n"
        "number = int(sys.argv[2])\n"
        "while True:\n"
        "    number += 1\n"
        "    storage.save_records([number.to_bytes(8, 'big')] * 2000)\n"
        "    print(number, flush=True)\n"
    )
    last = 0
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(storage.state), str(last)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                last = int(line)
                if last % 7 == 0:
                    break
            writer.send_signal(signal.SIGKILL)
            written = writer.stdout.read().split()
            last = int(written[-1]) if written else last
        records = storage.load_records()
        assert len(records) == 2000
        assert len(set(records)) == 1
        found = int.from_bytes(records[0], "big")
        assert last <= found <= last + 1
        last = found
    assert storage.drain_notices() == []


def test_enrolment_leaves_seeds_that_outlive_the_state(storage: Storage, tmp_path: Path) -> None:
    enrol(storage, create(Storage(tmp_path / "first", tmp_path / "other")))
    (storage.state / "records").unlink()
    assert storage.load_records() == [b"record"]


def test_damaged_seeds_are_told_and_no_reason_to_stop(storage: Storage, tmp_path: Path) -> None:
    enrol(storage, create(Storage(tmp_path / "first", tmp_path / "other")))
    (storage.state / "records").unlink()
    (storage.certs / "mesh.seeds").write_bytes(b"?")
    assert storage.load_records() == []
    assert "mesh.seeds is damaged" in storage.drain_notices()[0]
