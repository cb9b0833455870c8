# Everything here sets itself up: python3 (3.11 or later, with venv) is all that is needed, and for the benchmarks a C
# compiler. PYTHON=... takes another python.
PYTHON ?= python3
VENV := .venv
CASES ?= *
BIN := $(VENV)/bin

.PHONY: demo check test test-long autobahn lint bench bench-idle clean

demo: $(VENV)/.installed
	@$(BIN)/python examples/demo.py

check: $(VENV)/.tools
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/suite.py fast

test: $(VENV)/.tools
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/suite.py whole

test-long: $(VENV)/.tools $(VENV)/.peers
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/suite.py long

autobahn: $(VENV)/.tools
	@CASES="$(CASES)" $(BIN)/python tests/autobahn.py

lint: $(VENV)/.tools
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy

bench: .bench/.installed
	@.bench/bin/python bench/compare.py $(BENCH)
	@.bench/bin/python bench/near.py $(BENCH)
	@.bench/bin/python bench/tls.py $(BENCH)
	@.bench/bin/python bench/web.py $(BENCH)

bench-idle: .bench/.installed
	@.bench/bin/python bench/idle.py

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("meari needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

$(VENV)/.peers: $(VENV)/.tools
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[peers]'
	@touch $@

.bench/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -m venv .bench
	@.bench/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) .bench .autobahn .mypy_cache .ruff_cache .pytest_cache .hypothesis
