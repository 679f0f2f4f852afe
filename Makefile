# qnn_ref: two commands matter, `make demo` and `make test`; `make help` lists the others.
# Needs Python >= 3.11 and nothing else: everything is installed into .venv.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python

# Sleeping threads do not fight: OpenBLAS and Numba have an OpenMP pool each.
export OMP_WAIT_POLICY ?= passive

# Tests start from an empty cache: a kernel that does not compile any more must not pass by it.
# A second argument is done in `$$cache` before.
define with_empty_cache
cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT INT TERM $(if $(2),&& $(2)) && NUMBA_CACHE_DIR="$$cache" $(1)
endef

# Runs as students get them: the core that has the shorter way has time for it.
STUDENTS = tests/test_notebooks_students.py

# A kernel is what has a NumPy twin, so these are the test files that name one.
KERNEL_TESTS = $(filter-out %/test_house_rules.py %/test_docstrings.py,$(shell grep -lE '_reference\b' tests/test_*.py))

.DEFAULT_GOAL := help
.PHONY: help demo page models test lint types house-rules test-compiled test-bounds test-plain test-students test-lowest test-exports release mutants docs notebooks figures clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-14s %s\n", $$1, $$2}'

demo: $(VENV)/.core ## set up, train a binarized network on MNIST, check it, pack it, compare
	$(PY) -m qnn_ref demo $(ARGS)

page: $(VENV)/.core ## a page where you draw digits and see the bits: page.html, for any browser
	$(PY) -m qnn_ref export mnist -o page.html $(ARGS)

models: $(VENV)/.core ## train the networks of data/models anew (minutes)
	$(PY) -m qnn_ref.experiments.models

test: lint types ## set up and run everything (notebooks too), the tests on two cores
	kernels=$$(mktemp -d) && trap 'rm -rf "$$kernels"' EXIT INT TERM && \
	KERNELS="$$kernels" $(MAKE) --no-print-directory --jobs=2 test-compiled test-plain test-bounds test-students

# Small matrices: one BLAS thread is as fast, and two test runs do not fight for the cores.
test-compiled test-plain test-bounds test-students: export OPENBLAS_NUM_THREADS ?= 1

lint: $(VENV)/.dev ## ruff: rules and layout
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(VENV)/.dev ## mypy over the package
	$(PY) -m mypy

house-rules: $(VENV)/.dev ## floors and house rules only (seconds)
	$(PY) -m pytest -q tests/test_floors.py tests/test_house_rules.py tests/test_docstrings.py

test-compiled: $(VENV)/.dev ## all tests with compiled kernels, house rules, wheel and notebooks
	$(call with_empty_cache,NUMBA_CACHE_DIR="$${KERNELS:-$$cache}" $(PY) -m pytest --ignore=$(STUDENTS) $(ARGS))

# It takes a copy of what is compiled by then, as far as it gets one: two processes would get into
# each other's way in one cache.
test-students: $(VENV)/.dev ## the notebooks once more, as students get them
	$(call with_empty_cache,$(PY) -m pytest -q $(STUDENTS),{ test -z "$$KERNELS" || cp -R "$$KERNELS/." "$$cache" 2>/dev/null || true; })

test-bounds: $(VENV)/.dev ## the tests of kernels, each array index checked
	@test -z "$(KERNEL_TESTS)" || { $(call with_empty_cache,NUMBA_BOUNDSCHECK=1 $(PY) -m pytest -q $(KERNEL_TESTS)); }

test-plain: $(VENV)/.dev ## all tests with Numba switched off: the same source as plain Python
	NUMBA_DISABLE_JIT=1 $(PY) -m pytest -q $(ARGS)

# numpy>=2 becomes numpy==2, and so on.
LOWEST = $(shell sed -n 's/^dependencies = //p' pyproject.toml | tr -d '[]",' | sed 's/>=/==/g')

test-lowest: ## the tests of kernels with the lowest versions of NumPy, Numba, ... that are allowed
	$(PYTHON) -m venv .lowest
	.lowest/bin/python -m pip install --quiet $(LOWEST) pytest hypothesis
	$(call with_empty_cache,PYTHONPATH=. .lowest/bin/python -m pytest -q -W ignore::DeprecationWarning $(KERNEL_TESTS))

test-exports: ## the tests of exported files that need the program which reads them
	$(PYTHON) -m venv .exports
	.exports/bin/python -m pip install --quiet ".[interop,check]" onnxruntime qonnx==1.0.0 pytest
	PYTHONPATH=. .exports/bin/python -m pytest -q -m other_side $$(grep -l 'mark[.]other_side' tests/test_*.py)

release: $(VENV)/.dev ## build wheel and source archive into dist, try both in empty environments (minutes)
	$(PY) -m tests.release $(ARGS)

mutants: $(VENV)/.dev ## plant small faults and see which no test finds (hours; ARGS="--sample 50")
	$(PY) -m tests.mutation $(ARGS)

docs: $(VENV)/.docs ## the site, in docs/_build/html (no network, no warnings)
	rm -rf docs/_build
	$(PY) -m sphinx -q -W --keep-going -b html -c docs -d docs/_build/doctrees . docs/_build/html
	$(PY) docs/read_pages.py docs/_build/html

notebooks: $(VENV)/.dev ## run every notebooks/*.py and store it with its outputs as .ipynb
	$(PY) notebooks/render.py

figures: $(VENV)/.dev ## every picture of the course as PNG and PDF (ARGS="01_one_bit.py --out slides")
	$(PY) notebooks/figures.py $(ARGS)

clean: ## remove .venv, caches and built files; data and runs stay
	rm -rf $(VENV) .lowest .exports build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: installed again only when pyproject.toml changes. `pip install --group` needs pip 25.1.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "qnn_ref needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1 || true)"; \
	  echo "Name another one, for example: make PYTHON=python3.12 $(or $(firstword $(MAKECMDGOALS)),demo)"; \
	  exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)"; \
	  exit 1; }
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.core: $(VENV)/.made pyproject.toml
	$(PY) -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	$(PY) -m pip install --quiet --editable . --group dev
	@touch $(VENV)/.core $@

$(VENV)/.docs: $(VENV)/.made pyproject.toml
	$(PY) -m pip install --quiet --editable . --group docs
	@touch $(VENV)/.core $@
