# Every target sets up .venv by itself. PYTHON=/path/to/python chooses another one.
SHELL := /bin/bash
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do \
  $$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ALL := -e ".[book,dev]"
# The exact mazes solve many small systems: two BLAS threads on two busy cores take 4 to
# 50 times as long as one.
export OPENBLAS_NUM_THREADS := 1
# Chapters and tests run several at a time, and then one thread of XLA each is faster.
book test test-all coverage: export PJRT_NPROC := 1
# Compilation takes a fifth less without XLA's newer way to write loops, where XLA has
# the flag; what comes out is as fast.
OLDER := --xla_cpu_use_fusion_emitters=false
book test test-all coverage: export XLA_FLAGS = $(shell XLA_FLAGS=$(OLDER) \
  $(BIN)/python -c "import jax; jax.devices()" >/dev/null 2>&1 && echo $(OLDER))

.PHONY: help book shape cards epub pdf pack downloads earlier site release test test-all coverage \
  colab-test lint format lab notebooks bench doctor clean

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

book: $(STAMP)  ## execute every chapter and render _build/html
	@$(BIN)/python book/build.py

shape: $(STAMP)  ## print lines of code, words and minutes of each chapter
	@$(BIN)/python book/shape.py

cards: $(STAMP)  ## after `make book`: the front page's pictures of the chapters
	@$(BIN)/python book/cards.py

epub: $(STAMP)  ## after `make book`: the book for e-readers, in _build/downloads
	@$(BIN)/python book/epub.py

pdf: $(STAMP)  ## after `make book`: the whole book as one PDF
	@$(BIN)/python book/paper.py

pack: $(STAMP)  ## after `make book`: slides, figures and exam for lecturers
	@$(BIN)/python book/pack.py

downloads: epub pdf pack  ## the three of them

earlier: $(STAMP)  ## fetch the books of earlier releases (needs gh)
	@$(BIN)/python book/publish.py --earlier

site: $(STAMP)  ## the book, its downloads and earlier releases side by side: _build/site
	@$(BIN)/python book/publish.py

release: $(STAMP)  ## publish this version with its book and downloads (needs gh)
	@$(BIN)/python book/publish.py --release

# The tests compile much and compute little: compilation takes half the time without
# optimizing. The tests of a file run in one process, so that what they share is made
# once: see conftest.py. Three processes on two cores: they wait now and then.
TESTS := $(BIN)/python -m pytest -n 3 --no-loadscope-reorder
test test-all coverage: export JAX_DISABLE_MOST_OPTIMIZATIONS := 1
test: $(STAMP)  ## run the tests that say in minutes whether a change is sound
	$(TESTS) -m "not slow"

test-all: $(STAMP)  ## run all tests: before a release, and after changes of what is slow
	$(TESTS)

coverage: $(STAMP)  ## run the tests and print what they cover (half as long again)
	$(TESTS) --cov --cov-report=term-missing

colab-test: $(STAMP)  ## run every Colab twin with the built wheel and Colab's packages
	$(BIN)/python book/colab.py --record

lint: $(STAMP)  ## check style, formatting, the Colab twins and the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python book/twins.py --check
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*

format: $(STAMP)  ## let ruff repair what it can, in the chapters too
	$(BIN)/python book/twins.py --format
	$(BIN)/python book/twins.py
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: $(STAMP)  ## open the chapters in JupyterLab
	$(BIN)/jupyter lab book/chapters

notebooks: $(STAMP)  ## make the Colab twins (.ipynb) of the chapters
	$(BIN)/python book/twins.py

GIVEN := gpu parts swaps tapes  # benchmarks that are told what to run
bench: $(STAMP)  ## run benchmarks/ here, those that need no runs; rewrites results/ (20 minutes)
	@for f in $(filter-out $(GIVEN:%=benchmarks/%.py), $(wildcard benchmarks/[!_]*.py)); do echo "== $$f"; $(BIN)/python "$$f" || exit 1; done

doctor: $(STAMP)  ## say what will run here and how long it takes
	@$(BIN)/python -m crl_mini doctor

clean:  ## delete what was built and compiled (not .venv)
	rm -rf _build .cache

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || { \
	  echo "crl_mini needs Python 3.11 or newer; found: $$(python3 -V 2>&1)." >&2; \
	  echo "Install one and run: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "This Python cannot make virtual environments (on Debian and Ubuntu:" >&2; \
	  echo "apt install python3-venv); conda users: see environment.yml." >&2; exit 1; }
	@# uv takes half of pip's time. It does not read pip's settings: then pip does it.
	{ $(PIP) uv && $(BIN)/uv pip install --quiet --python $(BIN)/python $(ALL); } || \
	  $(PIP) --no-compile $(ALL)
	@touch $@
