"""What a host asks of a node about certificates, in one place."""

from __future__ import annotations

import pytest

from meshd.node.errors import LocalError
from tests.node.test_lists import revoke
from tests.node.test_renewer import second_issuer
from tests.node.virtual import Mesh


def test_a_plan_changes_nothing_until_it_is_put_in_force() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    now, credentials = mesh.world.now, alpha.node.credentials
    planned = credentials.plan_revocation("beta", now)
    assert alpha.identity.trust.lists == ()
    assert alpha.ready(beta)
    credentials.revoke(planned, now)
    assert alpha.identity.trust.lists == planned.lists
    assert not alpha.ready(beta)


def test_who_is_revoked_revokes_nobody() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta")
    second = mesh.host("second", identity=second_issuer(mesh.founder))
    mesh.connect(alpha, beta, second)
    second.node.credentials.check()
    revoke(alpha, "second")
    mesh.until(lambda: second.node.credentials.lists.revoked, 5)
    with pytest.raises(LocalError, match="no member any more"):
        second.node.credentials.plan_revocation("beta", mesh.world.now)
    alpha.node.credentials.check()


def test_a_node_that_is_well_has_nothing_to_say() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    for host in (alpha, beta):
        assert host.node.credentials.notices(mesh.world.now) == []
