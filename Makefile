# The two commands of the README are `make demo` and `make test`; `make help` lists the rest.
# Needed: git, make and Python 3.11 or later. PYTHON=/path/to/python picks another one than the first that fits.

PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$each" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
KORFORMER := $(BIN)/korformer

SAMPLE := docs/sample
DEMO := checkpoints/demo
DEMO_VOCABULARY := checkpoints/demo-vocabulary
PROMPT := 봄이 오면 할머니는

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint check format constraints clean

help: ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1@\2/p' Makefile | while IFS=@ read -r name text; do \
		printf '%-18s %s\n' "$$name" "$$text"; done

demo: $(VENV)/installed ## Set up, train a small model on the sample texts, and let it write (about three minutes after the install).
	@test -e $(DEMO_VOCABULARY) || { echo '== A vocabulary from $(SAMPLE)'; \
		$(KORFORMER) vocab $(SAMPLE)/*.txt --size 4000 -o $(DEMO_VOCABULARY); }
	@echo '== A small model, trained on the same texts'
	@$(KORFORMER) pretrain --objective ar --preset demo --vocab $(DEMO_VOCABULARY) --corpus $(SAMPLE)/*.txt -o $(DEMO)
	@echo '== What it writes on from "$(PROMPT)"'
	@$(KORFORMER) generate '$(PROMPT)' -m $(DEMO) --max-new-tokens 200 --seed 1

test: $(VENV)/installed-dev ## Set up and pass every check: style, types, walls, tests.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev ## Style, types and walls only.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed-dev ## Put the style right where a tool can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: ## Write constraints.txt anew from a fresh environment of the newest versions that fit.
	$(PYTHON) -m venv --clear $(VENV)-fresh
	$(VENV)-fresh/bin/python -m pip install --quiet --editable '.[dev,bench]'
	{ sed -n '/^#/p' constraints.txt; \
		$(VENV)-fresh/bin/python -m pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt
	rm -r $(VENV)-fresh

clean: ## Remove what the demo and the tools made, the environment too.
	rm -rf $(VENV) $(DEMO) $(DEMO_VOCABULARY) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'make: no Python 3.11 or later found. Install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	@echo "== Setting up $(VENV) with $(PYTHON): the first time this fetches torch and takes a few minutes"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'make: no virtual environment could be made. On Debian and Ubuntu: sudo apt install python3-venv' >&2; exit 1; }

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@$(PIP) --editable '.[dev,bench]'
	@touch $(VENV)/installed $@
