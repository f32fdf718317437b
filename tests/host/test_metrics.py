from __future__ import annotations

import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import REGISTRY

from meshd.host.metrics import Statistics, render

STATISTICS = Statistics(
    version="1.2.3",
    connected_peers=2,
    bytes_sent=1 << 40,
    bytes_received=7,
    packets_sent=3,
    packets_received=4,
    auth_failures=5,
    certificate_expiry=2_000_000_000.0,
    drops={"replay": 9, "source-spoofed": 1},
    latency={"ab" * 16: 0.0125},
    loss={"ab" * 16: 0.01},
    parity={"ab" * 16: 0.11},
    recovered={"ab" * 16: 12},
    members={"alive": 2, "dead": 1},
    relayed_bytes=11,
)


def samples(statistics: Statistics) -> dict[tuple[str, str], float]:
    """Values by (name, the one label's value)."""
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(render(statistics).decode())
        for sample in family.samples
    }


def test_the_names_of_the_contract_are_exact() -> None:
    found = samples(STATISTICS)
    assert found["aegisray_connected_peers", ""] == 2
    assert found["aegisray_bytes_sent_total", ""] == 1 << 40
    assert found["aegisray_bytes_received_total", ""] == 7
    assert found["aegisray_auth_failures_total", ""] == 5
    assert found["aegisray_packets_dropped_total", "replay"] == 9
    assert found["aegisray_packets_dropped_total", "source-spoofed"] == 1
    assert found["aegisray_peer_latency_seconds", "ab" * 16] == 0.0125
    assert found["aegisray_path_loss_ratio", "ab" * 16] == 0.01
    assert found["aegisray_path_parity_ratio", "ab" * 16] == 0.11
    assert found["aegisray_frames_recovered_total", "ab" * 16] == 12
    text = render(STATISTICS).decode()
    assert 'aegisray_packets_dropped_total{reason="replay"} 9.0' in text
    assert f'aegisray_peer_latency_seconds{{peer_id="{"ab" * 16}"}} 0.0125' in text
    assert "# TYPE aegisray_peer_latency_seconds gauge" in text
    assert "# TYPE aegisray_packets_dropped_total counter" in text


def test_more_stands_beside_them() -> None:
    found = samples(STATISTICS)
    assert found["aegisray_packets_sent_total", ""] == 3
    assert found["aegisray_packets_received_total", ""] == 4
    assert found["aegisray_relayed_bytes_total", ""] == 11
    assert found["aegisray_members", "alive"] == 2
    assert found["aegisray_members", "suspect"] == 0
    assert found["aegisray_build_info", "1.2.3"] == 1
    assert found["aegisray_certificate_expiry_timestamp_seconds", ""] == 2_000_000_000
    assert found["process_resident_memory_bytes", ""] > 0


def test_drops_are_shown_at_zero_before_the_first() -> None:
    quiet = Statistics("1", 0, 0, 0, 0, 0, 0, 0.0)
    assert samples(quiet)["aegisray_packets_dropped_total", "malformed"] == 0


def test_nothing_is_registered_globally() -> None:
    before = set(REGISTRY._names_to_collectors)
    render(STATISTICS)
    assert set(REGISTRY._names_to_collectors) == before


def test_the_module_alone_does_not_import_prometheus() -> None:
    code = "import meshd.host.metrics, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
