# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
# What is compiled is kept, whatever the shell says: else every process of a test compiles the whole house again.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
SPEC ?= specs/quickstart.yaml

.PHONY: quickstart test lint dev lock wheel clean help
.DEFAULT_GOAL := help

help:            ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /	/'

quickstart: .venv/ready-local   ## from nothing to a live endpoint that answers two questions
	@$(BIN)/llmspec apply $(SPEC) --yes
	@echo; echo "Q: How do I return my laptop?"; printf "A: "; $(BIN)/llmspec ask $(SPEC) "How do I return my laptop?"
	@echo; echo "Q: Could you explain how to reset my router?"; printf "A: "; $(BIN)/llmspec ask $(SPEC) "Could you explain how to reset my router?"
	@echo; $(BIN)/llmspec status $(SPEC)
	@echo; echo "Stop it with: $(BIN)/llmspec stop $(SPEC)"

test: .venv/ready-dev            ## everything, offline
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/ready-dev            ## ruff, mypy --strict, the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dev: .venv/ready-dev             ## Dagster's UI over specs/
	$(BIN)/llmspec dev

wheel: .venv/ready-dev           ## dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation

lock: .venv/ready-dev            ## write requirements.lock from this environment
	$(BIN)/python docs/lock.py > requirements.lock.new && mv requirements.lock.new requirements.lock

# --no-compile: pip would compile thirty thousand files, of which a tenth is ever used; Python does those when it first reads them.
# pip first, as the lock has it: one of 2023 takes four times as long to find two hundred packages.
# torch next and by itself: a resolver that chooses it among others may choose a build with gigabytes of CUDA.
.venv/torch: requirements.lock
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), "llmspec runs on Python 3.11, 3.12 and 3.13; this is " + sys.version'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check torch==$$(sed -n 's/^torch==//p' requirements.lock)
	touch $@

.venv/ready-local: .venv/torch pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c requirements.lock -e '.[local]'
	touch $@

.venv/ready-dev: .venv/torch pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c requirements.lock -e '.[dev]'
	touch $@ .venv/ready-local

clean:           ## everything that is not in git, the store included
	rm -rf .venv .llmspec dist build .mypy_cache .ruff_cache .pytest_cache
