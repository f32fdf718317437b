"""Checks of single configuration values.

Each takes what the file holds and returns what the program uses, or raises `Unexpected` (or a
ValueError with a sentence, where there is more to say than what was expected).
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from meshd.node.errors import LocalError
from meshd.node.mesh import check_name, parse_cidr

HostPort = tuple[str, int]
"""A host (numeric address; a name only where a check says so) and a port."""

MAX_ITEMS = 64
"""Items of a list."""

_HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?"
)


class Unexpected(Exception):
    """A value of the wrong kind; `expected` says what would be right."""

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint


def boolean(value: object) -> bool:
    """True or false, nothing that merely looks so."""
    if not isinstance(value, bool):
        raise Unexpected("true or false")
    return value


def integer(low: int, high: int) -> Callable[[object], int]:
    """A whole number from `low` to `high`."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Unexpected(f"a whole number from {low} to {high}")
        return value

    return parse


def choice(*options: str, **aliases: str) -> Callable[[object], str]:
    """One of `options`, in any case; an alias stands for its option."""

    def parse(value: object) -> str:
        text = value.lower() if isinstance(value, str) else ""
        if aliases.get(text, text) in options:
            return aliases.get(text, text)
        near = difflib.get_close_matches(text, [*options, *aliases], n=1, cutoff=0.5)
        hint = f": did you mean {near[0]}?" if near else ""
        raise Unexpected(f"one of {', '.join([*options, *aliases])}", hint)

    return parse


def named(value: object) -> str:
    """A node's or network's name: a DNS label; capitals are made small."""
    try:
        return check_name(_text(value).lower(), "name")
    except LocalError:
        raise Unexpected(
            "1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends"
        ) from None


def cidr(value: object) -> IPv4Network:
    """A prefix that a mesh can have."""
    try:
        return parse_cidr(value if isinstance(value, str) else "")
    except LocalError as error:
        if not isinstance(value, str):
            raise Unexpected('an IPv4 prefix such as "100.64.0.0/16"') from None
        raise ValueError(str(error)) from None


def address(value: object) -> str:
    """A numeric address."""
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise Unexpected('an address of this host such as "192.0.2.7"') from None


def _host_port(value: object, example: str, default_port: int | None, *, names: bool) -> HostPort:
    """`host:port`, `[ipv6]:port`, or where `default_port` allows it the host alone."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]]+))(?::(\d{1,5}))?", _text(value))
    host = (match[1] or match[2]) if match else _text(value)
    port = int(match[3]) if match and match[3] else default_port
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        if not names or _HOST_NAME.fullmatch(host) is None or host.rsplit(".", 1)[-1].isdigit():
            raise Unexpected(example) from None
    if port is None or port > 65535 or (port == 0 and match and match[3]):
        raise Unexpected(example)
    return host, port


def endpoints(value: object) -> tuple[HostPort, ...]:
    """Numeric addresses with or without a port; port 0 stands for none."""
    example = 'a list of numeric addresses such as ["203.0.113.5:443", "[2001:db8::5]:443"]'
    return tuple(_host_port(item, example, 0, names=False) for item in _list(value, example))


def seeds(value: object) -> tuple[HostPort, ...]:
    """Addresses or names, with port 443 if none is given."""
    example = 'a list such as ["203.0.113.5:443", "node.example.net:443"]'
    return tuple(_host_port(item, example, 443, names=True) for item in _list(value, example))


def listen(value: object) -> HostPort | None:
    """An address and port to listen on, or None for `off`."""
    if value is False or value == "off":  # YAML reads a bare `off` as false
        return None
    return _host_port(
        value, 'an address and port such as "127.0.0.1:8080", or "off"', None, names=False
    )


def host(value: object) -> str:
    """A host's name."""
    if _HOST_NAME.fullmatch(_text(value)) is None:
        raise Unexpected('a host name such as "www.example.org"')
    return _text(value).lower()


def networks(value: object) -> tuple[IPv4Network | IPv6Network, ...]:
    """Prefixes; an address alone stands for itself."""
    example = 'a list of prefixes such as ["192.0.2.10/32", "2001:db8::/64"]'
    try:
        return tuple(ipaddress.ip_network(_text(item)) for item in _list(value, example))
    except ValueError:
        raise Unexpected(example) from None


def site(value: object) -> str:
    """Where a website is: an HTTP server, its unix socket, or a directory."""
    text = _text(value)
    if not text.startswith(("http://", "unix:/", "/")) or not text.isprintable():
        raise Unexpected('"http://127.0.0.1:8080", "unix:/run/site.sock", or a whole path')
    return text


def proxy(value: object) -> str:
    """An HTTP proxy. What was written is not repeated: a password may stand in it."""
    server = _text(value).removeprefix("http://").rpartition("@")[2].rstrip("/")
    example = "http://[user:password@]proxy.example:3128"
    try:
        _host_port(server, example, 80, names=True)
    except Unexpected:
        server = ""
    if not server or not _text(value).startswith("http://"):
        raise ValueError(f"expected a proxy such as {example}") from None
    return _text(value)


def hosts(value: object) -> tuple[str, ...]:
    """Host names or addresses, in small letters."""
    example = 'a list of host names such as ["node.example.net"]'
    hosts = tuple(_text(item).lower() for item in _list(value, example))
    if not all(_HOST_NAME.fullmatch(host) or _is_address(host) for host in hosts):
        raise Unexpected(example)
    return hosts


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _list(value: object, example: str) -> list[object]:
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise Unexpected(example)
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def device(value: object) -> str:
    """A network device's name, as the kernel's dev_valid_name has it, in ASCII."""
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", _text(value)) is None or value in (".", ".."):
        raise Unexpected("1 to 15 of letters, digits, '_', '.' and '-'")
    return _text(value)


def path(value: object) -> Path:
    """An absolute path."""
    text = _text(value)
    if not text.startswith("/") or not text.isprintable():
        raise Unexpected('a whole path such as "/var/log/aegisray/node.log"')
    return Path(text)


def word(value: object) -> str:
    """A short label."""
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,63}", _text(value)) is None:
        raise Unexpected("1 to 63 of letters, digits, '_', '.' and '-'")
    return _text(value)
