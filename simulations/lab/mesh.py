"""A mesh of lab hosts: make it, admit hosts to it, and see who sees whom."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulations.lab.host import Host, addresses, environment
from simulations.lab.ping import Pinger
from simulations.lab.waiting import LabError, wait_until

JOIN_LIMIT_S = 20.0
LIFETIME_S = 3600
"""Of an invitation."""


@dataclass(frozen=True, slots=True)
class View:
    """What one node says of another: its state, and the path kind and round trip if it has one."""

    state: str
    kind: str | None
    rtt_ms: float | None
    via: str | None


def found(host: Host, *options: str) -> dict[str, Any]:
    """``init`` on ``host``, start its daemon and return its status."""
    host.must("init", "--name", host.name, *options)
    host.start()
    return host.wait_up()


def invite(host: Host, *options: str) -> str:
    """A fresh token of ``host``: the last line that ``invite`` prints."""
    return host.must("invite", *options).strip().splitlines()[-1]


def token(inviter: Host, name: str, *roles: str) -> str:
    """A fresh token of a host whose daemon runs, without a new interpreter: what `invite` does."""
    body = {"name": name, "roles": roles, "lifetime": LIFETIME_S}
    return str(inviter.api("/v1/invite", body)["token"])


def admit(inviter: Host, hosts: Sequence[Host]) -> None:
    """Invite and join all ``hosts`` at the same time, each with its own token, and start them."""
    enrol(inviter, hosts, Host.start)


def enrol(
    inviter: Host, hosts: Sequence[Host], joined: Callable[[Host], object] = lambda host: None
) -> None:
    """As `admit`, but each is only handed to ``joined`` when it is in."""
    joining = [(host, _start_join(host, token(inviter, host.name))) for host in hosts]
    for host, process in joining:
        try:
            code = process.wait(JOIN_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{host.name}: meshd join hung for {JOIN_LIMIT_S:g} s") from error
        if code != 0:
            raise LabError(f"{host.name}: meshd join failed: {host.last_log_line()}")
        joined(host)


def views(status: Mapping[str, Any]) -> dict[str, View]:
    """The other nodes by name, as one node's status has them."""
    return {peer["name"]: _view(peer) for peer in status["peers"]}


def wait_connected(hosts: Sequence[Host], deadline_s: float = 20.0) -> dict[str, tuple[str, str]]:
    """Wait until every host answers every other's ping over both families; their addresses."""
    known = {host.name: addresses(host.wait_up(deadline_s)) for host in hosts}
    pingers = {host.name: Pinger(host.namespace) for host in hosts}
    missing = {(a, b, ip) for a in known for b in known if a != b for ip in known[b]}

    def all_answer() -> bool:
        for name, pinger in pingers.items():
            waiting = sorted(ip for a, _, ip in missing if a == name)
            answered = {ip for ip, rtt in pinger.ping_all(waiting, 0.5).items() if rtt is not None}
            missing.difference_update({m for m in missing if m[0] == name and m[2] in answered})
        return not missing

    try:
        wait_until(all_answer, "every pair to talk", deadline_s, detail=lambda: _pairs(missing))
    finally:
        for pinger in pingers.values():
            pinger.close()
    return known


def _start_join(host: Host, token: str) -> subprocess.Popen[bytes]:
    """Start ``meshd join -`` and hand it the token on stdin, where no process list shows it."""
    with host.log.open("ab") as log:
        line = host.command("join", "-")
        process = host.lab.popen(line, stdin=subprocess.PIPE, output=log, env=environment())
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin:  # its exit code says why it ended
            process.stdin.write(token.encode() + b"\n")
    return process


def _view(peer: Mapping[str, Any]) -> View:
    path = peer.get("path") or {}
    return View(peer["state"], path.get("kind"), path.get("rtt_ms"), path.get("via"))


def _pairs(missing: Iterable[tuple[str, str, str]]) -> str:
    return ", ".join(f"{a} does not reach {b} ({ip})" for a, b, ip in sorted(missing))
