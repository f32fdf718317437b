"""A mesh of a few that was enrolled once and can be played many times.

What makes a host a member is files. So `enrol_once` makes a mesh and lets others join it, in the
open, and `Enrolled.wake` puts the same ones into any other network: no key is made, and no
interpreter started, that the network to be looked at does not need.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulations.lab.host import Host
from simulations.lab.mesh import enrol, found
from simulations.lab.namespaces import Lab, Namespace
from simulations.lab.topology import Internet

PUBLIC, LEFT, RIGHT = NAMES = ("public", "left", "right")
QUIET = {"api.listen": "off"}
"""Nobody scrapes them."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Where the files of each are, and its overlay IPv4 address."""

    directory: Path
    addresses: Mapping[str, str]

    def wake(
        self, lab: Lab, place: Namespace, settings: Mapping[str, str | int | bool] | None = None
    ) -> Host:
        """The member that has the label of ``place``, there, its daemon not started yet."""
        host = Host(lab, place, {**QUIET, **(settings or {})})
        for folder in ("certs", "state"):
            shutil.copytree(self.directory / place.label / folder, host.directory / folder)
        return host


def enrol_once(lab: Lab, names: Sequence[str] = NAMES) -> Enrolled:
    """Make the mesh of these ``names``, the founder first: it is the first to be attached to its
    internet, and will be found where it is there. Raises LabError."""
    internet = Internet(lab, ipv6=True)
    hosts = [Host(lab, internet.host(name), QUIET) for name in names]
    founder = hosts[0]
    found(founder)
    enrol(founder, hosts[1:])
    founder.stop()
    shown = {host.name: json.loads(host.must("cert", "show", "--json")) for host in hosts}
    return Enrolled(
        lab.directory, {name: str(found["addresses"][0]) for name, found in shown.items()}
    )
