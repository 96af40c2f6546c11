#!/usr/bin/env bash
# Builds bin/fairlead-kube: Kubernetes, of one upstream release, as one program. The first build takes more than ten minutes on
# two cores and 3 GB of memory; later ones, from Go's build cache, take half a minute.
set -euo pipefail
cd "$(dirname "$0")/../kube"

# Every command has the same flags, so that they share one build cache.
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
flags=(-trimpath -tags providerless,selinux)
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<< "${version#v}"
stamp=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
done

began=$SECONDS
go build "${flags[@]}" -ldflags "-s -w" -o internal/images/programs/pause ./cmd/pause
go build "${flags[@]}" -ldflags "-s -w$stamp" -o ../bin/fairlead-kube ./cmd/fairlead-kube
echo "bin/fairlead-kube: Kubernetes $version, $(($(stat -c %s ../bin/fairlead-kube) >> 20)) MiB, in $((SECONDS - began)) s"
