# Two commands for a fresh machine with Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INTEROP := .venv-interop
BENCH := .venv-bench
SCALE ?= 1
ROUNDS ?= 5
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export KERAS_BACKEND := numpy

.PHONY: demo test check lint unit slow real browser test-interop faults bench bench-quick format clean

demo: $(VENV)/installed
	@sh sample_weights/demo.sh $(BIN)/wproj

test: lint unit slow real browser test-interop

# Formatting, linting and types.
lint: $(VENV)/developing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Everything that takes milliseconds, in parallel.
unit: $(VENV)/developing
	$(BIN)/python -m pytest -n auto -m "not slow and not real and not browser and not interop"

# A million vectors, two-gibibyte files, signals and full disks, the wheel in a clean environment.
slow: $(VENV)/developing
	$(BIN)/python -m pytest -n auto --dist loadfile -m slow

# Real checkpoints by pinned version and digest; skipped with a message without a network.
real: $(VENV)/developing
	$(BIN)/python -m pytest -m real

# The HTML report in the system's Chromium; skipped where there is none.
browser: $(VENV)/browsing
	$(BIN)/python -m pytest -n auto --dist loadfile -m browser

# Constraints in the training loop: tensors of PyTorch, arrays of JAX, and Keras on both, which has
# one backend for each process. One test at a time, as each of them uses all processors.
test-interop: $(INTEROP)/installed
	KERAS_BACKEND=torch $(INTEROP)/bin/python -m pytest tests/constraints/test_arrays.py \
	  tests/constraints/test_saved_models.py tests/interop
	KERAS_BACKEND=jax $(INTEROP)/bin/python -m pytest tests/constraints/test_saved_models.py tests/interop

# A thousand kills at random times over all formats, two runs at once, full disks: about a quarter of
# an hour. KILLS=60 makes it short; the seed that it prints makes it again: SEED=7.
KILLS ?= 1000
faults: $(VENV)/developing
	$(BIN)/python tests/faults/kills.py --kills $(KILLS) $(if $(SEED),--seed $(SEED))

# Every figure of benchmarks/README.md against its opponent, on an idle machine with 20 GiB of free disk.
# SCALE=16 divides the sizes: mostly starts are measured then, and nothing is written down.
bench: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/run.py --scale $(SCALE) --rounds $(ROUNDS) \
	  $(if $(filter 1,$(SCALE)),--write benchmarks/README.md)
	$(BENCH)/bin/python benchmarks/growth.py --scale $(SCALE) --rounds $(ROUNDS) \
	  $(if $(filter 1,$(SCALE)),--write benchmarks)

bench-quick:
	$(MAKE) bench SCALE=16 ROUNDS=3

format: $(VENV)/developing
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(INTEROP) $(BENCH) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --group test --group lint
	touch $@

$(VENV)/browsing: $(VENV)/developing
	$(BIN)/python -m pip install --quiet --group browser
	touch $@

$(INTEROP)/installed: pyproject.toml
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(INTEROP)/bin/python -m pip install --quiet --editable . --group interop
	touch $@

$(BENCH)/installed: pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BENCH)/bin/python -m pip install --quiet --editable . --group bench
	touch $@
