"""A router that forwards ports when it is asked: Debian's miniupnpd (PCP, NAT-PMP, UPnP IGD).

miniupnpd refuses to work with an outer address that nobody in the real Internet has, so such a
router is given one that looks real, and the lab's internet leads there.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from simulations.lab.topology import LAN, WAN, Home, Internet
from simulations.lab.waiting import LabError, wait_until

OUTSIDE = "45.9.8.{number}"
TABLE = """
table inet miniupnpd {
  chain forward { }
  chain prerouting { type nat hook prerouting priority -100; }
  chain postrouting { type nat hook postrouting priority 100; }
}
"""
CONFIGURATION = """
ext_ifname={wan}
ext_ip={outside}
listening_ip={lan}
http_port=0
enable_natpmp={natpmp}
enable_upnp={upnp}
secure_mode=yes
system_uptime=no
uuid=68555350-3352-3883-2883-3350305228{number:02}
min_lifetime=5
max_lifetime={lifetime}
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=forward
upnp_nat_chain=prerouting
upnp_nat_postrouting_chain=postrouting
allow 1-65535 {network} 1-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
NO_PCP = """
table ip nopcp {
  chain input {
    type filter hook input priority -10;
    udp dport 5351 @th,64,8 2 drop
  }
}
"""


@dataclass
class PortMapper:
    """miniupnpd on the gateway of a home. `outside`: the address that its mappings are at."""

    internet: Internet
    home: Home
    outside: str
    configuration: Path
    daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it, with no mapping. Raises LabError."""
        gateway = self.home.gateway
        directory = self.configuration.parent
        log = self.configuration.with_suffix(".log")
        command = ["miniupnpd", "-d", "-f", str(self.configuration)]
        command += ["-P", str(directory / f"{gateway.label}.pid")]
        with log.open("wb") as output:
            self.daemon = self.internet.lab.popen(gateway.command(command), output=output)
        wait_until(
            lambda: "HTTP listening" in log.read_text() or "5351" in log.read_text(),
            "miniupnpd to listen",
            5.0,
            detail=log.read_text,
        )

    def stop(self) -> None:
        """End it; what it forwarded is forgotten, as when such a router is switched off."""
        if self.daemon is not None:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(5.0)
            self.daemon = None
        for chain in ("forward", "prerouting"):
            self.home.gateway.run("nft", "flush", "chain", "inet", "miniupnpd", chain)

    def forwarded(self) -> list[str]:
        """The rules that send what comes from outside to a host of the home."""
        text = self.home.gateway.run("nft", "list", "chain", "inet", "miniupnpd", "prerouting")
        return [line.strip() for line in text.splitlines() if "dnat" in line]


def install(
    internet: Internet,
    home: Home,
    number: int = 1,
    *,
    pcp: bool = True,
    natpmp: bool = True,
    upnp: bool = True,
    lifetime: int = 3600,
) -> PortMapper:
    """Let the gateway of ``home`` forward ports, and start it. ``number``: a different one for each
    such router of a lab; ``lifetime``: seconds that it grants with PCP at most. Raises LabError."""
    if shutil.which("miniupnpd") is None:
        raise LabError("miniupnpd is not installed: apt-get install miniupnpd-nftables")
    outside, gateway = OUTSIDE.format(number=number), home.gateway
    gateway.ip("address", "add", f"{outside}/32", "dev", WAN)
    internet.router.ip("route", "add", f"{outside}/32", "via", home.public_address)
    gateway.run("nft", "-f", "-", text=TABLE)
    if not pcp:  # it has no switch for one of the two
        gateway.run("nft", "-f", "-", text=NO_PCP)
    path = internet.lab.directory / f"{gateway.label}.conf"
    path.write_text(
        CONFIGURATION.format(
            wan=WAN,
            lan=LAN,
            outside=outside,
            number=number,
            natpmp="yes" if pcp or natpmp else "no",
            upnp="yes" if upnp else "no",
            lifetime=lifetime,
            network=home.network,
        )
    )
    mapper = PortMapper(internet, home, outside, path)
    mapper.start()
    return mapper
