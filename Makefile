# Two commands do everything on a fresh machine, set-up included: `make demo` and `make test`.
#
#   PYTHON       the Python that the environment is made from, 3.11 or later
#   TORCH_INDEX  where to take torch from, if not from the usual index: the address of a wheel index that has its
#                CPU-only build saves gigabytes on a Linux machine without a GPU

PYTHON ?= python3
TORCH_INDEX ?=

# Everything below is relative, since make cannot quote the path of a folder whose name has a space in it.
RUN := .venv/bin/python
READY := .venv/.ready
PIP := $(RUN) -m pip --disable-pip-version-check -qq
ONE_THREAD := OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint pytest notebooks bench clean
.NOTPARALLEL:  # the steps share two cores' worth of threads and one terminal, so -j must not interleave them

help:
	@echo "make demo    fits the digit model, shows what was measured, writes the pictures to runs/demo"
	@echo "make test    style, types, tests, doctests and notebooks"
	@echo "make setup   the environment alone        make lint    style and types alone"
	@echo "make bench   the tables of docs/results.md   make clean   removes what make and the tools made, runs/ excepted"

setup: $(READY)

# The mark holds the folder that it was set up in: a copied or renamed one still points at its old place.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

$(READY): pyproject.toml constraints.txt Makefile
	@$(RUN) -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
			{ echo "pyrometer needs Python 3.11 or later, which '$(PYTHON)' is not; name one: make PYTHON=python3.12" >&2; exit 1; }; \
		echo "Making .venv ..."; $(PYTHON) -m venv --clear .venv; }
	@echo "Installing what constraints.txt pins (a minute or two the first time) ..."
	@$(PIP) install -c constraints.txt setuptools
	@$(PIP) install -c constraints.txt --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@mkdir -p .venv/checker && rm -f .venv/checker/pyrometer && ln -s ../.. .venv/checker/pyrometer
	@pwd -P > $@

demo: setup
	@$(RUN) -m pyrometer.demo --out runs/demo

test: lint pytest notebooks

lint: setup
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	@$(RUN) -m basedpyright

pytest: setup
	@$(ONE_THREAD) $(RUN) -m pytest -q -n 2 --dist loadgroup --ignore tests/svi/compiled
	@$(RUN) -m pytest -q -n 2 --dist loadgroup tests/svi/compiled  # with the threads that users have

notebooks: setup
	@if ls notebooks/*.ipynb >/dev/null 2>&1; then $(ONE_THREAD) $(RUN) -m pytest -q -n 2 --nbmake notebooks; fi

bench: setup
	@$(RUN) -m benchmarks.digits
	@$(RUN) -m benchmarks.label_counts
	@$(RUN) -m benchmarks.mnist
	@$(RUN) -m benchmarks.calibration
	@$(RUN) -m benchmarks.paths
	@$(RUN) -m benchmarks.energies
	@$(RUN) -m benchmarks.annealing
	@$(RUN) -m benchmarks.exactness
	@$(RUN) -m benchmarks.parallel_speed
	@$(RUN) -m benchmarks.crashes
	@$(RUN) -m benchmarks.sanitised
	@$(RUN) -m benchmarks.crash_matrix
	@$(RUN) -m benchmarks.accumulations
	@$(RUN) -m benchmarks.first_step
	@$(RUN) -m benchmarks.streaming
	@$(RUN) -m benchmarks.bfloat16
	@$(RUN) -m benchmarks.rank_calibration
	@$(RUN) -m benchmarks.verdicts
	@$(RUN) -m benchmarks.gradient_estimators
	@$(RUN) -m benchmarks.bounds
	@$(RUN) -m benchmarks.codes
	@$(RUN) -m benchmarks.disentangling
	@$(RUN) -m benchmarks.energy_calibration
	@$(RUN) -m benchmarks.canyon
	@$(RUN) -m benchmarks.circles
	@$(RUN) -m benchmarks.capacity
	@$(RUN) -m benchmarks.outcomes
	@$(RUN) -m benchmarks.kmeans
	@$(RUN) -m benchmarks.mixture_posterior
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[bench]'
	@$(RUN) -m benchmarks.speed
	@$(RUN) -m benchmarks.speed --threads 2
	@$(RUN) -m benchmarks.speed --width 256
	@$(RUN) -m benchmarks.speed --width 256 --threads 2

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
