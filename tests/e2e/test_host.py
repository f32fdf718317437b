from __future__ import annotations

import http.server
import threading

import pytest

from simulations.lab.host import Host, environment
from simulations.lab.namespaces import Lab
from simulations.lab.waiting import LabError

pytestmark = pytest.mark.e2e

METRICS = b"""# HELP aegisray_packets_dropped_total Packets and datagrams dropped, by reason.
# TYPE aegisray_packets_dropped_total counter
aegisray_packets_dropped_total{reason="replay"} 3.0
aegisray_packets_dropped_total{reason="no-route"} 4.0
aegisray_connected_peers 2.0
"""


class Scrape(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(METRICS)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host(lab: Lab) -> Host:
    return Host(lab, lab.namespace("alone"), {"tun.mtu": 1400, "tun.name": "mesh0"})


def test_settings_are_written_as_toml_and_every_place_is_the_hosts_own(host: Host) -> None:
    text = (host.directory / "node.toml").read_text()
    assert "tun.mtu = 1400\n" in text
    assert 'tun.name = "mesh0"\n' in text
    line = host.command("up")
    for option in ("--config", "--certs", "--state", "--socket"):
        assert line[line.index(option) + 1].startswith(str(host.directory))


def test_the_callers_overrides_do_not_reach_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEGISRAY_LOG_LEVEL", "debug")
    assert "AEGISRAY_LOG_LEVEL" not in environment()
    assert "PATH" in environment()


def test_a_daemon_that_ends_is_reported_at_once_with_its_last_words(host: Host) -> None:
    host.start(prefix=["sh", "-c", "echo first; echo the reason >&2; exit 3", "sh"])
    with pytest.raises(LabError, match="alone: meshd up ended: the reason"):
        host.wait_up()
    assert host.status() is None
    assert host.wait_ended() == 3


def test_a_killed_process_is_gone(host: Host) -> None:
    host.start(prefix=["sh", "-c", "exec sleep 600", "sh"])
    host.kill()
    with pytest.raises(LabError, match="no daemon was started"):
        host.kill()


def test_metrics_are_read_by_name_and_summed_over_labels(host: Host) -> None:
    with host.namespace.entered():
        server = http.server.HTTPServer(("127.0.0.1", 8080), Scrape)
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert host.metric("aegisray_packets_dropped_total") == 7.0
            assert host.metrics()["aegisray_connected_peers"] == 2.0
            assert host.metric("aegisray_absent") == 0.0
        finally:
            server.shutdown()
            thread.join()
