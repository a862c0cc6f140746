# Two commands for a fresh machine with Python 3.11 or later: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv

.PHONY: demo test slow lint install clean

demo: install
	$(VENV)/bin/voxcache run pipeline.yaml

test: lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --durations 20  # two processes, a core each: OpenMP would spin on both

slow: install
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --durations 10 -m slow  # what `test` leaves out: a few minutes

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	MYPYPATH=$(VENV)/src $(VENV)/bin/mypy

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; name it with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	mkdir -p $(VENV)/src && ln -sfn "$(CURDIR)" $(VENV)/src/voxcache
	touch $@

clean:
	rm -rf $(VENV) out
