"""Every number of the protocol, with its unit and where it comes from.

Sources: SWIM (Das, Gupta, Motivala, 2002), Lifeguard (Dadgar, Phillips, Currey, 2017), and the
defaults of hashicorp/memberlist and serf, where a line says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

_MAY_BE_ZERO: Final = ("health_limit", "suspicion_confirmations")


@dataclass(frozen=True, slots=True)
class Policy:
    """What is done beyond plain SWIM. All of it on; each part can be off alone, to measure it."""

    # Lifeguard's parts that are no number (the numbers: health_limit 0 turns LHA-Probe off,
    # suspicion_beta 1 and suspicion_confirmations 0 turn LHA-Suspicion off)
    nacks: bool = True
    """Helpers say that the target did not answer them either (section IV.A)."""
    buddy: bool = True
    """A probe of a suspect carries its accusation first (section IV.C)."""

    # Beyond Lifeguard
    own_failure: bool = True
    """Only those are declared dead whom this node has failed to reach itself."""
    own_verdict: bool = True
    """"Dead" is each node's own verdict; off: a verdict is told, believed and passed on."""
    isolation_guard: bool = True
    """Verdicts wait while it seems to be this node that is cut off."""
    tolerate_lateness: bool = True
    """A deadline that was served late judges nobody: an answer may lie unread."""
    traffic_is_life: bool = True
    """Anything authenticated that a member sends answers the probe of it."""
    tell_suspects: bool = True
    """A suspect that is heard is told at once that it is one."""

    @classmethod
    def classic(cls) -> Policy:
        """Nothing but SWIM."""
        return cls(**dict.fromkeys((item.name for item in fields(cls)), False))


@dataclass(frozen=True, slots=True)
class GossipConfig:
    """Immutable. Times in seconds, sizes in bytes. `lan()` is the default, `wan()` the other."""

    # Failure detection
    probe_period: float = 1.0
    """T of SWIM: one member is probed per period. At least three times the usual round trip."""
    probe_timeout_min: float = 0.05
    """A direct probe waits srtt + 4 rttvar (RFC 6298), but no less than this..."""
    probe_timeout_max: float = 0.5
    """...and no more than this, which is also what it waits before any round trip is known."""
    indirect_probes: int = 3
    """k of SWIM: how many others are asked to try a member that did not answer."""
    health_limit: int = 7
    """Lifeguard's S: the local health multiplier runs from 0 to this."""
    max_relayed_probes: int = 256
    """Indirect probes that this node makes for others at a time; further ones are dropped."""

    # Suspicion
    suspicion_alpha: float = 3.0
    """Lifeguard's alpha: Min = alpha * max(1, log10 n) * T. memberlist has 4; where nobody is
    declared dead whom this node has not failed to reach itself, less is as safe."""
    suspicion_beta: float = 6.0
    """Lifeguard's beta: Max = beta * Min."""
    suspicion_confirmations: int = 2
    """Lifeguard's K: independent accusers, after the first, that bring the timer to Min."""
    max_accusers: int = 8
    """Accusers remembered for one sequence of one member."""
    accusation_burst: int = 32
    """Accusations accepted from one accuser at once..."""
    accusation_rate: float = 2.0
    """...and per probe period after that."""
    isolation_fraction: float = 0.25
    """More suspects than this share of the view at once: perhaps it is we who are cut off."""
    isolation_min_suspects: int = 3
    """Fewer suspects than this never count as that."""
    isolation_failures: int = 3
    """So many failed probes in a row, with nothing heard from anyone, count as that too."""

    # Dissemination
    gossip_interval: float = 0.1
    """Between two gossip rounds, which happen only while there is news: it decides how soon, not
    how often a piece of news is sent. With memberlist's 0.2 a mass join takes twice as long."""
    gossip_fanout: int = 3
    retransmit_multiplier: int = 4
    """lambda: a piece of news is sent lambda * ceil(log10(n + 1)) times."""
    gossip_to_dead: float = 30.0
    """The dead go on getting news for so long (memberlist's GossipToTheDeadTime)."""
    packet_size: int = 1150
    """The most bytes of one message."""
    queue_limit: int = 2048
    """Pieces of news waiting, per class."""

    # Anti-entropy
    sync_interval: float = 10.0
    """The least time between two comparisons that this node begins because digests differ."""
    sync_interval_max: float = 600.0
    """Between two that it begins though they agree, and the most after fruitless ones."""
    sync_join_interval: float = 0.15
    """Between two while joining."""
    sync_burst: int = 48
    """The most messages in answer to one message."""
    sync_rate: float = 200.0
    """Messages per second, over all peers, in answer to comparisons; a quarter of it to one."""

    # Joining and healing
    join_seeds: int = 3
    """How many seeds are asked at a time."""
    join_interval: float = 1.0
    """Before a seed that does not answer is asked again; doubles up to `retry_max`."""
    retry_max: float = 300.0
    """Seeds are retried for ever, at least so often."""
    heal_interval: float = 10.0
    """A dead member is tried with probability dead/alive: serf's rule, whose interval is 30."""
    heal_burst_interval: float = 0.25
    """The same after a dead member came back: others may be back with it..."""
    heal_burst: float = 15.0
    """...for so long."""
    retention: float = 86400.0
    """The dead and those who left are forgotten after this (serf, foca, chitchat: 24 h)."""

    # Lookup and partial view
    full_view: int = 2000
    """Up to so many live others everyone knows everyone; who meets more becomes partial."""
    active_view: int = 24
    """Neighbours that a partial node keeps (HyParView's active view, 2007, section 4)."""
    kademlia_k: int = 16
    """Contacts per bucket, and nodes that keep a value (k of Kademlia; discv5 has 16 too)."""
    lookup_parallelism: int = 3
    """Queries of one lookup that are waited for at a time (alpha of Kademlia)."""
    lookup_paths: int = 3
    """Disjoint paths of one lookup (d of S/Kademlia; rust-libp2p sets it to alpha)."""
    republish_interval: float = 3600.0
    """Between two times that a node stores its own records at the closest (BEP 44: 1 h)."""
    expire_after: float = 7200.0
    """Stored records that are not stored again are dropped after this (BEP 44: 2 h)."""
    refresh_interval: float = 300.0
    """Between two lookups of a random id, which keep the routing table fresh."""

    policy: Policy = field(default_factory=Policy)
    """What is done beyond plain SWIM."""

    # Bounds
    max_members: int = 16384
    max_outputs: int = 8192
    """Messages waiting in `drain()`; further ones are dropped and counted."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for numbers that cannot work."""
        for item in fields(self):
            value = getattr(self, item.name)
            zero = item.name in _MAY_BE_ZERO and value == 0
            if item.name != "policy" and not (value > 0 or zero):
                raise ValueError(f"{item.name} must be above zero")
        if not self.probe_timeout_min <= self.probe_timeout_max < self.probe_period:
            raise ValueError("probe_timeout_max must be below probe_period")
        if not 1150 <= self.packet_size <= 65535:
            raise ValueError("packet_size must be 1150 to 65535: a record must fit one message")

    @classmethod
    def lan(cls) -> GossipConfig:
        """For round trips below about 100 ms."""
        return cls()

    @classmethod
    def wan(cls) -> GossipConfig:
        """For round trips up to about 600 ms."""
        return cls(
            probe_period=2.0,
            probe_timeout_max=1.0,
            suspicion_alpha=4.0,
            gossip_interval=0.5,
            gossip_fanout=4,
            gossip_to_dead=60.0,
            sync_interval=20.0,
            sync_join_interval=1.0,
            join_interval=2.0,
            heal_interval=30.0,
            heal_burst_interval=2.0,
            heal_burst=30.0,
        )

    @classmethod
    def swim(cls) -> GossipConfig:
        """SWIM as memberlist has it with Lifeguard turned off: what its paper compares with.

        alpha 5, a suspicion of fixed length, a probe timeout of 0.5 s, K 3 helpers. Lifeguard's
        parts come back with `dataclasses.replace`: LHA-Probe is `health_limit` 7 and `nacks`,
        LHA-Suspicion is `suspicion_beta` 6 and `suspicion_confirmations` 3, Buddy is `buddy`.
        """
        return cls(
            probe_timeout_min=0.5,
            health_limit=0,
            suspicion_alpha=5.0,
            suspicion_beta=1.0,
            suspicion_confirmations=0,
            gossip_interval=0.2,
            policy=Policy.classic(),
        )
