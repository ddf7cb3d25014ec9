# `make` alone prints what there is. Needed beforehand: Python 3.11 or newer with venv.

PYTHONS = "$(PYTHON)" python3 python3.11 python3.12 python3.13 python3.14
PIP     = .venv/bin/python -m pip --disable-pip-version-check -qq
HASHED  = $(PIP) install --require-hashes --no-deps
PROJECT = $(PIP) install --no-build-isolation --no-deps --editable .
ARGS    =
WITH_EXTRAS =

.DEFAULT_GOAL := help
.PHONY: help setup run migrate reference docs bench bench-growth pin image up down
.PHONY: test test-unit test-integration test-timing test-mail test-faults test-image test-client
.PHONY: test-examples test-package test-dashboards test-objects test-chart test-pooler test-traefik
.PHONY: check check-lint check-types check-imports check-reference check-alerts check-locks
.PHONY: check-delivery sbom audit fuzz lock clean

help:  ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s%s\n", $$1, $$2 }' Makefile

# --- Running -----------------------------------------------------------------

# `exec`: no shell stays between make and the service, so a SIGTERM to either ends both.
run: .venv/.run  ## Start the service with an embedded PostgreSQL, on 127.0.0.1:8000 or PORT=...
	@exec .venv/bin/gatepost run

migrate: .venv/.run  ## Bring the schema of DATABASE_URL (or the embedded database) up to date
	@exec .venv/bin/gatepost migrate up

reference: .venv/.dev  ## Write docs/reference anew from code and tests
	@.venv/bin/python -m tests.reference || { \
		echo "The reference was not written; mend what is said above." >&2; exit 1; }

# Not quiet: what mkdocs does not say it does not count, and a broken link is a warning.
docs: .venv/.docs  ## Build the documentation as a site, in .site; a broken link fails it
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --clean > .venv/.site 2>&1 || { \
		grep -v INFO .venv/.site >&2; \
		echo "Next: mend the page that is named above; a new page needs a line in mkdocs.yml." >&2; exit 1; }
	@echo "Ready: .site/index.html"

# --- Testing and checking ----------------------------------------------------

# pytest is make's direct child, for the same reason as above. Files are shared out in order, each
# to one process: three where much of the time is waiting, two where all of it is computing.
SHARED = --dist loadfile --no-loadscope-reorder

# What tests domain and application: their own tests, and what storage, jobs and limits have to
# keep, on the memory adapters. Tracing makes tests slow; all others run without it.
CORE = tests/unit/domain tests/unit/application \
	$(wildcard tests/unit/adapters/test_memory*.py) tests/unit/adapters/test_limits.py

test: .venv/.dev  ## Run every test; domain and application must be covered to the last branch
	@exec .venv/bin/coverage run -m pytest $(CORE)
	@.venv/bin/coverage report --fail-under=100 > .venv/.core 2>&1 || { \
		.venv/bin/coverage report --show-missing --skip-covered; \
		echo "Lines and branches above are not tested: add tests in" \
			"tests/unit/domain or tests/unit/application." >&2; exit 1; }
	@echo "Branch coverage of domain and application by their unit tests: 100 %."
	@exec .venv/bin/python -m pytest -n 3 $(SHARED) tests/integration tests/unit \
		$(addprefix --ignore=,$(CORE))

test-unit: .venv/.dev  ## Run the unit tests: memory only, seconds (ARGS="-k sessions")
	@exec .venv/bin/python -m pytest -n 2 $(SHARED) tests/unit $(ARGS)

test-integration: .venv/.dev  ## Run the tests on PostgreSQL (TEST_DATABASE_URL, container or embedded)
	@exec .venv/bin/python -m pytest -n 3 $(SHARED) tests/integration $(ARGS)

test-timing: .venv/.dev  ## Compare the times of answers about known and unknown addresses; a minute
	@exec .venv/bin/python -m pytest -s tests/timing $(ARGS)

test-mail: .venv/.dev  ## Send MAILS=10000 past a bad mail server with workers that are killed; ten minutes
	@exec .venv/bin/python -m pytest -s tests/mail $(ARGS)

test-faults: .venv/.dev  ## Break database, network, processes under load; half an hour (ARGS="-k freeze")
	@exec .venv/bin/python -m pytest -s tests/faults $(ARGS)

test-pooler: .venv/.dev  ## Everything behind PgBouncer in transaction mode; half a minute, needs pgbouncer
	@exec .venv/bin/python -m pytest -s tests/pooler $(ARGS)

test-traefik: .venv/.delivery  ## Two servers behind a real Traefik, replaced under load; a minute
	@exec .venv/bin/python -m pytest -s tests/traefik $(ARGS)

test-chart: .venv/.delivery  ## Render the Helm chart and hold it against the schemas of Kubernetes
	@exec .venv/bin/python -m pytest -q tests/chart $(ARGS)

fuzz: .venv/.dev  ## Generated requests against a running service, as user and as administrator
	@exec .venv/bin/python -m pytest -s tests/fuzz $(ARGS)

test-client: .venv/.dev  ## Build the TypeScript client, test it in a browser; needs Node 20, npm, Chromium
	@exec .venv/bin/python -m pytest -s tests/client $(ARGS)

test-package: .venv/.dev  ## Install the wheel with each extra, follow the embedding tutorial; minutes, a registry
	@exec .venv/bin/python -m pytest tests/package $(ARGS)

test-examples: .venv/.examples  ## Run the programs under examples/; a minute
	@PYTHONPATH="$$(pwd -P)/.venv/examples" exec .venv/bin/python -m pytest tests/examples $(ARGS)

test-dashboards: .venv/.dev  ## Ask all queries of dashboard and alerts of a Prometheus; needs prometheus
	@exec .venv/bin/python -m pytest -s tests/dashboards $(ARGS)

test-objects: .venv/.dev .venv/.objects  ## Keep exports in a bucket behind the S3 protocol; two minutes
	@exec .venv/bin/python -m pytest -s tests/objects $(ARGS)

test-image: .venv/.dev  ## Build the image, start compose, use it, replace its servers; needs Docker
	@exec .venv/bin/python -m pytest -s tests/image $(ARGS)

bench: .venv/.dev  ## Measure: parts, operations per CPU-second beside a bare server, start, memory; wrk needed
	@mkdir -p .gatepost/bench
	@.venv/bin/python -m pytest -q -p pytest_benchmark.plugin benchmarks/micro.py \
		--benchmark-json=.gatepost/bench/micro.json --benchmark-columns=min,median,max
	@exec .venv/bin/python -m benchmarks.macro $(ARGS)

bench-growth: .venv/.dev  ## Measure with 10 thousand, 1 and 10 million accounts; 15 minutes, 17 GB of disk
	@exec .venv/bin/python -m benchmarks.growth 10000 1000000 10000000 $(ARGS)

check: check-lint check-types check-imports check-reference check-alerts check-locks check-delivery  ## Lint, types, import contracts, reference pages, alerts, locks, licences
	@echo "All checks passed."

check-lint: .venv/.dev
	@.venv/bin/ruff check --quiet . || { \
		echo "Next: .venv/bin/ruff check --fix ." >&2; exit 1; }
	@.venv/bin/ruff format --quiet --check . || { \
		.venv/bin/ruff format --check . || true; \
		echo "Next: .venv/bin/ruff format ." >&2; exit 1; }

# Also fails when a security case of a built feature has no test.
check-reference: .venv/.dev
	@.venv/bin/python -m pytest -q --no-header tests/integration/test_reference.py \
		tests/unit/test_tutorials.py > .venv/.reference 2>&1 || { \
		cat .venv/.reference; \
		echo "Next: make reference, or write the test that is missing." >&2; exit 1; }

check-types: .venv/.dev
	@.venv/bin/mypy --no-error-summary || { \
		echo "Next: mend the types above; strict mode is on." >&2; exit 1; }

check-imports: .venv/.dev
	@.venv/bin/lint-imports > .venv/.imports 2>&1 || { \
		cat .venv/.imports; \
		echo "Next: let the dependency point inwards (CONTRIBUTING.md, where new lines go)." >&2; \
		exit 1; }

# In CI a rule that nobody checked is a failure; .ci/run brings promtool.
check-alerts: .venv/.dev
	@.venv/bin/python -m pytest -q --no-header tests/dashboards/test_files.py > .venv/.alerts 2>&1 && \
	if command -v promtool > /dev/null; then \
		promtool check rules deploy/prometheus/alerts.yml >> .venv/.alerts 2>&1 && \
		promtool test rules deploy/prometheus/alerts.test.yml >> .venv/.alerts 2>&1; \
	elif [ -z "$$CI" ]; then \
		echo "NOT CHECKED: the alert rules, as there is no promtool (Debian, Ubuntu: apt install prometheus)."; \
	else echo "No promtool to check the alert rules with." >> .venv/.alerts; false; fi || { \
		cat .venv/.alerts; \
		echo "Next: mend deploy/prometheus, deploy/grafana or docs/operations/alerts.md." >&2; exit 1; }

# Dockerfile, every YAML file, and the licences of what the image ships.
check-delivery: .venv/.dev
	@.venv/bin/hadolint Dockerfile && .venv/bin/yamllint --strict . && \
		.venv/bin/python deploy/sbom.py check || { \
		echo "Next: mend what is said above; accepted licences are listed in deploy/sbom.py." >&2; \
		exit 1; }

sbom: .venv/.delivery  ## Write what the image ships to dist/: a CycloneDX file, and the licences
	@.venv/bin/python deploy/sbom.py dist && echo "Written: dist/gatepost.cdx.json, dist/licences.txt."

audit: .venv/.delivery  ## Ask the advisory database of PyPI about every locked package; needs the network
	@for lock in requirements.lock requirements-mail.lock; do \
		.venv/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r "$$lock" \
		|| { echo "Next: see above; without the advisory database nothing was checked." >&2; exit 1; }; \
	done

# --- Containers --------------------------------------------------------------

pin:  ## Pin the images that Docker builds from and runs to what their tags mean today; needs a registry
	@python3 deploy/pin.py

SECRETS = .gatepost/compose
RANDOM = head -c 32 /dev/urandom

image:  ## Build the image gatepost:latest (WITH_EXTRAS=yes: what traces and buckets need, too)
	@docker build -t gatepost:latest --build-arg WITH_EXTRAS="$(WITH_EXTRAS)" \
		--build-arg VERSION="$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/__init__.py)" \
		--build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
		--build-arg CREATED="$$(date -u +%Y-%m-%dT%H:%M:%SZ)" .

up: image $(SECRETS)  ## Start everything that production has, behind https://127.0.0.1:8443
	@docker compose build --quiet mail
	@docker compose up --detach --wait proxy worker prometheus mail
	@echo "Gatepost is ready on https://127.0.0.1:8443 (its certificate is self-signed);" \
		"its mails are on http://127.0.0.1:8025."

down:  ## End what `make up` started, and remove its data
	@mkdir -p $(SECRETS)
	@docker compose down --volumes --remove-orphans
	@rm -rf $(SECRETS); rmdir .gatepost 2> /dev/null || true

# Readable for the user of the containers, in a folder that is closed to others.
$(SECRETS):
	@umask 022; mkdir -p .gatepost && mkdir -m 0700 $@.new && cd $@.new && \
		password=$$($(RANDOM) | od -An -tx1 | tr -d ' \n') && \
		printf %s "$$password" > database-password && \
		printf %s "postgresql://gatepost:$$password@postgres/gatepost" > database-url && \
		$(RANDOM) | base64 | tr -d '\n' > master-keys && cd - > /dev/null && mv $@.new $@

# --- Dependencies ------------------------------------------------------------

# requirements.lock           what the service needs
# requirements-run.lock       what a checkout needs besides: embedded PostgreSQL, build backend
# requirements-extras.lock    what traces, and exports in a bucket, need besides
# requirements-mail.lock      what catches mails in compose
# requirements-dev.lock       all of it, and the tools
# requirements-docs.lock      the generator of the site
# requirements-delivery.lock  large tools besides, for `make test-chart` and the like
# examples/requirements.lock  what some examples need besides
COMPILE = pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock" --python "$$root/.venv/bin/python"
EXTRAS = --extra service --extra redis --extra smtp --extra bcrypt --extra webhooks
OTHERS = --extra celery --extra objectstore --extra otel --extra gunicorn --extra embedded --extra verifier
# typer names rich, which it goes without where help is plain text, as ours is.
LOCK = root=$$(pwd -P) && uv() { "$$root/.venv/bin/uv" "$$@"; } && cd "$$into" && \
	echo rich | uv $(COMPILE) $(EXTRAS) --excludes /dev/stdin $(ARGS) -o requirements.lock && \
	uv $(COMPILE) --extra embedded --group build $(ARGS) \
		-c requirements.lock -o requirements-run.lock && \
	uv $(COMPILE) --extra otel --extra objectstore $(ARGS) \
		-c requirements.lock -o requirements-extras.lock && \
	uv $(COMPILE) $(EXTRAS) $(OTHERS) --group dev $(ARGS) \
		-c requirements.lock -c requirements-run.lock -c requirements-extras.lock \
		-o requirements-dev.lock && \
	uv $(COMPILE) --group docs $(ARGS) -c requirements-dev.lock -o requirements-docs.lock && \
	uv $(COMPILE) $(EXTRAS) $(OTHERS) --group delivery $(ARGS) \
		-c requirements-dev.lock -o requirements-delivery.lock && \
	uv $(COMPILE) --group mail $(ARGS) -o requirements-mail.lock && \
	uv $(COMPILE) --group examples $(ARGS) \
		-c requirements-dev.lock -o examples/requirements.lock
# The S3 server of `make test-objects` would triple the development set: it has its own.
OBJECTS = tests/objects/requirements
LOCKS = requirements.lock requirements-run.lock requirements-extras.lock requirements-mail.lock \
	requirements-dev.lock requirements-docs.lock requirements-delivery.lock examples/requirements.lock

lock: .venv/.dev  ## Write the lock files anew (ARGS=--upgrade, ARGS="--upgrade-package NAME")
	@into=.; $(LOCK) && uv $(subst pyproject.toml,$(OBJECTS).in,$(COMPILE)) $(ARGS) \
		-o $(OBJECTS).lock || { \
		echo "Next: see which requirement in pyproject.toml cannot be met." >&2; exit 1; }

# Compiled again, the files must come out the same. Without a registry (uv's exit code 2) what
# the locks installed must at least satisfy pyproject.toml; that needs no network.
check-locks: .venv/.dev
	@! grep -nE '://|index-url|find-links|trusted-host|\.(com|dev|io|net|org)([^a-z]|$$)' $(LOCKS) $(OBJECTS).lock || { \
		echo "Next: make lock; a lock file names no host." >&2; exit 1; }
	@into=$$(mktemp -d) && trap 'rm -rf "$$into"' EXIT && \
	mkdir "$$into/examples" && for file in pyproject.toml $(LOCKS); do cp "$$file" "$$into/$$file"; done && \
	root=$$(pwd -P) && said=$$( ($(LOCK)) 2>&1 ); code=$$?; same=yes; \
	if [ $$code = 0 ]; then \
		for lock in $(LOCKS); do diff -u "$$lock" "$$into/$$lock" || same=no; done; \
	elif [ $$code = 2 ]; then \
		echo "No registry to compile the locks with; compared with the installed packages instead."; \
		.venv/bin/uv pip install --quiet --no-index --dry-run --python .venv/bin/python \
			-r pyproject.toml $(EXTRAS) $(OTHERS) --group dev || same=no; \
	else echo "$$said" >&2; same=no; fi; \
	[ $$same = yes ] || { \
		echo "Next: make lock; pyproject.toml and the lock files differ." >&2; exit 1; }

# --- Environment -------------------------------------------------------------

setup: .venv/.dev  ## Make .venv with everything for development
	@echo "Ready. Next: make test, make run."

# An environment belongs to the folder it was made in: its scripts hold the path.
ifneq ($(shell test -x .venv/bin/python && cat .venv/.folder 2>/dev/null),$(CURDIR))
.PHONY: .venv/.folder
endif

.venv/.folder:
	@here=$$(pwd -P); old='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! { grep -qF "$$here" .venv/bin/activate && .venv/bin/python -c "$$old" && \
		{ .venv/bin/python -c 'import pip' || .venv/bin/python -m ensurepip; }; } >/dev/null 2>&1; then \
		found=; bare=; \
		for python in $(PYTHONS); do \
			"$$python" -c "$$old" 2>/dev/null || continue; \
			if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
			bare=$${bare:-$$python}; \
		done; \
		if [ -z "$$found" ] && [ -n "$$bare" ]; then \
			echo "$$bare has no venv. Next: install it (Debian, Ubuntu: apt install python3-venv)." >&2; \
			exit 1; \
		elif [ -z "$$found" ]; then \
			echo "Python 3.11 or newer was not found." \
				"Next: install it, or name it: make PYTHON=/path/to/python3 ..." >&2; \
			exit 1; \
		fi; \
		"$$found" -m venv --clear .venv || { \
			echo "Could not make .venv. Next: see above; is this folder writable?" >&2; exit 1; }; \
	fi; \
	printf '%s\n' "$$here" > .venv/.folder

RETRY = { echo "Not installed. Next: see above; check the network or pip's settings, then" \
	"run make again. After rm -rf .venv it starts afresh." >&2; exit 1; }

.venv/.run: .venv/.folder pyproject.toml requirements.lock requirements-run.lock
	@echo "Installing the locked packages into .venv; the first time takes a minute."
	@$(HASHED) -r requirements.lock -r requirements-run.lock && $(PROJECT) || $(RETRY)
	@touch .venv/.run

.venv/.dev: .venv/.folder pyproject.toml requirements-dev.lock
	@echo "Installing the locked packages and tools into .venv; the first time takes minutes."
	@$(HASHED) -r requirements-dev.lock && $(PROJECT) || $(RETRY)
	@touch .venv/.run .venv/.dev

.venv/.docs: .venv/.dev requirements-docs.lock
	@$(HASHED) -r requirements-docs.lock || $(RETRY)
	@touch .venv/.docs

# Beside the others, so that nothing else can come to need them.
.venv/.examples: .venv/.dev examples/requirements.lock
	@echo "Installing what the examples need into .venv/examples."
	@$(HASHED) --upgrade --target .venv/examples -r examples/requirements.lock || $(RETRY)
	@touch .venv/.examples

.venv/.objects: .venv/.dev $(OBJECTS).lock
	@echo "Installing an S3 server for the tests into .venv/objects."
	@.venv/bin/python -m venv --clear .venv/objects && \
		.venv/objects/bin/python -m pip --disable-pip-version-check -qq install \
		--require-hashes --no-deps -r $(OBJECTS).lock || $(RETRY)
	@touch .venv/.objects

.venv/.delivery: .venv/.dev requirements-delivery.lock
	@echo "Installing large tools into .venv; the first time takes minutes."
	@$(HASHED) -r requirements-delivery.lock || $(RETRY)
	@touch .venv/.delivery

clean:  ## Remove caches and build products; .venv and the data folder stay
	@rm -rf .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist \
		clients/typescript/dist clients/typescript/out
	@find . -name .venv -prune -o -name .gatepost -prune -o -name __pycache__ -type d \
		-exec rm -rf {} +
