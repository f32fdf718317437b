"""Revoking a node: its key and its certificates, by which CA's list, and who else has to.

Any issuer revokes any node, by its key, so that it does not matter where else the node renewed; but
not another issuer (see `TrustStore.list_against`): that takes the root's key. Serials are listed
too, for programs that read lists as RFC 5280 has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossip import NodeId
from meshd.node.addresses import ID_SIZE
from meshd.node.certificates import Certificate
from meshd.node.errors import LocalError
from meshd.node.finding import canonical
from meshd.node.ledger import Issued
from meshd.node.revocation import MAX_LIST, RevocationList, key_entry, make_list, revoked_at
from meshd.node.state import NodeState

_Made = tuple[RevocationList | None, list[int]]
"""A CA's next list, if there is one, and what is new on it."""
MAX_TOLD = 8
"""Ids in one sentence."""
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
    """What the new lists add: serials, and `key_entry`s."""
    elsewhere: tuple[str, ...]
    """What is still to be done on other nodes, a sentence each."""


@dataclass(slots=True)
class _Target:
    """Who is meant, and the certificates known of it."""

    node: NodeId
    name: str
    certificate: Certificate | None = None
    issued: Issued | None = None

    @property
    def is_issuer(self) -> bool:
        """Whether it is one, by its certificate or by our ledger."""
        by_ledger = self.issued is not None and self.issued.own_issuer != b""
        return by_ledger or (self.certificate is not None and "issuer" in self.certificate.roles)


def plan(text: str, state: NodeState, holders: Holders, unix_time: float) -> Revocation:
    """The lists that revoke the node (or CA) with this name, id or overlay address; changes
    nothing. Raises LocalError: why not, and what to type instead."""
    wanted, identity = canonical(text), state.identity
    own = identity.certificate
    if wanted in (identity.id.hex(), own.name, *map(str, own.addresses)):
        raise LocalError(
            f"{own.name} is this node itself: `meshd leave` takes it out of the mesh; if its key "
            f"was stolen, run `meshd revoke {identity.id.hex()}` on another issuer"
        )
    if wanted == identity.trust.root.node.hex():
        raise LocalError(
            f"{wanted} is the mesh itself, by its root: nobody can revoke that; if root.key was "
            "stolen, make a new mesh with `meshd init` and invite everyone to it"
        )
    for authority in identity.trust.issuers:
        if authority.node.hex() == wanted:
            return _plan_authority(authority, state, unix_time)
    target = _find(text, state)
    if identity.issuer is None:
        raise LocalError(f"this node is no issuer: {_where(target, state)}")
    return _plan_node(target, state, holders, unix_time)


def _plan_authority(authority: Certificate, state: NodeState, unix_time: float) -> Revocation:
    issuer, wanted = state.identity.issuer, authority.node.hex()
    if issuer is not None and issuer.certificate.node == authority.node:
        raise LocalError(
            "that is the CA that this node admits others with, and all that it issued would end: "
            "revoke it from another node that holds root.key"
        )
    if issuer is None or issuer.root_key is None:
        raise LocalError(f"revoking the CA {wanted} takes root.key: {_with_root(wanted)}")
    made = _extend_root(issuer.root_key, _entries(authority), state, unix_time)
    return Revocation(
        wanted, authority.name, *_only([made]), tuple(_released(authority, made, state))
    )


def _plan_node(target: _Target, state: NodeState, holders: Holders, unix_time: float) -> Revocation:
    issuer, trust = state.identity.issuer, state.identity.trust
    assert issuer is not None  # plan() has looked
    own = issuer.certificate.node
    serials = _held(target, own, unix_time)
    theirs = _own_issuer(target, state)
    made: list[_Made] = []
    elsewhere: list[str] = []
    if issuer.root_key is not None and target.is_issuer:
        entries = [key_entry(target.node), *(_entries(theirs) if theirs is not None else ())]
        made.append(_extend_root(issuer.root_key, entries, state, unix_time))
        if theirs is not None:
            elsewhere += _released(theirs, made[0], state)
        else:
            elsewhere += _claimed(target, state, holders)
    elif target.is_issuer:
        told = f"{target.name} is an issuer, whom root.key alone expels: "
        told += _with_root(target.node.hex())
        if not serials:
            raise LocalError(told)
        elsewhere.append(told)
    entries = [*serials, key_entry(target.node)]
    made.append(_extend(issuer.key, issuer.certificate, entries, state, unix_time))
    known = target.certificate
    if known is None and not serials and not target.is_issuer and not trust.names(target.node):
        elsewhere.append("no certificate of it is known here: make sure that the id is right")
    return Revocation(target.node.hex(), target.name, *_only(made), tuple(elsewhere))


def _entries(authority: Certificate) -> list[int]:
    """What takes back a CA, whatever certificate it has."""
    return [authority.serial, key_entry(authority.node)]


def _only(made: list[_Made]) -> tuple[tuple[RevocationList, ...], tuple[int, ...]]:
    lists = tuple(listed for listed, _ in made if listed is not None)
    return lists, tuple(entry for _, added in made for entry in added)


def _extend_root(
    key: Ed25519PrivateKey, entries: list[int], state: NodeState, unix_time: float
) -> _Made:
    return _extend(key, state.identity.trust.root, entries, state, unix_time)


def _extend(
    key: Ed25519PrivateKey,
    authority: Certificate,
    entries: list[int],
    state: NodeState,
    unix_time: float,
) -> _Made:
    """The CA's next list with `entries` added, and which are new; no list when none is."""
    known = state.identity.trust.list_of(authority.node)
    revoked = revoked_at(known.der) if known is not None else {}
    new = [entry for entry in entries if entry not in revoked]
    if not new:
        return None, []
    revoked.update(dict.fromkeys(new, unix_time))
    number = known.number + 1 if known is not None else 1
    made = make_list(key, authority, number, revoked, unix_time)
    if len(made.der) > MAX_LIST:
        raise LocalError(f"the revocation list of this CA is full ({len(revoked)} entries)")
    return made, new


def _held(target: _Target, own: bytes, unix_time: float) -> list[int]:
    """The serials of the certificates of our CA's that `target` may hold still."""
    found: list[int] = []
    if target.certificate is not None and target.certificate.authority == own:
        found.append(target.certificate.serial)
    if target.issued is not None:
        found.append(target.issued.serial)
        earlier = [item for item in target.issued.earlier if item.not_after >= unix_time]
        found += [item.serial for item in earlier if item.authority == own]
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
    if not found and len(wanted) == 2 * ID_SIZE and set(wanted) <= set("0123456789abcdef"):
        node = NodeId(bytes.fromhex(wanted))
        found[node] = _Target(node, wanted)
    if not found:
        raise LocalError(
            f"no node has the name, id or address {text!r}: `meshd status` lists the members, and "
            "the issuer that admitted a node knows it by its name"
        )
    if len(found) > 1:
        ids = ", ".join(node.hex() for node in sorted(found))
        raise LocalError(f"{text!r} is the name or address of several nodes, give an id: {ids}")
    return next(iter(found.values()))


def _where(target: _Target, state: NodeState) -> str:
    """The sentence that names the nodes to run it on."""
    wanted = target.node.hex()
    if target.is_issuer:
        return f"{target.name} is an issuer, whom root.key alone expels: {_with_root(wanted)}"
    issuers = sorted(
        peer.name
        for peer in state.holders()
        if peer.id != target.node
        and peer.certificate is not None
        and "issuer" in peer.certificate.roles
        and peer.state in ("alive", "suspect")
    )
    if issuers:
        return f"run `meshd revoke {wanted}` on {' or '.join(issuers)}"
    return f"no issuer is there now: start one, or {_with_root(wanted)}"


def _with_root(wanted: str) -> str:
    return (
        "put root.key back into the certificates directory of the node that made the mesh, "
        f"restart meshd there, and run `meshd revoke {wanted}` there"
    )


def _claimed(target: _Target, state: NodeState, holders: Holders) -> list[str]:
    """What an issuer whose CA is not in our ledger says of itself: to be judged by a person."""
    own = state.identity.issuer
    return [
        f"{target.name} says that it holds the CA {item.node.hex()}, of which this node's ledger "
        f"does not know: if that is so, run `meshd revoke {item.node.hex()}`, too"
        for item in state.identity.trust.issuers
        if (own is None or item.node != own.certificate.node)
        and target.name in holders(item.node)
        and not state.identity.trust.is_revoked(item)
    ]


def _released(authority: Certificate, made: _Made, state: NodeState) -> list[str]:
    """Who was out by the word of this CA, which counts no more."""
    listed = state.identity.trust.list_of(authority.node)
    if made[0] is None or listed is None or not listed.nodes:
        return []
    nodes = sorted(node.hex() for node in listed.nodes)
    more = f" and {len(nodes) - MAX_TOLD} more" if len(nodes) > MAX_TOLD else ""
    return [
        "what that CA had revoked counts no more where another CA admitted the node: if they are "
        f"to stay out, run `meshd revoke ID` for each of {', '.join(nodes[:MAX_TOLD])}{more}"
    ]
