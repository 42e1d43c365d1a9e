# Three words a newcomer can run: make demo, make test, make quick. Everything below .venv is bootstrapped from python3 + pip.
# `make demo ARGS=--exit` ends after the checks. The lock files are made by `make lock`.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PYTHON ?= python3
# Two workers on two cores; each starts one Postgres and one Valkey of its own.
WORKERS ?= 2

# What `make bench-check` compares HEAD with.
BASE ?= main

# How many random contracts rating must agree on with the reference calculation; `make test` tries 500.
CONTRACTS ?= 10000

# Where `make load` finds Usance, how many clients it plays, and for how long.
HOST ?= http://127.0.0.1:8080
USERS ?= 36
RUN_TIME ?= 60s

.PHONY: bench-check demo test quick oracle chaos load check install install-dev lock format

demo: install
	$(BIN)/usance demo $(ARGS)

test: check
	$(BIN)/pytest -n $(WORKERS) $(ARGS)

quick: install-dev
	$(BIN)/pytest -n $(WORKERS) -m "not slow" -q $(ARGS)

oracle: install-dev
	USANCE_ORACLE_CONTRACTS=$(CONTRACTS) $(BIN)/pytest -n $(WORKERS) -q tests/oracle $(ARGS)

# Thirty rounds of each fault, minutes of silence, ten million events: an hour at most on two busy cores. Most of it is
# waiting, so six tests run at once, each on servers of its own; loadgroup hands them out one by one.
chaos: install-dev
	$(BIN)/pytest -n 6 --dist loadgroup --no-loadscope-reorder -q tests/flow tests/meter/test_interleaving.py --chaos $(ARGS)

# Against a running `usance up`; how to give it a key stands in loadtests/README.md.
load: install-dev
	$(BIN)/locust -f loadtests/locustfile.py --headless --only-summary --host $(HOST) --users $(USERS) --spawn-rate 10 \
	  --run-time $(RUN_TIME) --stop-timeout 10 $(ARGS)

# Is HEAD slower than another commit? By ratio, on this machine; `ARGS="--rounds 4"` for less noise.
bench-check: install
	$(BIN)/python -m usance.bench.check $(BASE) $(ARGS)

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

# Debian cuts ensurepip out of python3: then the system's pip fills the environment from outside.
$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Usance needs Python 3.11 or newer, this is $$($(PYTHON) --version): make PYTHON=python3.12" >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	  $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	  $(PYTHON) -m venv --without-pip $(VENV) && \
	  $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check uv; \
	else \
	  echo "$(PYTHON) has neither ensurepip nor pip; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	fi

# Compiled once, here: a process that has to compile what it imports keeps ten megabytes more for as long as it lives.
$(VENV)/.installed: $(BIN)/uv requirements.lock pyproject.toml
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	touch $@

lock: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --upgrade pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --upgrade -c requirements.lock pyproject.toml --group dev -o requirements-dev.lock
