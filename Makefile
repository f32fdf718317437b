# Every target prepares what it needs itself (.venv, Debian packages) and is quick the second time.

PYTHON ?= python3
export PYTHON

BIN := .venv/bin
CODE := gossip meshd simulations benchmarks tests
DEMO_TOOLS := ip=iproute2 nft=nftables ping=iputils-ping sysctl=procps
TEST_TOOLS := $(DEMO_TOOLS) ethtool=ethtool haproxy=haproxy iperf3=iperf3 openssl=openssl \
	miniupnpd=miniupnpd-nftables systemd-analyze=systemd
BENCH_TOOLS := $(TEST_TOOLS) gcc=gcc wg=wireguard-tools wireguard-go=wireguard-go \
	nebula=nebula tincd=tinc serf=serf setpriv=util-linux curl=curl nmap=nmap
# Seconds before a hanging test run is stopped, so that a build never waits for ever.
UNIT_LIMIT := 540
E2E_LIMIT := 600

.PHONY: help demo test lint unit e2e matrix changes simulate bench fuzz format install clean
.PHONY: ready-demo ready-test ready-bench

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: ready-demo ## five hosts, two NATs and a crash, on this machine (root)
	@.ci/prepare root demo
	@$(BIN)/meshd demo

test: lint unit e2e ## every check

lint: ready-test ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: ready-test ## unit and property tests, and the seeded simulation: no root needed
	timeout $(UNIT_LIMIT) $(BIN)/pytest -q -m "not e2e" -n auto --maxprocesses 4

e2e: ready-test ## real daemons, TUN devices and NAT in network namespaces (root)
	@.ci/prepare root e2e
	@.ci/e2e $(BIN)/python $(E2E_LIMIT)

matrix: ready-demo ## every kind of NAT and firewall with every other, real daemons at both ends (root)
	@.ci/prepare root matrix
	$(BIN)/python -m simulations.lab.matrix

changes: ready-demo ## relays and ways die, UDP is blocked, a better relay appears: measured (root)
	@.ci/prepare root changes
	$(BIN)/python -m simulations.lab.changes

simulate: ready-test ## every scenario of the simulator but the longest, with its figures
	@for scenario in $$($(BIN)/python -m simulations list --quick | cut -d' ' -f1); do \
		$(BIN)/python -m simulations run $$scenario --seed 1 || exit 1; done

bench: ready-bench ## beside other VPNs, a C forwarder and serf, in one run (root)
	@.ci/prepare root bench
	$(BIN)/python -m benchmarks

fuzz: ready-test ## a million bad inputs, and the property tests with far more examples
	$(BIN)/python -m tests.fuzz
	$(BIN)/python -m tests.fuzz.segments
	$(BIN)/pytest -q tests/properties --hypothesis-profile=fuzz

format: ready-test ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: ## meshd for this host: /opt/aegisray, /usr/local/bin/meshd and the systemd unit (root)
	@.ci/prepare tools ip=iproute2
	test -x /opt/aegisray/bin/pip || $(PYTHON) -m venv /opt/aegisray
	/opt/aegisray/bin/pip install --quiet --upgrade ".[yaml]"
	ln -sf /opt/aegisray/bin/meshd /usr/local/bin/meshd
	install -D -m 0644 deploy/systemd/meshd.service /etc/systemd/system/meshd.service
	@! test -d /run/systemd/system || systemctl daemon-reload

clean: ## forget .venv and every cache
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache

ready-demo:
	@.ci/prepare python yaml
	@.ci/prepare tools $(DEMO_TOOLS)

ready-test:
	@.ci/prepare python test,yaml
	@.ci/prepare tools $(TEST_TOOLS)

ready-bench:
	@.ci/prepare python test,yaml
	@.ci/prepare tools $(BENCH_TOOLS)
