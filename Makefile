# Thin: each target does its own set-up in .venv. Python 3.10 or newer, make and a C++ compiler
# are all that must be there. `make PYTHON=python3.13 test` chooses another interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find csrc src python -type f -not -path '*/__pycache__/*' 2>/dev/null)

.PHONY: demo test test-peers bench lint format sanitize broken clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The installed package, as a user gets it: a wheel, not an editable link to this folder.
$(VENV)/firth.stamp: $(BIN)/python $(SOURCES) CMakeLists.txt pyproject.toml
	$(BIN)/python -m pip install --quiet '.[plot]'
	touch $@

$(VENV)/test.stamp: $(VENV)/firth.stamp
	$(BIN)/python -m pip install --quiet '.[test]'
	touch $@

$(VENV)/peer.stamp: $(VENV)/test.stamp
	$(BIN)/python -m pip install --quiet '.[test,bench]'
	touch $@

$(VENV)/dev.stamp: $(VENV)/test.stamp
	$(BIN)/python -m pip install --quiet '.[dev]'
	touch $@

demo: $(VENV)/firth.stamp
	$(BIN)/firth demo

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m 'not peer'

test-peers: $(VENV)/peer.stamp
	$(BIN)/python -m pytest -m peer

bench: $(VENV)/peer.stamp
	$(BIN)/python benchmarks/run.py

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest firth._native firth._corpus --allowlist tests/stubtest-allow.txt
	$(BIN)/clang-format --dry-run --Werror $$(find csrc src -name '*.h' -o -name '*.cpp')

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find csrc src -name '*.h' -o -name '*.cpp')

clean:
	rm -rf build dist $(VENV) .venv-*
