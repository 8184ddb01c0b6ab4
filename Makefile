# Two commands for a fresh machine with Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INTEROP := .venv-interop
BENCH := .venv-bench
LOWEST := .venv-lowest
MUTANTS := .venv-mutants
ADVISORIES := .venv-vulnerabilities
FUZZ := .venv-fuzz
SCALE ?= 1
ROUNDS ?= 5
RUNS ?= 1000000
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export KERAS_BACKEND := numpy
# Modules are compiled once, not in each of thousands of processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check lint unit slow real browser test-interop bench bench-quick fuzz faults format clean \
  coverage lowest vulnerabilities mutants survivors

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
	$(BIN)/python -m pytest -m real tests/real

# The HTML report in the system's Chromium; skipped where there is none.
browser: $(VENV)/browsing
	$(BIN)/python -m pytest -n auto --dist loadfile -m browser tests/cli/render_html

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

# Lines and branches that the tests run, programs that they start included; below 95 % it fails. Without
# the tests that limit bytes on the disk, coverage's data among them, or the time, its tracing included.
coverage: $(VENV)/developing
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist loadfile -m "not real and not browser and not interop" \
	  --deselect tests/hostile/test_interruptions.py::test_a_full_disk_is_told \
	  --deselect tests/hostile/test_interruptions.py::test_a_disk_that_fills_up_within_hdf5_is_told \
	  --deselect tests/hostile/test_interruptions.py::test_a_report_on_a_full_disk_leaves_no_part_of_it \
	  --deselect tests/hostile/test_hostile_budgets.py
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The tests that need no Keras and no JAX, on the lowest version of each dependency.
lowest: $(LOWEST)/installed
	$(LOWEST)/bin/python -m pytest -n auto -m "not slow" tests/cli/test_help.py tests/formats \
	  tests/laws/test_gate_laws.py tests/laws/test_projection_laws.py tests/numerics tests/selection

# Known vulnerabilities in the versions that pip would install today, and in the lowest that may be
# there already. Asks the advisory service of PyPI; without an answer for all of them it fails.
vulnerabilities: $(ADVISORIES)/installed
	$(ADVISORIES)/bin/pip-audit --strict --progress-spinner off .
	$(ADVISORIES)/bin/python tests/lowest.py > $(ADVISORIES)/lowest.txt
	$(ADVISORIES)/bin/pip-audit --strict --progress-spinner off --no-deps --disable-pip \
	  --requirement $(ADVISORIES)/lowest.txt

# Mutants of constraints/ and numerics/, judged by the fast tests of both. Goes on where it was stopped;
# ONLY='wproj.numerics.aiming*' tries some again, `make survivors` those that no test failed on.
# Links, as mutmut knows no core/.
mutants: $(MUTANTS)/installed
	mkdir -p .mutants
	ln -sfn ../core .mutants/src
	ln -sfn ../docs .mutants/docs
	ln -sfn ../tests .mutants/tests
	ln -sf ../pyproject.toml .mutants/pyproject.toml
	cd .mutants && ../$(MUTANTS)/bin/mutmut run $(ONLY)
	cd .mutants && ../$(MUTANTS)/bin/python ../tests/mutants.py

survivors: $(MUTANTS)/installed
	rm -f .mutants/mutants/mutmut-stats.json  # which tests reach what: there are new ones
	cd .mutants && ../$(MUTANTS)/bin/mutmut run \
	  $$(../$(MUTANTS)/bin/mutmut results | sed -n 's/^ *\(.*\): [a-z ]*$$/\1/p')
	cd .mutants && ../$(MUTANTS)/bin/python ../tests/mutants.py

# Every parser, RUNS times in all, guided by coverage and by the formats; findings are kept in .fuzz.
# `make fuzz RUNS=20000` takes a minute, most of it for starting; make test has a part of it, too.
fuzz: $(FUZZ)/installed
	$(FUZZ)/bin/python tests/fuzz/run.py --runs $(RUNS)

format: $(VENV)/developing
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(INTEROP) $(BENCH) $(LOWEST) $(MUTANTS) $(ADVISORIES) $(FUZZ) .fuzz .mutants build dist \
	  .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --group test --group lint --group coverage
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

# Each lower bound of pyproject.toml as the very version, written once.
$(LOWEST)/installed: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(LOWEST)/bin/python tests/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --editable . --group laws --constraint $(LOWEST)/constraints.txt
	touch $@

$(ADVISORIES)/installed: pyproject.toml
	$(PYTHON) -m venv $(ADVISORIES)
	$(ADVISORIES)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(ADVISORIES)/bin/python -m pip install --quiet --group vulnerabilities
	touch $@

$(MUTANTS)/installed: pyproject.toml
	$(PYTHON) -m venv $(MUTANTS)
	$(MUTANTS)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(MUTANTS)/bin/python -m pip install --quiet --editable . --group mutants
	touch $@

$(FUZZ)/installed: pyproject.toml
	$(PYTHON) -m venv $(FUZZ)
	$(FUZZ)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(FUZZ)/bin/python -m pip install --quiet --editable . --group fuzz
	touch $@
