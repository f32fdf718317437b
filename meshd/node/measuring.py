"""Loss of the path in use: from probes and their answers to what its frames are to be like.

Each probe of the path in use leaves a mark in the peer's `Meter`, each answer makes an `Interval`
of it, and the path's `LossControl` draws the conclusion. The answers that we give count what we
received.
"""

from __future__ import annotations

from meshd.node.errors import RemoteError
from meshd.node.metering import Mark, Tally
from meshd.node.paths import DueProbe
from meshd.node.peer import Peer
from meshd.node.session import Session
from meshd.node.state import NodeState

SETTLE_AFTER = 0.03
"""Seconds after which the last segments of a frame, its parity, are not waited for any more."""


def probed(peer: Peer, due: DueProbe, session: Session, now: float) -> None:
    """The probe `due` was just sealed in `session`: remember what was sent until then."""
    path = due.path
    if path is peer.path and due.size <= path.segment:
        mark = Mark(path, session, session.frames_sent, session.segments_sent, now)
        peer.meter.sent(due.nonce, mark)
    else:
        # It may well go nowhere, and that is no loss of the path in use.
        peer.meter.stray(session, 1)


def answered(
    state: NodeState, peer: Peer, nonce: int, tally: Tally, session: Session, now: float
) -> bool:
    """The answer to a path probe arrived in `session`: whether to measure again soon."""
    mark, path = peer.meter.find(nonce), peer.path
    if mark is None and any(nonce in way.waiting for way in peer.paths):
        peer.meter.stray(session, -1)
    if mark is None or path is None or mark.way is not path:
        return False
    if path.wide.answered(nonce, mark.at):
        path.narrow(now)
    sender = next((kept for kept in peer.sessions() if kept is mark.session), None)
    if sender is None:
        return False
    sent = sender.frames_sent, sender.segments_sent
    try:
        interval = peer.meter.answered(nonce, tally, now, sent, path.parity or ())
    except RemoteError as error:
        state.drops[error.reason] += 1
        return False
    if nonce not in path.waiting:
        path.sample(now - mark.at)
    if interval is not None and path.adapts:
        path.control.take(interval, now)
        path.rests = 0
        path.parity, path.span = path.control.parity, path.control.span
    return peer.paths.hasten(now)


def tally(peer: Peer, session: Session, now: float) -> Tally:
    """What we received of `peer` in `session`, for the answer to its probe."""
    reception, settled = session.reception, peer.settled
    if settled is None or settled[0] is not session:
        peer.settled = session, session.replay.highest, now
    elif now - settled[2] >= SETTLE_AFTER:
        reception.settle(settled[1])
        peer.settled = session, session.replay.highest, now
    return Tally(
        reception.opened,
        reception.expected,
        reception.lost,
        reception.squares,
        reception.recovered,
    )
