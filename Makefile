# make demo: set up, train SchNet on the data that ship with the package, show a table and a picture
# make test: set up and run all tests
# Both keep their environment in .venv; setting up takes about 15 minutes once, then nothing.

PYTHON ?= python3
TORCH ?= torch==2.13.0
export PYTHON TORCH
BIN = .venv/bin

.PHONY: demo test lint format wheel clean

demo: .venv/.ready
	$(BIN)/python -m benchmarks.md17 --demo --num-train 950 --num-val 50 --max-minutes 1.5 \
	    --baseline-minutes 0.1 --out runs/demo --overwrite

test: .venv/.ready
	$(BIN)/python -m pytest

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: .venv/.ready
	$(BIN)/python -m build --wheel

.venv/.ready: .ci/environment setup.cfg pyproject.toml
	bash .ci/environment
	touch $@

clean:
	rm -rf .venv build dist *.egg-info runs
