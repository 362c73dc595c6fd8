# Two commands matter: `make suite SUITE=small_backbones` and `make test`. Both build .venv first, once.
SUITE   ?= small_backbones
SCALE   ?=
EXECUTOR ?= local
DATA    ?=
RESULTS ?= results
ARGS    ?=
PYTHON  ?= python3
TEST_PROCESSES ?= 2
BOB     := .venv/bin/bob

.DEFAULT_GOAL := help
.PHONY: help suite test test-all test-slurm lint types schema docs wheel bench clean

help:
	@echo "make suite SUITE=small_backbones   run a suite and print its ranking (SCALE=paper DATA=FOLDER for the real thing)"
	@echo "make suite SUITE=... EXECUTOR=slurm   submit it to SLURM (docs/slurm.md)"
	@echo "make test                          the default tests: CPU, offline, under 10 minutes on 2 cores"
	@echo "make test-all                      the slow tests as well, with coverage"
	@echo "make test-slurm                    the tests on a real SLURM; SLURM_CONF=\$$(.ci/slurm start DIR) starts one here"
	@echo "make lint types                    ruff and mypy"
	@echo "make docs                          the documentation site, in build/site"
	@echo "make wheel                         a wheel with the suites, in dist"
	@echo "make bench                         the benchmarks, as ratios to a bare PyTorch loop"

# The stamp is newer than what it was built from, so an edited pyproject.toml or constraints.txt reinstalls.
.venv/.built: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: $(PYTHON) is older than 3.10. Next: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "error: $(PYTHON) has no venv module. Next: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	PYTHONDONTWRITEBYTECODE= .venv/bin/python -m compileall -q bob
	@touch $@

suite: .venv/.built
	$(BOB) run $(SUITE) --executor $(EXECUTOR) --results $(RESULTS) $(if $(SCALE),--scale $(SCALE)) $(if $(DATA),--data $(DATA)) $(ARGS)

# Two processes of one thread each; OpenMP's threads of both would fight for the cores. Each file stays in one process.
test: .venv/.built
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n $(TEST_PROCESSES) --dist loadfile $(ARGS)

test-all: .venv/.built
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --timeout=2400 -m "not gpu and not slurm" --cov=bob --cov-report=term $(ARGS)

test-slurm: .venv/.built
	.venv/bin/python -m pytest -m slurm $(ARGS)

lint: .venv/.built
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/.built
	.venv/bin/mypy

schema: .venv/.built
	.venv/bin/python -m bob.jobs.suite_schema > suites/schema.json

# Its own environment: the site is made from the sources alone and needs no torch.
.venv-docs/.built: pyproject.toml constraints.txt .venv/.built
	$(PYTHON) -m venv .venv-docs
	.venv/bin/python -m tests.helpers.extra docs > .venv-docs/requirements.txt
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r .venv-docs/requirements.txt
	@touch $@

docs: .venv-docs/.built
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

wheel: .venv/.built
	rm -rf build/lib build/bdist.* dist
	.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

bench: .venv/.built
	.venv/bin/python -m benchmarks

clean:
	rm -rf .venv .venv-docs build dist *.egg-info
