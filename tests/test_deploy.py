"""What is handed to other programs: the image, the unit, the Makefile and its preparations."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from meshd.config import load

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "deploy/systemd/meshd.service"
STATE_FOLDERS = ("/etc/aegisray/certs", "/var/lib/aegisray", "/var/log/aegisray", "/run/aegisray")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, argument) pairs, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def arguments(instruction: str) -> list[str]:
    """Arguments of one kind of instruction in the last stage, in order."""
    found = instructions()
    last = max(i for i, (name, _) in enumerate(found) if name == "FROM")
    return [argument for name, argument in found[last:] if name == instruction]


def test_the_image_has_only_known_instructions_in_a_sound_order() -> None:
    names = [name for name, _ in instructions()]
    known = (
        "FROM WORKDIR COPY RUN LABEL ENV USER EXPOSE VOLUME HEALTHCHECK STOPSIGNAL ENTRYPOINT CMD"
    )
    assert set(names) <= set(known.split())
    assert names[0] == "FROM"
    assert names.count("ENTRYPOINT") == names.count("CMD") == 1


def test_the_image_is_based_on_slim_python_in_every_stage() -> None:
    bases = [argument.split()[0] for name, argument in instructions() if name == "FROM"]
    assert set(bases) == {"python:3.11-slim"}


def test_the_image_runs_as_uid_1000_from_exec_form_commands() -> None:
    assert arguments("USER") == ["1000:1000"]
    assert "--uid 1000" in " ".join(arguments("RUN"))
    assert json.loads(arguments("ENTRYPOINT")[0]) == ["/usr/local/bin/entrypoint"]
    assert json.loads(arguments("CMD")[0]) == ["up"]


def test_everything_the_daemon_writes_is_a_volume_so_that_the_root_can_be_read_only() -> None:
    volumes = json.loads(arguments("VOLUME")[0])
    made = " ".join(arguments("RUN"))
    for folder in STATE_FOLDERS:
        assert folder in volumes
        assert folder in made
    assert "PYTHONDONTWRITEBYTECODE=1" in arguments("ENV")[0]


def test_the_image_checks_its_own_health() -> None:
    (check,) = arguments("HEALTHCHECK")
    command = json.loads(check.split("CMD", 1)[1])
    assert command[-1].endswith(":8080/health")
    assert command[0] in " ".join(arguments("RUN"))


def test_the_image_serves_health_and_metrics_beyond_its_own_loopback(tmp_path: Path) -> None:
    (command,) = [run for run in arguments("RUN") if run.startswith("printf")]
    shell, place = command.rsplit(" >", 1)
    assert place == "/etc/aegisray/node.toml"
    file = tmp_path / "node.toml"
    file.write_text(subprocess.run(["sh", "-c", shell], capture_output=True, text=True).stdout)
    assert load(file, {}).api.listen == ("0.0.0.0", 8080)
    assert "8080/tcp" in arguments("EXPOSE")[0].split()


def test_the_image_exposes_udp_and_tcp_443() -> None:
    assert {"443/udp", "443/tcp"} <= set(arguments("EXPOSE")[0].split())


def test_the_build_context_holds_what_the_image_copies_and_the_package_needs() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert {"LICENSE", "README.md", "pyproject.toml", "gossip", "meshd", "simulations"} <= allowed
    for source in (a.split()[-2] for a in arguments("COPY") if "--from" not in a):
        assert (ROOT / source).exists()
        assert any(source.startswith(entry) for entry in allowed)


def entrypoint(tmp_path: Path, bounding: str, uid: int) -> str:
    """Run the entrypoint over a made-up image; the interpreter it chose and its arguments."""
    (tmp_path / "status").write_text(f"Name:\tsh\nCapBnd:\t{bounding}\n")
    fake_program(tmp_path, "id", f"echo {uid}")
    for name in ("python", "python-net-admin"):
        fake_program(tmp_path, name, f'echo {name} "$@"')
    text = (ROOT / "deploy/docker/entrypoint").read_text()
    text = text.replace("/proc/self/status", f"{tmp_path}/status")
    script = tmp_path / "entrypoint"
    script.write_text(text.replace("/opt/aegisray/bin", str(tmp_path)))
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run = subprocess.run(
        ["sh", str(script), "up"], env=environment, capture_output=True, text=True, check=True
    )
    return run.stdout.split()[0]


@pytest.mark.parametrize(
    ("bounding", "uid", "interpreter"),
    [
        ("0000000000001000", 1000, "python-net-admin"),
        ("00000000a80435fb", 1000, "python-net-admin"),
        ("00000000a80425fb", 1000, "python"),
        ("0000000000000000", 1000, "python"),
        ("0000000000001000", 0, "python"),
    ],
)
def test_the_entrypoint_takes_the_capability_only_where_it_was_granted(
    tmp_path: Path, bounding: str, uid: int, interpreter: str
) -> None:
    assert entrypoint(tmp_path, bounding, uid) == interpreter


def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_the_unit_runs_meshd_up_and_brings_it_back() -> None:
    service = unit()["Service"]
    assert service["ExecStart"].endswith("/meshd up")
    assert service["Restart"] == "on-failure"


def test_the_unit_grants_the_tun_device_and_little_else() -> None:
    service = unit()["Service"]
    assert service["DeviceAllow"] == "/dev/net/tun rw"
    assert "CAP_NET_ADMIN" in service["CapabilityBoundingSet"].split()
    assert "CAP_SYS_ADMIN" not in service["CapabilityBoundingSet"]
    for setting in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "RestrictNamespaces"):
        assert service[setting] == "yes"
    assert service["ProtectSystem"] == "strict"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here to ask")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    installed = tmp_path / "meshd.service"
    installed.write_text(
        UNIT.read_text().replace("/usr/local/bin/meshd", shutil.which("true") or "/bin/true")
    )
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(installed)], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def fake_program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def prepare(tmp_path: Path, *words: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run `.ci/prepare` in an empty checkout, seeing only a few tools and the fake `programs`."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("sh", "dirname", "cat", "cksum", "tail", "rm", "mkdir"):
        (binaries / name).symlink_to(shutil.which(name) or name)
    for name, script in programs.items():
        fake_program(binaries, name.replace("_", "-"), script)
    (tmp_path / ".ci").mkdir()
    copy = tmp_path / ".ci/prepare"
    copy.write_text((ROOT / ".ci/prepare").read_text().replace(':/usr/sbin:/sbin"', '"'))
    (tmp_path / "pyproject.toml").write_text("")
    return subprocess.run(
        [str(binaries / "sh"), str(copy), *words],
        env={"PATH": str(binaries)},
        capture_output=True,
        text=True,
    )


def test_a_missing_program_is_named_with_what_to_type(tmp_path: Path) -> None:
    run = prepare(tmp_path, "tools", "sh=dash", "nft=nftables", id="echo 1000", apt_get="exit 9")
    assert run.returncode == 1
    assert run.stderr == "Missing: nftables. Type: sudo apt-get install nftables\n"


def test_a_missing_program_is_installed_as_root(tmp_path: Path) -> None:
    run = prepare(
        tmp_path,
        "tools",
        "nft=nftables",
        "ip=iproute2",
        id="echo 0",
        apt_get=f'echo "$@" >>{tmp_path}/calls',
    )
    assert run.returncode == 0, run.stderr
    assert "install nftables iproute2" in (tmp_path / "calls").read_text()


def test_a_host_without_apt_is_told_so(tmp_path: Path) -> None:
    run = prepare(tmp_path, "tools", "nft=nftables", id="echo 0")
    assert run.returncode == 1
    assert "no Debian" in run.stderr
    assert "nftables" in run.stderr


def test_an_old_python_is_named(tmp_path: Path) -> None:
    old = 'case "$1" in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac'
    run = prepare(tmp_path, "python", "yaml", python3=old, id="echo 0")
    assert run.returncode == 1
    assert "3.10 or later, found Python 3.9.2" in run.stderr


def test_a_python_without_venv_gets_it_from_debian_or_says_so(tmp_path: Path) -> None:
    bare = 'case "$*" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac'
    run = prepare(tmp_path, "python", "yaml", python3=bare, id="echo 1000", apt_get="exit 9")
    assert run.returncode == 1
    assert "sudo apt-get install python3-venv" in run.stderr


def test_what_needs_root_says_so(tmp_path: Path) -> None:
    run = prepare(tmp_path, "root", "demo", id="echo 1000")
    assert run.returncode == 1
    assert "sudo make demo" in run.stderr


def test_the_license_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert text.rstrip().endswith("limitations under the License.")
