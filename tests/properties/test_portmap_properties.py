"""Whatever a gateway answers, and whenever: it is asked seldom, and believed within bounds."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from meshd.node import pcp
from meshd.node.errors import RemoteError
from meshd.node.pcp import Transport
from meshd.node.portmap import LIFETIME, Portmap
from tests.node.gateways import (
    CLIENT,
    GATEWAY,
    OUTSIDE,
    SOURCE,
    natpmp_address,
    natpmp_mapped,
    pcp_head,
    pcp_mapped,
)

PORTS = ((Transport.UDP, 443), (Transport.TCP, 443))


@dataclass(frozen=True)
class Answer:
    """What to make an answer of, when the request is known; `silence` is none."""

    kind: str
    port: int
    lifetime: int
    epoch: int
    result: int
    noise: bytes


answers = st.builds(
    Answer,
    st.sampled_from(["mapped", "announced", "address", "port", "noise", "silence"]),
    st.integers(0, 65535),
    st.sampled_from([0, 1, 20, 3600, 2**32 - 1]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 0, 0, 1, 2, 8]),
    st.binary(),
)


def made(answer: Answer, request: bytes) -> bytes:
    kind, port, lifetime = answer.kind, answer.port, answer.lifetime
    epoch, result = answer.epoch, answer.result
    if kind == "mapped":
        nonce, transport = (request[24:36], request[36]) if len(request) == 60 else (bytes(12), 17)
        endpoint = (OUTSIDE, port)
        return pcp_mapped(nonce, 443, endpoint, lifetime, epoch, transport=transport, result=result)
    if kind == "announced":
        return pcp_head(0, result, lifetime, epoch)
    if kind == "address":
        return natpmp_address(OUTSIDE, epoch, result)
    if kind == "port":
        opcode = request[1] if len(request) == 12 else 1
        return natpmp_mapped(443, port, lifetime, epoch, opcode=opcode, result=result)
    return answer.noise


def taken_or_refused(asking: Portmap, data: bytes, now: float) -> bool:
    """Whether nothing changed if `data` was refused."""
    before = (asking.mappings(), asking.errors.copy(), asking.next_at(now))
    try:
        asking.receive(data, SOURCE, now)
    except RemoteError:
        return (asking.mappings(), asking.errors, asking.next_at(now)) == before
    return True


@given(st.lists(answers, max_size=40), st.integers(0, 1000))
def test_a_gateway_is_asked_seldom_whatever_it_says(script: list[Answer], seed: int) -> None:
    asking = Portmap(GATEWAY, CLIENT, PORTS, bytes(32), Random(seed), 0.0)
    now, sent, turns = 0.0, 0, 0
    while now < 300:
        turns += 1
        asking.handle_timer(now)
        for request in asking.drain():
            sent += 1
            answer = script.pop(0) if script else None
            if answer is not None and answer.kind != "silence":
                assert taken_or_refused(asking, made(answer, request), now)
        for mapping in asking.mappings():
            assert now <= mapping.expires <= now + LIFETIME
            assert mapping.endpoint[1] > 0
        now = max(now, asking.next_at(now))
    assert sent <= 250
    assert turns <= 600


@given(st.binary(max_size=1200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(RemoteError):
        assert pcp.decode(data) is not None
