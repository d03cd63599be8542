# What a newcomer runs: `make demo`, then `make test`. Each installs the Debian packages it needs.

CARGO ?= cargo

.PHONY: help demo test conformance kill-test lint fmt fuzz bench image-bases clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Build examples/hello for six platforms, push it to a local registry, run it everywhere
	@scripts/demo

test: ## Run all tests; says which ones this machine cannot run, and why
	@scripts/packages test
	@scripts/peers --optional >/dev/null
	@scripts/test

conformance: ## Build a corpus of Dockerfiles with BuildKit and with Archway, and list every difference
	@scripts/packages test
	@scripts/peers
	$(CARGO) test --package archway-cli --test conformance -- --ignored --nocapture

KILLS ?= 1000
SEED ?= 1
kill-test: ## Kill a build with a push at KILLS (1000) moments that SEED decides, and check store and tag after each
	@scripts/packages test
	ARCHWAY_KILLS=$(KILLS) ARCHWAY_SEED=$(SEED) $(CARGO) test --package archway-cli --test faults kill:: -- --nocapture

lint: ## Check format, lints, which crate depends on which, and what the benchmark computes
	@scripts/packages lint
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --quiet --package archway-testkit --test dependency_direction
	PYTHONDONTWRITEBYTECODE=1 python3 -m unittest --quiet bench.tests.test_bench

fmt: ## Format all code
	$(CARGO) fmt --all

FUZZ_SECONDS ?= 60
fuzz: ## Give random input to each parser for FUZZ_SECONDS (60); needs `cargo install cargo-fuzz --locked`
	@scripts/fuzz $(FUZZ_SECONDS)

bench: ## Compare with BuildKit and Buildah; writes bench/RESULTS.md and its chart (as root, half an hour)
	@scripts/packages bench
	@scripts/peers >/dev/null
	$(CARGO) build --release --package archway-cli --package archway-testkit
	@scripts/bench

image-bases: ## Make the base images of tests and demo, so that later runs need no network
	@scripts/packages demo
	$(CARGO) run --release --package archway-testkit -- bases busybox golang

clean: ## Remove what was built; the cache of base images stays
	$(CARGO) clean
