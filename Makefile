# make demo      set up, train SchNet on the data that ship with the package, show a table and a picture
# make test      set up the rest and run all tests
# make test-fast run those that take no longer than a moment
# make docs      run the pages of docs/ and make a web site of them
# make compiled  add torch-cluster and torch-scatter, which `make test` does too
# All keep their environment in .venv and install only what is missing there.

PYTHON ?= python3
TORCH ?= torch==2.13.0
export PYTHON TORCH
BIN = .venv/bin

.PHONY: demo test test-fast docs compiled lint format wheel clean

demo:
	@bash .ci/environment demo
	@$(BIN)/python -m benchmarks.md17 --demo --num-train 950 --num-val 50 --max-steps 20000 \
	    --max-minutes 1 --baseline-minutes 0.1 --threads 1 --out runs/demo --overwrite

test: compiled
	@bash .ci/environment test
	$(BIN)/python -m pytest

test-fast:
	@bash .ci/environment test
	$(BIN)/python -m pytest -m "not (slow or gpu or browser)"

docs:
	@bash .ci/environment docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

compiled:
	@bash .ci/environment compiled

lint:
	@bash .ci/environment test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format:
	@bash .ci/environment test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel:
	@bash .ci/environment test
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv build dist *.egg-info runs docs/_build docs/api docs/guide docs/project
