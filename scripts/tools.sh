#!/usr/bin/env bash
# Installs the pinned linter and formatter into .tools, from the Go module proxy. Does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

install() { # name module version
  local stamp=.tools/$1-$3
  [ -e "$stamp" ] && return
  echo "installing $1 $3 into .tools"
  rm -f .tools/"$1"-*
  GOBIN=$PWD/.tools/bin GOFLAGS=-buildvcs=false CGO_ENABLED=0 go install "$2@$3"
  touch "$stamp"
}
mkdir -p .tools/bin
install gofumpt mvdan.cc/gofumpt v0.12.0
install golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint v2.15.0
