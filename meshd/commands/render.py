"""Turns the daemon's answers into text for people: tables, sizes, times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshd.contract import Found, PathStatus, PeerStatus, Pong, Route, Status

SHORT_ID = 8
"""Hex digits of an id that are enough for a person to tell nodes apart."""

LOSSY = 0.01
"""Share of lost segments from which a path is called lossy though it carries no parity."""

STATE_ORDER = {"alive": 0, "suspect": 1, "dead": 2, "left": 3}


def table(rows: Sequence[Sequence[str]]) -> str:
    """`rows` in columns as wide as their widest cell; the first row is the header."""
    clean = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*clean, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in clean
    )
    return "\n".join(line.rstrip() for line in lines)


def printable(text: str) -> str:
    """`text` with everything that could steer a terminal replaced."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def size(count: int) -> str:
    """Bytes in powers of 1000: `0 B`, `1.2 kB`, `3.4 GB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """`4s`, `3m`, `2h`, `5d`: the largest unit that fits."""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def milliseconds(rtt_ms: float | None) -> str:
    """`1.24 ms`, `32.4 ms`, or `-`."""
    if rtt_ms is None:
        return "-"
    return f"{rtt_ms:.2f} ms" if rtt_ms < 10 else f"{rtt_ms:.1f} ms"


def percent(share: float) -> str:
    """`0%`, `0.4%`, `1.2%`, `12%`."""
    return f"{share * 100:.1f}%" if 0.0005 <= share < 0.0995 else f"{share * 100:.0f}%"


def status(data: Status) -> str:
    """The whole status: this node, its peers, then what is to be noticed."""
    me = data["self"]
    network = me.get("network") or me["mesh"]
    head = f"{me['name']} in {network}: {', '.join(me['addresses'])}"
    roles = f"; {', '.join(me['roles'])}" if me["roles"] else ""
    lines = [printable(f"{head}{roles}; id {me['id'][:SHORT_ID]}, meshd {me['version']}"), ""]
    peers = sorted(
        data["peers"], key=lambda peer: (STATE_ORDER.get(peer["state"], 9), peer["name"])
    )
    names = {peer["id"]: peer["name"] for peer in peers}
    if peers:
        header = ("ADDRESS", "NAME", "STATE", "RTT", "LOSS", "SENT", "RECEIVED", "LAST ERROR")
        lines.append(table([header, *(_peer_row(peer, names) for peer in peers)]))
    else:
        lines.append("No other node yet: type `meshd invite` to let one in.")
    notices = data.get("notices", [])
    if notices:
        lines += ["", "# Notices:", *(printable(f"#     - {text}") for text in notices)]
    return "\n".join(lines)


def _peer_row(peer: PeerStatus, names: Mapping[str, str]) -> tuple[str, ...]:
    path = peer["path"]
    return (
        peer["addresses"][0] if peer["addresses"] else "-",
        peer["name"],
        _state(peer, names),
        milliseconds(path["rtt_ms"] if path else None),
        percent(path["loss"]) if path else "-",
        size(peer["tx_bytes"]),
        size(peer["rx_bytes"]),
        peer["last_error"] or "-",
    )


def _state(peer: PeerStatus, names: Mapping[str, str]) -> str:
    """State words as users of such tools know them."""
    path, seen = peer["path"], peer["last_seen_s"]
    ago = f", last seen {duration(seen)} ago" if seen is not None else ""
    match peer["state"]:
        case "left":
            return "left"
        case "dead":
            return f"offline{ago}"
        case "suspect":
            return f"suspect{ago}"
    return f"active; {way(path, names)}{_lossy(path)}" if path else "idle"


def _lossy(path: PathStatus) -> str:
    """`, lossy: 11% parity`, or nothing."""
    if path["parity"]:
        return f", lossy: {path['parity'] * 100:.0f}% parity"
    return ", lossy" if path["loss"] >= LOSSY else ""


def way(path: PathStatus, names: Mapping[str, str]) -> str:
    """`direct 192.0.2.1:443`, `relay "beta"`, `stream 192.0.2.1:443`."""
    via = path["via"]
    if path["kind"] == "relay" and via:
        return f'relay "{names.get(via, via[:SHORT_ID])}"'
    return f"{path['kind']} {path['endpoint'] or ''}".rstrip()


def pong(answer: Pong) -> str:
    """`pong from beta (100.64.3.4) via direct 192.0.2.1:443 in 1.24 ms`."""
    via = f'relay "{answer["via"]}"' if answer["kind"] == "relay" else ""
    came = via or f"{answer['kind']} {answer['via']}"
    who = f"{answer['name']} ({answer['address']})"
    return printable(f"pong from {who} via {came} in {milliseconds(answer['rtt_ms'])}")


def found(data: Found) -> str:
    """One node that a lookup found."""
    rows = [
        ("name", data["name"]),
        ("id", data["id"]),
        ("addresses", ", ".join(data["addresses"])),
        ("roles", ", ".join(data["roles"]) or "-"),
        ("state", data["state"]),
        ("endpoints", ", ".join(data["endpoints"]) or "-"),
        ("answered by", _answered(data)),
    ]
    if data["route"]:
        rows.append(("through", f"its route {data['route']}"))
    return table(rows)


def _answered(data: Found) -> str:
    """Who told where it is: this node, or one that was asked."""
    hops = data["hops"]
    if not hops:
        return data["answered_by"]
    return f"{data['answered_by']}, {hops} hop{'s' if hops > 1 else ''} away"


def routes(data: Sequence[Route]) -> str:
    """Every route and who offers it."""
    if not data:
        return "No node offers a route."
    rows = [
        (
            route["prefix"],
            route["name"],
            route["id"][:SHORT_ID],
            "yes" if route["selected"] else "no",
        )
        for route in data
    ]
    return table([("PREFIX", "NODE", "ID", "SELECTED"), *rows])
