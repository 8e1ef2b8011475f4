# One command for each job; `make help` lists them. PYTHON= names an interpreter, ARGS= goes to pytest or tox.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.PHONY: help demo test test-all bench lint format first-process release-check clean venv engine

PYTHON ?=
ARGS ?=
ENVS ?=
ifneq ($(PYTHON),)
export PYTHON
endif

# $(call run-tox,FLAGS): the environments that FLAGS and ARGS choose, those of tox.ini's env_list by default.
define run-tox
# The plain environments run on the Python of .venv already, so that one of these is left out unless it is named.
if [ -z "$(ENVS)" ]; then
    export TOX_SKIP_ENV="$$(.venv/bin/python -c 'import sys; print("py%d%d" % sys.version_info[:2])')"
fi
# pyenv hides all versions but those that it is told.
if command -v pyenv >/dev/null; then
    export PYENV_VERSION="$$(pyenv version-name):$$(pyenv versions --bare | grep -E '^3\.1[0-9]\.' | paste -sd :)"
fi
# Installing takes one processor for each environment, so that is done side by side. Tests have the machine for themselves.
.venv/bin/tox run-parallel --notest --parallel-no-spinner $(1) $(ARGS)
.venv/bin/tox run --skip-pkg-install $(1) $(ARGS)
endef

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

demo: venv engine ## run the examples, each service in a container of its own
	.venv/bin/pytest --isolate $(or $(ARGS),examples/)
	# The last of a run is removed when pytest has ended. This shows that nothing but snapshots is left.
	.venv/bin/pytest-isolate gc

test: venv engine ## run what each change is checked with
	@$(call run-tox)

test-all: venv engine ## run the rest: what is slow and rarely breaks; ENVS=engine-slow,remote names some of it
	@$(call run-tox,$(if $(ENVS),-e $(ENVS),-m slow))

bench: venv engine ## measure start-up against the alternatives; ARGS="w1 w5" names some
	.venv/bin/python -m benchmarks $(ARGS)

lint: venv ## check style, layers, spelling and types
	.venv/bin/tox run -e lint,type

format: venv ## put the code into the project's format
	.venv/bin/tox run -e format

first-process: ## build the first process of containers in pods, for amd64 and arm64
	@scripts/first-process

release-check: venv engine ## check that this commit can be released
	.venv/bin/tox run -e release-check

clean: ## remove what the other targets made in this folder
	rm -rf .venv .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@scripts/venv

engine:
	@scripts/engine
	@scripts/base-images
