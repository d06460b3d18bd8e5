# make build   install what is missing, make .venv with chain-manager and chainctl in it
# make demo    build, run the main lab, print its table and where its picture is
# make test    build, lint, check types and imports, run every test (lab tests as root)
# make bench   build, measure what the steering engine costs, print the table (writes out/bench; its labs as root)
# make fuzz    build, then random policies for some ten minutes: each is refused in its place or does what it says;
#              then every other property with more examples, and others, than the tests try
# make clean   remove what the above made in this directory
# Paths are relative on purpose: a checkout may lie in a directory with a space in its name.

PYTHON := .venv/bin/python
# what root runs for a user leaves no compiled files in the user's checkout
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || ! command -v sudo >/dev/null || echo sudo env PYTHONDONTWRITEBYTECODE=1)

.PHONY: build demo test lint check lab-tests bench fuzz clean
.DEFAULT_GOAL := build

build:
	@sh scripts/install-system.sh
	@sh scripts/make-venv.sh

demo: build
	@[ -z "$(SUDO)" ] || sudo -v || { echo "The lab makes network namespaces: run make demo as root, or with sudo." >&2; exit 1; }
	@$(SUDO) $(PYTHON) -m controller_app.cli.chainctl lab run firewall_ids

test: lint check lab-tests

lint: build
	$(PYTHON) -m ruff check controller_app mininet_scenarios tests
	$(PYTHON) -m mypy -p controller_app -p mininet_scenarios
	.venv/bin/lint-imports

check: build lint
	$(PYTHON) -m pytest -n auto --dist worksteal --ignore=tests/lab

# Labs need root. A user's own caches stay the user's: root writes none here. Each has a network of its own and waits
# most of the time, so two files of them run at once, those that take longest first.
lab-tests: build check
	$(SUDO) $(PYTHON) -m pytest -p no:cacheprovider -n 2 --dist loadfile --no-loadscope-reorder tests/lab

# Some of the measurements are labs, which need root. They ask for it themselves; without, the rest is measured.
# OVN is for these alone: it is measured beside ours.
bench: build
	@[ -z "$(SUDO)" ] || sudo -v || echo "Without root the labs (megaflows, throughput, churn, ovn) are not measured." >&2
	@sh scripts/install-bench.sh
	PYTHONPATH=tests $(PYTHON) -m bench

# Other examples each time; the tests try a few fixed ones. What fails is tried again first the next time.
fuzz: build
	$(PYTHON) -m pytest tests/fuzz --hypothesis-profile=fuzz
	$(PYTHON) -m pytest -n auto --dist worksteal -m hypothesis --ignore=tests/fuzz --hypothesis-profile=fuzz

clean:
	rm -rf .venv .venv.lock *.egg-info build out .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
