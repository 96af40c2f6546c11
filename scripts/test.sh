#!/usr/bin/env bash
# Every test. Those that run containers need root and what scripts/deps.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."
# Vet is the linter's, in 'make check': here it would go through every library once more.
go test -count=1 -vet=off -timeout 10m ./...
