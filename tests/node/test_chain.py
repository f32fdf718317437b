"""Chains: what a dishonest issuer, node or stranger may try."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, ip_network

import pytest

from meshd.node.addresses import node_id, overlay6
from meshd.node.certificates import TrustError
from meshd.node.chain import MAX_ISSUERS, TrustStore
from meshd.node.grants import Grants
from meshd.node.minting import DAY, make_csr, make_issuer
from meshd.node.renewer import renew
from meshd.node.revocation import RevocationList, key_entry, make_list
from tests.node.meshes import (
    CIDR,
    NOW,
    Forgery,
    admit,
    bytes_of,
    issuer_of,
    make_key,
    make_mesh,
    names,
    raw,
)
from tests.node.test_renewer import second_issuer

MESH = make_mesh()
ISSUER = issuer_of(MESH)
ROOT = MESH.trust.root
KEY = make_key(2)
ADDRESS6 = overlay6(MESH.mesh.mesh_id, node_id(raw(KEY)))


def fresh() -> TrustStore:
    """A store that knows the root alone, as a stranger's."""
    return TrustStore(ROOT.der)


def forge(**changes: object) -> bytes:
    """A node's certificate by the real issuer, with `changes`."""
    forgery = Forgery(
        ISSUER.key,
        ISSUER.certificate,
        raw(KEY),
        names=names("mallory", "100.64.1.1", ADDRESS6),
    )
    return replace(forgery, **changes).sign()  # type: ignore[arg-type]


def make_limited(grants: Grants, seed: int = 30) -> tuple[bytes, Forgery]:
    """A second issuer that may only give `grants`, and a forgery by its key."""
    assert ISSUER.root_key is not None
    key = make_key(seed)
    made = make_issuer(ISSUER.root_key, ROOT, raw(key), grants, NOW, bytes_of(seed))
    return made.der, Forgery(key, made, raw(KEY))


def reason(leaf: bytes, issuers: list[bytes], unix_time: float = NOW) -> str:
    with pytest.raises(TrustError) as caught:
        fresh().verify(leaf, issuers, unix_time)
    return caught.value.reason


def test_a_chain_is_believed_with_its_issuer_or_without_when_that_is_known() -> None:
    leaf = admit(MESH, 2)
    assert fresh().verify(leaf.der, [ISSUER.certificate.der], NOW) == leaf
    assert MESH.trust.verify(leaf.der, [], NOW) == leaf
    assert fresh().verify(forge(), [ISSUER.certificate.der], NOW).name == "mallory"


def test_a_leaf_whose_issuer_is_unknown_is_foreign() -> None:
    assert reason(admit(MESH, 2).der, []) == "certificate-foreign"


def test_a_member_of_another_mesh_is_foreign() -> None:
    other = make_mesh(9)
    assert reason(other.certificate.der, list(other.issuer_certificates)) == "certificate-foreign"


def test_another_meshs_root_of_the_same_name_signs_in_vain() -> None:
    other = issuer_of(make_mesh(9))
    forged = forge(key=other.key)
    assert reason(forged, [ISSUER.certificate.der]) == "certificate-signature"


def test_a_node_cannot_issue() -> None:
    own = admit(MESH, 3)
    forged = Forgery(make_key(3), own, raw(KEY), names=names("mallory", "100.64.1.1", ADDRESS6))
    assert reason(forged.sign(), [own.der, ISSUER.certificate.der]) == "certificate-malformed"


def test_an_issuer_cannot_make_an_issuer() -> None:
    second_key = make_key(40)
    second = Forgery(
        ISSUER.key,
        ISSUER.certificate,
        raw(second_key),
        is_ca=True,
        path_length=0,
        key_cert_sign=True,
        constraints=(CIDR,),
    ).sign()
    store = fresh()
    with pytest.raises(TrustError, match="certificate-foreign"):
        store.add_issuer(second)
    third = Forgery(second_key, replace(ISSUER.certificate, der=second), raw(KEY))
    third.authority = node_id(raw(second_key))
    third.names = names("mallory", "100.64.1.1", ADDRESS6)
    assert reason(third.sign(), [second, ISSUER.certificate.der]) == "certificate-foreign"


def test_the_root_does_not_issue_nodes() -> None:
    assert ISSUER.root_key is not None
    forged = forge(key=ISSUER.root_key, issuer=ROOT)
    assert reason(forged, [ROOT.der]) == "certificate-malformed"


def test_an_issuer_with_a_longer_path_is_refused() -> None:
    assert ISSUER.root_key is not None
    wide = Forgery(
        ISSUER.root_key,
        ROOT,
        raw(make_key(41)),
        is_ca=True,
        path_length=1,
        key_cert_sign=True,
        constraints=(CIDR,),
    )
    for length in (None, 1):
        with pytest.raises(TrustError, match="certificate-malformed"):
            fresh().add_issuer(replace(wide, path_length=length).sign())
    assert fresh().add_issuer(replace(wide, path_length=0).sign())


def test_a_ca_is_no_node() -> None:
    assert reason(ISSUER.certificate.der, []) == "certificate-malformed"


@pytest.mark.parametrize(
    ("unix_time", "expected"),
    [
        (0.0, "certificate-not-yet-valid"),
        (NOW - 3 * 3600, "certificate-not-yet-valid"),
        (NOW + 91 * DAY, "certificate-expired"),
        (NOW + 30 * 365 * DAY, "certificate-expired"),
    ],
)
def test_a_certificate_out_of_its_time_is_refused(unix_time: float, expected: str) -> None:
    assert reason(admit(MESH, 2).der, [ISSUER.certificate.der], unix_time) == expected


def test_a_leaf_that_outlives_its_issuer_ends_with_it() -> None:
    after = ISSUER.certificate.not_after + 10.0
    forged = forge(not_after=after + DAY)
    assert reason(forged, [ISSUER.certificate.der], after) == "certificate-expired"


def test_a_clock_one_hour_slow_still_believes_a_new_certificate() -> None:
    leaf = admit(MESH, 2)
    assert fresh().verify(leaf.der, [ISSUER.certificate.der], NOW - 3600) == leaf


@pytest.mark.parametrize(
    "spoilt",
    [
        names("mallory", "100.64.1.1", MESH.certificate.address6),
        names("mallory", "100.65.0.1", ADDRESS6),
        names("mallory", "10.0.0.1", ADDRESS6),
        names("mallory", "100.64.0.0", ADDRESS6),
        names("mallory", "100.64.255.255", ADDRESS6),
    ],
)
def test_an_address_that_is_not_its_own_is_refused(spoilt: object) -> None:
    assert reason(forge(names=spoilt), [ISSUER.certificate.der]) == "certificate-address"


def test_an_issuer_of_a_region_gives_no_address_elsewhere() -> None:
    assert ISSUER.root_key is not None
    key = make_key(50)
    region = (IPv4Network("100.64.0.0/18"), MESH.trust.prefix6)
    made = make_issuer(ISSUER.root_key, ROOT, raw(key), Grants(), NOW, bytes_of(50), region)
    inside = forge(key=key, issuer=made, names=names("mallory", "100.64.1.1", ADDRESS6))
    outside = forge(key=key, issuer=made, names=names("mallory", "100.64.99.1", ADDRESS6))
    assert fresh().verify(inside, [made.der], NOW).name == "mallory"
    assert reason(outside, [made.der]) == "certificate-address"


def test_an_issuer_outside_the_mesh_is_refused() -> None:
    assert ISSUER.root_key is not None
    wide = make_issuer(
        ISSUER.root_key,
        ROOT,
        raw(KEY),
        Grants(),
        NOW,
        bytes_of(5),
        (IPv4Network("100.0.0.0/8"), MESH.trust.prefix6),
    )
    with pytest.raises(TrustError, match="certificate-grants"):
        fresh().add_issuer(wide.der)


@pytest.mark.parametrize(
    "uri",
    [
        "aegisray:role:issuer",
        "aegisray:role:*",
        "aegisray:route:10.0.0.0/7",
        "aegisray:route:::/0",
        "aegisray:group:admin",
        "aegisray:*",
    ],
)
def test_more_than_the_issuer_may_grant_is_refused(uri: str) -> None:
    limits = Grants(roles=("exit",), routes=(ip_network("10.0.0.0/8"),), groups=("web",))
    issuer, forgery = make_limited(limits)
    forgery.names = names("mallory", "100.64.1.1", ADDRESS6, uri)
    assert reason(forgery.sign(), [issuer]) == "certificate-grants"
    forgery.names = names("mallory", "100.64.1.1", ADDRESS6, *limits.uris())
    assert fresh().verify(forgery.sign(), [issuer], NOW).grants == replace(limits, name="mallory")


def test_a_node_is_never_granted_everything_even_by_who_may() -> None:
    forged = forge(names=names("mallory", "100.64.1.1", ADDRESS6, "aegisray:*"))
    assert reason(forged, [ISSUER.certificate.der]) == "certificate-grants"


def test_a_certificate_of_another_network_name_is_foreign() -> None:
    assert reason(forge(network="work"), [ISSUER.certificate.der]) == "certificate-foreign"


def test_a_flipped_signature_is_refused() -> None:
    leaf = bytearray(admit(MESH, 2).der)
    leaf[-1] ^= 1
    assert reason(bytes(leaf), [ISSUER.certificate.der]) == "certificate-signature"


def test_an_s_value_beyond_the_group_order_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    leaf = admit(MESH, 2).der
    s = int.from_bytes(leaf[-32:], "little") + order
    assert reason(leaf[:-32] + s.to_bytes(32, "little"), [ISSUER.certificate.der]) == (
        "certificate-signature"
    )


def test_a_revoked_leaf_is_refused() -> None:
    leaf = admit(MESH, 2)
    revoked = make_list(ISSUER.key, ISSUER.certificate, 1, {leaf.serial: NOW}, NOW)
    store = TrustStore(ROOT.der, [ISSUER.certificate.der], [revoked.der])
    with pytest.raises(TrustError, match="certificate-revoked"):
        store.verify(leaf.der, [], NOW)
    assert store.is_revoked(leaf)
    assert store.verify(admit(MESH, 3).der, [], NOW).name == "beta-2"


def test_a_revoked_issuers_nodes_are_refused() -> None:
    assert ISSUER.root_key is not None
    revoked = make_list(ISSUER.root_key, ROOT, 1, {ISSUER.certificate.serial: NOW}, NOW)
    store = TrustStore(ROOT.der, [ISSUER.certificate.der], [revoked.der])
    with pytest.raises(TrustError, match="certificate-revoked"):
        store.verify(admit(MESH, 2).der, [], NOW)


def test_whose_list_expels_a_key() -> None:
    """The root's: anybody. A CA's that stands: all but issuers that another CA admitted."""
    mesh = make_mesh(3)
    first, second = issuer_of(mesh), issuer_of(second_issuer(mesh))
    assert first.root_key is not None
    plain, issuer = admit(mesh, 2), admit(mesh, 4, grants=Grants(roles=("issuer",)))
    other = renew(second, plain, make_csr(make_key(2), "beta"), NOW + 9, bytes_of(5))
    entries = {key_entry(node): NOW for node in (plain.node, issuer.node, first.certificate.node)}

    def expelled(*lists: RevocationList) -> list[bool]:
        ders = [item.der for item in lists]
        store = TrustStore(mesh.trust.root.der, [ca.der for ca in mesh.trust.issuers], ders)
        return [store.is_revoked(item) for item in (plain, other, issuer, first.certificate)]

    by_second = make_list(second.key, second.certificate, 1, entries, NOW)
    assert expelled(by_second) == [True, True, False, False]
    by_first = make_list(first.key, first.certificate, 1, entries, NOW)
    assert expelled(by_first) == [True, True, True, False]
    root = mesh.trust.root
    assert expelled(make_list(first.root_key, root, 1, entries, NOW)) == [True] * 4
    ended = make_list(first.root_key, root, 1, {second.certificate.serial: NOW}, NOW)
    assert expelled(by_second, ended) == [False, True, False, False]


def test_who_is_off_the_list_is_back() -> None:
    leaf = admit(MESH, 2)
    store = TrustStore(ROOT.der, [ISSUER.certificate.der])
    for number, entries in ((1, {key_entry(leaf.node): NOW}), (2, {})):
        store.add_crl(make_list(ISSUER.key, ISSUER.certificate, number, entries, NOW).der)
        assert store.is_revoked(leaf) == store.names(leaf.node) == (number == 1)


def test_the_list_with_the_highest_number_stands() -> None:
    leaf = admit(MESH, 2)
    lists = [
        make_list(ISSUER.key, ISSUER.certificate, number, revoked, NOW)
        for number, revoked in ((1, {}), (2, {leaf.serial: NOW}))
    ]
    store = TrustStore(ROOT.der, [ISSUER.certificate.der])
    assert store.add_crl(lists[1].der)
    assert not store.add_crl(lists[0].der)
    assert not store.add_crl(lists[1].der)
    assert store.lists == (lists[1],)
    with pytest.raises(TrustError, match="certificate-revoked"):
        store.verify(leaf.der, [], NOW + 80 * DAY)


def test_a_list_of_an_unknown_ca_is_foreign() -> None:
    other = issuer_of(make_mesh(9))
    made = make_list(other.key, other.certificate, 1, {5: NOW}, NOW)
    with pytest.raises(TrustError, match="list-foreign"):
        fresh().add_crl(made.der)


def test_a_renewed_issuer_replaces_the_old_one_only_when_it_ends_later() -> None:
    assert ISSUER.root_key is not None
    later = make_issuer(ISSUER.root_key, ROOT, raw(ISSUER.key), Grants(), NOW + DAY, bytes_of(8))
    store = TrustStore(ROOT.der, [ISSUER.certificate.der])
    assert store.add_issuer(later.der)
    assert not store.add_issuer(ISSUER.certificate.der)
    assert store.issuers == (later,)


def test_an_expired_known_issuer_yields_to_its_renewal_in_the_chain() -> None:
    assert ISSUER.root_key is not None
    end = ISSUER.certificate.not_after
    grants = ISSUER.certificate.grants
    renewed = make_issuer(ISSUER.root_key, ROOT, raw(ISSUER.key), grants, end, bytes_of(8))
    leaf = forge(not_after=end + DAY)
    store = TrustStore(ROOT.der, [ISSUER.certificate.der])
    assert store.verify(leaf, [renewed.der], end + 10).name == "mallory"


def test_a_store_keeps_a_bounded_number_of_issuers() -> None:
    store = fresh()
    for seed in range(MAX_ISSUERS):
        assert store.add_issuer(make_limited(Grants(), 100 + seed)[0])
    assert not store.add_issuer(make_limited(Grants(), 99)[0])
    assert len(store.issuers) == MAX_ISSUERS


def test_only_a_meshs_root_makes_a_store() -> None:
    for der in (ISSUER.certificate.der, MESH.certificate.der):
        with pytest.raises(TrustError, match="certificate-malformed"):
            TrustStore(der)
    broken = bytearray(ROOT.der)
    broken[-1] ^= 1
    with pytest.raises(TrustError, match="certificate-signature"):
        TrustStore(bytes(broken))


def test_prefixes_of_the_mesh_come_from_the_root() -> None:
    assert (fresh().cidr, fresh().prefix6) == (CIDR, MESH.mesh.prefix6)


@pytest.mark.parametrize(
    ("prefix", "allowed"),
    [
        ("10.0.0.0/8", True),
        ("10.1.0.0/16", True),
        ("fd00:5::/32", True),
        ("11.0.0.0/8", False),
        ("0.0.0.0/0", False),
        ("::/0", False),
        ("100.64.0.0/16", False),
        ("100.64.3.0/24", False),
        ("100.0.0.0/8", True),
        (str(MESH.mesh.prefix6), False),
        ("10.0.0.1/8", False),
        ("10.0.0.0/255.0.0.0", False),
        ("nonsense", False),
    ],
)
def test_a_route_is_offered_inside_the_grants_and_outside_the_overlay(
    prefix: str, allowed: bool
) -> None:
    routes = tuple(ip_network(item) for item in ("10.0.0.0/8", "fd00::/8", "100.0.0.0/8"))
    assert MESH.trust.grants(admit(MESH, 2, grants=Grants(routes=routes)), prefix) is allowed


def test_a_default_route_takes_the_role_exit() -> None:
    exit_node = admit(MESH, 2, grants=Grants(roles=("exit",)))
    everything = admit(MESH, 3, grants=Grants(routes=(ip_network("0.0.0.0/0"),)))
    for prefix in ("0.0.0.0/0", "::/0"):
        assert MESH.trust.grants(exit_node, prefix)
        assert not MESH.trust.grants(everything, prefix)
