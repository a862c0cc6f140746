# Two commands for a fresh machine with Python 3.11 or later: `make demo` and `make test`. Both install constraints.txt, a
# complete set of versions that is known to pass. docs/install.md says which Pythons and sets were tried.
PYTHON ?= python3
VENV ?= .venv
PYTEST = -m pytest -n 2
PIP = -m pip --disable-pip-version-check install --quiet

.PHONY: demo test slow lint install newest oldest constraints clean

demo: install
	$(VENV)/bin/voxcache run pipeline.yaml

test: lint
	$(VENV)/bin/python $(PYTEST) --durations 20

slow: install
	$(VENV)/bin/python $(PYTEST) --durations 10 -m slow  # what `test` leaves out: a few minutes

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	MYPYPATH=$(VENV)/src $(VENV)/bin/mypy

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; name it with make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python $(PIP) --constraint constraints.txt setuptools
	$(VENV)/bin/python $(PIP) --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	mkdir -p $(VENV)/src && ln -sfn "$(CURDIR)" $(VENV)/src/voxcache
	touch $@

newest:  # before a release: the newest release of everything, whatever it is today
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python $(PIP) --upgrade pip
	.venv-newest/bin/python $(PIP) --upgrade --upgrade-strategy eager --editable '.[dev]'
	.venv-newest/bin/python -m pip list
	.venv-newest/bin/python $(PYTEST)

oldest:  # before a release: the oldest release that pyproject.toml allows of everything it names
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python $(PIP) --upgrade pip uv
	.venv-oldest/bin/uv pip compile --quiet --resolution lowest-direct --extra dev --output-file .venv-oldest/lowest.txt pyproject.toml
	.venv-oldest/bin/python $(PIP) --constraint .venv-oldest/lowest.txt --editable '.[dev]'
	.venv-oldest/bin/python -m pip list
	.venv-oldest/bin/python $(PYTEST)

constraints: install  # keeps the versions that fit; `make constraints UPGRADE=--upgrade` takes the newest of everything
	$(VENV)/bin/python $(PIP) uv
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-annotate --no-header --no-emit-index-url \
		$(UPGRADE) --output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) .venv-newest .venv-oldest out
