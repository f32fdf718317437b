"""Which spare paths of a peer are asked, and which are parked: one of them is kept warm.

A spare path that answers is asked until it has answered often enough to be compared. Then the best
one goes on being asked, seldom: the backup. Other relayed ones are parked: they cost nothing, and
what the peer sends by them still arrives. They are asked again when the path in use fails and no
other answers, and forgotten when nothing has come by them for as long as a relay keeps a channel.

    asked by us        candidate, asked at once
    opened by the peer parked at once where there are a path as good in use and a backup: it is
                       asked when the peer still uses it after ten seconds
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshd.node.choice import STEADY, backup, is_failing, is_steady
from meshd.node.path import Path

FORGET_AFTER: Final = 120.0
"""Seconds of silence after which a parked path is forgotten (`relay.IDLE_AFTER`)."""
GIVEN_UP: Final = 8.0
"""Seconds of pause between two probes from which a relayed path that never answers is parked."""


def is_tried(path: Path, current: Path) -> bool:
    """Whether a proven path has answered often enough to be compared with the one in use, or is of
    a worse kind."""
    return path.rank > current.rank or (path.streak >= STEADY and is_steady(path, current))


def is_needed(paths: Iterable[Path], current: Path | None, rank: int) -> bool:
    """Whether a path of this rank that the peer has opened is to be tried at once: there is none in
    use that is as good and works, or no other one."""
    if current is None or not current.valid or is_failing(current) or current.rank > rank:
        return True
    return backup(paths, current) is None


def may_rest(path: Path, paths: Iterable[Path], current: Path | None) -> bool:
    """Whether a path that is due need not be asked any more."""
    if path.relay is None or current is None or path is current or path.waiting:
        return False
    if not path.valid:
        return path.retry >= GIVEN_UP
    return is_tried(path, current) and backup(paths, current) is not path


def is_forgotten(path: Path, now: float) -> bool:
    """Whether its relay has forgotten it, since neither end uses it."""
    since = path.parked_at
    return since is not None and now - max(since, path.last_received) > FORGET_AFTER
