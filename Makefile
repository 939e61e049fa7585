# make demo, make test: the two commands of the README. They install what they need below this folder and the cache folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OLDEST := 1.34
CRD_FOLDERS := crds charts/tradingbot-operator/files/crds

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest e2e check generate lock lint types imports drift chart image e2e-network check-skaffold clean tools bench soak simulate

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: set PYTHON=python3.11"; exit 1; }
	@echo "Installing the pinned Python packages into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv package is needed: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## Install the operator from its chart on a real control plane, trade, stop, re-arm (KEEP=1, MARKET=FILE|live, SPEED=5)
	@$(BIN)/python -m tradingbot_sandbox demo $(if $(KEEP),--keep) $(if $(MARKET),--market '$(MARKET)') $(if $(SPEED),--speed $(SPEED))

test: tools ## All tests that run on this machine, with line coverage
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest -m 'not soak and not simulation and not network' $(or $(PYTEST),-q -n 4 --dist loadfile)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=85
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'soak or simulation'

test-oldest: $(READY) ## The tests that need an API server, on the oldest Kubernetes that is supported (about seven minutes to build it once)
	@TRADINGBOT_KUBERNETES=$(OLDEST) $(BIN)/python -m tradingbot_sandbox tools --chart >/dev/null
	@TRADINGBOT_KUBERNETES=$(OLDEST) $(BIN)/python -m pytest $(or $(PYTEST),-q -n 2 --dist loadfile) -m control_plane \
		tests/integration/test_sandbox_control_plane.py tests/integration/operator tests/integration/policies tests/chart

tools: $(READY) ## Find or build the control plane's programs, and the pinned ones that check the chart
	@$(BIN)/python -m tradingbot_sandbox tools --chart >/dev/null

check: lint types imports drift chart ## Everything that needs no test run: lint, types, imports, drift, chart

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports

drift: $(READY)
	@$(BIN)/python -m tradingbot_api.crd --check $(CRD_FOLDERS)
	@$(BIN)/python docs/generate_reference.py --check

chart: tools ## Lint (Helm 3 and 4), render, unit-test and check the chart against a real API server's schemas
	@$(BIN)/python -m pytest -q tests/chart

simulate: $(READY) ## Play random worlds of faults and crashes, and check the promises in each (SEEDS=10000, FIRST=0, JOBS=2; SEED=1234: one again)
	@cd tests && ../$(BIN)/python simulate.py $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),500) $(if $(FIRST),--first $(FIRST)) $(if $(JOBS),--jobs $(JOBS)))

soak: $(READY) ## Kill the real trader by SIGKILL at every point, and compare venue and ledger (CASE=POINT/KIND/FATE, POINT=, TIMES=3, KEEP=1)
	@PYTHONPATH=tests $(BIN)/python tests/soak/run.py $(if $(CASE),--case '$(CASE)') $(if $(POINT),--point '$(POINT)') $(if $(TIMES),--times $(TIMES)) $(if $(KEEP),--keep)

bench: $(READY) ## Measure the trader and the operator (ONLY=order-path,operator-scale, BENCH_BOTS=100,1000, BENCH_DIR=DIR, BENCH_JSON=FILE)
	@PYTHONPATH=tests $(BIN)/python -m bench

generate: $(READY) ## Write what is generated from the models
	@$(BIN)/python -m tradingbot_api.crd --write $(CRD_FOLDERS)
	@$(BIN)/python docs/generate_reference.py --write

lock: $(READY) ## Pin the dependencies again: newest versions that pyproject.toml allows, with hashes
	@scripts/lock --upgrade

image: ## Build the images and start them on a real node (needs docker and a cluster: docs/how-to/images.md)
	@scripts/check-images

e2e: tools ## The whole product on a real control plane: 200 random edits, 20 killed leaders, 101 stops (PYTEST='-k lifecycle')
	@TRADINGBOT_EDITS=200 TRADINGBOT_STOP_CELLS=all \
		$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/e2e tests/chaos $(PYTEST)

e2e-network: tools ## NetworkPolicies on a real node: every connection is tried (needs a cluster: docs/how-to/test-the-network.md; KEEP=1)
	@$(BIN)/python -m pytest tests/network -m network $(or $(PYTEST),-q)

check-skaffold: ## skaffold diagnose and render
	@scripts/check-skaffold

clean: ## Remove the virtual environment and the caches inside this folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
