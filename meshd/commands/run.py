"""Verbs that run something: the daemon, its end, the demonstration."""

from __future__ import annotations

import argparse
import os

from meshd.commands.client import DaemonClient
from meshd.node.errors import LocalError


def up(args: argparse.Namespace) -> int:
    """`meshd up`: the daemon, in the foreground until `meshd down` or a signal."""
    from meshd.config import load
    from meshd.host.storage import Storage

    config = load(args.config, os.environ)
    storage = Storage(args.certs, args.state)
    if not storage.is_member():
        raise LocalError(
            f"this host is in no mesh yet (there is no certificate in {args.certs}): "
            "make one with `meshd init`, or join one with `meshd join TOKEN`"
        )
    from meshd import daemon

    return daemon.run(config, storage, args.socket)


def down(args: argparse.Namespace) -> int:
    """`meshd down`: returns once the daemon has ended."""
    DaemonClient(args.socket).stop()
    return 0


def demo(args: argparse.Namespace) -> int:
    """`meshd demo`: hands all arguments on."""
    from simulations.lab import demo as lab

    return lab.main(args.arguments)
