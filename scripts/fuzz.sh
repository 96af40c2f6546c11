#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME each: a number of inputs ("30000x") or a time. The default is a number, because
# the fuzzer reports an error of its own when the time runs out between two inputs.
set -euo pipefail
cd "$(dirname "$0")/.."
for file in $(git grep -lE '^func Fuzz' -- '*_test.go'); do
  for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
    echo "== $(dirname "$file") $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30000x}" "./$(dirname "$file")"
  done
done
