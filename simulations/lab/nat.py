"""NAT kinds as nftables rulesets, in the words of RFC 4787, for a router with a WAN device.

Real routers drop what nobody asked for on their own WAN address. That matters: if the input chain
accepted it, one unsolicited packet would occupy the port and move the mapping of the host behind.
"""

from __future__ import annotations

from enum import Enum

from simulations.lab.namespaces import Namespace


class Nat(Enum):
    """How a router maps ports and what it lets in."""

    FULL_CONE = "full cone"
    RESTRICTED_CONE = "restricted cone"
    PORT_RESTRICTED_CONE = "port-restricted cone"
    SYMMETRIC_SEQUENTIAL = "symmetric, sequential ports"
    SYMMETRIC_RANDOM = "symmetric, random ports"
    NO_INPUT_FILTER = "port-restricted cone, no input firewall"
    """What strangers send is for the router itself then, and moves the mapping of that port."""
    NO_UDP = "no UDP"
    """The firewall of an office: TCP goes out, UDP does not."""
    ONLY_443 = "TCP to port 443 alone"
    """That of a hotel."""


INPUT = """
table ip filter {{
  chain input {{
    type filter hook input priority 0; policy drop;
    iifname != "{wan}" accept
    ct state established,related accept
  }}
}}
"""

FORWARD = """
table ip forwarding {{
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname "{wan}" ct state new ct status & dnat == 0 drop
  }}
}}
"""

NO_UDP = """
table ip firewall {{
  chain forward {{
    type filter hook forward priority 10; policy accept;
    meta l4proto udp drop
  }}
}}
"""

ONLY_443 = """
table ip firewall {{
  chain forward {{
    type filter hook forward priority 10; policy drop;
    meta l4proto tcp ct state established accept
    oifname "{wan}" tcp dport 443 accept
  }}
}}
"""

PORT_RESTRICTED_CONE = """
table ip nat {{
  chain post {{
    type nat hook postrouting priority srcnat;
    oifname "{wan}" masquerade
  }}
}}
"""

SYMMETRIC_RANDOM = """
table ip nat {{
  chain post {{
    type nat hook postrouting priority srcnat;
    oifname "{wan}" meta l4proto udp masquerade to :20000-60000 fully-random
    oifname "{wan}" masquerade
  }}
}}
"""

FIRST_PORT, PORTS = 30000, 512
"""Where a symmetric NAT with sequential ports begins, and after how many it begins again."""

SYMMETRIC_SEQUENTIAL = """
table ip nat {{
  chain post {{
    type nat hook postrouting priority srcnat;
    oifname "{wan}" meta l4proto udp snat ip to {address}:numgen inc mod {ports} map {{ {numbers} }}
    oifname "{wan}" masquerade
  }}
}}
"""

FULL_CONE = """
table ip nat {{
  map mappings {{
    type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 60s;
  }}
  chain learn {{
    type filter hook postrouting priority 200;
    oifname "{wan}" meta l4proto udp \
update @mappings {{ udp sport : ct original ip saddr . ct original proto-src }}
  }}
  chain pre {{
    type nat hook prerouting priority dstnat;
    iifname "{wan}" ip daddr {address} meta l4proto udp dnat ip to udp dport map @mappings
  }}
  chain post {{
    type nat hook postrouting priority srcnat;
    oifname "{wan}" masquerade
  }}
}}
"""

RESTRICTED_CONE = """
table ip nat {{
  map mappings {{
    type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 60s;
  }}
  set called {{
    type inet_service . ipv4_addr; flags dynamic,timeout; timeout 60s;
  }}
  chain learn {{
    type filter hook postrouting priority 200;
    oifname "{wan}" meta l4proto udp \
update @mappings {{ udp sport : ct original ip saddr . ct original proto-src }}
    oifname "{wan}" meta l4proto udp update @called {{ udp sport . ip daddr }}
  }}
  chain pre {{
    type nat hook prerouting priority dstnat;
    iifname "{wan}" ip daddr {address} meta l4proto udp udp dport . ip saddr @called \
dnat ip to udp dport map @mappings
  }}
  chain post {{
    type nat hook postrouting priority srcnat;
    oifname "{wan}" masquerade
  }}
}}
"""

TABLES = {
    Nat.FULL_CONE: INPUT + FORWARD + FULL_CONE,
    Nat.RESTRICTED_CONE: INPUT + FORWARD + RESTRICTED_CONE,
    Nat.PORT_RESTRICTED_CONE: INPUT + FORWARD + PORT_RESTRICTED_CONE,
    Nat.SYMMETRIC_SEQUENTIAL: INPUT + FORWARD + SYMMETRIC_SEQUENTIAL,
    Nat.SYMMETRIC_RANDOM: INPUT + FORWARD + SYMMETRIC_RANDOM,
    Nat.NO_INPUT_FILTER: FORWARD + PORT_RESTRICTED_CONE,
    Nat.NO_UDP: INPUT + FORWARD + PORT_RESTRICTED_CONE + NO_UDP,
    Nat.ONLY_443: INPUT + FORWARD + PORT_RESTRICTED_CONE + ONLY_443,
}


CUT = """
table ip cut {{
  chain forward {{
    type filter hook forward priority 20;
    {rule}
  }}
}}
"""
"""Drops more than the router did before."""


def cut(router: Namespace, rule: str) -> None:
    """Let ``router`` pass on nothing that ``rule``, in nftables' words, drops."""
    router.run("nft", "-f", "-", text=CUT.format(rule=rule))


def mend(router: Namespace) -> None:
    """Undo `cut`."""
    router.run("nft", "delete", "table", "ip", "cut")


def ruleset(kind: Nat, wan: str, address: str) -> str:
    """The nftables text of ``kind`` for the device ``wan`` that holds ``address``."""
    numbers = ", ".join(f"{index} : {FIRST_PORT + index}" for index in range(PORTS))
    return TABLES[kind].format(wan=wan, address=address, ports=PORTS, numbers=numbers)


def install(router: Namespace, kind: Nat, wan: str, address: str) -> None:
    """Load the rules into ``router``. Raises LabError, for instance if a kernel part is missing."""
    router.run("nft", "-f", "-", text=ruleset(kind, wan, address))
