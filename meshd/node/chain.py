"""Which certificates are trusted: a node's, its issuer's and the root, checked whole.

The library refuses Ed25519 chains, and its one-step check looks at names and signature alone (it
lets a node issue, and ignores path lengths), so everything of RFC 5280 section 6 that can occur in
this profile is checked here. A chain is always root, issuer, node: no more and no fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from gossip import NodeId
from meshd.node.addresses import mesh_prefix6, overlay6
from meshd.node.certificates import Certificate, TrustError, parse_certificate, reading
from meshd.node.departed import Departed
from meshd.node.grants import ANY, within
from meshd.node.revocation import RevocationList, list_authority, parse_list, split_shown

MAX_ISSUERS = 64
"""Issuer certificates a store keeps."""
MAX_CHAIN = 4
"""Issuer certificates that are looked at beside a leaf."""


class TrustStore:
    """A mesh's root, and what is known of its issuers and revocation lists.

    Raises TrustError when the root is none, or when an issuer or a list does not fit it.
    """

    def __init__(
        self, root_der: bytes, issuers: Sequence[bytes] = (), crls: Sequence[bytes] = ()
    ) -> None:
        self.root = parse_certificate(root_der)
        self.cidr, self.prefix6 = _check_root(self.root)
        self._issuers: dict[bytes, Certificate] = {}
        self._lists: dict[bytes, RevocationList] = {}
        self.departed = Departed()
        """Who left for good: see `verify`."""
        self._naming: dict[NodeId, list[RevocationList]] = {}
        """The lists in force that name a key."""
        for issuer in issuers:
            self.add_issuer(issuer)
        for crl in crls:
            self.add_crl(crl)

    @property
    def mesh_id(self) -> bytes:
        """The mesh's id, 16 bytes: the root's key identifier."""
        return self.root.node

    @property
    def issuers(self) -> tuple[Certificate, ...]:
        """The issuers known, in the order they came."""
        return tuple(self._issuers.values())

    @property
    def lists(self) -> tuple[RevocationList, ...]:
        """The revocation lists in force, at most one of each CA."""
        return tuple(self._lists.values())

    def add_issuer(self, der: bytes) -> bool:
        """Keep an issuer's certificate; False when it is known, older, or one too many.

        Raises TrustError when the root did not issue it. Its validity is checked when it is used.
        """
        certificate = parse_certificate(der)
        self._check_issuer(certificate)
        known = self._issuers.get(certificate.node)
        if known is None and len(self._issuers) >= MAX_ISSUERS:
            return False
        if known is not None and known.not_after >= certificate.not_after:
            return False
        self._issuers[certificate.node] = certificate
        return True

    def add_crl(self, der: bytes) -> bool:
        """Put a revocation list in force; False when one with its number or a higher one is.

        Write it to disk first. Raises TrustError: `read_crl`'s reasons.
        """
        parsed = self.read_crl(der)
        known = self._lists.get(parsed.authority)
        if known is not None and known.number >= parsed.number:
            return False
        self._lists[parsed.authority] = parsed
        if known is not None:
            for node in known.nodes:
                self._naming[node].remove(known)
        for node in parsed.nodes:
            self._naming.setdefault(node, []).append(parsed)
        return True

    def show(self, listed: RevocationList) -> bytes:
        """A list as it travels: with its CA's certificate behind it, since who is to obey it may
        never have met anybody whom that CA admitted."""
        issuer = self._issuers.get(listed.authority)
        return listed.der + (issuer.der if issuer is not None else b"")

    def read_shown(self, shown: bytes) -> tuple[RevocationList, Certificate | None]:
        """A list, and its CA's certificate if that came with it and is not known; both checked,
        nothing changes. Raises TrustError: `read_crl`'s reasons."""
        der, issuer_der = split_shown(shown)
        if not issuer_der or self.knows(list_authority(der)):
            return self.read_crl(der), None
        issuer = parse_certificate(issuer_der)
        self._check_issuer(issuer)
        return parse_list(der, issuer), issuer

    def read_crl(self, der: bytes) -> RevocationList:
        """A list of the root or of a known issuer, its signature checked; nothing changes.

        Raises TrustError: "list-malformed", "list-signature", or "list-foreign" when its CA is
        not known.
        """
        authority = list_authority(der)
        issuer = self.authority(authority)
        if issuer is None:
            raise TrustError("list-foreign")
        return parse_list(der, issuer)

    def knows(self, authority: bytes) -> bool:
        """Whether this is the root's key identifier, or a known issuer's."""
        return self.authority(authority) is not None

    def authority(self, identifier: bytes) -> Certificate | None:
        """The certificate of the root or of a known issuer, by its key identifier."""
        return self.root if identifier == self.root.node else self._issuers.get(identifier)

    def list_of(self, authority: bytes) -> RevocationList | None:
        """The list in force of the CA with this key identifier."""
        return self._lists.get(authority)

    def is_revoked(self, certificate: Certificate) -> bool:
        """Whether a list in force takes back this verified certificate, its key, or its CA."""
        return self.list_against(certificate) is not None

    def list_against(self, certificate: Certificate) -> RevocationList | None:
        """The list in force by which this verified certificate is void.

        Its own CA's or the root's list, by its serial or its key; the root's list, by its CA's; or
        the list of any CA that stands itself, by its key. Of the last, an issuer need not mind:
        whoever may admit anybody may expel anybody, but not those who are as much as itself.
        """
        own = self._lists.get(certificate.authority)
        if own is not None and certificate.serial in own.serials:
            return own
        for listed in self._naming.get(certificate.node, ()):
            if listed.authority in (certificate.authority, self.root.node):
                return listed
            if not certificate.is_ca and "issuer" not in certificate.roles:
                authority = self._issuers.get(listed.authority)
                if authority is not None and self.list_against(authority) is None:
                    return listed
        issuer = None if certificate.is_ca else self._issuers.get(certificate.authority)
        return None if issuer is None else self.list_against(issuer)

    def names(self, node: NodeId) -> bool:
        """Whether some list in force names this node's key."""
        return bool(self._naming.get(node))

    def is_void(self, certificate: Certificate) -> bool:
        """Whether this certificate, which was verified once, was revoked or left behind since."""
        return self.is_revoked(certificate) or self.departed.covers(certificate)

    def verify(
        self, leaf_der: bytes, issuer_ders: Sequence[bytes], unix_time: float
    ) -> Certificate:
        """The node's certificate, when this mesh may believe it at `unix_time`.

        Raises TrustError: the reasons of `verify_issued`, or "certificate-left": the node left
        for good with this certificate or with a later one.
        """
        leaf = self.verify_issued(leaf_der, issuer_ders, unix_time)
        if self.departed.covers(leaf):
            raise TrustError("certificate-left")
        return leaf

    def verify_issued(
        self, leaf_der: bytes, issuer_ders: Sequence[bytes], unix_time: float
    ) -> Certificate:
        """The node's certificate, when this mesh issued it and it is valid; its node may have
        left.

        `issuer_ders` are the issuers that came with it; those in the store need not come again.
        Raises TrustError: "certificate-malformed", "-foreign" (not of this mesh), "-signature",
        "-not-yet-valid", "-expired", "-address" (not the key's own, or outside the mesh),
        "-grants" (more than its issuer may grant), "-revoked"; or "key-weak".
        """
        leaf = parse_certificate(leaf_der)
        if leaf.is_ca:
            raise TrustError("certificate-malformed", "a CA where a node's was expected")
        issuer = self.issuer_of(leaf, issuer_ders)
        _check_signature(leaf, issuer)
        for certificate in (self.root, issuer, leaf):
            check_validity(certificate, unix_time)
        self._check_addresses(leaf, issuer)
        if not issuer.grants.covers(leaf.grants) or ANY in leaf.roles + leaf.groups:
            raise TrustError("certificate-grants")
        if self.is_revoked(issuer) or self.is_revoked(leaf):
            raise TrustError("certificate-revoked")
        return leaf

    def grants(self, certificate: Certificate, prefix: str) -> bool:
        """Whether the holder of a verified certificate may offer a route to `prefix`.

        A default route takes the role `exit`; overlay addresses are nobody's to route.
        """
        try:
            network = ip_network(prefix)
        except ValueError:
            return False
        if str(network) != prefix or within(network, (self.cidr, self.prefix6)):
            return False
        if network.prefixlen == 0:
            return "exit" in certificate.roles
        return within(network, certificate.routes)

    def issuer_of(self, leaf: Certificate, issuer_ders: Sequence[bytes] = ()) -> Certificate:
        """The issuer with the leaf's authority key, the store's or, if that ends later, theirs.

        Raises TrustError("certificate-foreign" when there is none).
        """
        best = self._issuers.get(leaf.authority)
        for der in issuer_ders[:MAX_CHAIN]:
            if best is not None and der == best.der:
                continue
            issuer = parse_certificate(der)
            if issuer.node != leaf.authority:
                continue
            if best is None or issuer.not_after > best.not_after:
                self._check_issuer(issuer)
                best = issuer
        if best is None:
            raise TrustError("certificate-foreign", "its issuer is not of this mesh")
        return best

    def _check_issuer(self, issuer: Certificate) -> None:
        if not issuer.is_ca or issuer.path_length != 0:
            raise TrustError("certificate-malformed", "not an issuer's")
        if issuer.authority != self.root.node or issuer.node == self.root.node:
            raise TrustError("certificate-foreign", "not issued by this mesh's root")
        _check_signature(issuer, self.root)
        if not all(within(prefix, self.root.constraints) for prefix in issuer.constraints):
            raise TrustError("certificate-grants", "addresses outside the mesh")

    def _check_addresses(self, leaf: Certificate, issuer: Certificate) -> None:
        four, six = leaf.address4, leaf.address6
        if six != overlay6(self.mesh_id, leaf.node):
            raise TrustError("certificate-address", "the IPv6 address is another key's")
        if four not in self.cidr or four in (
            self.cidr.network_address,
            self.cidr.broadcast_address,
        ):
            raise TrustError("certificate-address", "the IPv4 address is outside the mesh")
        if not all(any(item in prefix for prefix in issuer.constraints) for item in (four, six)):
            raise TrustError("certificate-address", "its issuer may not give out this address")


def check_validity(certificate: Certificate, unix_time: float) -> None:
    """Raises TrustError("certificate-expired" or "certificate-not-yet-valid")."""
    if unix_time < certificate.not_before:
        raise TrustError("certificate-not-yet-valid")
    if unix_time > certificate.not_after:
        raise TrustError("certificate-expired")


def _check_root(root: Certificate) -> tuple[IPv4Network, IPv6Network]:
    """The mesh's prefixes, from the root's name constraints."""
    if not root.is_ca or root.path_length != 1 or root.authority != root.node:
        raise TrustError("certificate-malformed", "not a root's")
    _check_signature(root, root)
    match root.constraints:
        case (IPv4Network() as cidr, IPv6Network() as prefix6) if prefix6 == mesh_prefix6(
            root.node
        ):
            return cidr, prefix6
        case _:
            raise TrustError("certificate-malformed", "the root's prefixes are not a mesh's")


def _check_signature(certificate: Certificate, issuer: Certificate) -> None:
    """Name and signature; the key identifiers and the network's name as well."""
    if certificate.authority != issuer.node or certificate.network != issuer.network:
        raise TrustError("certificate-foreign")
    with reading("certificate-signature"):
        try:
            x509.load_der_x509_certificate(certificate.der).verify_directly_issued_by(
                x509.load_der_x509_certificate(issuer.der)
            )
        except InvalidSignature:
            raise ValueError("the signature is wrong") from None
