# `make demo` and `make test` are all a newcomer needs; both build .venv when it is missing.

PYTHON ?= python3
BIN := .venv/bin
# One thread per process: two processes with one thread beat one with two, and numbers do not depend on cores.
export OMP_NUM_THREADS := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: install demo test test-browser test-slurm lint format generated dag

install: $(BIN)/.installed

# uv reads the same lock file as pip and installs it several times faster.
$(BIN)/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; assert sys.version_info >= (3, 11), sys.version' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 install"; exit 1; }
	$(BIN)/python -m pip install --quiet uv
# Compiled once here instead of in every process: a second of CPU each time torch is imported.
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: install
	@python workflow/scripts/demo.py

test: install
	python -m pytest -q
	$(MAKE) --no-print-directory lint

# The page of results in a headless Chromium; ALLOW_INSTALL=1 installs Debian's where there is none (root).
test-browser: install
	python -m pytest -q tests/browser

# A real Slurm on this machine, for the time of the tests. Needs root; ALLOW_INSTALL=1 installs Debian's packages.
test-slurm: install
	python -m pytest -q tests/slurm

lint: install
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/rules
	snakemake --profile profiles/demo --lint

format: install
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow/rules

# Files made from the sources: JSON schemas, conda environments, container recipes. Tests hold them together.
generated: install
	python workflow/scripts/schemas.py
	python workflow/scripts/environments.py

# The graph of the rules, and of one figure, as mermaid text in docs/rulegraph.md.
dag: install
	python workflow/scripts/dag.py --output docs/rulegraph.md
