"""Verbs that explain how the network is: `why` and `netcheck`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from meshd.commands import render
from meshd.commands.client import DaemonClient

if TYPE_CHECKING:
    from meshd.contract import EndStatus, FamilyStatus, GatewayStatus, Netcheck, TriedStatus, Why

MAPPINGS = {
    "none": "none: peers see this host at an address of its own",
    "endpoint-independent": "endpoint-independent: a NAT shows all peers the same port, so they "
    "can be reached directly",
    "endpoint-dependent, sequential ports": "endpoint-dependent, sequential ports: a NAT shows "
    "each peer the next port, which can be foretold",
    "endpoint-dependent, random ports": "endpoint-dependent, random ports: a NAT shows each peer "
    "another port, so some are reached through relays",
    "unknown": "unknown: too few peers have seen this host over IPv4, in the open, yet",
}


def why(args: argparse.Namespace) -> int:
    """`meshd why PEER`."""
    data: Why = DaemonClient(args.socket).post("/v1/why", {"peer": args.peer})
    if args.json:
        print(json.dumps(data, indent=2))
        return 0
    names = {}
    if any(way["kind"] == "relay" for end in (data["here"], data["there"]) for way in end["tried"]):
        peers = DaemonClient(args.socket).get("/v1/status")["peers"]
        names = {peer["id"]: peer["name"] for peer in peers}
    print(explanation(data, names))
    return 0


def netcheck(args: argparse.Namespace) -> int:
    """`meshd netcheck`."""
    data: Netcheck = DaemonClient(args.socket).get("/v1/netcheck")
    print(json.dumps(data, indent=2) if args.json else report(data))
    return 0


def explanation(data: Why, names: Mapping[str, str]) -> str:
    """What `why` says to a person; `names` of relays by id."""
    path = data["path"]
    how = "not reached"
    if path is not None:
        how = f"reached by {render.way(path, names)}, {render.milliseconds(path['rtt_ms'])}"
    lines = [f"{data['name']} is {data['state']}, and {how}.", f"Why: {data['here']['reason']}."]
    for end, whose in ((data["here"], "this end"), (data["there"], "the other end")):
        lines += ["", *_end(end, whose, names)]
    return "\n".join(render.printable(line) for line in lines)


def _end(end: EndStatus, whose: str, names: Mapping[str, str]) -> list[str]:
    told = "" if end["told"] else " (could not be asked: this is what its record says)"
    lines = [f"{end['name']}, {whose}{told}"]
    if end["told"] and whose != "this end":
        lines.append(f"  says: {end['reason']}")
    lines.append("  may be found at:" if end["candidates"] else "  may be found nowhere yet")
    lines += [f"    {each['endpoint']}  {each['origin']}" for each in end["candidates"]]
    if not end["tried"]:
        return lines
    rows = []
    for way in end["tried"]:
        target = names.get(way["target"], way["target"][: render.SHORT_ID])
        via = f'relay "{target}"' if way["kind"] == "relay" else f"{way['kind']} {way['target']}"
        rows.append((f"    {via}", way["stands"], render.milliseconds(way["rtt_ms"]), _tries(way)))
    return [*lines, "  tried:", *render.table(rows).splitlines()]


def _tries(way: TriedStatus) -> str:
    """`no answer; 0 of 7 probes answered, the last sent 9s ago`."""
    told = [way["error"]] if way["error"] else []
    if way["sent"]:
        count = f"{way['answered']} of {way['sent']} probes answered"
        asked = way["asked_s"]
        told.append(f"{count}, last sent {render.duration(asked)} ago" if asked else count)
    return "; ".join(told)


def report(data: Netcheck) -> str:
    """What `netcheck` says to a person."""
    udp = {True: "yes", False: "no: peers are reached by streams alone", None: "nobody is reached"}
    rows = [
        ("UDP", udp[data["udp"]]),
        ("IPv4", _family(data["ipv4"])),
        ("IPv6", _family(data["ipv6"])),
        ("mapping", MAPPINGS.get(data["mapping"], data["mapping"])),
        *(("port mapping", _gateway(each)) for each in data["gateways"]),
        ("streams", "accepted" if data["accepts_streams"] else "not accepted"),
        (
            "peers",
            f"{data['direct']} direct, {data['relayed']} relayed, {data['streams']} by stream",
        ),
    ]
    lines = [render.table(rows), ""]
    if not data["relays"]:
        return "\n".join([*lines, "No peer would relay for this node."])
    relays = [
        (each["name"], render.milliseconds(each["rtt_ms"]), "yes" if each["role"] else "no")
        for each in data["relays"]
    ]
    return "\n".join([*lines, render.table([("RELAY", "RTT", "ROLE"), *relays])])


def _gateway(gateway: GatewayStatus) -> str:
    errors = [f"{protocol}: {text}" for protocol, text in gateway["errors"].items()]
    told = gateway["forwards"] or errors or ["no answer yet"]
    return f"{', '.join(told)}, at {gateway['gateway']}"


def _family(family: FamilyStatus) -> str:
    if not family["own"] and not family["seen"]:
        return "none"
    works = "yes" if family["works"] else "no peer reached over it"
    own = f"; own {', '.join(family['own'])}" if family["own"] else ""
    seen = f"; seen at {', '.join(family['seen'])}" if family["seen"] else ""
    return f"{works}{own}{seen}"
