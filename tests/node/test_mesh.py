"""The mesh document."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from meshd.node.addresses import mesh_id, mesh_prefix6
from meshd.node.errors import LocalError
from meshd.node.mesh import MeshDocument, check_name, parse_cidr, parse_mesh
from tests.node.meshes import make_key, raw

ROOT = make_key(7)
DOCUMENT = MeshDocument(
    "home",
    IPv4Network("100.64.0.0/16"),
    "aes256gcm",
    raw(ROOT),
    (("eu", IPv4Network("100.64.0.0/18")), ("us", IPv4Network("100.64.64.0/18"))),
).sign(ROOT)


def test_a_signed_document_reads_back() -> None:
    assert parse_mesh(DOCUMENT.render()) == DOCUMENT


def test_spaces_and_comments_do_not_matter() -> None:
    text = "# ours\n\n" + DOCUMENT.render().replace(" = ", "  =  ") + "\n# end\n"
    assert parse_mesh(text) == DOCUMENT


def test_ids_follow_from_the_root_key() -> None:
    assert DOCUMENT.mesh_id == mesh_id(raw(ROOT))
    assert DOCUMENT.prefix6 == mesh_prefix6(DOCUMENT.mesh_id)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "home"', 'name = "hope"'),
        ("100.64.0.0/16", "100.64.0.0/15"),
        ("aes256gcm", "chacha20poly1305"),
        ('"us"', '"uk"'),
    ],
)
def test_a_changed_value_breaks_the_signature(old: str, new: str) -> None:
    with pytest.raises(LocalError, match="signature"):
        parse_mesh(DOCUMENT.render().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "home"\n', "", "lacks or does not know: name"),
        ('name = "home"\n', 'name = "home"\ncolour = "red"\n', "does not know: colour"),
        ('name = "home"', 'name = "Home!"', "must be 1 to 63"),
        ('name = "home"', "name = 5", "name is not a text"),
        ("protocol = 1", "protocol = 2", "speaks protocol 2"),
        ("protocol = 1", "protocol = true", "not a number"),
        ("aes256gcm", "rot13", "not one of aes256gcm"),
        ("100.64.0.0/16", "100.64.0.1/16", "not an IPv4 prefix"),
        ("100.64.64.0/18", "10.0.0.0/18", "not within"),
        ("regions = [", "regions = [1, ", "regions"),
        ('root = "', 'root = "AA', "root is not 32 bytes"),
        ("protocol = 1", "protocol = ", "not TOML"),
    ],
)
def test_every_mistake_is_named(old: str, new: str, said: str) -> None:
    text = DOCUMENT.render()
    assert old in text
    with pytest.raises(LocalError, match=said):
        parse_mesh(text.replace(old, new, 1))


def test_an_endless_document_is_not_read() -> None:
    with pytest.raises(LocalError, match="longer"):
        parse_mesh("#" * 5000)


def test_only_the_root_key_signs() -> None:
    with pytest.raises(LocalError, match="root key"):
        replace(DOCUMENT, signature=b"").sign(make_key(8))


@pytest.mark.parametrize("text", ["100.64.0.0/31", "0.0.0.0/0", "224.0.0.0/8", "127.0.0.0/8", "x"])
def test_prefixes_no_mesh_can_have_are_refused(text: str) -> None:
    with pytest.raises(LocalError):
        parse_cidr(text)


@pytest.mark.parametrize("name", ["a", "web-1", "0", "x" * 63])
def test_dns_labels_are_names(name: str) -> None:
    assert check_name(name, "it") == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a_b", "x" * 64, "a\n", "ä"])
def test_other_texts_are_no_names(name: str) -> None:
    with pytest.raises(LocalError, match="must be 1 to 63"):
        check_name(name, "it")
