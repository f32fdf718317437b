from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from meshd.host.listeners import UnixListener, open_tcp
from meshd.node.errors import HostError, LocalError


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def test_the_socket_is_open_to_owner_and_group_and_goes_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "meshd.sock"
    umask = os.umask(0o022)
    try:
        listener = UnixListener(path)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert connects(path)
    listener.close()
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "meshd.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert not connects(path)
    listener = UnixListener(path)
    assert connects(path)
    listener.close()


def test_a_live_socket_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "meshd.sock"
    first = UnixListener(path)
    with pytest.raises(LocalError, match=r"another meshd answers on .* down"):
        UnixListener(path)
    assert connects(path)
    first.close()


def test_a_live_socket_whose_queue_is_full_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.host.listeners.PROBE_TIMEOUT", 0.01)
    path = tmp_path / "meshd.sock"
    clients = []
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(2):
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].setblocking(False)
            clients[-1].connect_ex(str(path))
        with pytest.raises(LocalError, match="another meshd"):
            UnixListener(path)
        for client in clients:
            client.close()
    assert path.exists()


def test_another_kind_of_file_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "meshd.sock"
    path.write_text("precious")
    with pytest.raises(LocalError, match="is no socket"):
        UnixListener(path)
    assert path.read_text() == "precious"


def test_a_path_that_cannot_be_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"too long.*--socket"):
        UnixListener(tmp_path / ("x" * 120))
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="cannot make the socket"):
        UnixListener(tmp_path / "file" / "meshd.sock")


def test_closing_leaves_a_successors_socket(tmp_path: Path) -> None:
    path = tmp_path / "meshd.sock"
    first = UnixListener(path)
    path.rename(tmp_path / "moved")
    second = UnixListener(path)
    first.close()
    assert connects(path)
    second.close()


def test_a_taken_tcp_port_names_the_key_to_change() -> None:
    with open_tcp("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(HostError, match=rf"port {port}: the port is taken; set api\.listen"):
            open_tcp("127.0.0.1", port)
    with pytest.raises(HostError, match="Cannot assign"):
        open_tcp("192.0.2.1", 1)
