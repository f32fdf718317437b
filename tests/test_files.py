"""Files that survive a crash."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshd.files import (
    MAX_FILE,
    make_directory,
    read_file,
    seal,
    set_aside,
    told,
    unseal,
    write_file,
)
from meshd.node.errors import LocalError


def test_a_file_is_written_with_its_mode_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_file(path, b"one", 0o600)
    write_file(path, b"two", 0o600)
    assert read_file(path, secret=True) == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_crash_left_beside_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".a.new").write_bytes(b"half")
    write_file(tmp_path / "a", b"whole", 0o600)
    assert os.listdir(tmp_path) == ["a"]


def test_no_file_is_none(tmp_path: Path) -> None:
    assert read_file(tmp_path / "a", secret=True) is None
    assert read_file(tmp_path / "b" / "a", secret=False) is None


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_secret_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    write_file(path, b"k", 0o600)
    path.chmod(mode)
    with pytest.raises(LocalError, match=f"mode {mode:04o}.*chmod 600 {path}"):
        read_file(path, secret=True)
    assert read_file(path, secret=False) == b"k"


def test_a_directory_a_pipe_or_a_huge_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(MAX_FILE + 1)
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "huge"):
        with pytest.raises(LocalError, match="not a file of ours"):
            read_file(path, secret=False)


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_file(path, b"old", 0o600)
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from meshd.files import write_file; from meshd.node.errors import LocalError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_file(Path(sys.argv[1]), bytes(5000), 0o600)\n"
        "except LocalError as error:\n    print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"cannot write {path}: File too large\n"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_in_the_place_of_a_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(LocalError, match=r"cannot create .*/state"):
        make_directory(tmp_path / "state", 0o700)
    with pytest.raises(LocalError, match=r"cannot read .*/state/a: Not a directory"):
        read_file(tmp_path / "state" / "a", secret=False)


def test_refusals_of_the_kernel_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"permission denied; run as root"), told(tmp_path, "read"):
        raise PermissionError(13, "Permission denied")
    with (
        pytest.raises(LocalError, match=r"cannot write .*: No space left"),
        told(tmp_path, "write"),
    ):
        raise OSError(28, "No space left on device")
    for number, remedy in ((errno.ENOSPC, "make room"), (errno.EROFS, "make it writable")):
        with pytest.raises(LocalError, match=remedy), told(tmp_path, "write"):
            raise OSError(number, os.strerror(number))


def test_sealed_content_comes_back() -> None:
    assert unseal("a", seal("a", b"payload")) == b"payload"
    assert unseal("a", seal("a", b"")) == b""


def test_sealed_content_under_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="checksum"):
        unseal("b", seal("a", b"payload"))


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    whole = seal("a", b"payload")
    for position in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[position] ^= 1 << position % 8
        for data in (bytes(spoilt), whole[:position]):
            with pytest.raises(ValueError, match="checksum"):
                unseal("a", data)


def test_what_is_set_aside_is_not_overwritten(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "a").write_text(str(number))
        set_aside(tmp_path / "a", "damaged")
    kept = {path.name: path.read_text() for path in sorted(tmp_path.iterdir())}
    assert kept == {"a.damaged": "0", "a.damaged.2": "1", "a.damaged.3": "2"}


def test_setting_aside_is_bounded(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / "a").write_text(str(number))
        set_aside(tmp_path / "a", "damaged")
    assert len(os.listdir(tmp_path)) == 9
