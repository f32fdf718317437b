"""The three things that can be wrong, as their catchers see them."""

from __future__ import annotations

from meshd.node.errors import AegisError, HostError, LocalError, RemoteError


def test_a_host_error_is_told_as_a_local_one_with_an_exit_code_of_its_own() -> None:
    error = HostError("no /dev/net/tun here: load it with `modprobe tun`")
    assert isinstance(error, LocalError)
    assert (str(error), error.exit_code, LocalError("x").exit_code) == (error.args[0], 3, 1)


def test_a_remote_error_is_counted_by_its_reason_and_not_by_what_the_peer_said() -> None:
    error = RemoteError("replay", "counter 7")
    assert (error.reason, str(error)) == ("replay", "replay: counter 7")
    assert str(RemoteError("replay")) == "replay"


def test_all_errors_on_purpose_have_one_base_and_misuse_is_not_misbehaviour() -> None:
    assert issubclass(RemoteError, AegisError)
    assert issubclass(LocalError, AegisError)
    assert not issubclass(RemoteError, LocalError)
