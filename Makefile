# The few commands that a clone needs; `make` lists them.

CARGO ?= cargo
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help setup build demo test bench paper-vs paper-asdnet paper-va lint clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Fetch libtorch (0.5 GB, once; LIBTORCH wins) and make the Python for some tests
	$(PYTHON) scripts/setup.py

build: setup ## Build target/release/tomoflow
	$(CARGO) build --release
	scripts/slim.sh

demo: build ## Train and segment a synthetic archive, let it grow by a scan, and run again
	scripts/demo.sh

test: setup ## Run all tests
	$(CARGO) test --release --workspace

bench: setup ## Measure
	$(CARGO) bench --workspace

paper-vs: build ## Train the rows of the first paper on hard synthetic patients and judge its claims (PAPER="--quick")
	.venv/bin/python scripts/papers papers/vs.toml $(PAPER)

paper-asdnet: build ## Train the rows of the semi-supervised paper on synthetic pelves and judge its claims
	.venv/bin/python scripts/papers papers/asdnet.toml $(PAPER)

paper-va: build ## Train the small rows of the detection paper on synthetic livers and judge its claims
	.venv/bin/python scripts/papers papers/va.toml $(PAPER)
	.venv/bin/python scripts/papers papers/va_masks.toml $(PAPER)

lint: setup ## Check format, clippy, documentation and dependencies (installs cargo-deny where it is absent)
	scripts/lint.sh

clean: ## Remove what was built and what the demo left; libtorch stays
	$(CARGO) clean
	rm -rf results
