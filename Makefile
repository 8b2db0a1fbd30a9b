# The jobs of this repository. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GUESTS := nginx-switch http-health tcp-health prometheus-health
PROFILE ?= debug
CARGO_PROFILE := $(if $(filter release,$(PROFILE)),--release,)
BIN := target/$(PROFILE)/agente-host

# The same source gives the same component wherever it was built.
GUEST_FLAGS := --remap-path-prefix=$(CURDIR)=/agente --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo

.PHONY: help setup setup-demo build guests demo test lint bench power soak canary docs clean

help: ## List the jobs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

setup: ## Install what the build, tests and demo need (on Debian, as root; lists what is missing elsewhere)
	@tests/bin/setup all

setup-demo:
	@tests/bin/setup demo

# One selection for all: cargo would build shared crates anew for each different one.
build: ## Build the program, the sample service and the load client
	cargo build $(CARGO_PROFILE) -p agente-host -p agente-api -p agente-tests --bins

guests: build ## Build the shipped plugins, packed, into target/plugins
	RUSTFLAGS="$(GUEST_FLAGS)" cargo build --profile guest --target wasm32-wasip2 $(addprefix -p ,$(GUESTS))
	@mkdir -p target/plugins
	@for guest in $(GUESTS); do \
	  $(BIN) plugin pack target/wasm32-wasip2/guest/$${guest//-/_}.wasm --request plugins/$$guest/plugin.toml --to target/plugins/$$guest.wasm || exit 1; \
	done

demo: ## Adopt, deploy, refuse, unwind and roll back a real service behind a real NGINX, under load
	@tests/bin/demo

test: setup ## Run every test, on real servers
	@tests/bin/test

lint: ## Formatting, lints, documentation, dependencies
	@tests/bin/lint

bench: setup-demo ## Print what plugins, switches and deployments cost
	@tests/bin/bench

power: ## Print how often canary analysis catches, leaves undecided and passes bad and good candidates
	@cargo run --quiet --release -p agente-engine --example power

soak: setup ## 50 switches in a row under load, on Debian's NGINX and on a current one
	@tests/bin/soak

canary: setup ## Bad and good candidates in stages under load, judged by a real Prometheus: what is caught, and how soon
	@tests/bin/canary

docs: guests ## Generate the reference pages and schemas
	$(BIN) reference manifest > docs/reference/manifest.md
	$(BIN) reference cli > docs/reference/cli.md
	$(BIN) reference events > docs/reference/events.md
	$(BIN) schema events > docs/reference/events.schema.json

clean: ## Remove what was built
	cargo clean
	rm -rf .agente
