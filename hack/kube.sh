#!/usr/bin/env bash
# kube.sh DIR
#
# Builds etcd, kube-apiserver and kube-controller-manager from hack/kube into
# DIR, unless they are there, or KUBEBUILDER_ASSETS names others. Needs nothing
# but Go. From empty caches that is 900 CPU seconds: eight minutes of two cores
# that nothing else needs, and proportionally more of busy ones; then it is kept.
#
# DIR is made in one step, and of two builds at once one waits for the other.
set -euo pipefail

dir=$1
if [ -n "${KUBEBUILDER_ASSETS:-}" ] || [ -x "$dir/kube" ]; then
	exit 0
fi
cd "$(dirname "$0")/kube"
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
if command -v flock >/dev/null; then
	flock 9
	[ ! -x "$dir/kube" ] || exit 0
fi

scratch=$(mktemp -d "$dir.XXXXXX")
build=
trap '[ -z "$build" ] || kill "$build" 2>/dev/null || :; rm -rf "$scratch"' EXIT

# The same flags as everywhere in the project: what is compiled is shared.
export CGO_ENABLED=0
tags=notest,grpcnotrace
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v*.}
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
done

echo "building Kubernetes $version for tests, once; it is kept in $dir"
echo "fetching its modules"
total=$(go list -deps -tags "$tags" . | wc -l)

go build -v -tags "$tags" -ldflags "$flags" -o "$scratch/kube" . 2>"$scratch/log" 9>&- &
build=$!
for ((tick = 1; ; tick++)); do
	sleep 1
	kill -0 "$build" 2>/dev/null || break
	if ((tick % 15 == 0)); then
		echo "compiling Kubernetes, once: $(wc -l <"$scratch/log") of at most $total packages, ${SECONDS} s"
	fi
done
if ! wait "$build"; then
	build=
	cat "$scratch/log" >&2
	exit 1
fi
build=

rm "$scratch/log"
for name in etcd kube-apiserver kube-controller-manager; do
	ln -s kube "$scratch/$name"
done
chmod 755 "$scratch"
# Without flock, another build may have been faster: then its result is there.
mv -T "$scratch" "$dir" 2>/dev/null || [ -x "$dir/kube" ]
echo "built Kubernetes $version in ${SECONDS} s"
