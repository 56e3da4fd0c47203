# vmferry: `make demo` and `make test` install whatever is missing themselves; see `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
# The lab needs root: namespaces, bridges, mounts. As another user, sudo is asked once.
AS_ROOT := $(if $(filter 0,$(shell id -u)),env,sudo env)
QUIET := PYTHONDONTWRITEBYTECODE=1 PATH="$(CURDIR)/.venv/bin:$$PATH"
LAB ?= demo
HOSTS ?= 3
GUESTS ?= 8
PYTEST_ARGS ?=
PROFILE ?= steady
WORKERS ?= 3

.PHONY: help setup setup-demo demo test fault-matrix check bench cancel-test lab-up lab-down clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## Install apt packages, uv, the virtual environment and libvirt's test suite where they are missing
	@infra/setup.sh

setup-demo:
	@infra/setup.sh demo

demo: setup-demo  ## Evacuate a real libvirt host before your eyes (KEEP=1 leaves the lab for playing)
	@$(AS_ROOT) $(QUIET) $(PYTHON) -m infra.demo $(if $(KEEP),--keep)

test: setup  ## Run all tests: real libvirt in the lab, the simulated fleet, Prefect flows
	@$(AS_ROOT) $(QUIET) VMFERRY_TEST_PROFILE=$(PROFILE) $(PYTHON) -m pytest -p no:cacheprovider \
	  $(if $(filter nightly,$(PROFILE)),--timeout=7200) -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
	  --max-worker-restart=2 --ignore=tests/whole $(PYTEST_ARGS)

# A boot takes 20 s and more, installing packages a minute: not beside other tests. Each file has machines of its own.
whole-test: setup  ## Share storage and switch off whole machines: Debian with kernels of their own (40 min)
	@for file in tests/whole/test_*.py; do $(AS_ROOT) $(QUIET) $(PYTHON) -m pytest -p no:cacheprovider -q "$$file"; done

fault-matrix: setup  ## Break real moves in every phase in every way, print what happened, write docs/fault-matrix.md (25 min)
	@$(AS_ROOT) $(QUIET) $(PYTHON) -m tests.matrix --page

check: setup  ## Lint, types, import contracts, spelling
	@infra/check.sh

bench: setup  ## Measure: vmferry beside a shell loop of virsh migrate and xargs -P of it
	@$(AS_ROOT) $(QUIET) $(PYTHON) -m tests.bench

cancel-test: setup  ## Cancel evacuations of the lab 50 times at random moments; prints what became of the VMs
	@$(AS_ROOT) $(QUIET) $(PYTHON) -m tests.cancelling

lab-up: setup  ## Start a lab: make lab-up LAB=demo HOSTS=3 GUESTS=8
	@$(AS_ROOT) $(QUIET) $(PYTHON) -m infra.lab up --name $(LAB) --hosts $(HOSTS) --guests $(GUESTS)

lab-down:  ## Remove every lab and the demo's reports: no process, namespace, mount or file stays
	@if [ -x $(PYTHON) ]; then $(AS_ROOT) $(QUIET) $(PYTHON) -m infra.lab down --all; \
	 else echo "no virtual environment: no lab was started from here"; fi
	@$(AS_ROOT) rm -rf /var/tmp/vmferry-demo

clean: lab-down  ## Remove labs, the virtual environment and caches
	rm -rf .venv .bootstrap .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .cache
