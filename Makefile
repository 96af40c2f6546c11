# Fairlead's build. On a fresh Debian machine with Go and root, two commands do everything: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Snapshotters that this program does not use would pull in C libraries and ioctl code of file systems.
TAGS    := no_btrfs,no_devmapper,no_zfs,no_aufs
LDFLAGS := -s -w -X main.version=$(VERSION)

# One set of flags for every command, so that they share one build cache.
export GOFLAGS     := -buildvcs=false -tags=$(TAGS)
export CGO_ENABLED := 0
# The modules that build Kubernetes have a set of their own, that of scripts/kube.sh.
KUBE_FLAGS := -trimpath -tags providerless,selinux

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-23s %s\n", $$1, $$2}'

.PHONY: build
build: ## bin/fairlead
	go build -ldflags '$(LDFLAGS)' -o bin/fairlead ./cmd/fairlead

.PHONY: kube
kube: ## bin/fairlead-kube: Kubernetes as one program; the first build takes more than ten minutes
	@scripts/kube.sh

.PHONY: test-kube
test-kube: kube ## The tests that run clusters
	@scripts/deps.sh kube
	cd kube && GOFLAGS=-buildvcs=false go test -count=1 -vet=off $(KUBE_FLAGS) ./...
	FAIRLEAD_KUBE=$(CURDIR)/bin/fairlead-kube go test -count=1 -vet=off -timeout 30m -run '^TestCluster' -p 1 ./internal/driver/containerd ./internal/driver/kubernetes/compute ./internal/server ./test

.PHONY: conformance-programs
conformance-programs: build kube
	@scripts/deps.sh conformance
	@scripts/conformance-build.sh
	cd conformance && GOFLAGS=-buildvcs=false go test -count=1 -vet=off $(KUBE_FLAGS) ./...

.PHONY: conformance-kube
conformance-kube: conformance-programs ## Upstream's Conformance suite for Kubernetes, all of it (50 minutes), into docs/conformance
	@scripts/conformance-kube.sh

.PHONY: conformance-kube-slice
conformance-kube-slice: conformance-programs ## Some specs of that suite, of every sig, in less than 5 minutes
	@scripts/conformance-kube.sh slice

.PHONY: conformance-oci
conformance-oci: deps build ## The OCI distribution specification's own conformance program, into docs/conformance
	@scripts/conformance-oci.sh

.PHONY: deps
deps: ## Install what running and testing need (Debian packages); says what it installs
	@scripts/deps.sh

.PHONY: demo
demo: deps build ## The whole story, from private image to running container, in a temporary data directory
	@scripts/demo.sh

.PHONY: test
test: deps check build ## All checks and tests
	scripts/test.sh

.PHONY: check
check: tools ## Formatting, linter, layout, and the CLI for every platform; needs no root
	@scripts/check.sh

.PHONY: race
race: ## The core and the surfaces under the race detector
	CGO_ENABLED=1 go test -race -vet=off -count=1 $$(go list ./... | grep -vE '/driver/containerd|fairlead.dev/test|/cmd/')

.PHONY: fuzz
fuzz: ## Every fuzz target, for FUZZTIME (30000x) each
	@scripts/fuzz.sh

.PHONY: bench
bench: build ## The numbers of docs/benchmarks.md
	@scripts/deps.sh bench
	go run ./test/bench

.PHONY: bench-kube
bench-kube: build kube ## The numbers of docs/kubernetes/benchmarks.md, of a managed cluster (8 minutes)
	@scripts/deps.sh kube
	go run ./test/bench -kube bin/fairlead-kube -out docs/kubernetes/benchmarks.md

.PHONY: tools
tools: ## The linter and formatter, at pinned versions, into .tools
	@scripts/tools.sh

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin .tools
