#!/usr/bin/env bash
# kustomize.sh KUSTOMIZE IMAGE
#
# Prints config/default with the operator's image IMAGE. The image is set in a
# copy, so that a deployment leaves no change in the tree.
set -euo pipefail

kustomize=$1
image=$2
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$(dirname "$0")/../config" "$copy"
cd "$copy/config/manager"
"$kustomize" edit set image "rpcpool=$image"
"$kustomize" build ../default
