# Everything here sets itself up: a virtual environment in .venv, and stamps in it that tell what is
# installed. A second call is quick; after a change to pyproject.toml, setup.py or the C kernels the
# installation is renewed. Needs Python >= 3.11 with its headers, and a C compiler.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROMPT ?= def read_file(path):
MODEL ?= llama-3.3-70b
CHIPS ?= h200-sxm,b200-sxm,mi355x,tpu-v6e,lpu-v1

BUILT_FROM := pyproject.toml setup.py $(wildcard src/takt/*/fast/*.c src/takt/*/fast/*.h)
USER_STAMP := $(VENV)/.takt-user
DEV_STAMP := $(VENV)/.takt-dev

.PHONY: help run test check fuzz bench format clean

help:
	@echo 'make run     install, complete a prompt with the default model on one LPU, compare chips for a larger one, plan a fleet of them'
	@echo 'make test    every test'
	@echo 'make check   formatting, lint, types, chip facts, every test'
	@echo 'make fuzz    the property tests with new random examples, as often as you like'
	@echo 'make bench   speed of this machine, as ratios in one run'
	@echo 'make format  write the formatting that check asks for'
	@echo 'make clean   remove .venv and caches'

run: $(USER_STAMP)
	$(BIN)/takt run default '$(PROMPT)' --max-tokens 48
	@echo
	$(BIN)/takt compare $(MODEL) --chips $(CHIPS)
	@echo
	$(BIN)/takt plan $(MODEL) --rate 50 --chips $(CHIPS) --confirm 3 | sed '/^Why not/,$$d'

test: $(DEV_STAMP)
	$(BIN)/python -m pytest -q -n auto --dist loadfile

check: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/takt chips check
	$(BIN)/python -m pytest -q -n auto --dist loadfile

fuzz: $(DEV_STAMP)
	$(BIN)/python -m pytest -q -n auto -m hypothesis --hypothesis-profile=fuzz

bench: $(DEV_STAMP)
	$(BIN)/python benchmarks/bench.py

format: $(DEV_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src -name '*.so' -delete

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Takt needs Python 3.11 or newer; name one with make PYTHON=...' >&2; exit 1; }
	@command -v cc >/dev/null || { echo 'Takt needs a C compiler (cc)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(USER_STAMP): $(BIN)/python $(BUILT_FROM)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(DEV_STAMP): $(BIN)/python $(BUILT_FROM)
	$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	touch $(USER_STAMP) $@
