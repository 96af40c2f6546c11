#!/usr/bin/env bash
# Runs the conformance program of the OCI distribution specification against a registry of Fairlead's, as a service principal
# that signs in, for the released specification and for the one to come, and writes docs/conformance/oci.md. It fails unless
# no test has failed and none was skipped. It works in a temporary data directory and takes everything away at the end, also
# after Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."

registry=myacr versions=(stable dev)
results=$PWD/.cache/conformance-oci
rm -rf "$results"
mkdir -p "$results"
export LC_ALL=C
source scripts/server.sh conformance-oci
ending() { [ -z "$server" ] || cp "$work/up.log" "$results/fairlead.log"; }

say() { printf '%s %s\n' "$(date +%T)" "$*"; }

module=github.com/opencontainers/distribution-spec/conformance
(cd test/ociconformance && GOFLAGS=-buildvcs=false CGO_ENABLED=0 go build -trimpath -o "$work/conformance" "$module")
release=$(cd test/ociconformance && go list -m -f '{{.Version}}' "$module")

start --compute none
fairlead registry create "$registry" > /dev/null
fairlead sp create --name conformance --output json > "$work/sp.json"
for role in AcrPush AcrDelete; do # AcrPush pulls, too
  fairlead role assign "$role" --to "$(jq -r .principalId "$work/sp.json")" --on "$registry" > /dev/null
done

# The program resolves names as the system does, so it gets a hosts file of its own.
fairlead hosts --data "$work/data" --file "$work/hosts" --write > /dev/null
alone=(unshare --mount)
[ "$(id -u)" = 0 ] || alone=(unshare --map-root-user --mount)

OCI_REGISTRY=$registry$(jq -r .registrySuffix "$FAIRLEAD_READY_FILE")
SSL_CERT_FILE=$(jq -r .caFile "$FAIRLEAD_READY_FILE")
OCI_USERNAME=$(jq -r .clientId "$work/sp.json")
OCI_PASSWORD=$(jq -r .clientSecret "$work/sp.json")
export OCI_REGISTRY SSL_CERT_FILE OCI_USERNAME OCI_PASSWORD
export OCI_TLS=enabled OCI_CONFIGURATION=$work/none.yaml
: > "$OCI_CONFIGURATION" # and not one that lies about

# count VERSION STATUS gives how many tests of a run ended so.
count() { awk -v status="$2" '$1 ~ "^" status "\\.*:$" && !seen { print $2; seen = 1 }' "$results/$1/report.txt"; }

failed=0
for version in "${versions[@]}"; do
  mkdir -p "$results/$version"
  # It ends with 1 when a test has failed, and with 0 when it could not begin: the counts tell.
  OCI_VERSION=$version OCI_REPO1=conformance/$version/first OCI_REPO2=conformance/$version/second OCI_RESULTS_DIR=$results/$version \
    "${alone[@]}" sh -c 'mount --bind "$0" /etc/hosts && exec "$1"' "$work/hosts" "$work/conformance" \
    > "$results/$version/report.txt" 2> "$results/$version/log.txt" || true
  counts=
  for status in Pass FAIL Error Skip Disabled; do
    n=$(count "$version" "$status")
    counts+=" $status ${n:-?}"
    case $status in
      Pass) [ "${n:-0}" -gt 0 ] || failed=1 ;;
      Disabled) ;;
      *) [ "${n:-1}" = 0 ] || failed=1 ;;
    esac
  done
  say "$version:$counts; see ${results#"$PWD/"}/$version"
  grep -B 1 '^ *- ' "$results/$version/report.txt" || true
done
[ "$failed" = 0 ] || { cat "$results"/*/log.txt >&2; exit 1; }

# section TITLE VERSION gives the lines of a part of a run's report as "name|status".
section() { awk -v title="$1:" '$0 == title { on = 1; next } !NF { on = 0 } on { status = $NF; sub(/^ +/, ""); sub(/\.*: +[A-Za-z]+$/, ""); print $0 "|" status }' "$results/$2/report.txt"; }

mkdir -p docs/conformance
{
  cat <<PAGE
# OCI distribution: the specification's own conformance program

Written by \`make conformance-oci\`, which fails unless no test fails and none is skipped.

- program: \`$module\` $release
- registry: one of Fairlead's, on SQLite and files, over TLS; the program signs in as a service principal with the roles AcrPush
  and AcrDelete and gets its tokens as any client does
- settings: the program's defaults for each version of the specification. It disables what that version does not have yet, and
  in both sparse manifests, which name what was never pushed: a registry may refuse them, and this one does.

| \`OCI_VERSION\` | passed | failed | errors | skipped | disabled |
|---|---|---|---|---|---|
PAGE
  for version in "${versions[@]}"; do
    echo "| $version | $(count "$version" Pass) | $(count "$version" FAIL) | $(count "$version" Error) | $(count "$version" Skip) | $(count "$version" Disabled) |"
  done
  for part in API Data; do
    printf '\n| %s | %s |\n|---|---|---|\n' "$part" "$(printf '%s | ' "${versions[@]}" | sed 's/ | $//')"
    join -t '|' <(section "$part conformance" "${versions[0]}" | sort -t '|' -k 1,1) <(section "$part conformance" "${versions[1]}" | sort -t '|' -k 1,1) | sed 's/|/ | /g; s/^/| /; s/$/ |/'
  done
} > docs/conformance/oci.md
