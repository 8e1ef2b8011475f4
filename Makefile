# One command for each job; `make help` lists them. PYTHON= names an interpreter, ARGS= goes to pytest or tox.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.PHONY: help demo test bench lint format clean venv engine

PYTHON ?=
ARGS ?=
ifneq ($(PYTHON),)
export PYTHON
endif

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

demo: venv engine ## run the examples, each service in a container of its own
	.venv/bin/pytest --isolate $(or $(ARGS),examples/)
	# The last of a run is removed when pytest has ended. This shows that nothing but snapshots is left.
	.venv/bin/pytest-isolate gc

test: venv engine ## run every check and test, as CI does
	@# The plain environments run on the Python of .venv already. pyenv hides all versions but those it is told.
	if command -v pyenv >/dev/null; then
	    export PYENV_VERSION="$$(pyenv version-name):$$(pyenv versions --bare | grep -E '^3\.1[0-9]\.' | paste -sd :)"
	fi
	export TOX_SKIP_ENV="$$(.venv/bin/python -c 'import sys; print("py%d%d" % sys.version_info[:2])')"
	.venv/bin/tox run $(ARGS)

bench: venv engine ## measure start-up against the alternatives
	.venv/bin/python -m benchmarks $(ARGS)

lint: venv ## check style, layers, spelling and types
	.venv/bin/tox run -e lint,type

format: venv ## put the code into the project's format
	.venv/bin/tox run -e format

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
