"""Other VPNs between the two hosts of a pair: as their own documents set up two hosts."""

from __future__ import annotations

import itertools
import json
from functools import partial
from pathlib import Path

from benchmarks.pairs import MTU, OVERLAY, PORT, Contender, Pair, need, overlay
from simulations.lab.namespaces import Lab, run

PREFIX = "10.10.0.0/24"
_devices = itertools.count()


def wireguard_go(lab: Lab, pair: Pair, binary: str = "wireguard-go") -> Contender:
    """wireguard-go, whose sockets under /run/wireguard bear names unique to this run."""
    need("wg", binary)
    devices = [f"wg{next(_devices)}x{lab.tag.split('-')[1]}" for _ in pair.hosts]
    keys = [run(["wg", "genkey"]).strip() for _ in devices]
    public = [run(["wg", "pubkey"], text=key).strip() for key in keys]
    forwarders = []
    for index, (namespace, device) in enumerate(zip(pair.hosts, devices, strict=True)):
        command = namespace.command([binary, "--foreground", device])
        forwarders.append(lab.popen(command).pid)
        lab.on_close(partial(Path(f"/run/wireguard/{device}.sock").unlink, missing_ok=True))
        secret = lab.directory / f"{device}.key"
        secret.touch(mode=0o600)
        secret.write_text(keys[index])
        overlay(namespace, device, OVERLAY[index])
        peer = ["peer", public[1 - index], "allowed-ips", f"{OVERLAY[1 - index]}/32"]
        peer += ["endpoint", f"{pair.ends[1 - index]}:{PORT}"]
        own = ["listen-port", str(PORT), "private-key", str(secret)]
        namespace.run("wg", "set", device, *own, *peer)
    return Contender(*pair.hosts, OVERLAY[1], tuple(forwarders))


def nebula(lab: Lab, pair: Pair) -> Contender:
    """nebula without a lighthouse: both hosts know where the other is."""
    need("nebula", "nebula-cert")
    folder = lab.directory / f"{pair.label}-nebula"
    folder.mkdir(mode=0o700)
    ca = ["-out-crt", str(folder / "ca.crt"), "-out-key", str(folder / "ca.key")]
    run(["nebula-cert", "ca", "-name", "benchmark", *ca])
    forwarders = []
    for index, namespace in enumerate(pair.hosts):
        crt, key = folder / f"{index}.crt", folder / f"{index}.key"
        by = ["-ca-crt", str(folder / "ca.crt"), "-ca-key", str(folder / "ca.key")]
        own = ["-name", f"host{index}", "-ip", f"{OVERLAY[index]}/24"]
        run(["nebula-cert", "sign", *by, *own, "-out-crt", str(crt), "-out-key", str(key)])
        everything = [{"port": "any", "proto": "any", "host": "any"}]
        settings = {
            "pki": {"ca": str(folder / "ca.crt"), "cert": str(crt), "key": str(key)},
            "static_host_map": {OVERLAY[1 - index]: [f"{pair.ends[1 - index]}:{PORT}"]},
            "lighthouse": {"am_lighthouse": False, "interval": 60},
            "listen": {"host": "0.0.0.0", "port": PORT},
            "tun": {"dev": "tun0", "mtu": MTU},
            "firewall": {"outbound": everything, "inbound": everything},
            "logging": {"level": "error"},
        }
        file = folder / f"{index}.yml"
        file.write_text(json.dumps(settings))  # JSON is YAML
        forwarders.append(lab.popen(namespace.command(["nebula", "-config", str(file)])).pid)
    return Contender(*pair.hosts, OVERLAY[1], tuple(forwarders))


def tinc(lab: Lab, pair: Pair) -> Contender:
    """tinc 1.0 with AES instead of its default cipher, which is slower."""
    need("tincd")
    names = ("left", "right")
    folders = [lab.directory / f"{pair.label}-tinc-{name}" for name in names]
    for index, folder in enumerate(folders):
        (folder / "hosts").mkdir(mode=0o700, parents=True)
        own = [f"Name={names[index]}", "Interface=tun0", f"ConnectTo={names[1 - index]}"]
        (folder / "tinc.conf").write_text("\n".join([*own, "AddressFamily=ipv4\n"]))
        known = [f"Address={pair.ends[index]}", f"Subnet={OVERLAY[index]}/32"]
        known += ["Cipher=aes-128-cbc", "Digest=sha256\n"]
        (folder / "hosts" / names[index]).write_text("\n".join(known))
        run(["tincd", "-c", str(folder), "-K2048"], text="\n\n")
    forwarders = []
    for index, (namespace, folder) in enumerate(zip(pair.hosts, folders, strict=True)):
        other = Path("hosts", names[1 - index])
        (folder / other).write_bytes((folders[1 - index] / other).read_bytes())
        command = ["tincd", "-c", str(folder), f"--pidfile={folder / 'pid'}", "-D"]
        forwarders.append(lab.popen(namespace.command(command)).pid)
        overlay(namespace, "tun0", OVERLAY[index])
    return Contender(*pair.hosts, OVERLAY[1], tuple(forwarders))
