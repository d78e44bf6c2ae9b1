# Osteon. `make help` lists what there is; everything is set up on first use.

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.11
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(p))))
DISTRIBUTIONS := $(foreach d,shared $(wildcard services/*),-e $(d))
T ?= tests
# Tests wait much for servers: one process more than there are processors.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
# Without kept bytecode each process of a run compiles everything for itself: a quarter of the time of test-fast.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run cluster demo test test-fast test-deploy lint format docs bench storm lock clean

help:  ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run  ## Start the archive on this computer, in data/ (Ctrl-C stops it)
	@exec $(BIN)/osteon standalone

cluster: $(VENV)/dev  ## Start every service as its own process, with RabbitMQ, PostgreSQL and SeaweedFS
	@sh deploy/local/install.sh
	@exec $(BIN)/python deploy/local/cluster.py

demo: $(VENV)/run  ## Send the demo study to the archive that runs here and show each service at work
	@exec $(BIN)/osteon demo $(DEMO)

test: $(VENV)/dev  ## Run all tests; T=tests/unit/spool runs some
	@sh deploy/local/install.sh
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(T)

test-fast: $(VENV)/dev  ## Run the tests that need no other program
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not slow" $(T)

test-deploy: $(VENV)/dev  ## Check image, compose file and manifests with the tools for that, which it installs
	@VENV=$(VENV) sh tests/deploy/tools/install.sh
	OSTEON_TEST_TOOLS=required $(BIN)/pytest -rs -n auto --dist loadfile tests/deploy

lint: $(VENV)/dev  ## Check style, types and structure
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/dev  ## Write the pages that are made from the code
	$(BIN)/python docs/generate.py
	$(BIN)/python k8s/components/prometheus-operator/generate.py
	$(BIN)/python deploy/grafana/build.py

bench: $(VENV)/dev  ## Measure ingest, retrieval and DICOMweb beside Orthanc, scaling, the index and the parts, into docs/performance.md
	@sh deploy/local/install.sh
	$(BIN)/python tests/load/bench_ingest.py --docs
	$(BIN)/python tests/load/bench_scale.py --docs
	$(BIN)/python tests/load/bench_retrieve.py --docs
	$(BIN)/python tests/load/bench_dicomweb.py --docs
	$(BIN)/python tests/load/bench_index.py --studies 1000000 --instances 10000000 --docs
	@for b in acceptor spool header bus; do echo "== $$b"; $(BIN)/python tests/load/bench_$$b.py || exit 1; done

storm: $(VENV)/dev  ## Break everything at random under load, then look for losses: SEED=1 RUNS=1 SECONDS=60
	@sh deploy/local/install.sh
	@PYTHONPATH=tests:deploy/local $(BIN)/python -m storm --runs $(or $(RUNS),1) --seconds $(or $(SECONDS),60) \
	  $(if $(SEED),--seed $(SEED)) $(STORM)

lock: $(VENV)/dev  ## Resolve the newest allowed dependencies into the two lock files
	$(UV) lock --upgrade
	$(UV) export -q --frozen --all-packages --all-extras --no-dev --no-emit-workspace --no-header --no-annotate -o requirements.lock
	$(UV) export -q --frozen --all-packages --all-extras --all-groups --no-emit-workspace --no-header --no-annotate -o requirements-dev.lock

clean:  ## Remove the virtual environment and caches; data/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The two states of the virtual environment: enough to run, and enough to develop.

$(UV):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "Python's venv module is missing. Install it, then repeat:  apt-get install python3-venv"; exit 1; }
	@echo "[1/3] Making a virtual environment in $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check "uv>=$(UV_VERSION)"

$(VENV)/run: requirements.lock $(UV) shared/pyproject.toml $(wildcard services/*/pyproject.toml)
	@echo "[2/3] Installing dependencies, checked against requirements.lock"
	@$(UV) pip install --python $(VENV) --compile-bytecode --require-hashes -r requirements.lock
	@echo "[3/3] Installing Osteon"
	@$(UV) pip install --python $(VENV) --quiet --compile-bytecode --no-deps $(DISTRIBUTIONS)
	@touch $@

$(VENV)/dev: requirements-dev.lock $(VENV)/run
	@echo "Installing what the tests need"
	@$(UV) pip install --python $(VENV) --compile-bytecode --require-hashes -r requirements-dev.lock
	@touch $@
