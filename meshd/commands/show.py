"""Verbs that show something and change nothing."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshd.commands import render
from meshd.commands.client import DaemonClient
from meshd.node.errors import LocalError

if TYPE_CHECKING:
    from meshd.node.certificates import Certificate
    from meshd.node.mesh import MeshDocument

ANSWER_TIMEOUT, MAX_ANSWER_TIMEOUT = 5.0, 30.0
"""Seconds to wait for one answer unless told otherwise, and at most."""
DIRECT_TIMEOUT = 30.0
"""Seconds to wait for a direct way."""
PING_MARGIN = 5.0
"""Seconds beyond a ping's own timeout to wait for the daemon's answer."""


def status(args: argparse.Namespace) -> int:
    """`meshd status`."""
    data = DaemonClient(args.socket).get("/v1/status")
    print(_json(data) if args.json else render.status(data))
    return 0


def routes(args: argparse.Namespace) -> int:
    """`meshd routes`."""
    data = DaemonClient(args.socket).get("/v1/routes")
    print(_json(data) if args.json else render.routes(data["routes"]))
    return 0


def lookup(args: argparse.Namespace) -> int:
    """`meshd lookup ADDRESS|NAME`."""
    data = DaemonClient(args.socket).post("/v1/lookup", {"query": args.query})
    print(_json(data) if args.json else render.found(data))
    return 0


def ping(args: argparse.Namespace) -> int:
    """`meshd ping PEER`: succeeds when at least one answer came; with `--until-direct` when one
    came by a direct way."""
    client, pongs, sent = DaemonClient(args.socket), list[Any](), 0
    timeout = min(args.timeout or ANSWER_TIMEOUT, MAX_ANSWER_TIMEOUT)
    end = time.monotonic() + (args.timeout or DIRECT_TIMEOUT)
    is_direct = False
    while not is_direct and (args.until_direct or sent < args.count):
        if sent:
            time.sleep(args.interval)
        if args.until_direct:
            timeout = min(ANSWER_TIMEOUT, end - time.monotonic())
            if timeout <= 0:
                break
        body = {"peer": args.peer, "timeout": timeout}
        pong = client.post("/v1/ping", body, timeout + PING_MARGIN)["pong"]
        sent += 1
        if pong is not None:
            pongs.append(pong)
            is_direct = args.until_direct and pong["kind"] == "direct"
        if not args.json:
            text = f"no answer from {args.peer} within {timeout:.3g} s"
            print(render.pong(pong) if pong else render.printable(text), flush=True)
    if args.json:
        print(_json({"peer": args.peer, "sent": sent, "pongs": pongs}))
    elif args.until_direct and not is_direct:
        text = f"no direct way to {args.peer} yet: `meshd why {args.peer}` says what was tried"
        print(render.printable(text))
    return 0 if (is_direct if args.until_direct else pongs) else 1


def cert_show(args: argparse.Namespace) -> int:
    """`meshd cert show`: reads the public files alone, so it needs no rights."""
    from meshd.node.certificates import TrustError
    from meshd.node.chain import TrustStore

    leaf, *above = read_certificates(args.certs / "node.crt")
    authorities = read_certificates(args.certs / "ca.crt")
    try:
        root = next(item for item in authorities if item.path_length == 1)
        store = TrustStore(root.der, [item.der for item in authorities if item.path_length == 0])
        store.verify(leaf.der, [item.der for item in above], time.time())
        trust = "yes"
    except StopIteration:
        trust = "no: ca.crt holds no root"
    except TrustError as error:
        trust = f"no: {error}"
    data = {
        "name": leaf.name,
        "id": leaf.node.hex(),
        "network": leaf.network,
        "addresses": [str(address) for address in leaf.addresses],
        "roles": list(leaf.roles),
        "routes": [str(route) for route in leaf.routes],
        "groups": list(leaf.groups),
        "serial": f"{leaf.serial:016x}",
        "not_before": _time(leaf.not_before),
        "not_after": _time(leaf.not_after),
        "issuer": leaf.authority.hex(),
        "fingerprint_sha256": leaf.fingerprint.hex(),
        "issuers": [item.node.hex() for item in authorities if item.path_length == 0],
        "mesh": next((item.node.hex() for item in authorities if item.path_length == 1), None),
        "trusted": trust == "yes",
    }
    if args.json:
        print(_json(data))
        return 0
    rows = {
        key: ", ".join(value) if isinstance(value, list) else value for key, value in data.items()
    }
    rows["trusted"] = trust
    print(render.table([(key.replace("_", " "), str(value or "-")) for key, value in rows.items()]))
    return 0


def config_check(args: argparse.Namespace) -> int:
    """`meshd config check`: exit code 2 when the configuration cannot be used."""
    from meshd.config import load
    from meshd.configfile import ConfigError

    try:
        config = load(args.config, os.environ)
    except ConfigError as error:
        if not args.json:
            raise
        print(_json({"ok": False, "problems": list(error.problems)}))
        return error.exit_code
    notices = config.notices(_mesh(args.certs))
    file = str(config.file) if config.file else None
    if args.json:
        print(_json({"ok": True, "file": file, "notices": notices, "config": config.as_dict()}))
        return 0
    print(f"{file}: ok" if file else "no configuration file: the defaults hold")
    for text in notices:
        print(render.printable(f"note: {text}"))
    return 0


def _mesh(certs: Path) -> MeshDocument | None:
    """This node's mesh, if it is in one."""
    from meshd.node.mesh import parse_mesh

    path = certs / "mesh.toml"
    return parse_mesh(_read(path).decode(errors="replace")) if path.exists() else None


def read_certificates(path: Path) -> list[Certificate]:
    """The certificates in a PEM file of the certificates directory. Raises LocalError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from meshd.node.certificates import TrustError, parse_certificate

    problem = "it holds no certificates"
    try:
        loaded = x509.load_pem_x509_certificates(_read(path))
        return [parse_certificate(item.public_bytes(Encoding.DER)) for item in loaded]
    except TrustError as error:
        problem = str(error)
    except ValueError:  # whose text is for programmers
        pass
    raise LocalError(
        f"{path} is damaged ({problem}): put it back from a backup, or join the mesh again"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise LocalError(
            f"there is no {path}: this host is in no mesh yet; "
            "make one with `meshd init`, or join one with `meshd join TOKEN`"
        ) from None
    except PermissionError:
        raise LocalError(f"you may not read {path}: try again with sudo") from None
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None


def _time(unix_time: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_time))


def _json(data: Any) -> str:
    return json.dumps(data, indent=2)
