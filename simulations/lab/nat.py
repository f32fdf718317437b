"""NAT kinds as nftables rulesets, in the words of RFC 4787, for a router with a WAN device.

Real routers drop what nobody asked for on their own WAN address. That matters: if the input chain
accepted it, one unsolicited packet would occupy the port and move the mapping of the host behind.
"""

from __future__ import annotations

from enum import Enum

from simulations.lab.namespaces import Namespace


class Nat(Enum):
    """How a router maps ports and what it lets in."""

    PORT_RESTRICTED_CONE = "port-restricted cone"
    SYMMETRIC_RANDOM = "symmetric, random ports"
    FULL_CONE = "full cone"


FILTER = """
table ip filter {{
  chain input {{
    type filter hook input priority 0; policy drop;
    iifname != "{wan}" accept
    ct state established,related accept
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname "{wan}" ct state new ct status & dnat == 0 drop
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

TABLES = {
    Nat.PORT_RESTRICTED_CONE: PORT_RESTRICTED_CONE,
    Nat.SYMMETRIC_RANDOM: SYMMETRIC_RANDOM,
    Nat.FULL_CONE: FULL_CONE,
}


def ruleset(kind: Nat, wan: str, address: str) -> str:
    """The nftables text of ``kind`` for the device ``wan`` that holds ``address``."""
    return (FILTER + TABLES[kind]).format(wan=wan, address=address)


def install(router: Namespace, kind: Nat, wan: str, address: str) -> None:
    """Load the rules into ``router``. Raises LabError, for instance if a kernel part is missing."""
    router.run("nft", "-f", "-", text=ruleset(kind, wan, address))
