"""A second issuer, made by invitation: it admits others though the first one is gone."""

from __future__ import annotations

import subprocess
from functools import partial
from itertools import product

import pytest

from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, invite, token, wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until

pytestmark = pytest.mark.e2e


def verifies(judge: Host, member: Host) -> bool:
    """Whether openssl, with nothing but what one host has, trusts another's certificate."""
    authorities, certificate = judge.certs / "ca.crt", member.certs / "node.crt"
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", str(authorities), str(certificate)],
        capture_output=True,
        text=True,
    )
    return done.returncode == 0


def test_a_second_issuer_admits_members_everybody_trusts_when_the_first_is_gone(lab: Lab) -> None:
    internet = Internet(lab)
    names = ("alpha", "beta", "gamma", "delta")
    alpha, beta, gamma, delta = (Host(lab, internet.host(name)) for name in names)
    found(alpha)
    admit(alpha, [gamma])
    beta.must("join", "-", text=token(alpha, "beta", "issuer") + "\n")
    for name in ("issuer.crt", "issuer.key"):
        assert (beta.certs / name).exists()
    assert not (beta.certs / "root.key").exists()
    beta.start()
    wait_connected([alpha, beta, gamma])

    refused = beta.meshd("invite", "--role", "issuer")
    assert refused.code == 1
    assert "root.key" in refused.stderr

    alpha.terminate()
    delta.must("join", "-", text=token(beta, "delta", "relay") + "\n")
    delta.start()
    wait_connected([beta, gamma, delta])
    alpha.start()
    hosts = [alpha, beta, gamma, delta]
    wait_connected(hosts)
    for judge, member in product(hosts, hosts):
        wait_until(partial(verifies, judge, member), f"{judge.name} to verify {member.name}", 10)


def test_an_issuer_is_made_by_the_daemonless_way_too_and_only_where_the_roots_key_is(
    lab: Lab,
) -> None:
    internet = Internet(lab)
    alpha, beta = (Host(lab, internet.host(name)) for name in ("alpha", "beta"))
    alpha.must("init", "--name", "alpha")
    key = alpha.certs / "root.key"
    safe = key.rename(alpha.directory / "root.key")
    refused = alpha.meshd("invite", "--role", "issuer")
    assert refused.code == 1
    assert "put root.key back" in refused.stderr
    safe.rename(key)
    invited = invite(alpha, "--name", "beta", "--role", "issuer")
    alpha.start()
    alpha.wait_up()
    beta.must("join", "-", text=invited + "\n")
    beta.start()
    beta.wait_up()
    assert token(beta, "gamma").startswith("aegis1-")
