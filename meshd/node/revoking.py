"""Revoking a node: which certificates of whom, by which CA's list, and who else has to.

A CA can take back what it issued, no more. A node that renewed at several issuers holds
certificates of each, so each has to revoke it; the ledger knows of those that were replaced here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossip import NodeId
from meshd.node.certificates import Certificate
from meshd.node.errors import LocalError
from meshd.node.finding import canonical
from meshd.node.ledger import Issued
from meshd.node.revocation import MAX_LIST, RevocationList, make_list, revoked_at
from meshd.node.state import NodeState

Holders = Callable[[bytes], list[str]]
"""The names of the nodes that say they hold the CA with this key identifier."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """What `plan` found: write `lists` to disk, then put them in force."""

    node: str
    """The id, of a node or of a CA, in hex."""
    name: str
    lists: tuple[RevocationList, ...]
    """New ones; none where all was revoked already."""
    serials: tuple[int, ...]
    """What the new lists add."""
    elsewhere: tuple[str, ...]
    """What is still to be done on other nodes, a sentence each."""


@dataclass(slots=True)
class _Target:
    """Who is meant, and the certificates known of it."""

    node: NodeId
    name: str
    certificate: Certificate | None = None
    issued: Issued | None = None


def plan(text: str, state: NodeState, holders: Holders, unix_time: float) -> Revocation:
    """The lists that revoke the node (or CA) with this name, id or overlay address; changes
    nothing. Raises LocalError: why not, and what to type instead."""
    wanted, identity = canonical(text), state.identity
    own = identity.certificate
    if wanted in (identity.id.hex(), own.name, *map(str, own.addresses)):
        raise LocalError(
            f"{own.name} is this node itself: `meshd leave` takes it out of the mesh; if its key "
            f"was stolen, run `meshd revoke {own.name}` on another issuer"
        )
    for authority in identity.trust.issuers:
        if authority.node.hex() == wanted:
            return _plan_authority(authority, state, unix_time)
    target = _find(text, state)
    if identity.issuer is None:
        raise LocalError(f"this node is no issuer: {_where(target, state, holders, unix_time)}")
    return _plan_node(target, state, holders, unix_time)


def _plan_authority(authority: Certificate, state: NodeState, unix_time: float) -> Revocation:
    issuer = state.identity.issuer
    if issuer is not None and issuer.certificate.node == authority.node:
        raise LocalError(
            "that is the CA that this node admits others with, and all that it issued would end: "
            "revoke it from another node that holds root.key"
        )
    lists, added = _extend_root(authority, state, unix_time)
    return Revocation(authority.node.hex(), authority.name, lists, added, ())


def _extend_root(
    authority: Certificate, state: NodeState, unix_time: float
) -> tuple[tuple[RevocationList, ...], tuple[int, ...]]:
    issuer, trust = state.identity.issuer, state.identity.trust
    if issuer is None or issuer.root_key is None:
        raise LocalError(
            f"revoking the CA {authority.node.hex()} takes root.key: put it back into the "
            "certificates directory of the node that made the mesh, restart meshd there, and run "
            f"`meshd revoke {authority.node.hex()}`"
        )
    made = _extend(issuer.root_key, trust.root, [authority.serial], state, unix_time)
    return ((), ()) if made is None else ((made,), (authority.serial,))


def _plan_node(target: _Target, state: NodeState, holders: Holders, unix_time: float) -> Revocation:
    issuer = state.identity.issuer
    assert issuer is not None  # plan() has looked
    own_authority = issuer.certificate.node
    held = _held(target, own_authority, unix_time)
    serials = [serial for authority, serial in held if authority == own_authority]
    lists: tuple[RevocationList, ...] = ()
    added: tuple[int, ...] = ()
    elsewhere: list[str] = []
    theirs = _own_issuer(target, state)
    if theirs is not None and issuer.root_key is not None:
        lists, added = _extend_root(theirs, state, unix_time)
    elif theirs is not None:
        elsewhere.append(
            f"{target.name} admits others with a CA of its own: to end that too, put root.key "
            f"back and run `meshd revoke {theirs.node.hex()}`"
        )
    others = dict.fromkeys(
        authority
        for authority, serial in held
        if authority != own_authority and not _is_listed(authority, serial, state)
    )
    if theirs is not None and lists:
        others.pop(theirs.node, None)
    if not serials and theirs is None:
        raise LocalError(_where(target, state, holders, unix_time))
    for authority in others:
        elsewhere.append(_run_there(target.name, authority, state, holders))
    if not serials and not lists:
        raise LocalError("; ".join(elsewhere))
    if not serials and not lists and elsewhere:
        raise LocalError("; ".join(elsewhere))
    new = [serial for serial in serials if not _is_listed(own_authority, serial, state)]
    if new:
        made = _extend(issuer.key, issuer.certificate, new, state, unix_time)
        lists, added = (*lists, *([made] if made else [])), (*added, *new)
    return Revocation(target.node.hex(), target.name, lists, added, tuple(elsewhere))


def _extend(
    key: Ed25519PrivateKey,
    authority: Certificate,
    serials: list[int],
    state: NodeState,
    unix_time: float,
) -> RevocationList | None:
    """The CA's next list, with `serials` added; None when they are all on it."""
    known = state.identity.trust.list_of(authority.node)
    revoked = revoked_at(known.der) if known is not None else {}
    new = [serial for serial in serials if serial not in revoked]
    if not new:
        return None
    revoked.update(dict.fromkeys(new, unix_time))
    number = known.number + 1 if known is not None else 1
    made = make_list(key, authority, number, revoked, unix_time)
    if len(made.der) > MAX_LIST:
        raise LocalError(f"the revocation list of this CA is full ({len(revoked)} certificates)")
    return made


def _is_listed(authority: bytes, serial: int, state: NodeState) -> bool:
    known = state.identity.trust.list_of(authority)
    return known is not None and serial in known.serials


def _held(target: _Target, own: bytes, unix_time: float) -> list[tuple[bytes, int]]:
    """(authority, serial) of each certificate that `target` may hold still."""
    found: list[tuple[bytes, int]] = []
    if target.certificate is not None:
        found.append((target.certificate.authority, target.certificate.serial))
    if target.issued is not None:
        found.append((own, target.issued.serial))
        valid = (item for item in target.issued.earlier if item.not_after >= unix_time)
        found += [(item.authority, item.serial) for item in valid]
    return list(dict.fromkeys(found))


def _own_issuer(target: _Target, state: NodeState) -> Certificate | None:
    """The CA that `target` holds, as our ledger has it: nobody else's word counts."""
    wanted = target.issued.own_issuer if target.issued is not None else b""
    return next((item for item in state.identity.trust.issuers if item.node == wanted), None)


def _find(text: str, state: NodeState) -> _Target:
    """The one node that `text` means, among peers and those that this issuer admitted."""
    wanted = canonical(text)
    found: dict[NodeId, _Target] = {}
    for peer in state.peers.values():
        certificate = peer.certificate
        names = (certificate.name, *map(str, certificate.addresses)) if certificate else ()
        if wanted in (peer.id.hex(), *names):
            found[peer.id] = _Target(peer.id, peer.name, certificate)
    issuer = state.identity.issuer
    for entry in issuer.ledger.entries() if issuer is not None else ():
        if wanted in (entry.node.hex(), entry.name, str(entry.address4)) or entry.node in found:
            target = found.setdefault(entry.node, _Target(entry.node, entry.name))
            target.issued = entry
    found.pop(state.identity.id, None)
    if not found:
        raise LocalError(
            f"no node has the name, id or address {text!r}: `meshd status` lists the members, and "
            "the issuer that admitted a node knows it by its name"
        )
    if len(found) > 1:
        ids = ", ".join(node.hex() for node in sorted(found))
        raise LocalError(f"{text!r} is the name or address of several nodes, give an id: {ids}")
    return next(iter(found.values()))


def _where(target: _Target, state: NodeState, holders: Holders, unix_time: float) -> str:
    """The sentence that names the nodes to run it on."""
    issuer = state.identity.issuer
    own = issuer.certificate.node if issuer is not None else b""
    authorities = dict.fromkeys(authority for authority, _ in _held(target, own, unix_time))
    if not authorities:
        return f"no certificate of {target.name} is known here: run this on the issuer that gave it"
    return "; ".join(_run_there(target.name, item, state, holders) for item in authorities)


def _run_there(name: str, authority: bytes, state: NodeState, holders: Holders) -> str:
    known = holders(authority)
    if known:
        return (
            f"a certificate of {name} was issued by {' or '.join(known)}: run `meshd revoke {name}`"
            " there"
        )
    return (
        f"a certificate of {name} was issued by the CA {authority.hex()}, which no node here says "
        f"it holds: run `meshd revoke {name}` on the node with that CA, or, if it is gone for "
        f"good, `meshd revoke {authority.hex()}` on the node with root.key, which ends all that "
        "this CA issued"
    )
