# `make help` lists what can be done here. Needs only git, make and Python 3.11, or uv.

TEMPLATE := {{ cookiecutter.repo_name }}
SOURCE := $(TEMPLATE)/src
# Its own rules are for the user's code, and leave the package out.
OURS := --config pyproject.toml "$(SOURCE)/kedro_mlrun"
# The recipe reads it as a shell variable, and make doesn't expand it: it arrives as it is.
override VERSION := $(value VERSION)
export VERSION
# Spaces in a prerequisite's name need backslashes.
LOCK := {{\ cookiecutter.repo_name\ }}/requirements.lock
BIN := .venv/bin

# Caches would be copied into every generated project.
export RUFF_NO_CACHE := true
export DO_NOT_TRACK := 1

.PHONY: help install demo life test check fix docs lock bench release ready matrix dist audit clean

help:  ## list the targets (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

install: .venv/installed  ## make .venv with Python 3.11, for the starter and the projects made from it

# Compiled once: where PYTHONDONTWRITEBYTECODE is set, each of the tests' processes would do it again.
.venv/installed: $(LOCK) pyproject.toml
	@echo "Installing into .venv; this takes minutes the first time ..."
	@UV_COMPILE_BYTECODE=1 sh "$(TEMPLATE)/install.sh" --no-deps -r "$(TEMPLATE)/requirements.lock"
	@sh "$(TEMPLATE)/install.sh" --no-build-isolation --editable ".[dev]"
	@touch $@

demo: .venv/installed  ## generate a project into build/ and run it: trains, evaluates and records two models
	@rm -rf build/breast-cancer
	@"$(BIN)/cookiecutter" . --no-input --output-dir build
	@$(MAKE) --no-print-directory -C build/breast-cancer run-local VENV="$$PWD/.venv"
	@echo "Run that in the folder build/breast-cancer."

life: .venv/installed  ## take a model through its life, from a search to a rollback, in two minutes
	@"$(BIN)/python" benchmarks/life.py

test: .venv/installed  ## run every test; those of the generated project too
	@"$(BIN)/python" -m pytest

check: .venv/installed  ## check format, style, types, imports, the manifest and the workflows; change nothing
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check $(OURS)
	@"$(BIN)/ruff" check $(OURS)
	@"$(BIN)/mypy"
	@PYTHONPATH="$(SOURCE)" "$(BIN)/lint-imports" --no-logo --no-cache
	@"$(BIN)/python" manifest.py --check
	@"$(BIN)/zizmor" --offline --quiet --no-progress .github "$(TEMPLATE)/.github"

fix: .venv/installed  ## fix format and style where that is safe, and write the manifest
	@"$(BIN)/ruff" check --fix --exit-zero .
	@"$(BIN)/ruff" format .
	@"$(BIN)/ruff" check --fix --exit-zero $(OURS)
	@"$(BIN)/ruff" format $(OURS)
	@"$(BIN)/python" manifest.py

docs: .venv/docs  ## build the documentation into build/site, and run its code blocks, in minutes
	@"$(BIN)/python" docs/make.py
	@NO_MKDOCS_2_WARNING=1 "$(BIN)/mkdocs" build --strict
	@"$(BIN)/python" -m pytest tests/docs/pages.py

.venv/docs: .venv/installed
	@sh "$(TEMPLATE)/install.sh" --no-build-isolation --editable ".[docs]"
	@touch $@

lock: .venv/installed  ## renew the generated project's requirements.lock
	@rm -rf build/breast-cancer
	@"$(BIN)/cookiecutter" . --no-input --output-dir build
	@$(MAKE) --no-print-directory -C build/breast-cancer lock VENV="$$PWD/.venv"
	@cp build/breast-cancer/requirements.lock "$(TEMPLATE)/requirements.lock"

bench: .venv/installed  ## measure costs beside peers', in 25 minutes: ONLY="frames store" REPEAT=3
	@"$(BIN)/python" benchmarks/bench.py $${ONLY:+--only $$ONLY} $${REPEAT:+--repeat "$$REPEAT"}

release: ready check test  ## write the version and the date, commit, build dist/ and tag: VERSION=0.3.0
	@"$(BIN)/python" tools/release.py

# Before what takes minutes.
ready: .venv/installed
	@"$(BIN)/python" tools/release.py --check

dist: .venv/installed  ## build this commit's wheel, archive, bill of materials and checksums into dist/
	@"$(BIN)/python" tools/release.py --build

matrix: .venv/installed  ## test with the oldest and newest versions, in half an hour: ONLY="pandas mlrun"
	@"$(BIN)/python" tools/matrix.py $${ONLY:-}

audit: .venv/installed  ## look up known vulnerabilities of requirements.lock
	@"$(BIN)/python" tools/audit.py

clean:  ## remove .venv, build and caches
	@rm -rf .venv build dist docs/made .hypothesis .pytest_cache .ruff_cache
	@find hooks tests "$(TEMPLATE)" -type d \( -name __pycache__ -o -name ".*_cache" \) -prune -exec rm -rf {} +
