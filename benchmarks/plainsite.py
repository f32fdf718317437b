"""The website that a stealthy node is compared with: the same site, the same TLS, and no mesh.

``python -m benchmarks.plainsite CERTIFICATE KEY PORT DIRECTORY`` serves until it is killed.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from meshd.accepting import Entrance
from meshd.dialling import Manner
from meshd.host.tlscert import ServedCertificate, client_context
from meshd.host.website import Site, nothing
from meshd.node.gate import Refuse, Verdict
from meshd.node.wire import Endpoint
from meshd.streams import StreamHost, website_for


class Nobody:
    """A gate that lets nobody in, and looks at nothing."""

    def greet(self, endpoint: Endpoint, certificate: bytes, now: float) -> bytes | None:
        """See `gate.Gate.greet`."""
        return None

    def admit(self, first: bytes, source: Endpoint, certificate: bytes, now: float) -> Verdict:
        """See `gate.Gate.admit`."""
        return Refuse()


async def serve(certificate: Path, key: Path, port: int, directory: str) -> None:
    """Serve `directory` on TCP `port` for ever."""
    host = StreamHost(
        Nobody(),
        Manner(client_context()),
        on_batch=lambda data, segment, source: None,
        on_closed=lambda endpoint, reason: None,
    )
    site = website_for(directory, front=True, clock=time.time)
    plain = Site(nothing(), time.time, plain=True)
    host.listen(port, Entrance(ServedCertificate(certificate, key), site, plain))
    gc.collect()
    gc.freeze()  # as the daemon does
    await asyncio.Event().wait()


def main(argv: Sequence[str]) -> None:
    """Serve what the command line names."""
    certificate, key, port, directory = argv
    asyncio.run(serve(Path(certificate), Path(key), int(port), directory))


if __name__ == "__main__":
    main(sys.argv[1:])
