# Three words a newcomer can run: make demo, make test, make quick. Everything below .venv is bootstrapped from python3 + pip.
# `make demo ARGS=--exit` ends after the checks. The lock files are made by `make lock`.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Two workers on two cores; each starts one Postgres and one Valkey of its own.
WORKERS ?= 2

.PHONY: demo test quick check install install-dev lock format

demo: install
	$(BIN)/usance demo $(ARGS)

test: check
	$(BIN)/pytest -n $(WORKERS) $(ARGS)

quick: install-dev
	$(BIN)/pytest -n $(WORKERS) -m "not slow" -q $(ARGS)

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

$(BIN)/uv:
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet uv

$(VENV)/.installed: $(BIN)/uv requirements.lock pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	touch $@

lock: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --upgrade pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --upgrade -c requirements.lock pyproject.toml --group dev -o requirements-dev.lock
