#!/usr/bin/env bash
# Every test. Those that run containers need root and what scripts/deps.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."
go test -count=1 -timeout 10m ./...
