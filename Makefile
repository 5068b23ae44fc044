# Skerry. `make demo` shows the main job from nothing; `make test` runs every test.
SHELL := /bin/bash
CACHE := $(or $(SKERRY_CACHE),$(HOME)/.cache/skerry)
STRICT := --explicit-target-dependency-import-check error
SHIP := -c release --static-swift-stdlib $(STRICT)
PREFIX ?= /usr/local

.PHONY: help setup build release test unit e2e system demo bench fuzz chaos format lint install clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Debian packages, the engine and weights, cached under $SKERRY_CACHE
	scripts/setup.sh packages
	scripts/setup.sh engine
	scripts/setup.sh weights

build: ## Debug build of everything
	swift build $(STRICT)

release: ## What ships: optimised, the Swift runtime linked in
	swift build $(SHIP)

test: ## All tests; installs what they need
	scripts/test.sh

unit: ## Swift tests alone
	scripts/test.sh unit

e2e: ## Real clients against a real hub, agent and engine
	scripts/test.sh e2e

system: ## The units under a real systemd
	scripts/test.sh system

demo: ## The whole job from nothing (KEEP=1 leaves it running)
	@KEEP=$(KEEP) scripts/demo.sh

bench: ## One JSON object a line
	@scripts/bench.sh

chaos: ## kill -9 at many points of a sync (COUNT=100)
	COUNT=$(or $(COUNT),100) scripts/test.sh chaos

fuzz: ## Random bytes into every parser (COUNT=1000000 each)
	COUNT=$(or $(COUNT),1000000) scripts/test.sh fuzz

format: ## Format the Swift sources in place
	swift format -i -r Package.swift Sources Tests

lint: ## What the formatter would say
	swift format lint --strict -r Package.swift Sources Tests

install: release ## Programs, units and default configuration (DESTDIR, PREFIX)
	scripts/install.sh "$(DESTDIR)" "$(PREFIX)"

clean: ## Build products (not the cache)
	rm -rf .build
