"""The errors of the library."""

from __future__ import annotations

from gossip.errors import DecodeError, GossipError


def test_a_decode_error_is_a_gossip_error_is_a_value_error() -> None:
    error = DecodeError("too short")
    assert isinstance(error, GossipError)
    assert isinstance(error, ValueError)
    assert (error.reason, str(error)) == ("malformed", "malformed: too short")


def test_a_reason_alone_is_the_message() -> None:
    assert str(GossipError("own-message")) == "own-message"
