"""What a person configures: `node.toml` or `node.yaml`, and four environment variables.

Read once, checked whole, then frozen. Every mistake is told with its file, line and key, what was
expected, and the nearest known key. Without any file all defaults hold.

The environment overrides the file: AEGISRAY_NODE_TYPE, AEGISRAY_ENVIRONMENT, AEGISRAY_LOG_LEVEL,
AEGISRAY_MESH_NETWORK; an empty variable counts as unset.
"""

from __future__ import annotations

import difflib
import json
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from meshd import configvalues as values
from meshd.configfile import ConfigError, expand, read_entries
from meshd.configvalues import HostPort, Unexpected
from meshd.node.mesh import MeshDocument

SEARCHED = (
    Path("/etc/aegisray/node.toml"),
    Path("/etc/aegisray/node.yaml"),
    Path("/etc/aegisray/config/node.toml"),
    Path("/etc/aegisray/config/node.yaml"),
)
"""Where the configuration is looked for; the first that exists is read."""

OVERRIDES = {
    "AEGISRAY_NODE_TYPE": "node_type",
    "AEGISRAY_ENVIRONMENT": "environment",
    "AEGISRAY_LOG_LEVEL": "logging.level",
    "AEGISRAY_MESH_NETWORK": "network.name",
}
"""Environment variables, and the keys they override."""


@dataclass(frozen=True, slots=True)
class Network:
    """`[network]`: the mesh a node expects to be in, and where others reach this node."""

    name: str | None = None
    cidr: IPv4Network | None = None
    endpoints: tuple[HostPort, ...] = ()
    """Public addresses to advertise, beside those found out; `listen_port` where no port stands."""
    port_mapping: bool = True
    """Whether gateways are asked to forward our port to us."""
    lan_discovery: bool = True
    """Whether members on the LAN are looked for, and told of us, by multicast."""
    proxy: str | None = field(default=None, repr=False)
    """The HTTP proxy that streams are dialled by: a URL, perhaps with a password."""


@dataclass(frozen=True, slots=True)
class Security:
    """`[security]`."""

    use_tls: bool = True
    """Whether to listen for streams, TLS on the TCP port `listen_port`."""
    stealth_mode: bool = False
    """Whether that port shows a website to those who are no members."""
    fallback: str | None = None
    """That website: http://host:port, unix:/path, or a directory; None: a page of our own."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    """Its certificate with its chain, and the key, both PEM; None: self-signed."""
    tls_name: str | None = None
    """The name that is asked for when dialling (SNI), and that a self-signed certificate has."""
    proxy_sources: tuple[IPv4Network | IPv6Network, ...] = ()
    """Balancers, whose connections begin with a PROXY header."""


@dataclass(frozen=True, slots=True)
class Performance:
    """`[performance]`."""

    max_peers: int = 1024
    """Most sessions at once."""
    relay_capacity: int = 1000
    """Mbit/s that are relayed for all members together; 0: none."""
    realtime: bool = False
    """Whether packets are forwarded before other programs run."""


@dataclass(frozen=True, slots=True)
class Logging:
    """`[logging]`: standard error always; `file` and `auth_file` beside it."""

    level: str = "info"
    format: str = "human"
    file: Path | None = None
    auth_file: Path = Path("/var/log/aegisray/auth.log")


@dataclass(frozen=True, slots=True)
class Api:
    """`[api]`: /health and /metrics over TCP."""

    listen: HostPort | None = ("127.0.0.1", 8080)
    """None: no TCP port at all."""
    hosts: tuple[str, ...] = ()
    """Names, beside this host's own, that a request's Host header may carry."""


@dataclass(frozen=True, slots=True)
class Tun:
    """`[tun]`: the network device."""

    name: str = "aegis0"
    mtu: int = 1420


@dataclass(frozen=True, slots=True)
class Gossip:
    """`[gossip]`: `profile` chooses the timing, for a `lan` or a `wan`."""

    profile: str = "lan"


@dataclass(frozen=True, slots=True)
class Offload:
    """`[offload]`: which of the kernel's helps to use where it has them."""

    tun: bool = True
    gso: bool = True
    gro: bool = True


@dataclass(frozen=True, slots=True)
class Config:
    """A node's whole configuration; field names are the file's keys."""

    node_name: str | None = None
    node_type: str = "access"
    environment: str = "production"
    listen_port: int = 443
    listen_address: str | None = None
    """The one local address to bind; None: all, of both families."""
    bootstrap: tuple[HostPort, ...] = ()
    """Where to look for members first: addresses, or names to resolve; 443 if no port is given."""
    network: Network = Network()
    security: Security = Security()
    performance: Performance = Performance()
    logging: Logging = Logging()
    api: Api = Api()
    tun: Tun = Tun()
    gossip: Gossip = Gossip()
    offload: Offload = Offload()
    file: Path | None = None
    """The file all this came from; None: defaults."""
    ignored: tuple[Path, ...] = ()
    """Other files that exist in `SEARCHED` but were not read, for `file` came first."""

    def name(self) -> str:
        """`node_name`, or else one made of the host's name."""
        return self.node_name or label(socket.gethostname())

    def notices(self, mesh: MeshDocument | None = None) -> list[str]:
        """What a person should know though it is no mistake, a sentence each.

        With `mesh`, the one that this node is in, also where this configuration expects another.
        """
        found = []
        if self.security.stealth_mode and self.security.tls_cert is None:
            found.append(
                "security.stealth_mode without security.tls_cert: visitors see a certificate that "
                "this node made itself, as few websites have"
            )
        if self.node_type == "exit":
            found.append(
                "node_type exit has no effect yet: this version carries no traffic to the Internet"
            )
        if mesh is not None:
            for key, wanted, real in (
                ("network.name", self.network.name, mesh.name),
                ("network.cidr", self.network.cidr, mesh.cidr),
            ):
                if wanted is not None and wanted != real:
                    found.append(
                        f"{key} is {wanted} here, but this node's mesh has {real}: it counts"
                    )
        found += [f"{path} is not read: {self.file} comes first" for path in self.ignored]
        return found

    def as_dict(self) -> dict[str, Any]:
        """The values in effect, nested as in the file and fit for JSON."""
        plain = _plain(self)
        return {key: plain[key] for key in plain if key not in ("file", "ignored")}


def load(
    path: Path | None, environ: Mapping[str, str], searched: Sequence[Path] | None = None
) -> Config:
    """Read `path`, or else the first of `searched` that exists, then the environment's overrides.

    `searched` is `SEARCHED` unless given.

    Raises ConfigError, which tells every mistake and not only the first.
    """
    places = SEARCHED if searched is None else searched
    existing = [] if path else [place for place in places if place.exists()]
    file = path or (existing[0] if existing else None)
    taken: dict[str, object] = {}
    problems: list[str] = []
    for entry in read_entries(file) if file else ():
        place = f"{file}, line {entry.line}"
        if entry.key in taken:
            problems.append(f"{place}: {entry.key} is written twice")
        elif entry.key in _TABLES and entry.value in ({}, None):
            continue  # an empty table says nothing
        else:
            _take(entry.key, entry.value, place, environ, taken, problems)
    for variable, key in OVERRIDES.items():
        if environ.get(variable):
            _take(key, environ[variable], f"environment variable {variable}", None, taken, problems)
    if problems:
        raise ConfigError(*problems)
    return _build(taken, file, tuple(existing[1:]))


def label(text: str) -> str:
    """`text`, such as a host's name, as a node's name: its first part, in DNS label letters."""
    first = text.split(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", first).strip("-")[:63].strip("-") or "node"


def _take(
    key: str,
    value: object,
    place: str,
    environ: Mapping[str, str] | None,
    taken: dict[str, object],
    problems: list[str],
) -> None:
    """Put the checked value into `taken`, or what is wrong with it into `problems`."""
    if key in _TABLES:
        inside = ", ".join(known for known in _PARSERS if known.startswith(f"{key}."))
        problems.append(f"{place}: {key}: expected a table with {inside}, not {_show(value)}")
        return
    parser = _PARSERS.get(key)
    if parser is None:
        problems.append(f"{place}: {key[:80]} is not a key{_suggest(key)}")
        return
    try:
        if environ is not None:
            value = expand(value, environ)
        taken[key] = parser(value)
    except Unexpected as error:
        problems.append(
            f"{place}: {key}: expected {error.expected}, not {_show(value)}{error.hint}"
        )
    except ValueError as error:
        problems.append(f"{place}: {key}: {error}")


def _suggest(key: str) -> str:
    """The nearest known key, by its whole name or its last part."""
    last = key.rsplit(".", 1)[-1]
    by_last = {known.rsplit(".", 1)[-1]: known for known in reversed(_PARSERS)}
    near = difflib.get_close_matches(key, _PARSERS, n=1, cutoff=0.7)
    near += [known for known in _PARSERS if last in re.split("[._]", known)][:1]
    near += [by_last[name] for name in difflib.get_close_matches(last, by_last, n=1, cutoff=0.6)]
    near += difflib.get_close_matches(key, _PARSERS, n=1, cutoff=0.3)
    if near:
        return f": did you mean {near[0]}?"
    return f"; the keys are {', '.join(_PARSERS)}"


def _build(taken: dict[str, object], file: Path | None, ignored: tuple[Path, ...]) -> Config:
    top: dict[str, Any] = {key: value for key, value in taken.items() if "." not in key}
    for name, table in _TABLES.items():
        inside = {
            key.split(".")[1]: value for key, value in taken.items() if key.startswith(f"{name}.")
        }
        top[name] = table(**inside)
    config = Config(**top, file=file, ignored=ignored)
    endpoints = [(host, port or config.listen_port) for host, port in config.network.endpoints]
    return replace(config, network=replace(config.network, endpoints=tuple(endpoints)))


_TABLES: dict[str, Callable[..., object]] = {
    "network": Network,
    "security": Security,
    "performance": Performance,
    "logging": Logging,
    "api": Api,
    "tun": Tun,
    "gossip": Gossip,
    "offload": Offload,
}

_PARSERS: dict[str, Callable[[object], object]] = {
    "node_name": values.named,
    "node_type": values.choice("exit", "relay", "access", "bootstrap", coordinator="bootstrap"),
    "environment": values.word,
    "listen_port": values.integer(1, 65535),
    "listen_address": values.address,
    "bootstrap": values.seeds,
    "network.name": values.named,
    "network.cidr": values.cidr,
    "network.endpoints": values.endpoints,
    "network.proxy": values.proxy,
    "network.port_mapping": values.boolean,
    "network.lan_discovery": values.boolean,
    "security.use_tls": values.boolean,
    "security.stealth_mode": values.boolean,
    "security.fallback": values.site,
    "security.tls_cert": values.path,
    "security.tls_key": values.path,
    "security.tls_name": values.host,
    "security.proxy_sources": values.networks,
    "performance.max_peers": values.integer(1, 65535),
    "performance.relay_capacity": values.integer(0, 1_000_000),
    "performance.realtime": values.boolean,
    "logging.level": values.choice("debug", "info", "warning", "error"),
    "logging.format": values.choice("human", "json"),
    "logging.file": values.path,
    "logging.auth_file": values.path,
    "api.listen": values.listen,
    "api.hosts": values.hosts,
    "tun.name": values.device,
    "tun.mtu": values.integer(1280, 9000),
    "gossip.profile": values.choice("lan", "wan"),
    "offload.tun": values.boolean,
    "offload.gso": values.boolean,
    "offload.gro": values.boolean,
}
"""Every key there is, and what checks and converts its value."""


def _show(value: object) -> str:
    """`value` as the person wrote it, near enough, on one short line."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        found = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        if found.get("proxy"):
            found["proxy"] = re.sub(r"//.*@", "//***@", found["proxy"])
        return found
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
