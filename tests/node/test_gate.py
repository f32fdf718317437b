"""The shapes that the host and the node agree on at the TLS port."""

from __future__ import annotations

from meshd.node.gate import Admit, Gate, Refuse, Verdict, Wait
from meshd.node.wire import Endpoint


class Password:
    """A gate that knows one word."""

    def greet(self, endpoint: Endpoint, certificate: bytes, now: float) -> bytes | None:
        return b"word" if endpoint[1] == 443 else None

    def admit(self, first: bytes, source: Endpoint, certificate: bytes, now: float) -> Verdict:
        if first.startswith(b"word"):
            return Admit(4)
        return Wait() if b"word".startswith(first) else Refuse()


def test_a_gate_tells_members_from_others_and_from_those_it_has_not_heard_out() -> None:
    gate: Gate = Password()
    source = ("tls:192.0.2.1", 443)
    greeting = gate.greet(source, b"", 0.0)
    assert greeting == b"word"
    assert gate.greet(("tls:192.0.2.1", 80), b"", 0.0) is None
    assert gate.admit(greeting + b"rest", source, b"", 0.0) == Admit(len(greeting))
    assert gate.admit(b"wo", source, b"", 0.0) == Wait()
    assert gate.admit(b"GET /", source, b"", 0.0) == Refuse()
