# Everything people and CI do here. `make demo` and `make test` work on a fresh machine with Python 3.11 or later.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2
# Where pip finds torch, if not where it finds the rest. PyPI's wheel for Linux on x86 comes with gigabytes of CUDA:
# make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# Nothing here phones home. One thread for each process: more of them change the order of sums and fight for cores.
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE ?= 1
export OMP_NUM_THREADS ?= 1

# A stamp says that an installation is as new as what it was made from.
RUNTIME := $(VENV)/.stamp-runtime
DEVELOP := $(VENV)/.stamp-develop

.PHONY: help demo test check format lint types layers tests docs reference bench soak constraints clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## Install, simulate a private federated fleet, say where the report lies (about 2 minutes on 2 cores)
	@$(BIN)/tacit simulate home-quick

test: $(DEVELOP) tests ## Install what developers need and pass the tests

check: $(DEVELOP) lint types layers docs tests ## All that CI asks: format, lint, types, layers, docs, tests

format: $(DEVELOP) ## Write the code in its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(DEVELOP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEVELOP)
	$(BIN)/mypy

layers: $(DEVELOP)
	$(BIN)/lint-imports

tests: $(DEVELOP)
	$(BIN)/pytest -q -n $(JOBS) --dist worksteal

docs: $(DEVELOP) ## Build the pages into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The pages: $(abspath site)/index.html"

reference: $(DEVELOP) ## Write the pages that are made from code: docs/cli.md, docs/scenarios.md, docs/settings.md
	$(BIN)/python -m tacit_simulations.commands._reference > docs/cli.md.new && mv docs/cli.md.new docs/cli.md
	for page in scenarios settings; do \
		$(BIN)/python -m tacit_simulations.reference $$page > docs/$$page.md.new && mv docs/$$page.md.new docs/$$page.md; \
	done

bench: $(DEVELOP) ## Measure every figure the documents name, with what it is compared with
	$(BIN)/python benchmarks/run_all.py

soak: $(DEVELOP) ## An hour of random texts against the laws of redaction, a thousand faults of the gateway, twenty of a deployment
	$(BIN)/python tests/support/soak_redaction.py --cases 1000000 --seconds 3600
	TACIT_FAULTS=1000 $(BIN)/pytest -q --timeout 3600 tests/integration/test_gateway_faults.py
	TACIT_SCHEDULES=20 $(BIN)/pytest -q -s tests/system/test_deployment_faults.py

constraints: $(DEVELOP) ## Write constraints.txt from what is installed now
	@$(BIN)/python -m pip freeze --exclude-editable | LC_ALL=C sort -f \
		| sed -E -e '/^[A-Za-z0-9_.-]+==/!d' -e 's/^torch==([0-9]+\.[0-9]+).*/torch==\1.*/' -e 's/\+.*//' > constraints.new
	@mv constraints.new constraints.txt

clean: ## Remove what was built here; keeps $(VENV) and runs/
	rm -rf site dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find clients privacy server simulations tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Tacit needs Python 3.11 or later, but $(PYTHON) is $$($(PYTHON) -V 2>&1): make demo PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV); the first time this fetches torch and takes minutes"
	$(PIP_INSTALL) -e .
	@touch $@

$(DEVELOP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV); the first time this fetches torch and takes minutes"
	$(PIP_INSTALL) -e '.[dev,docs,hub]'
	@touch $(RUNTIME) $@
