"""What a host asks of a node about certificates, in one place."""

from __future__ import annotations

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


def test_a_node_that_is_well_has_nothing_to_say() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    for host in (alpha, beta):
        assert host.node.credentials.notices(mesh.world.now) == []
