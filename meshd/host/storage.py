"""The two directories of a node: certificates (its identity) and state (what it remembers).

    certs/   see `meshd.node.keyring`
    state/   sequence, handshakes      counters that never go back
             records                   what other members said last
             revocations               revocation lists in force
             issued                    the issuer's ledger
             invitations/<locator>     one each
             lock                      held by whoever uses the directory, holds its process id

Every file is replaced whole: written beside, synced, renamed, the directory synced; so after a
crash there is the old content or the new. State files carry a checksum. A damaged one is set aside
as `*.damaged`, told once in `drain_notices`, and made again from what the mesh and the clock know.
A damaged certificate or key cannot be made again: that is a LocalError.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossip.codec import decode, encode
from meshd.files import (
    MAX_FILE,
    make_directory,
    read_file,
    seal,
    set_aside,
    told,
    unseal,
    write_file,
)
from meshd.node import keyring
from meshd.node.certificates import TrustError
from meshd.node.chain import TrustStore
from meshd.node.errors import LocalError
from meshd.node.identity import Identity, found, new_node_key
from meshd.node.invitation import Invitation, decode_invitation, locate, show_time
from meshd.node.issuing import Issuer
from meshd.node.ledger import Ledger, decode_ledger
from meshd.node.revocation import RevocationList

MAX_INVITATIONS = 1000
"""Invitations that are open at one time."""

EARLIEST = 1_735_689_600
"""2025-01-01 in Unix seconds: a clock before it is wrong, and would make useless certificates."""

SEQUENCE_BLOCK = 64
"""Sequence numbers set aside by one write: a crash skips at most so many."""
HANDSHAKE_BLOCK = 60_000_000_000
"""Handshake counters (nanoseconds) set aside by one write."""

_Value = TypeVar("_Value")


class Storage:
    """A node's files. Every method may raise LocalError: what is wrong, where, what to do."""

    def __init__(self, certs: Path, state: Path) -> None:
        self.certs = certs
        self.state = state
        self._notices: list[str] = []
        self._reserved: dict[str, int] = {}
        self._lock: int | None = None

    def drain_notices(self) -> list[str]:
        """Sentences about state that was damaged and set aside, once each: log them."""
        notices, self._notices = self._notices, []
        return notices

    # One process at a time

    def lock(self) -> None:
        """Hold the state directory until `unlock` or the process's end."""
        if self._lock is not None:
            return
        make_directory(self.state, 0o700)
        path = self.state / "lock"
        with told(path, "open"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f" (process {holder})" if holder.isdigit() else ""
            raise LocalError(
                f"another meshd{who} is using {self.state}: stop it with `meshd down`, "
                "or give --state another directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def unlock(self) -> None:
        """Let another process use the state directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the state directory for a block; what `lock` holds already stays held."""
        held = self._lock is not None
        self.lock()
        try:
            yield
        finally:
            if not held:
                self.unlock()

    # The certificates directory

    def is_member(self) -> bool:
        """Whether this host has joined a mesh."""
        path = self.certs / keyring.NODE_CERTIFICATE
        with told(path, "read"):
            return path.exists()

    def create_mesh(
        self,
        name: str,
        network: str,
        cidr: IPv4Network,
        cipher: str,
        unix_time: float,
        random_bytes: Callable[[int], bytes],
    ) -> Identity:
        """Make a mesh called `network` with this host as its first node, `name`, and save it."""
        if unix_time < EARLIEST:
            raise LocalError(
                f"this host's clock says {show_time(unix_time)}, and certificates made now would "
                "be useless: set the clock (`timedatectl`), then run `meshd init` again"
            )
        with self.locked():
            self._check_empty()
            identity = found(name, network, cidr, cipher, unix_time, random_bytes)
            if identity.issuer is not None:
                self.save_ledger(identity.issuer)
            self._write_identity(identity)
        return identity

    def prepare_join(
        self, unix_time: float, random_bytes: Callable[[int], bytes]
    ) -> Ed25519PrivateKey:
        """The node key to enrol with: made and saved once, so that a join can be repeated.

        A host whose certificate has expired may enrol again, with its old key.
        """
        with self.locked():
            certificate = self._read(keyring.NODE_CERTIFICATE)
            if certificate is not None and not keyring.is_expired(certificate, unix_time):
                raise self._already_a_member()
            path = self.certs / keyring.NODE_KEY
            data = self._read(keyring.NODE_KEY)
            if data is not None:
                return keyring.read_key(data, str(path))
            key = new_node_key(random_bytes)
            make_directory(self.certs, 0o755)
            write_file(path, keyring.write_key(key), 0o600)
            return key

    def save_enrolment(self, identity: Identity, records: Sequence[bytes] = ()) -> None:
        """Save what `meshd.node.identity.join` returned, and the first gossip records.

        Files of another mesh that would mix with it are renamed to `*.old`.
        """
        with self.locked():
            self.save_records(records)
            make_directory(self.certs, 0o755)
            seeds = seal(keyring.SEEDS, encode(list(records)))
            write_file(self.certs / keyring.SEEDS, seeds, 0o644)
            self.save_revocations(identity.trust)
            self._write_identity(identity)

    def save_trust(self, trust: TrustStore) -> None:
        """Write `ca.crt` anew, after `trust` learnt of an issuer."""
        write_file(self.certs / keyring.CA, keyring.write_authorities(trust), 0o644)

    def load_identity(self, unix_time: float) -> Identity:
        """This host's identity, its issuer's ledger and revocation lists with it."""
        files = {}
        for name in (*keyring.REQUIRED, *keyring.OPTIONAL):
            data = self._read(name)
            if data is not None:
                files[name] = data
        ledger = self._load("issued", decode_ledger)
        identity = keyring.read_files(files, str(self.certs), ledger or Ledger(), unix_time)
        self._load_revocations(identity.trust)
        listed = identity.trust.list_against(identity.certificate)
        if listed is not None:
            told = (
                f"{self.certs}/{keyring.NODE_CERTIFICATE} was revoked: this host is no member any "
            )
            told += f"more; move {self.certs} away and join with a new invitation"
            if listed.authority not in (identity.trust.root.node, identity.certificate.authority):
                # It may be a thief's, of which the root has said so while this host was down.
                told += (
                    f" (or, if the CA {listed.authority.hex()} that revoked it was revoked since, "
                )
                told += f"delete {self.state}/revocations and type `meshd up`)"
            raise LocalError(told)
        return identity

    # The state directory

    def load_sequence(self, unix_time: float) -> int:
        """The first sequence number that no earlier run used.

        Without a file it follows the clock: one per second is more than a node publishes.
        """
        stored = self._load("sequence", _decode_counter)
        return self._reserve("sequence", int(unix_time) if stored is None else stored, 0)

    def save_sequence(self, sequence: int) -> None:
        """`sequence` is in use: never start below it again. Writes once in SEQUENCE_BLOCK."""
        self._reserve("sequence", sequence, SEQUENCE_BLOCK)

    def load_handshake_counter(self) -> int:
        """A counter that no earlier run went beyond, 0 without a file: go on above it."""
        return self._reserve("handshakes", self._load("handshakes", _decode_counter) or 0, 0)

    def save_handshake_counter(self, counter: int) -> None:
        """`counter` (nanoseconds) is about to be sent. Writes once in HANDSHAKE_BLOCK."""
        self._reserve("handshakes", counter, HANDSHAKE_BLOCK)

    def load_records(self) -> list[bytes]:
        """Encoded gossip records, as saved last; where none are, those that enrolment brought."""
        return self._load("records", _decode_list) or self._load_seeds()

    def _load_seeds(self) -> list[bytes]:
        data = self._read(keyring.SEEDS)
        if data is None:
            return []
        try:
            return _decode_list(unseal(keyring.SEEDS, data))
        except ValueError:
            self._notices.append(
                f"{self.certs / keyring.SEEDS} is damaged: this node waits for others to call"
            )
            return []

    def save_records(self, records: Sequence[bytes]) -> None:
        """Replace the saved gossip records."""
        self._save("records", encode(list(records)))

    def save_identity(self, identity: Identity) -> None:
        """Replace the certificates by those of a renewal; keys and all else stay."""
        files = keyring.write_files(identity)
        for name in (keyring.ISSUER_CERTIFICATE, keyring.CA, keyring.NODE_CERTIFICATE):
            if name in files:
                write_file(self.certs / name, files[name], 0o644)

    def save_revocations(self, trust: TrustStore, new: Sequence[RevocationList] = ()) -> None:
        """Save the lists in force, and `new` ones before they are."""
        lists = {item.authority: item.der for item in (*trust.lists, *new)}
        self._save("revocations", encode(list(lists.values())))

    def save_ledger(self, issuer: Issuer) -> None:
        """Save what was issued, before the certificate leaves this node."""
        self._save("issued", issuer.ledger.encode())

    def save_invitation(self, invitation: Invitation, unix_time: float) -> None:
        """Keep a new invitation, or a changed one; forget the expired ones."""
        with self._invitations():
            open_ones = 0
            for known in self._all_invitations():
                if known.locator == invitation.locator:
                    continue
                if known.expiry < unix_time:
                    with told(self.state, "write to"):
                        self._invitation_path(known.locator).unlink(missing_ok=True)
                else:
                    open_ones += 1
            if open_ones >= MAX_INVITATIONS:
                raise LocalError(
                    f"{open_ones} invitations are open, the most there can be: "
                    "wait until some expire"
                )
            self._save(f"invitations/{invitation.locator.hex()}", invitation.encode())

    def find_invitation(self, invitation_id: bytes) -> Invitation | None:
        """The invitation with this id, used or not, expired or not."""
        return self._load(f"invitations/{locate(invitation_id).hex()}", decode_invitation)

    def invitations(self) -> list[Invitation]:
        """All that are kept, in the order of their locators."""
        return list(self._all_invitations())

    # Inside

    def _check_empty(self) -> None:
        if self.is_member():
            raise self._already_a_member()
        if (self.certs / keyring.ROOT_KEY).exists():
            raise LocalError(
                f"{self.certs / keyring.ROOT_KEY} is the key of a mesh: move it to a safe place, "
                "then run `meshd init` again"
            )

    def _already_a_member(self) -> LocalError:
        return LocalError(
            f"this host is in a mesh already, its certificate is in {self.certs}: "
            "run `meshd up`, or give --certs another directory"
        )

    def _write_identity(self, identity: Identity) -> None:
        make_directory(self.certs, 0o755)
        files = keyring.write_files(identity)
        for name in keyring.OPTIONAL:
            if name not in files and (self.certs / name).exists():
                set_aside(self.certs / name, "old")
        for name, content in files.items():
            write_file(self.certs / name, content, 0o600 if name in keyring.SECRET else 0o644)

    def _read(self, name: str) -> bytes | None:
        return read_file(self.certs / name, secret=name in keyring.SECRET)

    def _reserve(self, name: str, value: int, block: int) -> int:
        """Make sure that `value` is on disk, `block` more with it when anything is written."""
        if value >= self._reserved.get(name, 0):
            if block:
                self._save(name, encode(value + block))
            self._reserved[name] = value + block
        return value

    @contextlib.contextmanager
    def _invitations(self) -> Iterator[None]:
        """One process at a time among those that write invitations."""
        make_directory(self.state / "invitations", 0o700)
        path = self.state / "invitations" / ".lock"
        with told(path, "open"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _invitation_path(self, locator: bytes) -> Path:
        return self.state / "invitations" / locator.hex()

    def _all_invitations(self) -> Iterator[Invitation]:
        folder = self.state / "invitations"
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        for name in names:
            if len(name) == 32 and "." not in name:
                invitation = self._load(f"invitations/{name}", decode_invitation)
                if invitation is not None:
                    yield invitation

    def _load_revocations(self, trust: TrustStore) -> None:
        for der in self._load("revocations", _decode_list) or []:
            try:
                trust.add_crl(der)
            except TrustError as error:
                self._notices.append(f"a saved revocation list was left out ({error})")

    def _save(self, name: str, payload: bytes) -> None:
        path = self.state / name
        make_directory(path.parent, 0o700)
        write_file(path, seal(name, payload), 0o600)

    def _load(self, name: str, read: Callable[[bytes], _Value]) -> _Value | None:
        """The content of a state file; None when there is none, or none that is sound."""
        path = self.state / name
        data = read_file(path, secret=False)
        if data is None:
            return None
        with contextlib.suppress(ValueError, LocalError):
            return read(unseal(name, data))
        aside = set_aside(path, "damaged")
        self._notices.append(f"{path} was damaged: it is now {aside}, and will be made again")
        return None


def _decode_counter(payload: bytes) -> int:
    match decode(payload):
        case int(value) if value >= 0:
            return value
        case _:
            raise ValueError("not a counter")


def _decode_list(payload: bytes) -> list[bytes]:
    match decode(payload, MAX_FILE):
        case [*items] if all(isinstance(item, bytes) for item in items):
            return items
        case _:
            raise ValueError("not a list")
