"""`meshd leave`: out of the mesh for good, until it is invited again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshd.commands.client import NO_DAEMON, STOP_TIMEOUT, DaemonClient
from meshd.node.errors import LocalError

if TYPE_CHECKING:
    from meshd.host.storage import Storage

STEP = 0.1
"""Seconds between two looks whether the daemon has let go of its files."""


def leave(args: argparse.Namespace) -> int:
    """Have the daemon tell the others and stop; then set this host's files aside."""
    from meshd.host.storage import Storage

    answer: dict[str, Any] | None = None
    certs, state = args.certs, args.state
    try:
        answer = DaemonClient(args.socket).stop("/v1/leave")
        certs, state = Path(answer["certs"]), Path(answer["state"])
    except LocalError as error:
        if error.exit_code != NO_DAEMON:
            raise
    storage = Storage(certs, state)
    if answer is None and not storage.is_member():
        raise LocalError(
            f"this host is in no mesh (there is no certificate in {certs}): there is nothing to "
            "leave; to join one, type `meshd join TOKEN`"
        )
    name, network, ends = _membership(certs)
    is_issuer = (certs / "issuer.key").exists()
    folders = _set_aside(storage, STOP_TIMEOUT if answer is not None else 0.0)
    print(f"This host has left {network}.", flush=True)
    for line in _consequences(answer, name, ends):
        print(line, file=sys.stderr)
    for line in _remains(folders, is_issuer):
        print(line, file=sys.stderr)
    return 0


def _membership(certs: Path) -> tuple[str, str, str]:
    """Name, mesh and, in parentheses, the end of the certificate, as far as it can be read."""
    from meshd.commands.show import read_certificates
    from meshd.node.invitation import show_time

    try:
        leaf = read_certificates(certs / "node.crt")[0]
    except LocalError:
        return "NODE", "its mesh", ""
    return leaf.name, leaf.network, f" ({show_time(leaf.not_after)})"


def _set_aside(storage: Storage, patience: float) -> list[Path]:
    """Move the files; a daemon that cannot be watched may hold them for a moment."""
    from meshd.host.aside import set_membership_aside

    until = time.monotonic() + patience
    while True:
        try:
            with storage.locked():
                return set_membership_aside(storage.certs, storage.state)
        except LocalError:
            if time.monotonic() >= until:
                raise
            time.sleep(STEP)


def _consequences(answer: dict[str, Any] | None, name: str, ends: str) -> list[str]:
    revoke = f"until its certificate ends{ends}, or `meshd revoke {name}` is typed on an issuer"
    if answer is None:
        return [
            f"No daemon ran here, so nobody was told: others see it as offline {revoke}.",
        ]
    if not answer["final"]:
        return [f"Its certificate is too large to be told of: it stays valid {revoke}."]
    if not answer["told"]:
        return [f"No other member could be reached to be told: it stays known {revoke}."]
    count = int(answer["told"])
    told = "One other member was" if count == 1 else f"{count} other members were"
    return [f"{told} told, who tell the rest: its certificate is void, its name and address free."]


def _remains(folders: Sequence[Path], is_issuer: bool) -> list[str]:
    lines = [f"Its files were kept, in {' and '.join(map(str, folders))}: delete them at will."]
    if is_issuer:
        lines.append(
            "Among them is issuer.key: if no other node is an issuer, nobody can be let in now."
        )
    lines.append("To come back, ask for a new invitation and type `meshd join -`.")
    return lines
