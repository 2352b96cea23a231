# make demo: a real study on this machine.  make test: the checks that CI runs.  make fast: the
# decisions and the store alone, in under 20 s.
# A Python that any user of the machine can run is preferred: Slurm runs jobs as their owner.
PYTHON ?= $(firstword $(foreach p,/usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11,\
    $(shell $(p) -c 'import sys, ensurepip; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test fast check clean

demo: $(VENV)/ready
	$(BIN)/python -m tuner.run jobs/pm25.toml --folder runs/demo --set n_trials=10 --set n_initial=5 --set jobs.n_workers=2 \
	    --set confirm.top=2 --set confirm.seeds=2

test: check
	$(BIN)/python -m pytest

fast: $(VENV)/ready-to-test
	$(BIN)/python -m pytest -q -m "fast and not slow"

check: $(VENV)/ready-to-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 with venv; install one (Debian: apt install python3-venv), or name it: make PYTHON=..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/ready-to-test: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV)
