# make demo   the only set-up: a .venv, the package, then a small comparison and the lab's own control, with their reports,
#             and a page on which two of the models are watched at work
# make test   the tests          make lint   formatting, lint and types
# make weights   the wheel of trained models, dist/headwise_weights-*.whl: what is not in WEIGHTS_RUNS is trained, for hours
# make playground   a page on which two small models, trained here in some minutes, solve puzzles in the browser
# make docs   the documentation, into site/      make site   that and whatever else belongs to the site
.DEFAULT_GOAL := demo
.DELETE_ON_ERROR:
.PHONY: demo test lint weights playground docs site install install-dev install-docs

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# Extra arguments for pip, e.g. PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for torch without CUDA
PIP_FLAGS ?=
DEMO_OUTPUT ?= demo
# Enough for the loop to follow every chain of comparisons, which one application of a block cannot
DEMO_SETTINGS ?= training.updates=300 training.validate_every=30
CONTROL_SETTINGS ?=
# Finished runs of the recipes in src/headwise/conf/weights, wherever they were trained: a folder with one of each name
WEIGHTS_RUNS ?= weights/runs
# Further words for `headwise weights`, e.g. only_finished=true, or quick=true for a try
WEIGHTS_SETTINGS ?=
PLAY_OUTPUT ?= site/play
PLAY_RUNS ?= runs/playground
PLAY_SETTINGS ?=
# The first interpreter that runs and is new enough; set PYTHON to choose one
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)

demo: install
	$(BIN)/headwise compare task=sorting 'arms=[baseline,looped,hrm]' seeds=3 task.length=6 task.mask_rate=0.67 task.hint_span=1 \
		task.train_examples=0 model.width=64 model.heads=4 model.ffn=128 training.preset.lr=0.005 $(DEMO_SETTINGS) output=$(DEMO_OUTPUT)
	$(BIN)/headwise control 'arms=[looped,gated,oracle]' 'widths=[]' $(CONTROL_SETTINGS) output=$(DEMO_OUTPUT)/control
	$(BIN)/headwise show $(DEMO_OUTPUT)/runs/looped/seed0 $(DEMO_OUTPUT)/runs/baseline/seed0 output=$(DEMO_OUTPUT)/show.html

test: install-dev
	$(BIN)/python -m pytest -n 2 -m "not readme and not clusters"

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

weights: install
	$(BIN)/headwise weights runs=$(WEIGHTS_RUNS) output=weights/headwise_weights $(WEIGHTS_SETTINGS)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist ./weights
	@ls -l dist/headwise_weights-*.whl

# Runs that are there are taken as they are. Weights that know no size but offsets solve mazes of other sizes, too
playground: install-dev
	test -d $(PLAY_RUNS)/sudoku || $(BIN)/headwise train task=sudoku_4 arm=looped training.updates=120 training.validate_every=60 \
		$(PLAY_SETTINGS) output=$(PLAY_RUNS)/sudoku
	test -d $(PLAY_RUNS)/maze || $(BIN)/headwise train task=maze task.size=6 task.min_path_length=8 task.positions=relative arm=looped \
		model.relative=5 model.width=64 model.heads=4 model.ffn=128 model.structural_heads=2 arm.refinement.steps=12 \
		arm.refinement.supervision=uniform training.updates=250 training.schedule=linear training.preset.lr=0.003 \
		$(PLAY_SETTINGS) output=$(PLAY_RUNS)/maze
	$(BIN)/headwise playground maze=$$(echo $(PLAY_RUNS)/maze/*/) sudoku=$$(echo $(PLAY_RUNS)/sudoku/*/) output=$(PLAY_OUTPUT)

# The variable silences a notice about other releases of mkdocs, which the bounds in pyproject.toml leave out
docs: install-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "open site/index.html"

site: docs playground

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev
install-docs: $(VENV)/.installed-docs

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "headwise needs Python 3.11 or newer (with venv); set PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# The stamps are newer than what they installed, so that a second call does nothing
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -e '.[dev]'
	@touch $@

$(VENV)/.installed-docs: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -e '.[docs]'
	@touch $@
