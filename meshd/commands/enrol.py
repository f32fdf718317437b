"""Verbs that make members: a new mesh, an invitation, a host that joins."""

from __future__ import annotations

import argparse
import os
import sys
import time
from ipaddress import IPv4Network, ip_address
from typing import TYPE_CHECKING

from meshd.commands.client import NO_DAEMON, DaemonClient
from meshd.node.errors import LocalError

if TYPE_CHECKING:
    from meshd.config import Config
    from meshd.host.storage import Storage
    from meshd.node.grants import Grants
    from meshd.node.identity import Identity
    from meshd.node.wire import Endpoint

NETWORK = "aegisray"
CIDR = IPv4Network("100.64.0.0/16")

MAX_STDIN = 4096
"""Characters of standard input that are looked at for a token."""


def init(args: argparse.Namespace) -> int:
    """`meshd init`: make a mesh, with this host as its first node and issuer."""
    from meshd.config import load
    from meshd.node.mesh import CIPHERS, check_name, parse_cidr

    config = load(args.config, os.environ)
    name = check_name(args.name or config.name(), "the node's name")
    network = check_name(args.network or config.network.name or NETWORK, "the network's name")
    cidr = parse_cidr(args.cidr) if args.cidr else config.network.cidr or CIDR
    storage = _storage(args)
    identity = storage.create_mesh(name, network, cidr, CIPHERS[0], time.time(), os.urandom)
    _introduce(identity)
    root = args.certs / "root.key"
    print(
        f"Start it with `meshd up`; let others in with `meshd invite`.\n"
        f"{root} is needed only to make further issuers: keep it offline.",
        file=sys.stderr,
    )
    return 0


def invite(args: argparse.Namespace) -> int:
    """`meshd invite`: print a token. The daemon makes it if one runs: it knows its addresses."""
    body = {
        "name": args.name or "",
        "roles": args.role,
        "routes": args.route,
        "groups": args.group,
        "lifetime": args.expires,
    }
    try:
        token = str(DaemonClient(args.socket).post("/v1/invite", body)["token"])
    except LocalError as error:
        if error.exit_code != NO_DAEMON:
            raise
        token = _invite_offline(args)
    print(token, flush=True)
    print(
        "It lets one host in. There, type `meshd join -` and paste it, then `meshd up`.",
        file=sys.stderr,
    )
    return 0


def join(args: argparse.Namespace) -> int:
    """`meshd join TOKEN|-`: become a member; starts nothing."""
    from meshd.config import load
    from meshd.node.invitation import decode_token
    from meshd.node.mesh import check_name

    token = decode_token(_read_token() if args.token == "-" else args.token)
    token.check_time(time.time())
    config = load(args.config, os.environ)
    name = check_name(args.name, "the node's name") if args.name else None
    from meshd import enrol

    identity = enrol.join(token, _storage(args), name, config)
    _introduce(identity)
    print("Start it with `meshd up`.", file=sys.stderr)
    return 0


def _invite_offline(args: argparse.Namespace) -> str:
    """A token made without the daemon, straight from and into this node's files."""
    from meshd.config import load
    from meshd.node.grants import Grants, parse_route
    from meshd.node.invitation import invite as make

    grants = Grants(
        name=args.name or "",
        roles=tuple(args.role),
        routes=tuple(parse_route(route) for route in args.route),
        groups=tuple(args.group),
    )
    config = load(args.config, os.environ)
    storage = _storage(args)
    now = time.time()
    identity = _issuer_identity(storage, grants, now)
    token, invitation = make(
        identity.mesh.mesh_id,
        identity.static_public,
        grants,
        reachable(config),
        now,
        args.expires,
        os.urandom,
    )
    # A daemon that runs, yet was not reached, would not look at the file before its next start.
    with storage.locked():
        storage.save_invitation(invitation, now)
    return token.encode()


def _issuer_identity(storage: Storage, grants: Grants, now: float) -> Identity:
    if not storage.is_member():
        raise LocalError(
            f"this host is in no mesh yet (there is no certificate in {storage.certs}): "
            "make one with `meshd init`, or join one with `meshd join TOKEN`"
        )
    identity = storage.load_identity(now)
    if identity.issuer is None:
        raise LocalError(
            "this node may not let others in: type `meshd invite` on one with the role issuer, "
            "such as the one that made the mesh"
        )
    identity.issuer.permit(grants)
    return identity


def reachable(config: Config) -> tuple[Endpoint, ...]:
    """Where a joiner may find this node, best first: what is configured, then public addresses."""
    from meshd.host.addresses import local_addresses

    hosts = [config.listen_address] if config.listen_address else local_addresses()
    hosts.sort(key=lambda host: not ip_address(host).is_global)
    found = [*config.network.endpoints, *((host, config.listen_port) for host in hosts)]
    return tuple(dict.fromkeys(found))


def _read_token() -> str:
    if sys.stdin.isatty():
        print("Paste the invitation, then press Enter:", file=sys.stderr)
    return sys.stdin.readline(MAX_STDIN)


def _storage(args: argparse.Namespace) -> Storage:
    from meshd.host.storage import Storage

    return Storage(args.certs, args.state)


def _introduce(identity: Identity) -> None:
    addresses = ", ".join(str(address) for address in identity.certificate.addresses)
    print(f"This host is {identity.name} in {identity.mesh.name}: {addresses}", flush=True)
