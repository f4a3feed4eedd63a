#!/usr/bin/env bash
# kube.sh DIR PACKAGE NAME...
#
# Builds a package of hack/kube, a program that is called by several names, into
# DIR, with a link of each name, unless it is there. Needs nothing but Go. From
# empty caches etcd and the API server are 900 CPU seconds: eight minutes of two
# cores that nothing else needs, and proportionally more of busy ones; what nodes
# need is half as much again. Then it is kept.
#
# DIR is made in one step, and of two builds at once one waits for the other.
set -euo pipefail

dir=$1 package=$2
shift 2
if [ -x "$dir/kube" ]; then
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
for at in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	flags+=" -X $at.gitVersion=$version -X $at.gitMajor=1 -X $at.gitMinor=${minor%%.*} -X $at.gitTreeState=clean"
done

echo "building Kubernetes $version ($*), once; it is kept in $dir"
echo "fetching its modules"
total=$(go list -deps -tags "$tags" "$package" | wc -l)

go build -v -tags "$tags" -ldflags "$flags" -o "$scratch/kube" "$package" 2>"$scratch/log" 9>&- &
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
for name in "$@"; do
	ln -s kube "$scratch/$name"
done
chmod 755 "$scratch"
# Without flock, another build may have been faster: then its result is there.
mv -T "$scratch" "$dir" 2>/dev/null || [ -x "$dir/kube" ]
echo "built Kubernetes $version in ${SECONDS} s"
