# Two commands: `make demo` and `make test`. Everything is installed into .venv.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Hugging Face is never asked for anything in tests and demo: they carry what they need.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

# Small tests take a thread each, so two files run at a time; the slow proofs take all cores.
PARALLEL := --numprocesses 2 --dist loadfile

RUST := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help tools demo test test-all peer-tests test-floor rust-test lint typecheck format deny bench bench-full bench-small readme-table clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | \
		awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

tools: # What must be on the machine; each missing one is named, with where to get it
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "fastft needs Python 3.11 or newer; $(PYTHON) is missing or older." \
		       "Get it from https://www.python.org/downloads/ and run: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) lacks the venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@command -v cargo >/dev/null || \
		{ echo "fastft needs a Rust toolchain (cargo). Get it from https://rustup.rs"; exit 1; }
	@command -v cc >/dev/null || \
		{ echo "Rust needs a linker (cc); on Debian and Ubuntu: apt install gcc"; exit 1; }

$(BIN)/uv:
	@$(MAKE) --no-print-directory tools
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.demo: pyproject.toml $(RUST) $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(RUST) $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: pyproject.toml $(RUST) $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[bench]'
	@touch $@

demo: $(VENV)/.demo ## Build, install, and fine-tune a small model on real text (torch brings 6 GB)
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev lint typecheck rust-test ## Run every test, lint and type check (15 to 20 minutes, the first build included)
	$(BIN)/python -m pytest $(PARALLEL)

test-all: $(VENV)/.dev lint typecheck rust-test deny ## Run every proof in full, on ../shared too (about two hours)
	cargo test --release --quiet --package xtask -- --ignored
	$(BIN)/python -m pytest $(PARALLEL)
	$(BIN)/python -m pytest -m slow --durations=20

peer-tests: $(VENV)/.dev ## Run torch's and torchdata's loader tests on ours (PEER_TESTS=<checkout of meta-pytorch/data>)
	@test -n "$(PEER_TESTS)" || { echo "pass PEER_TESTS=<a checkout of https://github.com/meta-pytorch/data>"; exit 1; }
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target .peer-tests expecttest parameterized psutil
	$(BIN)/python tests/peers/run.py "$(PEER_TESTS)" .peer-tests

test-floor: tools ## Run a smoke subset on the oldest torch and transformers that are supported
	test -x .venv-floor/bin/uv || { $(PYTHON) -m venv .venv-floor && .venv-floor/bin/python -m pip install --quiet uv; }
	.venv-floor/bin/uv pip install --quiet --python .venv-floor/bin/python \
		--editable '.[dev]' 'torch==2.11.*' 'transformers==5.17.*'
	.venv-floor/bin/python -m pytest -m floor -W default

rust-test: $(VENV)/.dev ## Run the Rust tests, formatting and clippy
	cargo fmt --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	cargo test --workspace --quiet

lint: $(VENV)/.dev ## Check style and the order of imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports

typecheck: $(VENV)/.dev ## Check types, and the stub of the extension module against the module
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest fastft._fastft --mypy-config-file pyproject.toml

format: $(VENV)/.dev ## Format Rust and Python
	cargo fmt
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

deny: ## Check licences, bans and sources of the Rust dependencies (builds cargo-deny once)
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked --quiet
	cargo deny check licenses bans sources

bench: $(VENV)/.bench ## Time everything beside its peers, small sizes; goes on where it was killed
	$(BIN)/fastft bench --quick --json runs/bench/quick.json --output runs/bench

bench-full: $(VENV)/.bench ## The sizes of the tables, no limit of time; BENCH_DATA=<folder of real sets>
	$(BIN)/fastft bench $(if $(BENCH_DATA),--data $(BENCH_DATA)) --json runs/bench/full.json --output runs/bench

bench-small: $(VENV)/.dev ## Time small pieces of the data path by pytest-benchmark
	$(BIN)/python -m pytest benches --benchmark-only -o python_files='bench_*.py' \
		-o python_classes='Bench*' -o python_functions='bench_*'

readme-table: $(VENV)/.dev ## Write the table of the README from its result files, or from RESULT=<file,file>
	$(BIN)/python -m fastft.bench.readme $(RESULT)

clean: ## Remove what was built; .venv and runs/ stay
	cargo clean
	rm -rf dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
