# The same commands for a person and for CI. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: help setup demo check test test-full bench clean
help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## make the environment in .venv

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "emospec needs Python 3.11 or newer; name it: make setup PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "no venv in this Python; on Debian: apt-get install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)  ## synthesise a corpus, train without and with centre loss, write the report
	$(BIN)/emospec demo --out demo

check: $(STAMP)  ## lint, formatting, types, the rules of the house, version = changelog
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/house/test_house.py

test: $(STAMP)  ## the tests, with coverage
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist worksteal -m 'not full' --cov --cov-report=term:skip-covered

test-full: $(STAMP)  ## the long tests: kills, every corpus, the demo from end to end, the page in Chromium
	-@command -v chromium >/dev/null || { test $$(id -u) = 0 && apt-get update -qq && apt-get install -qq --no-install-recommends chromium; }
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile -m full --durations=10

bench: $(STAMP)  ## measure speed on an idle machine, write bench/RESULTS.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python -m bench

clean:  ## remove what the commands above made
	rm -rf $(VENV) demo build dist *.egg-info .coverage .mypy_cache .ruff_cache
