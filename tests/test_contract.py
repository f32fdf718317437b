from __future__ import annotations

from meshd import contract


def test_status_has_the_fields_that_scripts_lean_on() -> None:
    assert set(contract.Status.__annotations__) >= {"self", "peers"}
    assert set(contract.SelfStatus.__annotations__) >= {
        "id",
        "name",
        "addresses",
        "roles",
        "mesh",
        "version",
    }
    assert set(contract.PeerStatus.__annotations__) >= {
        "id",
        "name",
        "addresses",
        "roles",
        "state",
        "path",
        "tx_bytes",
        "rx_bytes",
        "last_seen_s",
        "relayed_bytes",
        "last_error",
    }
    assert set(contract.PathStatus.__annotations__) >= {
        "kind",
        "endpoint",
        "via",
        "rtt_ms",
        "loss",
        "span",
        "parity",
        "frames_saved",
    }
