#!/usr/bin/env bash
# The story that Fairlead began with, told by running it: a private image, a container group and a web app that may not
# pull it, the reason, the fix that is printed, and both of them running. It works in a temporary data directory and
# takes everything away at the end, also after Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/server.sh demo

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold= dim= plain=; fi
chapter() { printf '\n%s== %s ==%s\n' "$bold" "$1" "$plain"; }
say() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; "$@"; }
# refused runs a command that must fail because a workload cannot start (exit code 5).
refused() {
  printf '%s$ %s%s\n' "$bold" "$*" "$plain"
  local code=0
  "$@" || code=$?
  [ "$code" = 5 ] || { echo "expected a refusal (exit code 5), got $code" >&2; exit 1; }
}
# repair runs the fix that `why` prints, as a person would who pastes it.
repair() {
  local explanation fix
  explanation=$(fairlead why "$1" --output json) || true
  [ "$(jq -r .code <<< "$explanation")" = "$2" ] || { echo "why says $(jq -r .code <<< "$explanation"), not $2" >&2; exit 1; }
  fix=$(jq -r '.fix[0].command' <<< "$explanation")
  printf '%s$ %s%s\n' "$bold" "$fix" "$plain"
  bash -o pipefail -c "$fix"
}
began=$SECONDS

chapter "Fairlead starts with an empty directory"
say "One process: a registry, a directory of identities with a token service, role-based access, and compute."
start
grep '^Fairlead is ready' "$work/up.out"

chapter "A private registry, and an image in it"
say "A registry only stores. Nothing in it can start anything."
show fairlead registry create myacr
mkdir -p "$work/image/bin" "$work/image/www"
cp /bin/busybox "$work/image/bin/busybox"
ln -s busybox "$work/image/bin/sh"
echo '<h1>Served from a private image</h1>' > "$work/image/www/index.html"
cat > "$work/image/bin/web" <<'WEB'
#!/bin/sh
trap 'exit 0' TERM
busybox httpd -f -p 8080 -h /www &
wait
WEB
chmod +x "$work/image/bin/web"
say "An image is files and a command. This one is made from a directory, without Docker."
show fairlead push "$work/image" myacr/my-private-image:v1 --entrypoint /bin/busybox --cmd echo --cmd 'Hello from a private image.'
show fairlead push "$work/image" myacr/web:v1 --entrypoint /bin/web

chapter "A container group, with a service principal that has no role"
say "The principal can prove who it is. Nobody has said that it may pull."
fairlead sp create --name demo-puller --output json > "$work/sp.json"
sed -e "s/<SERVICE_PRINCIPAL_CLIENT_ID>/$(jq -r .clientId "$work/sp.json")/" \
    -e "s/<SERVICE_PRINCIPAL_CLIENT_SECRET>/$(jq -r .clientSecret "$work/sp.json")/" examples/aci.yaml > "$work/aci.yaml"
refused fairlead apply -f "$work/aci.yaml" -g demo
say "In Azure this is where the guessing begins. Here one asks:"
show fairlead why my-aci-instance || true
say "The printed fix, pasted:"
repair my-aci-instance ROLE_MISSING
show fairlead wait my-aci-instance --finished
show fairlead logs my-aci-instance
[ "$(fairlead logs my-aci-instance)" = 'Hello from a private image.' ]
code=$(fairlead group show my-aci-instance --output json | jq '.properties.containers[0].properties.instanceView.currentState.exitCode')
echo "exit code: $code"
[ "$code" = 0 ]

chapter "A web app, with a managed identity that may pull but is not asked to"
say "No password anywhere: the identity has AcrPull. But the site was never told to use it."
fairlead identity create web-id -g demo --output json > "$work/id.json"
show fairlead role assign AcrPull --to "$(jq -r .properties.principalId "$work/id.json")" --on myacr
refused fairlead webapp create hello -g demo --image myacr.azurecr.io/web:v1 --identity "$(jq -r .id "$work/id.json")"
show fairlead why webapp/hello || true
say "The printed fix, pasted:"
repair webapp/hello CRED_MI_NOT_ENABLED
show fairlead wait webapp/hello
host=hello.azurewebsites.$(jq -r .domain "$FAIRLEAD_READY_FILE") port=$(jq -r .port "$FAIRLEAD_READY_FILE")
ca=$(jq -r .caFile "$FAIRLEAD_READY_FILE")
page=$(show curl --silent --show-error --fail --cacert "$ca" --resolve "$host:$port:127.0.0.1" "https://$host:$port/")
echo "$page"
[[ $page == *'Served from a private image'* ]]

chapter "Everything is removed"
show fairlead rm my-aci-instance
show fairlead rm webapp/hello
printf '\nThe whole story took %s s.\n' $((SECONDS - began))
