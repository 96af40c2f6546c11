#!/usr/bin/env bash
# Installs the Debian packages that Fairlead's compute and its tests need, with the argument "bench" those of the benchmarks
# too, with "kube" those of clusters, with "conformance" those of upstream's suite, and says which. Does nothing when all are
# there. Needs root only when something is missing.
set -euo pipefail

# package  program or file that shows it is there  what it is for
needs=(
  "runc                        /usr/sbin/runc              OCI runtime"
  "containernetworking-plugins /usr/lib/cni/bridge         container network"
  "iproute2                    /usr/sbin/ip                looks at links, in tests"
  "procps                      /usr/bin/pgrep              looks at processes, in benchmarks"
  "iptables                    /usr/sbin/iptables          address translation for containers"
  "busybox-static              /bin/busybox                the program in the demo's and the tests' images"
  "skopeo                      /usr/bin/skopeo             a registry client that we did not write, for tests"
  "curl                        /usr/bin/curl               asks the web app in the demo"
  "jq                          /usr/bin/jq                 reads JSON in the demo and the tests"
  "gcc                         /usr/bin/gcc                the race detector needs cgo"
  "libc6-dev                   /usr/include/stdlib.h       the race detector needs cgo"
  "git                         /usr/bin/git                the version in the binary"
)
if [[ ${1:-} =~ ^(kube|conformance)$ ]]; then
  needs+=(
    "nftables /usr/sbin/nft    the rules of services in clusters"
    "openssl  /usr/bin/openssl makes certificates, in tests"
  )
fi
if [ "${1:-}" = conformance ]; then
  needs+=(
    "bind9-dnsutils /usr/bin/dig        a program in the suite's images"
    "bind9-host     /usr/bin/host       a program in the suite's images"
    "netcat-openbsd /usr/bin/nc.openbsd a program in the suite's images"
    "make           /usr/bin/make       builds busybox for the suite's images"
    "bzip2          /usr/bin/bzip2      unpacks the source of busybox"
  )
fi
if [ "${1:-}" = bench ]; then
  needs+=("docker-registry /usr/bin/docker-registry the peer that benchmarks measure beside")
fi

missing=()
for need in "${needs[@]}"; do
  read -r package file purpose <<< "$need"
  if [ ! -e "$file" ]; then
    echo "installing $package: $purpose"
    missing+=("$package")
  fi
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "these Debian packages are missing: ${missing[*]}" >&2
  echo "install them as root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

# No package may start a service of its own on the machine that only wants to build.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' > $policy
  chmod +x $policy
  trap 'rm -f $policy' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get -o DPkg::Lock::Timeout=300 update && apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
rm -f "$log"
