#!/usr/bin/env bash
# previous.sh                       prints the commit of the version before this tree's
# previous.sh COMMIT DIR IMAGE TAG  builds it
#
# The version before is the last release (a tag v…) that is not this commit's. As long
# as there is none, it is the last commit, or the one before it where nothing has
# changed since. An upgrade from it is what the end-to-end tests try.
#
# What is built is in DIR/COMMIT, and kept:
#
#   chart/                 the chart, with the custom resource definition
#   rpcpool-previous.tar   the image of that commit's programs, made by the program IMAGE
#                          under the name TAG
set -euo pipefail

if [ $# -eq 0 ]; then
	cd "$(dirname "$0")/.."
	if tag=$(git describe --tags --abbrev=0 --match 'v*' HEAD^ 2>/dev/null); then
		git rev-parse "$tag^{commit}"
	elif [ -n "$(git status --porcelain)" ]; then
		git rev-parse HEAD
	elif ! git rev-parse --verify --quiet HEAD^; then
		echo "previous.sh: this commit has none before it here (is the clone a shallow one?)" >&2
		exit 1
	fi
	exit 0
fi

commit=$1 image=$(realpath "$3") tag=$4
mkdir -p "$2"
dir=$(realpath "$2")/$commit
cd "$(dirname "$0")/.."
if [ -e "$dir/rpcpool-previous.tar" ] && [ "$(cat "$dir/tag")" = "$tag" ]; then
	exit 0
fi
rm -rf "$dir"
mkdir -p "$dir/source" "$dir/bin"
trap 'rm -rf "$dir/source" "$dir/bin"' EXIT

git archive "$commit" | tar -x -C "$dir/source"
cp -r "$dir/source/charts/rpcpool" "$dir/chart"
version=$(git describe --tags --always "$commit")
for program in "$dir"/source/cmd/*/; do
	name=rpcpool-$(basename "$program")
	(cd "$dir/source" && CGO_ENABLED=0 go build \
		-ldflags "-s -w -X rpcpool.dev/internal/version.version=$version" \
		-o "$dir/bin/${name/%rpcpool-rpcpool/rpcpool}" "./cmd/$(basename "$program")")
done
"$image" --tag "$tag" --out "$dir/new.tar" "$dir"/bin/*
echo "$tag" >"$dir/tag"
# Last: it says that the rest is there.
mv "$dir/new.tar" "$dir/rpcpool-previous.tar"
