# `make demo` and `make test` do all the set-up; the rest is for those who work on clipclean.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-slow coverage check docs dist try-dist clean evidence bench bench-photos bench-audit bench-cleaning bench-speed tables fuzz pages versions

setup: $(VENV)/.test

# .test has what demo and tests need, .dev also what checks and pages need.
$(VENV)/.%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

demo: setup
	$(BIN)/clipclean demo --out clipclean-demo --force

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(or $(PYTEST_ARGS),--ignore=tests/test_docs.py --ignore=tests/ci --junit-xml=build/tests.xml)

test-slow:
	$(MAKE) test PYTEST_ARGS="-m 'not gpu and not bench'"

# Which lines and branches the quick tests run: a table, and pages in build/coverage/html. Takes twice the time of make test, which stays as it is.
coverage: $(VENV)/.dev
	$(MAKE) test PYTEST_ARGS="--ignore=tests/test_docs.py --ignore=tests/ci --cov --cov-report=term --cov-report=html"

check: $(VENV)/.dev docs
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy && $(BIN)/mypy --config-file tests/mypy.ini tests && $(BIN)/mypy --config-file benchmarks/mypy.ini benchmarks
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile && $(BIN)/shellcheck --severity=warning ci/*.sh .ci/run benchmarks/long.sh
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci ci/gitlab.yml
	$(BIN)/python benchmarks/house.py && $(BIN)/python benchmarks/tables.py --check && $(BIN)/python benchmarks/printed.py --check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 -q tests/test_docs.py tests/ci

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

# What a release publishes: docs/releasing.md.
dist: $(VENV)/.dev
	bash ci/dist.sh $(BIN)/python

try-dist: setup
	bash ci/wheel.sh $(BIN)/python dist/*.whl

# Hours, but for tables: benchmarks/long.sh says what each measures and needs.
evidence bench bench-photos bench-audit bench-cleaning bench-speed tables fuzz pages versions: setup
	BIN=$(BIN) PYTHON=$(PYTHON) bash benchmarks/long.sh $@

clean:
	rm -rf build dist .venv clipclean-demo
