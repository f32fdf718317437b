"""What can go wrong on a host: each a clear sentence and an exit code, and nothing lost."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from simulations.lab.host import Host
from simulations.lab.mesh import found, invite, wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.topology import Internet

pytestmark = pytest.mark.e2e

_numbers = itertools.count()


@pytest.fixture(scope="module")
def lab_of_module() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def internet(lab_of_module: Lab) -> Internet:
    return Internet(lab_of_module)


@pytest.fixture(scope="module")
def founder(lab_of_module: Lab, internet: Internet) -> Host:
    host = Host(lab_of_module, internet.host("founder"))
    found(host)
    return host


@pytest.fixture
def host(internet: Internet) -> Host:
    return Host(internet.lab, internet.host(f"host{next(_numbers)}"))


@pytest.fixture(scope="module")
def member(internet: Internet, founder: Host) -> Host:
    """One that has joined and is down, as each test leaves it."""
    return joined(founder, Host(internet.lab, internet.host("member")))


def one_sentence(text: str, *words: str) -> None:
    """A person sees one line that holds the words, and no traceback."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    for word in words:
        assert word in lines[0], text


CLOCK = """
import time
_real, _shift = time.time, {seconds}
time.time = lambda: _real() + _shift
time.time_ns = lambda: int(time.time() * 1e9)
"""


def clock_off_by(host: Host, days: float) -> list[str]:
    """A prefix under which this host's Python takes another time for now."""
    folder = host.directory / "clock"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(CLOCK.format(seconds=days * 86400))
    return ["env", f"PYTHONPATH={folder}"]


def joined(founder: Host, host: Host) -> Host:
    host.must("join", "-", text=invite(founder) + "\n")
    return host


def test_a_token_works_once(founder: Host, host: Host, internet: Internet) -> None:
    token = invite(founder)
    host.must("join", "-", text=token + "\n")
    second = Host(internet.lab, internet.host("second"))
    done = second.meshd("join", "-", text=token + "\n")
    assert done.code != 0
    one_sentence(done.stderr, "used")
    host.start()
    host.wait_up()
    assert not (second.certs / "node.crt").exists()


def test_a_mangled_token_is_refused(founder: Host, host: Host) -> None:
    token = invite(founder)
    for bad in (token[:-4], token[:12] + token[16:], "aegis1-", "hello", ""):
        done = host.meshd("join", "-", text=bad + "\n")
        assert done.code != 0
        one_sentence(done.stderr)
    assert not host.certs.exists() or not list(host.certs.glob("node.*"))


def test_an_expired_token_is_refused(founder: Host, host: Host) -> None:
    token = invite(founder, "--expires", "1m")
    done = host.meshd("join", "-", text=token + "\n", prefix=clock_off_by(host, 0.01))
    assert done.code != 0
    one_sentence(done.stderr, "expired")


@pytest.mark.parametrize("days", [-1000, 1000])
def test_a_clock_far_off_is_named(founder: Host, member: Host, days: int) -> None:
    done = member.meshd("up", prefix=clock_off_by(member, days))
    assert done.code != 0
    one_sentence(done.stderr, "clock")
    member.start()
    wait_connected([founder, member])
    member.terminate()


def test_the_token_is_in_no_log_and_no_file(founder: Host, host: Host) -> None:
    token = invite(founder)
    host.must("join", "-", text=token + "\n")
    for place in (founder, host):
        for file in place.directory.rglob("*"):
            if file.is_file():
                assert token.encode() not in file.read_bytes(), file


def test_a_second_daemon_on_the_same_state_is_refused(founder: Host) -> None:
    assert founder.daemon is not None
    done = founder.meshd("up")
    assert done.code != 0
    one_sentence(done.stderr, str(founder.daemon.pid))
    assert founder.status() is not None


def test_a_taken_port_is_named(member: Host) -> None:
    with member.namespace.entered():
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with taken:
        taken.bind(("0.0.0.0", 443))
        done = member.meshd("up")
    assert done.code != 0
    one_sentence(done.stderr, "443")


def test_without_net_admin_one_sentence_says_so(member: Host) -> None:
    drop = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    done = member.meshd("up", prefix=drop)
    assert done.code != 0
    one_sentence(done.stderr, "NET_ADMIN")


def test_without_the_tun_device_one_sentence_says_so(member: Host) -> None:
    hide = 'mount -t tmpfs none /dev/net && exec "$@"'
    done = member.meshd("up", prefix=["unshare", "-m", "sh", "-c", hide, "sh"])
    assert done.code != 0
    one_sentence(done.stderr, "/dev/net/tun")


def test_without_a_mesh_it_says_how_to_get_one(host: Host) -> None:
    done = host.meshd("up")
    assert done.code != 0
    one_sentence(done.stderr, "init", "join")


def test_verbs_that_need_a_daemon_fail_without_one(host: Host) -> None:
    for verb in (["status"], ["status", "--json"], ["ping", "founder"], ["routes"], ["down"]):
        done = host.meshd(*verb)
        assert done.code != 0
        one_sentence(done.stderr)


def test_a_key_that_others_can_read_is_refused(member: Host) -> None:
    (member.certs / "node.key").chmod(0o644)
    done = member.meshd("up")
    (member.certs / "node.key").chmod(0o600)
    assert done.code != 0
    one_sentence(done.stderr, "node.key", "chmod")


@pytest.mark.parametrize("name", ["node.crt", "node.key", "ca.crt", "mesh.toml", "mesh.secret"])
def test_a_damaged_file_is_named(member: Host, name: str) -> None:
    content = (member.certs / name).read_bytes()
    (member.certs / name).write_bytes(content[: len(content) // 2] + b"?" * 9)
    done = member.meshd("up")
    assert done.code != 0
    one_sentence(done.stderr, name)
    (member.certs / name).write_bytes(content)
    member.start()
    member.wait_up()
    member.terminate()


def test_damaged_state_costs_nothing_that_can_be_rebuilt(founder: Host, member: Host) -> None:
    member.start()
    wait_connected([founder, member])
    member.terminate()
    for file in sorted(member.state.rglob("*")):
        if file.is_file() and file.name != "lock":
            file.write_bytes(b"\xff" + file.read_bytes()[:7])
    member.start()
    wait_connected([founder, member])
    assert "damaged" in member.log_text()
    member.terminate()


def test_a_join_that_cannot_reach_its_inviter_says_so(founder: Host) -> None:
    lonely = Host(founder.lab, founder.lab.namespace("lonely"))
    done = lonely.meshd("join", "-", text=invite(founder) + "\n", timeout_s=60.0)
    assert done.code != 0
    one_sentence(done.stderr)
