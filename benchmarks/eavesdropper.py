"""An HTTP proxy that writes down how a member's stream begins.

The first connection it writes down as it is on the line, and then breaks. The second it opens: it
has the certificate and the key of the server that the member wants, as whoever stands before that
one and ends its TLS would, so that tokens bound to the certificate hold.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from pathlib import Path

from simulations.lab.namespaces import Namespace

PORT = 3128
LISTEN_S = 1.0
"""How long a member is listened to."""
PATIENCE_S = 10.0


class Eavesdropper:
    """Listens in `place` on all addresses.

    Attributes:
        wire: what the first connection's client sent, TLS and all.
        flight: what the second's said inside TLS.
        done: set when both are there.
    """

    def __init__(self, place: Namespace, certificate: Path, key: Path) -> None:
        self._place = place
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.load_cert_chain(certificate, key)
        self._server.set_alpn_protocols(["http/1.1"])
        self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client.check_hostname, self._client.verify_mode = False, ssl.CERT_NONE
        with place.entered():
            self._listening = socket.create_server(("0.0.0.0", PORT))
        self.wire = self.flight = b""
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()

    def _serve(self) -> None:
        while not self.flight:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            with near, contextlib.suppress(OSError, ValueError):
                self._meet(near)
        self.done.set()

    def _meet(self, near: socket.socket) -> None:
        near.settimeout(PATIENCE_S)
        request = b""
        while b"\r\n\r\n" not in request:
            request += near.recv(4096)
        host, _, port = request.split(b" ")[1].decode().rpartition(":")
        with self._place.entered():
            far = socket.create_connection((host, int(port)), PATIENCE_S)
        near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with far:
            if not self.wire:
                self.wire = carry(near, far)
                return
            with (
                self._server.wrap_socket(near, server_side=True) as opened,
                self._client.wrap_socket(far) as sealed,
            ):
                self.flight = carry(opened, sealed)


def carry(near: socket.socket, far: socket.socket) -> bytes:
    """Pass on what comes from either, for `LISTEN_S` or until one ends; what came from `near`."""
    heard = b""
    end = time.monotonic() + LISTEN_S
    other = {near: far, far: near}
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([near, far], [], [], left)
        for sock in ready:
            data = sock.recv(65_536)
            if not data:
                return heard
            heard += data if sock is near else b""
            other[sock].sendall(data)
    return heard
