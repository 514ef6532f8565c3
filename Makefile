# `make demo`, `make test`, and `make docs` set up everything they need on a fresh machine (Linux or macOS, Python 3.11, pip).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# two test processes share two cores; more threads would only slow each other down
TEST_THREADS ?= 1

.PHONY: demo test faults fuzz lint bench docs clean

demo: $(VENV)/.installed
	PATH="$(abspath $(BIN)):$$PATH" bash scripts/demo.sh

test: $(VENV)/.installed-dev lint
	OMP_NUM_THREADS=$(TEST_THREADS) $(BIN)/pytest -n 2 --dist worksteal -q

# kills every command before each change that it makes to the file system, starts it twice, and fills its disk (Linux)
faults: $(VENV)/.installed-dev
	$(BIN)/python tests/faults/inject.py
	$(BIN)/python tests/faults/inject.py --how twice
	unshare -rm $(BIN)/python tests/faults/inject.py --how full

# damages what commands read, in 10,000 random ways
fuzz: $(VENV)/.installed-dev
	$(BIN)/python tests/fuzz/mutate.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# the site is written to site/; open site/index.html
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.installed-dev
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf demo site build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
