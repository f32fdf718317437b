"""Tokens and stored invitations."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from ipaddress import ip_network

import pytest

from gossip import NodeId
from gossip.codec import encode
from meshd.node.errors import LocalError, RemoteError
from meshd.node.grants import Grants
from meshd.node.invitation import (
    Invitation,
    Token,
    decode_invitation,
    decode_token,
    invite,
    locate,
    show_time,
)
from tests.node.meshes import NOW, bytes_of

ENDPOINTS = (("192.0.2.1", 443), ("2001:db8::1", 8443))
GRANTS = Grants("web", ("exit",), (ip_network("10.0.0.0/8"),), ("a", "b"))
NODE, OTHER = NodeId(b"n" * 16), NodeId(b"o" * 16)


def make(lifetime: float = 3600.0) -> tuple[Token, Invitation]:
    return invite(bytes(range(16)), bytes(range(32)), GRANTS, ENDPOINTS, NOW, lifetime, bytes_of(1))


TOKEN, INVITATION = make()


def test_a_token_reads_back() -> None:
    assert decode_token(TOKEN.encode()) == TOKEN
    assert decode_token(f"  {TOKEN.encode()}\n") == TOKEN
    assert TOKEN.expiry == NOW + 3600


def test_a_token_is_one_word_of_safe_characters() -> None:
    assert re.fullmatch(r"aegis1-[A-Za-z0-9_-]+", TOKEN.encode())
    assert len(TOKEN.encode()) < 200


def test_a_token_holds_at_most_four_endpoints() -> None:
    many = tuple((f"192.0.2.{number}", 443) for number in range(1, 8))
    assert decode_token(replace(TOKEN, endpoints=many).encode()).endpoints == many[:4]


def test_any_changed_or_missing_character_is_noticed() -> None:
    text = TOKEN.encode()
    for position in range(7, len(text) - 1):
        other = "A" if text[position] != "A" else "B"
        for spoilt in (text[:position], text[:position] + other + text[position + 1 :]):
            with pytest.raises(LocalError, match="damaged"):
                decode_token(spoilt)


@pytest.mark.parametrize("text", ["", "hello", "aegis2-AAAA", "AEGIS1-AAAA"])
def test_another_text_is_no_invitation(text: str) -> None:
    with pytest.raises(LocalError, match="not an invitation"):
        decode_token(text)


@pytest.mark.parametrize("text", ["aegis1-", "aegis1-!!!", "aegis1-" + "A" * 5000, "aegis1-ä"])
def test_a_token_of_rubbish_is_damaged(text: str) -> None:
    with pytest.raises(LocalError, match="damaged"):
        decode_token(text)


def test_a_complaint_does_not_repeat_the_token() -> None:
    text = TOKEN.encode()[:-3]
    with pytest.raises(LocalError) as caught:
        decode_token(text)
    assert text[10:30] not in str(caught.value)


def test_the_secret_is_in_no_repr() -> None:
    for secret in (TOKEN.secret, TOKEN.psk, TOKEN.invitation_id):
        for shown in (repr(TOKEN), repr(INVITATION)):
            assert repr(secret) not in shown
            assert secret.hex() not in shown


def test_an_expired_token_names_both_times() -> None:
    TOKEN.check_time(NOW + 3600)
    with pytest.raises(LocalError, match=r"expired at 2027-.* clock says 2027-"):
        TOKEN.check_time(NOW + 3601)


def test_the_inviter_opens_the_same_psk_with_the_id() -> None:
    assert INVITATION.locator == locate(TOKEN.invitation_id)
    assert INVITATION.psk(TOKEN.invitation_id) == TOKEN.psk
    with pytest.raises(RemoteError, match="invitation-unknown"):
        INVITATION.psk(bytes(16))


def test_what_is_stored_holds_neither_secret_nor_id_nor_psk() -> None:
    stored = INVITATION.encode()
    for secret in (TOKEN.secret, TOKEN.invitation_id, TOKEN.psk):
        assert secret not in stored
        assert secret.hex().encode() not in stored
        assert base64.b64encode(secret) not in stored


def test_secret_id_and_psk_differ_for_every_token() -> None:
    second, _ = invite(bytes(16), bytes(32), GRANTS, ENDPOINTS, NOW, 60, bytes_of(2))
    values = {TOKEN.secret, TOKEN.invitation_id, TOKEN.psk}
    values |= {second.secret, second.invitation_id, second.psk}
    assert len(values) == 6


def test_an_invitation_reads_back() -> None:
    for invitation in (INVITATION, INVITATION.redeem(NODE, NOW)):
        assert decode_invitation(invitation.encode()) == invitation


@pytest.mark.parametrize("data", [b"", encode(5), encode([b"", b"", ["", [5], [], []], 1, None])])
def test_other_bytes_are_no_invitation(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_invitation(data)


def test_one_node_redeems_an_invitation_and_may_ask_again() -> None:
    used = INVITATION.redeem(NODE, NOW)
    assert used.used_by == NODE
    assert used.redeem(NODE, NOW + 60) == used
    with pytest.raises(RemoteError) as caught:
        used.redeem(OTHER, NOW + 60)
    assert caught.value.reason == "invitation-used"


def test_nobody_redeems_an_expired_invitation() -> None:
    used = INVITATION.redeem(NODE, NOW)
    for invitation in (INVITATION, used):
        with pytest.raises(RemoteError) as caught:
            invitation.redeem(NODE, NOW + 3601)
        assert caught.value.reason == "invitation-expired"


@pytest.mark.parametrize("lifetime", [0, -1, 31 * 86_400])
def test_a_lifetime_out_of_range_is_refused(lifetime: float) -> None:
    with pytest.raises(LocalError, match="--expires"):
        make(lifetime)


def test_an_invitation_to_nowhere_is_refused() -> None:
    with pytest.raises(LocalError, match="address"):
        invite(bytes(16), bytes(32), GRANTS, (), NOW, 60, bytes_of(1))


@pytest.mark.parametrize("unix_time", [1e20, -1e20, float("inf")])
def test_times_out_of_range_are_shown_all_the_same(unix_time: float) -> None:
    assert show_time(unix_time) == "a time out of range"
    assert show_time(0) == "1970-01-01 00:00 UTC"
