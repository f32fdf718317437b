"""Verbs on certificates: `meshd revoke NODE`, `meshd renew`."""

from __future__ import annotations

import argparse
import json
import sys

from meshd.commands import render
from meshd.commands.client import DaemonClient

RENEW_TIMEOUT = 45.0
"""Seconds: a few issuers may be asked, one after the other."""


def revoke(args: argparse.Namespace) -> int:
    """`meshd revoke NODE`: take its certificates back; asks nothing."""
    data = DaemonClient(args.socket).post("/v1/revoke", {"node": args.node})
    if args.json:
        print(json.dumps(data, indent=2))
        return 0
    name = f"{data['name']} ({data['id']})"
    if data["serials"]:
        print(render.printable(f"Revoked: {name}."))
        print("It is on disk, and on its way to every member.", file=sys.stderr)
    else:
        print(render.printable(f"{name} was revoked before: nothing is new."))
    for sentence in data["elsewhere"]:
        print(render.printable(f"Not done yet: {sentence}."))
    return 0


def renew(args: argparse.Namespace) -> int:
    """`meshd renew`: get a new certificate now, instead of in the last third of its life."""
    data = DaemonClient(args.socket).post("/v1/renew", {}, RENEW_TIMEOUT)
    if args.json:
        print(json.dumps(data, indent=2))
    else:
        text = f"{data['name']} has a new certificate, until {data['not_after']}."
        print(render.printable(text))
    return 0
