# Needs python3 (3.11 or newer) and make; everything else is installed into .venv and .agents by scripts/venv.
SHELL := /bin/sh
PYTHON := .venv/bin/python
ARGS ?=

.PHONY: help up test check fix demo bench agents runtime tools

help:
	@echo "make up      install and start the whole portal on http://127.0.0.1:8000"
	@echo "make demo    start three OneStep agents against the running portal"
	@echo "make test    run every test on PostgreSQL and Redis, then on SQLite; ARGS='-k name' goes to pytest"
	@echo "make bench   measure on PostgreSQL and Redis for 5 minutes and print each figure beside its target"
	@echo "make check   lint, format, types, layers, migrations, deploy checks, API document, translations"
	@echo "make fix     let ruff format and mend what it can"

up: runtime
	@exec $(PYTHON) manage.py up $(ARGS)

test: tools agents
	@exec $(PYTHON) -m tests.run $(ARGS)

check: tools
	@exec scripts/check

fix: tools
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

demo:
	@scripts/venv .agents/current demo/requirements.txt
	@exec .agents/current/bin/python -m demo $(ARGS)

# Leave the machine alone meanwhile. `python -m bench --help` lists the single scenarios.
bench: tools
	@exec $(PYTHON) -m bench all $(ARGS)

# What the portal runs on.
runtime:
	@scripts/venv .venv requirements.txt

# The same with what tests and checks need.
tools:
	@scripts/venv .venv requirements-dev.txt

# Two real client generations, each in an environment of its own as its users have it.
agents:
	@scripts/venv .agents/current demo/requirements.txt
	@scripts/venv .agents/old tests/e2e/requirements-old.txt
