# Every verb of the project. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo build check test test-cluster fuzz bench profile soak cluster fmt deny

TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a cluster, a host and some pods in one command, until ctrl-C; needs nothing but Rust
	@cargo build --package outrigger --package outrigger-mock --package outrigger-demo
	@exec $(TARGET)/debug/demo configs/demo

build: ## everything, for development
	cargo build --workspace --all-targets

check: ## formatting and lints, without a warning
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings

test: ## all hermetic tests
	@tests/suites.sh hermetic

test-cluster: ## the suite on a real control plane; needs Go, and root for the node proxy
	@tests/suites.sh cluster

bench: ## host beside ideal responder and kwok, on one node and on many, and streams beside Kubernetes' own; with Go also on a real control plane
	cargo build --release --package outrigger --package outrigger-mock --package outrigger-devcluster --package outrigger-bench
	$(TARGET)/release/pod-churn --cluster dev
	@if PATH=$$PATH:/usr/local/go/bin command -v go >/dev/null; then set -x; $(TARGET)/release/pod-churn streams --kubelet; $(TARGET)/release/pod-churn --cluster real; \
	else echo "SKIPPED streams, and pod-churn on the real control plane: there is no Go; install Go 1.26 or newer from https://go.dev/dl/"; fi
	@TARGET=$(TARGET) tests/bench/scale.sh bench

profile: ## a flame graph and a heap profile of the host under pod-churn; needs perf and perl
	cargo build --release --package outrigger --package outrigger-mock --package outrigger-devcluster --package outrigger-bench
	@TARGET=$(TARGET) tests/bench/profile.sh

soak: ## the long versions of tests and benches, and the previous minor of Kubernetes; more than three hours
	@tests/suites.sh soak

fuzz: ## new inputs for every parser of the streaming protocols, 5 minutes each or more; needs a C++ compiler
	@host/streaming/fuzz/run.sh

cluster: ## a real control plane to play with, until ctrl-C; needs Go
	@exec tests/controlplane/cluster.sh run

fmt: ## formats all sources
	cargo fmt --all
	@if PATH=$$PATH:/usr/local/go/bin command -v gofmt >/dev/null; then set -x; PATH=$$PATH:/usr/local/go/bin gofmt -w tests/controlplane tests/interop tests/oracle tests/bench/peer; fi

deny: ## licences, bans and sources of dependencies; advisories too where their database can be reached
	@.ci/deny
