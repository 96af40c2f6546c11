#!/usr/bin/env bash
# Runs upstream's Conformance suite on a cluster of two nodes that `fairlead kube create` makes, every image pulled from a
# private registry with the nodes' identity, and writes docs/conformance/kubernetes.md. It fails unless each of the 462 specs
# has passed. With the argument "slice" it runs the specs of conformance/slice.txt, which touch every sig, and writes nothing.
# It works in a temporary data directory and takes everything away at the end, also after Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-all} specs=462 registry=myacr
cache=$PWD/.cache/conformance
programs=$cache/programs
results=$cache/results-$mode
rm -rf "$results"
mkdir -p "$results"
source scripts/server.sh conformance
runs=()
ending() {
  local run
  for run in "${runs[@]}"; do # each leads a process group of its own
    kill -KILL -- "-$run" 2> /dev/null || true
    wait "$run" 2> /dev/null || true
  done
  [ -z "$server" ] || cp "$work/up.log" "$results/fairlead.log"
}

say() { printf '%s %s\n' "$(date +%T)" "$*"; }

images=$cache/images-$("$programs/images" -key "$programs")
if [ ! -e "$images/index.json" ]; then
  say "making the images"
  rm -rf "$cache"/images-*
  "$programs/images" "$programs" "$images" > /dev/null
fi

say "starting Fairlead and a cluster of two nodes"
start
fairlead registry create "$registry" > /dev/null
# push LAYOUT pushes all images of a layout.
push() {
  local image
  while read -r image; do
    fairlead push "$1" "$registry/$image" --source-ref "$image" > "$work/push.log" 2>&1 || { cat "$work/push.log" >&2; exit 1; }
  done < <(jq -r '.manifests[].annotations["org.opencontainers.image.ref.name"]' "$1/index.json")
}
push "$images"
authority=$(fairlead trust --data "$work/data")
"$programs/images" -trusting "$authority" "$images" "$work/trusting" > /dev/null
push "$work/trusting"
fairlead kube create conf --node-count 2 --attach-acr "$registry"
fairlead kube get-credentials conf --admin --file "$work/kubeconfig"
ln -s "$PWD/bin/fairlead-kube" "$work/kubectl"

# The suite's own names, in our registry. Nothing else is named: what is not here cannot be pulled.
cat > "$work/repositories.yaml" <<YAML
promoterE2eRegistry: $registry.azurecr.io/e2e-test-images
gcRegistry: $registry.azurecr.io
gcEtcdRegistry: $registry.azurecr.io
YAML
export KUBE_TEST_REPO_LIST=$work/repositories.yaml TMPDIR=$work # where the suite leaves files

# begin NAME PROCESSES GINKGO-FLAGS… starts a run of the suite. Nothing is tried twice.
begin() {
  local name=$1 processes=$2
  shift 2
  say "$name: see ${results#"$PWD/"}/$name.log"
  setsid "$programs/ginkgo" run --procs="$processes" --timeout=80m --no-color --keep-going "$@" \
    --output-dir="$results" --json-report="$name.json" "$programs/e2e.test" -- \
    --kubeconfig="$work/kubeconfig" --kubectl-path="$work/kubectl" --provider=skeleton --num-nodes=2 \
    --dns-domain=cluster.local --disable-log-dump=true > "$results/$name.log" 2>&1 &
  runs+=($!)
}
# finished waits for all runs. A failed one is for the report to tell.
finished() {
  for run in "${runs[@]}"; do
    wait "$run" || true
  done
  runs=()
}

if [ "$mode" = slice ]; then
  focus=()
  while read -r name; do
    [[ $name == \#* || -z $name ]] || focus+=("--focus=$(sed 's/[][\.*^$()+?{}|]/\\&/g' <<< "$name")")
  done < conformance/slice.txt
  begin slice 8 "${focus[@]}"
  finished
  "$programs/report" slice="$results/slice.json"
  exit
fi

# Specs that last long by waiting run beside the others, those that change the whole cluster run alone.
both() { printf '%s' "\\[Conformance\\].*\\[$1\\]|\\[$1\\].*\\[Conformance\\]"; }
begin main 8 --focus='\[Conformance\]' --skip='\[Serial\]|\[Disruptive\]|\[Slow\]'
begin slow 4 --focus="$(both Slow)" --skip='\[Serial\]|\[Disruptive\]'
finished
begin serial 1 --focus="$(both Serial)|$(both Disruptive)"
finished

source /etc/os-release
mkdir -p docs/conformance
"$programs/report" -want "$specs" -write docs/conformance/kubernetes.md \
  -fact "date=$(date -u +%F)" \
  -fact "Kubernetes=$("$work/kubectl" --kubeconfig "$work/kubeconfig" version --output json | jq -r .serverVersion.gitVersion), tests of the same release" \
  -fact "Fairlead=$(fairlead version | head -n 1)" \
  -fact "cluster=2 nodes, kube-proxy nftables, $(runc --version | head -n 1)" \
  -fact "machine=$(nproc) processors, $(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB, which the suite shares; $PRETTY_NAME, Linux $(uname -r), cgroup v$([ -e /sys/fs/cgroup/cgroup.controllers ] && echo 2 || echo 1)" \
  -fact "private registry=$(jq '.manifests | length' "$images/index.json") images, $(du -sm "$images" | cut -f1) MiB" \
  -fact "processes=8 for main, 4 for slow beside it, 1 for serial; nothing is tried twice" \
  main="$results/main.json" slow="$results/slow.json" serial="$results/serial.json"
