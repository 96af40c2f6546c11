#!/usr/bin/env bash
# Measures and writes docs/benchmarks.md. The peer is Debian's docker-registry, installed when it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v docker-registry > /dev/null; then
  echo "installing docker-registry: the peer"
  log=$(mktemp)
  policy=/usr/sbin/policy-rc.d
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; trap 'rm -f $policy' EXIT; }
  apt-get install -y --no-install-recommends docker-registry > "$log" 2>&1 || { cat "$log" >&2; exit 1; }
  rm -f "$log"
fi
go run ./test/bench
