# Triptych: `make demo` and `make test` need nothing but Python (3.10 or later) and make.
#
#   PYTHON=python3.12                     the interpreter that creates the environment
#   VENV=/some/where                      the directory of the environment (default .venv)
#   EXTRAS=train,dev,integrations         also installs the libraries that tests/ecosystem and tests/scale need
#   PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#                                         options of pip; this one selects the small CPU build of torch on Linux
#   ARGS="--max_minutes 1"                options of the command: `make demo ARGS=...`, `make test ARGS="-k cache"`

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= train,dev
PIP_ARGS ?=
ARGS ?=
# Every core runs tests, but in at most four processes, because each process loads torch and transformers (about 1 GB).
PYTEST = $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

BIN := $(VENV)/bin
comma := ,
STAMP := $(VENV)/installed-$(subst $(comma),-,$(EXTRAS))

.DEFAULT_GOAL := help
.PHONY: help env demo test slow lint format clean

help: ## this list
	@echo "Triptych. What make can do here:"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

env: $(STAMP) ## create the environment in .venv (the others do this by themselves)
	@echo "==> environment: $(VENV) is ready ($$($(BIN)/python --version))"

# The environment is made anew only if one of these two files is newer than the stamp. The package itself is editable.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Triptych needs Python 3.10 or later, '$(PYTHON)' is $$($(PYTHON) --version 2>&1): make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || echo "==> environment: creating $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu it is in a package of its own: apt install python3-venv"; exit 1; }
	@echo "==> environment: installing triptych and what it needs (some minutes, torch is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

demo: $(STAMP) ## train a small translation model on the shipped corpus, evaluate it, translate with it
	@echo "==> demo: English to German, about five minutes of training on two CPU cores"
	@$(BIN)/python scripts/demo.py $(ARGS)

test: $(STAMP) ## the tests
	@echo "==> test: everything that takes seconds (make slow: the rest)"
	@$(PYTEST) $(ARGS)

slow: $(STAMP) ## the slow tests: whole runs of the scripts, several processes
	@echo "==> slow: the tests that take longer"
	@$(PYTEST) -m slow $(ARGS)

lint: $(STAMP) ## ruff and mypy
	@echo "==> lint: ruff check, ruff format --check, mypy"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## let ruff fix and format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove the environment and all caches (not the runs)
	@echo "==> clean: removing $(VENV), build products and caches"
	@rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
