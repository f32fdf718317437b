from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from meshd import configvalues as values
from meshd.configvalues import Unexpected


def test_numbers_are_whole_and_within_their_range() -> None:
    port = values.integer(1, 65535)
    assert port(1) == 1
    assert port(65535) == 65535
    for wrong in (0, 65536, -1, True, 4.0, "443", None, [443]):
        with pytest.raises(Unexpected, match="from 1 to 65535"):
            port(wrong)


def test_only_booleans_are_true_or_false() -> None:
    assert values.boolean(True) is True
    for wrong in (0, 1, "true", "yes", None):
        with pytest.raises(Unexpected):
            values.boolean(wrong)


def test_a_choice_takes_any_case_and_suggests_the_nearest() -> None:
    node_type = values.choice("exit", "relay", "bootstrap", coordinator="bootstrap")
    assert node_type("EXIT") == "exit"
    assert node_type("coordinator") == "bootstrap"
    with pytest.raises(Unexpected) as caught:
        node_type("exti")
    assert caught.value.expected == "one of exit, relay, bootstrap, coordinator"
    assert "did you mean exit?" in caught.value.hint
    with pytest.raises(Unexpected) as caught:
        node_type(7)
    assert caught.value.hint == ""


def test_names_are_labels_in_small_letters() -> None:
    assert values.named("K8s-Exit-1") == "k8s-exit-1"
    for wrong in ("", "-a", "a-", "a.b", "a_b", "ä", "a" * 64, 7, "a\n"):
        with pytest.raises(Unexpected):
            values.named(wrong)


def test_prefixes_are_ones_a_mesh_can_have() -> None:
    assert values.cidr("100.64.0.0/16") == IPv4Network("100.64.0.0/16")
    with pytest.raises(Unexpected):
        values.cidr(7)
    for wrong in ("100.64.0.1/16", "nonsense", "224.0.0.0/8", "10.0.0.0/32", "fd00::/64"):
        with pytest.raises(ValueError, match=r"prefix|set aside"):
            values.cidr(wrong)


def test_endpoints_are_numeric_and_may_leave_the_port_out() -> None:
    assert values.endpoints(
        ["192.0.2.1:51820", "[2001:db8::1]:443", "192.0.2.2", "2001:DB8::2", "[2001:db8::3]"]
    ) == (
        ("192.0.2.1", 51820),
        ("2001:db8::1", 443),
        ("192.0.2.2", 0),
        ("2001:db8::2", 0),
        ("2001:db8::3", 0),
    )
    for wrong in ("example.net:443", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.300:1", "", 7, " "):
        with pytest.raises(Unexpected):
            values.endpoints([wrong])
    with pytest.raises(Unexpected):
        values.endpoints("192.0.2.1:443")
    with pytest.raises(Unexpected):
        values.endpoints(["192.0.2.1"] * (values.MAX_ITEMS + 1))


def test_seeds_may_be_names() -> None:
    assert values.seeds(["node.example.net", "192.0.2.1:4433", "localhost:7"]) == (
        ("node.example.net", 443),
        ("192.0.2.1", 4433),
        ("localhost", 7),
    )
    for wrong in ("192.0.2.300", "a b:1", "http://x:1", "x:99999", "-x:1", "x..y:1", "a/b:2"):
        with pytest.raises(Unexpected):
            values.seeds([wrong])


def test_the_api_listens_on_an_address_or_not_at_all() -> None:
    assert values.listen("0.0.0.0:8080") == ("0.0.0.0", 8080)
    assert values.listen("[::1]:9") == ("::1", 9)
    assert values.listen("off") is None
    assert values.listen(False) is None
    for wrong in ("127.0.0.1", "localhost:8080", True, "127.0.0.1:0", "::1", None):
        with pytest.raises(Unexpected):
            values.listen(wrong)


def test_hosts_are_names_or_addresses() -> None:
    assert values.hosts(["Exit-1", "10.0.0.1", "fd00::1"]) == ("exit-1", "10.0.0.1", "fd00::1")
    for wrong in ("exit 1", "a:80", "", 1, "x\r\ny"):
        with pytest.raises(Unexpected):
            values.hosts([wrong])


def test_device_path_address_and_word_refuse_what_the_kernel_or_a_log_would() -> None:
    assert values.device("aegis0") == "aegis0"
    for wrong in ("", "a" * 16, "a/b", "a b", ".", "..", "ä", 1, "a\n"):
        with pytest.raises(Unexpected):
            values.device(wrong)
    assert values.path("/var/log/a.log") == Path("/var/log/a.log")
    for wrong in ("a.log", "", "/a\n", "/a\x00", 1):
        with pytest.raises(Unexpected):
            values.path(wrong)
    assert values.address("2001:DB8::1") == "2001:db8::1"
    for wrong in ("eth0", "", 1, "10.0.0.0/8"):
        with pytest.raises(Unexpected):
            values.address(wrong)
    assert values.word("staging-2") == "staging-2"
    for wrong in ("", "a b", "a" * 64, 1, "a\x1b"):
        with pytest.raises(Unexpected):
            values.word(wrong)
