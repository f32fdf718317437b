"""What a network does to datagrams, as frozen values that a scenario names.

- latency: sites on a plane, or in the regions of the world (see `geography`)
- jitter: uniform, per datagram
- loss: independent per datagram, or in bursts (see `Bursts`; Gilbert 1960, Elliott 1963)
- duplicates, reordering: independent per datagram (the cases of RFC 4737)
- MTU: by pair of sites; what is larger is dropped without a word (RFC 8085, section 3.2)
- bandwidth: one queue per site, towards the network, that drops its tail: a long one is the
  bufferbloat of Gettys and Nichols (2011)
"""

from __future__ import annotations

from dataclasses import dataclass

MTU = 1500
UDP_HEADERS = 28  # IPv4 20 + UDP 8


@dataclass(frozen=True, slots=True)
class Bursts:
    """Loss that comes in bursts: a site's link is well, or bad for a while (Gilbert-Elliott).

    A continuous-time chain of two states, for a datagram here meets another seconds later: the
    link is bad for the part `share` of the time, `mean_s` seconds at a time on the average
    (exponential), and then loses the part `loss` of what leaves the site.
    """

    share: float
    mean_s: float
    loss: float = 1.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What happens to a datagram between two sites. Times in seconds, the rest probabilities.

    `spread_s` places sites at random on a square plane of that side; the one-way delay of a pair
    is `latency_s` and their distance. With `rtt_p50_s` sites stand in the world's regions instead,
    and the median round trip of a pair, mean jitter included, is that. `reorder` holds a datagram
    back by up to `reorder_s`.

    `narrow` is the part of pairs whose path carries only `narrow_mtu` bytes of IP. `uplink_bps`
    (bits per second; 0: unlimited) is what a site sends at most; `queue_bytes` wait, more drop.
    """

    latency_s: float = 0.010
    spread_s: float = 0.030
    jitter_s: float = 0.002
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.050
    rtt_p50_s: float | None = None
    detours: float = 0.20
    """The part of pairs in the world whose path is a detour: two hops by a third may be shorter."""
    bursts: Bursts | None = None
    mtu: int = MTU
    narrow: float = 0.0
    narrow_mtu: int = 1280
    uplink_bps: float = 0.0
    queue_bytes: int = 262_144

    @classmethod
    def wan(cls, rtt_p50_s: float = 0.080, loss: float = 0.0) -> Conditions:
        """The world, with a median round trip of `rtt_p50_s`."""
        return cls(rtt_p50_s=rtt_p50_s, loss=loss, jitter_s=0.005)
