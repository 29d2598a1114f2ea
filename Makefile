# The two commands: `make demo` and `make test`. Both make .venv if it is missing.
PYTHON ?= $(shell command -v python3 || command -v python)
VENV ?= .venv
BIN := $(if $(filter Windows_NT,$(OS)),$(VENV)/Scripts,$(VENV)/bin)
.DEFAULT_GOAL := help
# Without the kept bytecode, each worker and each of a thousand children compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

help:  ## show what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group test
	@$(BIN)/python -c "open('$@', 'w').close()"

$(VENV)/lint-ready: $(VENV)/bench-ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group lint
	@$(BIN)/python -c "open('$@', 'w').close()"

# Only what the demo needs: a whole set of test tools would take a minute.
$(VENV)/demo-ready: pyproject.toml
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing smtpx and its inbox ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable ".[inbox,testing]"
	@$(BIN)/python -c "open('$@', 'w').close()"

demo: $(VENV)/demo-ready  ## send real mail to a real server on this machine, and show it; DEMO_STAY=1 keeps the inbox open
	@$(BIN)/python examples/demo.py

# More processes than processors, since many tests do little but wait for a timeout; not many
# more, since each of them collects all tests first.
test: $(VENV)/ready  ## pass the whole suite
	$(BIN)/python -m pytest -n 6 --dist loadgroup --durations=10

SMOKE := tests/core tests/wire tests/smtplib $(wildcard tests/test_*.py) $(addprefix tests/architecture/test_,arguments.py jumps.py) \
	$(addprefix tests/faces/test_,session.py async.py client_pool.py send_many.py tls.py cancellation.py interruptions.py) \
	tests/interruptions tests/outbox/test_outbox.py tests/testing tests/cli/test_send.py tests/integrations/django
test-smoke: $(VENV)/ready  ## pass what a version of Python may change: core, wire, faces and worlds, and Django, whose versions go by it
	$(BIN)/python -m pytest -n 6 --dist loadgroup $(SMOKE)

test-slow: $(VENV)/ready  ## cancel at every await point, a thousand examples: what takes longer
	$(BIN)/python -m pytest -m "slow or hypothesis" --hypothesis-profile thorough --timeout 900

soak: $(VENV)/ready  ## send 120,000 messages to a server that fails, and account for each
	$(BIN)/python -m tests.scale.soak

held: $(VENV)/ready  ## hold every call at every phase, in every manner: back in time
	$(BIN)/python -m tests.held

interruptions: $(VENV)/ready  ## interrupt 10,000 calls by signals and exceptions: nothing lost
	$(BIN)/python -m tests.interruptions
	$(BIN)/python -m pytest -m "slow or not slow" tests/interruptions/test_*twice.py

SEED ?= 1
MESSAGES ?= 100000
certainty: $(VENV)/ready  ## hold every face to its word on a hostile server; SEED=, MESSAGES=
	$(BIN)/python -m tests.certainty --seed $(SEED) --messages $(MESSAGES)

KILLS ?= 500
outbox-torture: $(VENV)/ready  ## kill the outbox at every point, and KILLS= times at random: nothing lost
	$(BIN)/python -m tests.outbox.torture --seed $(SEED) --kills $(KILLS)

$(VENV)/integrations-ready: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group integrations
	@$(BIN)/python -c "open('$@', 'w').close()"

test-programs: $(VENV)/integrations-ready  ## pass the tests that run whole programs and workers: Django, Celery and the like
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow tests/integrations

test-integrations: test-programs  ## pass the tests that need Django, Flask and the like
	$(BIN)/python -m pytest -n 2 --dist loadgroup tests/integrations tests/docs tests/outbox/test_dispatchers.py tests/outbox/test_borrowed.py

django-tests: $(VENV)/integrations-ready  ## pass Django's own tests of its SMTP backend, with ours
	$(BIN)/python -m tests.integrations.django.theirs

lint: $(VENV)/lint-ready  ## formatting, lint, types and architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

$(VENV)/docs-ready: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	@$(BIN)/python -c "open('$@', 'w').close()"

docs: $(VENV)/docs-ready  ## build the site into build/site; a link that leads nowhere fails
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.site

test-site: $(VENV)/docs-ready  ## build the site, and look at it in Chromium where there is one
	$(BIN)/python -m pytest -m "slow or not slow" tests/docs/test_site.py tests/docs/test_site_browser.py

docs-serve: $(VENV)/docs-ready  ## show the site on this machine, and draw anew what you write
	$(BIN)/python -m tools.site serve

$(VENV)/bench-ready: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@$(BIN)/python -c "open('$@', 'w').close()"

bench: $(VENV)/bench-ready  ## measure smtpx beside smtplib and aiosmtplib, as ratios
	$(BIN)/python -m bench

.PHONY: help demo test test-smoke test-slow soak held interruptions certainty outbox-torture test-programs test-integrations django-tests test-site lint docs docs-serve bench
