"""Sets a node's files aside when it leaves its mesh: nothing is deleted, nothing stays in force.

    certs/left/   keys, certificates, mesh document: who this node was
    state/left/   records, lists, ledger, invitations: what it remembered

`left.2` and so on where there is a `left` already. The two counters that must never go back stay.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from meshd.files import make_directory, told
from meshd.node import keyring

STATE_FILES = ("records", "revocations", "issued", "invitations")
"""What the state directory holds of one mesh."""


def set_membership_aside(certs: Path, state: Path) -> list[Path]:
    """Move what makes this host a member; the directories that it is in now. Raises LocalError.

    Hold the lock of the state directory meanwhile. The certificate goes first: whatever stops this
    half way, the host is in no mesh any more, and the next time moves the rest.
    """
    names = (keyring.NODE_CERTIFICATE, *keyring.REQUIRED, *keyring.OPTIONAL, keyring.SEEDS)
    moved = (_move(certs, names), _move(state, STATE_FILES))
    return [path for path in moved if path is not None]


def _move(folder: Path, names: Sequence[str]) -> Path | None:
    with told(folder, "read"):
        present = [name for name in dict.fromkeys(names) if (folder / name).exists()]
    if not present:
        return None
    number = 1
    while (aside := folder / ("left" if number == 1 else f"left.{number}")).exists():
        number += 1
    make_directory(aside, 0o700)
    for name in present:
        with told(folder / name, "move"):
            os.replace(folder / name, aside / name)
    return aside
