#!/usr/bin/env bash
# What holds for every change and needs neither root nor a running server.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { echo "== $*"; }

step formatting
unformatted=$(.tools/bin/gofumpt -l $(git ls-files '*.go'))
if [ -n "$unformatted" ]; then
  echo "not formatted; run .tools/bin/gofumpt -w on:" >&2
  echo "$unformatted" >&2
  exit 1
fi

step modules
go mod verify > /dev/null
go mod tidy -diff

step "linter, with all that vet has"
.tools/bin/golangci-lint run ./...

step layout
go test -count=1 ./internal/archtest

step "the CLI for other platforms"
go run ./test/platforms darwin/arm64 windows/amd64 linux/arm64
