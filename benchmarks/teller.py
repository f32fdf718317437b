"""A ``meshd`` that on SIGUSR1 tells its peers a thousand pieces of news at once.

``python -m benchmarks.teller ARGUMENTS`` takes meshd's. The news are ROUTES records, the kind that
costs their receivers the most: each is verified, replaces the one before, is acted on and passed
on. They go to every peer in messages as gossip makes them, but without its pauses.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from gossip.items import RecordItem, encode_item, paged
from gossip.members import MemberState
from gossip.messages import Gossip, body_size, encode
from gossip.records import RecordKind
from meshd import cli, daemon
from meshd.node import control
from meshd.node.records import encode_routes

COUNT = 1000
GRANT = "10.77.0.0/16"
"""The route that its certificate has to grant."""
PACKET_SIZE = 1150


def prefix(number: int) -> str:
    """What the record of this number offers; the number of the last one is ``COUNT - 1``."""
    return f"10.77.{number % 200}.0/24"


class Teller(daemon.Daemon):
    """A daemon with one signal more."""

    def _signals(self) -> None:
        super()._signals()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._tell)

    def _tell(self) -> None:
        now, node = asyncio.get_running_loop().time(), self._node
        # What is published is spread with the next round: our own messages are older by then.
        told = [
            node.gossip.publish(RecordKind.ROUTES, encode_routes([prefix(number)]), now)
            for number in range(COUNT)
        ]
        member = node.gossip.record(self._identity.id, RecordKind.MEMBER)
        sequence = member.sequence if member is not None else 0
        items = [encode_item(RecordItem(record, MemberState.ALIVE)) for record in told]
        for page in paged(items, PACKET_SIZE - body_size(Gossip()), COUNT):
            payload = encode(sequence, Gossip(), page)
            for peer in node.state.peers.values():
                node._dialogue.send(peer, control.Gossip(payload), now)
            self._pump.settle()


if __name__ == "__main__":
    daemon.Daemon = Teller  # type: ignore[misc]
    sys.exit(cli.main(sys.argv[1:]))
