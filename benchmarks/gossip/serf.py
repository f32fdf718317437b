"""Fifty of Debian's serf agents: memberlist, and serf's reconnects, with the profile `lan`.

They are watched over their RPC, whose log stream tells of members when an agent first sees a
change (its event stream holds them back for a second or more, to tell of several at once), and
whose event stream tells of user events, sent uncoalesced for the same reason.
"""

from __future__ import annotations

import re
import socket
import time
from functools import partial

from benchmarks.gossip import msgpack
from benchmarks.gossip.directory import PORT, address_of
from benchmarks.gossip.swarm import Observation, Swarm
from simulations.lab.waiting import LabError, wait_until

RPC_PORT = 7373
MEMBER = re.compile(r"serf: EventMember(Join|Failed|Leave): n(\d+) ")


class Rpc:
    """A connection to one agent's RPC."""

    def __init__(self, observer: int, connection: socket.socket) -> None:
        self.connection = connection
        self._observer = observer
        self._sequence = 0
        self._rest = b""

    def call(self, command: str, body: msgpack.Value = None) -> None:
        """Send a request; what comes back is left to `parse`."""
        head = msgpack.encode({"Command": command, "Seq": self._sequence})
        self._sequence += 1
        self.connection.sendall(head + (b"" if body is None else msgpack.encode(body)))

    def parse(self, data: bytes) -> list[Observation]:
        """The observations in what arrived. Raises LabError when serf refuses a request."""
        now = time.monotonic()
        data, at, found = self._rest + data, 0, []
        while at < len(data):
            try:
                value, at = msgpack.decode(data, at)
            except msgpack.IncompleteError:
                break
            assert isinstance(value, dict)
            if value.get("Error"):
                raise LabError(f"serf n{self._observer}: {value['Error']}")
            if value.get("Event") == "user":
                found.append(Observation(now, self._observer, "event", int(value["Name"])))
            elif member := MEMBER.search(value.get("Log", "")):
                what = "up" if member[1] == "Join" else "down"
                found.append(Observation(now, self._observer, what, int(member[2])))
        self._rest = data[at:]
        return found


class Serf(Swarm):
    """Debian's serf, not encrypted, as its package starts it."""

    name = "serf"

    def start(self) -> None:
        """Start the agents alone, and subscribe to what they see."""
        self._rpc: dict[int, Rpc] = {}
        for number in range(self.count):
            address = address_of(number, self.count)
            line = ["serf", "agent", f"-node=n{number}", f"-bind={address}:{PORT}"]
            line += [f"-rpc-addr={address}:{RPC_PORT}", "-profile=lan", "-log-level=err"]
            user = self.user_of(number)
            line = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *line]
            self.agents[number] = self.lab.popen(self.namespace.command(line))
        for number in range(self.count):
            connection = wait_until(
                partial(self._connect, number), f"serf n{number} to answer", 60.0
            )
            self.lab.on_close(connection.close)
            rpc = self._rpc[number] = Rpc(number, connection)
            rpc.call("handshake", {"Version": 1})
            rpc.call("monitor", {"LogLevel": "INFO"})
            rpc.call("stream", {"Type": "user"})
            self.watcher.watch(connection, rpc.parse)

        def ready() -> bool:
            self.check()
            return all(self.watcher.first("up", n) for n in range(self.count))

        wait_until(ready, "serf's agents to start", 60.0)

    def join(self) -> None:
        """Have each join through n0."""
        for number in range(1, self.count):
            seed = f"{address_of(0, self.count)}:{PORT}"
            self._rpc[number].call("join", {"Existing": [seed], "Replay": False})

    def publish(self, origin: int, event: int) -> None:
        """Send a user event."""
        body: msgpack.Value = {"Name": str(event), "Payload": b"", "Coalesce": False}
        self._rpc[origin].call("event", body)

    def _connect(self, number: int) -> socket.socket | None:
        with self.namespace.entered():
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.connect((address_of(number, self.count), RPC_PORT))
        except OSError:
            connection.close()
            return None
        return connection
