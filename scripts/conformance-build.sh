#!/usr/bin/env bash
# Builds what upstream's Conformance suite needs into .cache/conformance/programs: the suite, its runner, and the programs that
# its images hold, busybox among them, which Debian's own build of cannot take the place of. The suite costs ten minutes the
# first time, after fairlead-kube, whose cache it shares; busybox two.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache/conformance
out=$cache/programs
mkdir -p "$out"

# Busybox is the source package of Debian's release after the oldest that Fairlead runs on: from version 1.37 its shell keeps
# environment variables whose names are not names of the shell's. Debian's program would run its own nc instead of the one in
# PATH. Apt checks the package against the archive's signature; lists and files stay out of the machine's own.
busybox() {
  local release=trixie archive=busybox_1.37.0.orig.tar.bz2 sum=3311dff32e746499f4df0d5df04d7eb396382d7e108bb9250e7b519b837043a4
  local config='CONFIG_STATIC=y CONFIG_TC=n CONFIG_SHA1_HWACCEL=n CONFIG_SHA256_HWACCEL=n'
  local key; key=$(sha256sum <<< "$sum $config" | cut -c1-16)
  if [ -e "$cache/busybox-$key" ]; then
    ln -f "$cache/busybox-$key" "$out/busybox"
    return
  fi
  local work; work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-busybox.XXXXXX")
  (
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    mkdir -p lists/partial cache/archives/partial
    local archive_of; archive_of=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed 1q)
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive_of $release main" > sources.list
    local apt=(apt-get -q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
      -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    "${apt[@]}" source --download-only --tar-only busybox
    sha256sum --check <<< "$sum  $archive"
    mkdir source
    tar -xf "$archive" -C source --strip-components 1
    cd source
    make defconfig
    for setting in $config; do
      sed -i -E "s/^(# )?${setting%=*}[ =].*/$setting/; s/^(CONFIG_.*)=n\$/# \1 is not set/" .config
    done
    yes '' | make oldconfig || [ "${PIPESTATUS[1]}" = 0 ]
    make -j "$(nproc)" busybox
    cp busybox "$cache/busybox-$key.part"
    mv "$cache/busybox-$key.part" "$cache/busybox-$key"
  ) > "$cache/busybox.log" 2>&1 || { tail -n 40 "$cache/busybox.log" >&2; echo "busybox was not built" >&2; exit 1; }
  ln -f "$cache/busybox-$key" "$out/busybox"
}

# The flags are those of scripts/kube.sh, so that nothing of Kubernetes is compiled twice.
programs() {
  export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
  local flags=(-trimpath -tags providerless,selinux) version major minor stamp='-s -w'
  cd conformance
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  IFS=. read -r major minor _ <<< "${version#v}"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do # specs of one release ask which they are
    stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
  done
  local upstream; upstream=$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)
  go test -c "${flags[@]}" -ldflags "$stamp" -o "$out/e2e.test" k8s.io/kubernetes/test/e2e
  go build "${flags[@]}" -ldflags '-s -w' -o "$out/" github.com/onsi/ginkgo/v2/ginkgo
  go build "${flags[@]}" -ldflags "$stamp" -o "$out/agnhost" k8s.io/kubernetes/test/images/agnhost
  go build "${flags[@]}" -ldflags '-s -w' -o "$out/" k8s.io/sample-apiserver
  go build "${flags[@]}" -ldflags '-s -w' -o "$out/nnp" k8s.io/kubernetes/test/images/nonewprivs
  go build "${flags[@]}" -ldflags '-s -w' -o "$out/etcd" ./etcd
  go build "${flags[@]}" -ldflags '-s -w' -o "$out/images" ./images
  go build "${flags[@]}" -ldflags '-s -w' -o "$out/report" ./report
  (cd ../kube && go build "${flags[@]}" -ldflags '-s -w' -o "$out/pause" ./cmd/pause)
  # What the images hold of upstream's files.
  rm -rf "$out/files"
  mkdir -p "$out/files"
  for image in kitten nautilus; do
    cp -r "$upstream/test/images/$image/html" "$out/files/$image"
  done
  cp "$upstream"/test/images/agnhost/porter/localhost.{crt,key} "$out/files/"
  chmod -R u+w "$out/files"
}

began=$SECONDS
busybox
programs
echo ".cache/conformance/programs: the suite and what it needs, in $((SECONDS - began)) s"
