"""What a daemon does with datagrams that nobody should have sent: no answer, a counter, no harm."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from simulations.lab import transfer
from simulations.lab.host import Host
from simulations.lab.namespaces import Lab, Namespace
from simulations.lab.ping import Pinger
from simulations.lab.waiting import wait_until
from tests.e2e.meshes import Pair, open_pair
from tests.e2e.wiretap import Datagram, Wiretap, answers

pytestmark = pytest.mark.e2e

PORT = 443
LEFT_PORT, RIGHT_PORT = "port0", "port1"  # the internet's devices, in the order of attachment
WIDEST = 1472  # what one packet of 1500 bytes carries
DROPPED = "aegisray_packets_dropped_total"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Lab() as lab:
        yield open_pair(lab)


@pytest.fixture(scope="module")
def stranger(pair: Pair) -> Namespace:
    return pair.internet.host("stranger")


def underlay(host: Host) -> str:
    text = host.namespace.ip("-4", "-o", "address", "show", "dev", "wan")
    return text.split()[3].partition("/")[0]


def refused(host: Host) -> float:
    return host.metric(DROPPED) + host.metric("aegisray_auth_failures_total")


def still_works(pair: Pair) -> None:
    payload = transfer.Payload(transfer.MIB)
    for address in pair.of(pair.left):
        moved = transfer.tcp(pair.right.namespace, pair.left.namespace, address, payload)
        assert moved.intact


def garbage() -> dict[str, list[bytes]]:
    """Datagrams that look like nothing, or almost like something."""
    rng = random.Random(1)
    kinds = [bytes([kind]) + rng.randbytes(size - 1) for kind in range(8) for size in (1, 16, 1200)]
    return {
        "random": [rng.randbytes(rng.randrange(1, 1400)) for _ in range(200)],
        "kinds": kinds,
        "empty": [b""],
        "zeros": [bytes(size) for size in (1, 4, 15, 16, 17, 31, 32, 33, 64, 1199, 1200, 1201)],
        "oversized": [bytes([kind]) + os.urandom(65506) for kind in (1, 2, 3, 4, 5)],
    }


@pytest.mark.parametrize("kind", garbage())
def test_a_strangers_datagrams_get_no_answer(pair: Pair, stranger: Namespace, kind: str) -> None:
    target = (underlay(pair.left), PORT)
    datagrams = garbage()[kind]
    before = refused(pair.left)
    with stranger.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        for datagram in datagrams:
            sender.sendto(datagram, target)
        assert answers(sender, 0.5) == []
    if kind != "empty":  # an empty datagram carries nothing that could be refused
        wait_until(lambda: refused(pair.left) - before >= len(datagrams) / 2, "a counter", 5.0)
    still_works(pair)


def captured(pair: Pair, tap: Wiretap) -> list[Datagram]:
    """Datagrams of all kinds from right to left: a handshake after a restart, then data."""
    pair.right.terminate()
    tap.seen()
    pair.right.start()
    pair.right.wait_up()
    with Pinger(pair.right.namespace) as pinger:
        wait_until(lambda: pinger.ping(pair.of(pair.left)[0]), "a ping", 15.0)
        for _ in range(20):
            pinger.ping(pair.of(pair.left)[0])
    target = (underlay(pair.left), PORT)
    return [datagram for datagram in tap.seen() if datagram.target == target]


def spoiled(datagrams: list[Datagram], how: str) -> list[Datagram]:
    rng = random.Random(2)

    def change(payload: bytes) -> bytes:
        if how == "replayed":
            return payload
        if how == "truncated":
            return payload[: rng.randrange(1, len(payload))]
        if how == "longer":
            return (payload + rng.randbytes(7))[:WIDEST]
        bit = rng.randrange(len(payload) * 8)
        flipped = payload[bit // 8] ^ 1 << bit % 8
        return payload[: bit // 8] + bytes([flipped]) + payload[bit // 8 + 1 :]

    return [Datagram(each.source, each.target, change(each.payload)) for each in datagrams]


@pytest.fixture(scope="module")
def recording(pair: Pair) -> list[Datagram]:
    with Wiretap(pair.internet.router, RIGHT_PORT) as tap:
        found = captured(pair, tap)
    assert len(found) > 20
    return found


@pytest.mark.parametrize("how", ["replayed", "truncated", "longer", "flipped"])
def test_spoiled_datagrams_of_a_member_change_nothing(
    pair: Pair, recording: list[Datagram], how: str
) -> None:
    before = refused(pair.left)
    with Wiretap(pair.internet.router, LEFT_PORT) as tap:
        for datagram in spoiled(recording, how):
            tap.send(datagram)
    wait_until(lambda: refused(pair.left) - before >= len(recording) / 4, "a counter", 5.0)
    still_works(pair)


def test_a_replay_from_another_address_does_not_move_the_path(
    pair: Pair, stranger: Namespace, recording: list[Datagram]
) -> None:
    with stranger.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        for datagram in recording:
            sender.sendto(datagram.payload, datagram.target)
        assert answers(sender, 0.5) == []
    still_works(pair)
    status = pair.left.status()
    assert status is not None
    assert status["peers"][0]["path"]["endpoint"] == f"{underlay(pair.right)}:{PORT}"


def test_traffic_goes_on_under_a_flood(
    pair: Pair, stranger: Namespace, recording: list[Datagram]
) -> None:
    before = refused(pair.left)
    payload = transfer.Payload(128 * transfer.MIB)
    moved: list[transfer.Transfer] = []
    source, target, address = pair.right.namespace, pair.left.namespace, pair.of(pair.left)[0]
    thread = threading.Thread(
        target=lambda: moved.append(transfer.tcp(source, target, address, payload))
    )
    noise = [datagram for kind in garbage().values() for datagram in kind]
    with stranger.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, Wiretap(pair.internet.router, LEFT_PORT) as tap:
        thread.start()
        while thread.is_alive():
            for datagram in noise:
                sender.sendto(datagram, (underlay(pair.left), PORT))
            for spoilt in [*recording, *spoiled(recording, "flipped")]:
                tap.send(spoilt)
            thread.join(0.01)
    assert [each.intact for each in moved] == [True]
    assert refused(pair.left) - before >= len(noise) / 2


def test_the_log_survives_strangers_in_few_lines(pair: Pair) -> None:
    lines = pair.left.log_text().splitlines()
    assert [line for line in lines if line.startswith(("Traceback", "  File"))] == []
    assert len(lines) < 300
