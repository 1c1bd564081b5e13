# The two that matter: `make demo` shows the bridge at work, `make check` is the gate (the same here and in CI).
# Needs make and Python >= 3.11; the rest comes from the hash-pinned locks into .venv.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
PEERS := .venv-peers
BIN := $(CURDIR)/$(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
STAGE := @scripts/stage
# What `make generate` writes; `make check` fails if writing it again changes anything.
GENERATED := sales_crm_bridge/pb config/schema docs/config.md docs/crms.md docs/declared-language.md

export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-16s %s\n", $$1, $$2 }'

# --- Environment ------------------------------------------------------------------------------------------------

.PHONY: venv
venv: $(VENV)/.stamp ## Build .venv from the locks

$(VENV)/.stamp: requirements/dev.lock pyproject.toml
	@scripts/python -c 'import sys; print("venv: Python", sys.version.split()[0])' >&2
	@if ! $(VENV)/bin/python -c '$(if $(UV),,import pip)' 2>/dev/null; then \
	  rm -rf $(VENV); \
	  $(if $(UV),$(UV) venv -q --python "$$(scripts/python -c 'import sys; print(sys.executable)')",scripts/python -m venv) $(VENV); \
	fi
ifneq ($(UV),)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install -q --require-hashes -r requirements/dev.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install -q --no-deps --no-build-isolation -e .
else
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
endif
	@touch $@

.PHONY: lock
lock: ## Resolve pyproject.toml anew into requirements/*.lock
	@scripts/lock

.PHONY: services
services: venv ## Start the real Kafka, PostgreSQL and BottleCRM that the tests marked `real` use
	@scripts/services start

.PHONY: tools
tools: ## Install the programs that check deploy/: kustomize and promtool
	@scripts/tools install

# --- See it work ------------------------------------------------------------------------------------------------

.PHONY: demo
demo: venv ## 500 leads, a sandbox CRM, Kafka inside the process: the whole flow in seconds
	@sales-crm-bridge demo

# --- Speed ------------------------------------------------------------------------------------------------------

.PHONY: bench
bench: venv ## What the bridge costs beside a bare loop: about 15 minutes (real Kafka and PostgreSQL where they run)
	@python -m benchmarks

.PHONY: bench-quick
bench-quick: venv ## The same, smaller: about 2 minutes
	@python -m benchmarks --quick

.PHONY: bench-peers
bench-peers: venv $(PEERS)/.stamp ## Other tools beside the pull, in an environment of their own: about 15 minutes
	@python -m benchmarks --peers

$(PEERS)/.stamp: requirements/peers.lock
	@rm -rf $(PEERS)
ifneq ($(UV),)
	@$(UV) venv -q --python "$$(scripts/python -c 'import sys; print(sys.executable)')" $(PEERS)
	@VIRTUAL_ENV=$(CURDIR)/$(PEERS) $(UV) pip install -q --require-hashes -r $<
else
	@scripts/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install -q --require-hashes -r $<
endif
	@touch $@

.PHONY: bench-studies
bench-studies: venv ## How costs grow with leads, commands, tenants and processes, and what neighbours cost: about 25 minutes
	@python -m benchmarks --studies

# --- Generated files --------------------------------------------------------------------------------------------

.PHONY: protos
protos: venv ## Generate sales_crm_bridge/pb from protos/
	@python scripts/generate_protos.py

.PHONY: generate
generate: protos ## Generate everything that is generated: messages, schemas, reference pages
	@python -m sales_crm_bridge.schema --write
	@python -m sales_crm_adapters --write docs/crms.md
	@python -m sales_crm_adapters --language docs/declared-language.md

.PHONY: bundles
bundles: venv ## Record tests/bundles anew: what each sandbox scenario tells, after a change that is meant to alter it
	@python -m tests.replay.scenarios

# --- Gate -------------------------------------------------------------------------------------------------------

CHECKS := check-format check-lint check-types check-imports check-protos check-shell check-yaml check-docker check-generated

.PHONY: check
check: checks test ## The whole gate

.PHONY: checks
checks: $(CHECKS) ## All of it that needs no test: seconds each

.PHONY: test
test: venv ## All tests; those marked `real` skip unless scripts/services runs (REQUIRE_REAL=1: they fail)
	$(STAGE) $@ pytest $(PYTEST_ARGS)

.PHONY: fix
fix: venv ## Format and apply the linter's safe fixes
	@ruff format && ruff check --fix

.PHONY: $(CHECKS)
$(CHECKS): venv

check-format:
	$(STAGE) $@ ruff format --check --quiet

check-lint:
	$(STAGE) $@ ruff check --quiet

check-types:
	$(STAGE) $@ mypy

check-imports:
	$(STAGE) $@ lint-imports

# The contract may only grow: the released image is what other parties were built against.
check-protos:
	$(STAGE) $@ scripts/check_protos

check-shell:
	$(STAGE) $@ shellcheck -x $$(grep -rlIE '^#!.*bash|^# shellcheck shell=bash' scripts .ci)

check-yaml:
	$(STAGE) $@ yamllint --strict config compose.yaml deploy protos

check-docker:
	$(STAGE) $@ hadolint Dockerfile

check-generated:
	$(STAGE) $@ scripts/check_generated $(GENERATED)
