"""Members of a simulated mesh, with real certificates from a real issuer, all from one seed."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network

from meshd.node.grants import Grants
from meshd.node.identity import Identity, assemble, found, new_node_key
from meshd.node.minting import make_csr

NETWORK = "simulated"
CIDR = IPv4Network("100.64.0.0/16")
CIPHER = "aes256gcm"
UNIX_TIME = 1_800_000_000.0
"""The wall clock's reading at virtual time 0."""


def enrol(count: int, random_bytes: Callable[[int], bytes]) -> list[Identity]:
    """`count` members; the first founded the mesh and admitted the others."""
    first = found("node0", NETWORK, CIDR, CIPHER, UNIX_TIME, random_bytes)
    issuer = first.issuer
    if issuer is None:
        raise ValueError("whoever founds a mesh is its issuer")
    members = [first]
    for number in range(1, count):
        key = new_node_key(random_bytes)
        taken = [member.certificate.address4 for member in members]
        certificate = issuer.issue(
            make_csr(key, f"node{number}"), Grants(), taken, UNIX_TIME, random_bytes
        )
        members.append(
            assemble(
                key,
                certificate.der,
                first.issuer_certificates,
                first.trust,
                first.mesh,
                first.mesh_secret,
                UNIX_TIME,
            )
        )
    return members
