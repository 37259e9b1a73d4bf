# `make run` and `make test` are all that a fresh Debian machine with Python 3.11 needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PEERS  := .venv-peers
JUDGES := .venv-judges
CONF   ?= conf/supervisor.toml
ARGS   ?=
SECONDS ?= 600

.DEFAULT_GOAL := help
.PHONY: help install run test test-systemd lint types check docs format cover bench bench-scale bench-peers bench-life judges fuzz soak kills clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml supervisor/cli/supervisor
	@echo "making $(VENV), which takes a minute" >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	@touch $@

install: $(VENV)/.installed  ## Create the environment with everything in it

run: install  ## Start the default server (CONF=FILE for another)
	@exec $(BIN)/supervisor start -c $(CONF) $(ARGS)

test: install  ## Run the tests, on every processor (ARGS="-k name" for some)
	$(BIN)/pytest --numprocesses auto --dist loadfile $(ARGS)

test-systemd: install  ## Run the units on a real systemd in a container (root; apt: systemd-container)
	$(BIN)/pytest -m systemd $(ARGS)

lint: install  ## Check style, and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --config pyproject.toml

types: install  ## Check types
	$(BIN)/mypy

check: lint types test  ## Everything that CI runs

docs: install  ## Make conf/reference.toml and the manual from the texts in the code
	$(BIN)/supervisor types --toml > conf/reference.toml
	cd supervisor/cli/pages && for page in *.md; do page=$${page%.md}; \
		$(abspath $(BIN))/supervisor man $${page%.?} > $(CURDIR)/conf/man/$$page || exit; done

format: install  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

cover: install  ## Tests with branch coverage, children included
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --show-missing

bench: install  ## Measure ours against the floor, eight minutes (ARGS=--quick: one)
	@$(BIN)/python -m tests.benchmarks floor $(ARGS)

bench-scale: install  ## Measure 4 to 1000 children, eight minutes (ARGS=--quick: few)
	@$(BIN)/python -m tests.benchmarks scale $(ARGS)

bench-life: install  ## Measure crashes and renewals against their limits, beside peers that are there, half an hour (ARGS=--quick)
	@$(BIN)/python -m tests.benchmarks life $(ARGS)

soak: install  ## Load, kill, freeze and storm a server for ten minutes (SECONDS=120: two)
	$(BIN)/python -m tests.benchmarks.soak --seconds $(SECONDS) $(ARGS)

kills: install  ## Kill masters at 200 random instants of reloads (ARGS="--rounds 20": fewer)
	$(BIN)/python -m tests.benchmarks.soak.reloads $(ARGS)

$(PEERS)/.installed: $(wildcard tests/benchmarks/peers*.txt)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check -r tests/benchmarks/peers.txt
	-$(PEERS)/bin/pip install --quiet --disable-pip-version-check -r tests/benchmarks/peers-built.txt
	@touch $@

bench-peers: install $(PEERS)/.installed  ## Measure ours beside its peers, an hour (ARGS=--quick: seven minutes)
	@$(BIN)/python -m tests.benchmarks peers $(ARGS)

$(JUDGES)/.installed: tests/judges/requirements.txt
	$(PYTHON) -m venv $(JUDGES)
	$(JUDGES)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

judges: install $(JUDGES)/.installed  ## Have foreign judges look at ours and at the peers (ARGS="--ours --short": two minutes)
	@$(BIN)/python -m tests.judges $(ARGS)

fuzz: install  ## Fuzz the parsers and readers for ten minutes (SECONDS=120: two)
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

clean:  ## Remove what the targets made
	rm -rf $(VENV) .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.* .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
