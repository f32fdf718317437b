"""Real daemons: who is revoked is out and stays out; a certificate that ends soon is renewed."""

from __future__ import annotations

import os
import time

import pytest

from meshd.host.storage import Storage
from meshd.node.certificates import Certificate
from meshd.node.keyring import write_pem
from meshd.node.minting import DAY, NODE_LIFETIME, make_node
from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, views, wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.ping import Pinger
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until

pytestmark = pytest.mark.e2e


def make_old(host: Host, founder: Host, left_days: float) -> None:
    """Give a host that is down a certificate that ends in `left_days`, as if it were that old."""
    now = time.time()
    held = Storage(host.certs, host.state).load_identity(now).certificate
    issuer = Storage(founder.certs, founder.state).load_identity(now).issuer
    assert issuer is not None
    old = make_node(
        issuer.key,
        issuer.certificate,
        held.public_key,
        held.grants,
        (held.address4, held.address6),
        now - NODE_LIFETIME + left_days * DAY,
        os.urandom,
    )
    (host.certs / "node.crt").write_bytes(write_pem([old.der, issuer.certificate.der]))


def certificate(host: Host) -> Certificate:
    """What stands in its certificate's file, checked as at a start."""
    return Storage(host.certs, host.state).load_identity(time.time()).certificate


def content(host: Host) -> bytes:
    """What stands in its certificate's file."""
    return (host.certs / "node.crt").read_bytes()


def test_who_is_revoked_is_out_for_good_and_who_stays_is_renewed(lab: Lab) -> None:
    internet = Internet(lab)
    founder, stays, villain = hosts = [
        Host(lab, internet.host(name)) for name in ("founder", "stays", "villain")
    ]
    found(founder)
    admit(founder, hosts[1:])
    known = wait_connected(hosts)

    stays.terminate()
    make_old(stays, founder, 20)
    old, was = certificate(stays), content(stays)
    stays.start()
    stays.wait_up()
    with Pinger(stays.namespace) as pinger:
        wait_until(lambda: content(stays) != was, "a new certificate", 15.0)
        assert pinger.ping(known["founder"][0], 5.0) is not None
    new = certificate(stays)
    assert new.not_after > old.not_after
    for field in ("node", "name", "addresses", "roles"):
        assert getattr(new, field) == getattr(old, field)

    told = founder.must("revoke", "villain")
    assert "Revoked: villain" in told
    began = time.monotonic()
    for host in (founder, stays):
        wait_until(
            lambda host=host: views(host.status() or {"peers": []})["villain"].kind is None,  # type: ignore[misc]
            f"{host.name} to close its session",
            5.0,
        )
    assert time.monotonic() - began < 5
    with Pinger(stays.namespace) as pinger:
        for address in known["villain"]:
            assert pinger.ping(address, 0.5) is None
        assert pinger.ping(known["founder"][0]) is not None
    notices = wait_until(
        lambda: [text for text in (villain.status() or {})["notices"] if "revoked" in text],
        "the revoked node to say so",
        5.0,
    )
    assert "no member any more" in notices[0]

    villain.terminate()
    done = villain.meshd("up")
    assert done.code == 1
    assert "was revoked" in done.stderr
    (villain.state / "revocations").unlink()  # as a thief would
    (villain.state / "records").unlink(missing_ok=True)
    founder.terminate()
    founder.start()
    villain.start()
    for host in (founder, villain):
        host.wait_up()

    def refused() -> bool:
        drops = founder.metrics(), stays.metrics()
        name = 'aegisray_packets_dropped_total{reason="certificate-revoked"}'
        return any(samples.get(name, 0) for samples in drops)

    wait_until(refused, "its handshakes to be refused", 10.0)
    wait_until(
        lambda: "was revoked" in str((villain.status() or {}).get("notices")),
        "it to hear of it again",
        10.0,
    )
    with Pinger(villain.namespace) as pinger:
        assert pinger.ping(known["stays"][0], 1.0) is None
        assert pinger.ping(known["founder"][0], 1.0) is None
