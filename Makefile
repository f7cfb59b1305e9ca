# The interface to everything here, for people and for CI. Each target does what is missing, and costs nothing when nothing is.
# What takes more than a line is in tools/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PG_CONFIG ?= /usr/lib/postgresql/15/bin/pg_config
# a folder of wheels beside the checkout, e.g. a CPU build of torch
export WHEELS ?= $(realpath ../shared/wheels)
# where make install puts the runtime
VENV = /opt/pgml

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup system extension chat-model
setup: system extension ## Install what is missing (packages, Rust, Python), build and install the extension
	@tools/setup-venv runtime dev

system:
	@tools/setup-system

extension: system
	@tools/cargo build --release -p pgml --locked
	@tools/install-extension

chat-model: setup
	@tools/setup-chat-model

.PHONY: demo demo-chat cluster psql hub stop reset
demo: setup ## Tune a model on real data in a private cluster and predict with it (FRESH=1: tune again)
	@tools/cluster start
	@tools/demo

demo-chat: chat-model ## Teach a chat model who it is, with LoRA, and talk to it (FRESH=1: teach again)
	@tools/cluster start
	@tools/demo-chat

cluster: ## Start the private cluster below .pg/ and print how to reach it, as shell assignments
	@$(MAKE) setup >&2
	@tools/cluster start
	@tools/cluster env

psql: ## Open psql in the private cluster
	@tools/cluster psql

hub: ## Start a Hugging Face Hub on this machine with small stand-ins, point the private cluster at it, and print its address
	@$(MAKE) setup >&2
	@tools/hub start

stop: ## Stop the private cluster and the Hub
	@tools/hub stop
	@tools/cluster stop

reset: ## Throw the private cluster and its data away
	@tools/cluster reset

.PHONY: test lint fmt bench
# Two files at a time: many tests wait for processes that import torch.
test: chat-model ## Run all tests (PYTEST_ARGS="-k name": some)
	@tools/setup-clients
	@tools/cargo test -p pgml-core --locked
	@tools/run pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# --release: clippy takes over what the release build generated, above all the bindings of PostgreSQL
lint: setup ## Check format, lints and types
	@tools/cargo fmt --all --check
	@tools/cargo clippy --release --workspace --all-targets --locked -- -D warnings
	@tools/run ruff check
	@tools/run ruff format --check
	@tools/run mypy

fmt: setup ## Format the code
	@tools/cargo fmt --all
	@tools/run ruff check --fix
	@tools/run ruff format

bench: chat-model ## Measure, in a cluster of its own
	@tools/run python -m tests.bench

.PHONY: docker docker-test
docker: ## Build the image pgml:cpu, with podman where no Docker engine answers (TORCH=cuda: pgml:cuda)
	@tools/setup-docker
	@tools/docker-image $(TORCH)

docker-test: chat-model ## Build the image and test it: how it starts, jobs in it, compose, and the SQL of the other tests
	@$(MAKE) docker TORCH=cpu
	@tools/run pytest tests/docker
	@tools/run python -m tests.docker.sql_tests

.PHONY: docs docs-serve
docs: setup ## Write the reference pages anew and build the documentation into site/
	@tools/run python -m tools.reference
	@NO_MKDOCS_2_WARNING=1 tools/run mkdocs build --strict

docs-serve: setup ## Show the documentation at http://127.0.0.1:8000, anew after each change
	@NO_MKDOCS_2_WARNING=1 tools/run mkdocs serve

.PHONY: install uninstall deb deb-test
install: extension ## Install into an existing server: make install PG_CONFIG=/path/pg_config VENV=/opt/pgml
	@PGML_VENV='$(VENV)' tools/install

uninstall: ## Take away what make install put there, with the same PG_CONFIG and VENV
	@PGML_VENV='$(VENV)' tools/uninstall

deb: system ## Build the Debian package postgresql-15-pgml, which needs no network to be installed
	@tools/cargo build --release -p pgml --locked
	@tools/deb

deb-test: setup ## Build that package, install it in an overlay over this machine, use it, purge it (as root)
	@tools/deb-test

.PHONY: lock clean
lock: ## Resolve the Python packages anew into constraints.txt
	@tools/lock

clean: ## Throw away all that was built or started here, the private cluster included
	@tools/cluster reset
	@tools/hub stop
	@[ ! -d /var/tmp/pgml-docker/store ] || tools/docker system reset --force
	@source tools/lib.sh; rm -rf "$$PGML_VENV" "$$PGML_MODELS" target site .cache .pytest_cache .ruff_cache .mypy_cache .hypothesis
