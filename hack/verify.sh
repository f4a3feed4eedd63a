#!/usr/bin/env bash
# verify.sh
#
# Fails if a generated file differs from what its sources give, or a Go file is
# not formatted. What is stale is generated anew on the way, so that a commit
# mends it.
set -euo pipefail
cd "$(dirname "$0")/.."

generated=(
	api/v1alpha1/zz_generated.deepcopy.go
	charts/rpcpool/templates/_rules.tpl
	charts/rpcpool/templates/crds/rpcpools.yaml
	charts/rpcpool/templates/prometheusrule.yaml
	config/crd/bases/rpcpool.dev_rpcpools.yaml
	config/prometheus/prometheus_rule.yaml
	config/rbac/role.yaml
	docs/cli.md
	docs/manifest.md
	docs/metrics.md
	rpc/grpcdoor/rpcpoolv1/calls.pb.go
	rpc/grpcdoor/rpcpoolv1/calls_grpc.pb.go
)

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
for file in "${generated[@]}"; do
	mkdir -p "$before/$(dirname "$file")"
	cp "$file" "$before/$file" 2>/dev/null || : >"$before/$file"
done

make --no-print-directory generate manifests proto

stale=0
for file in "${generated[@]}"; do
	if ! diff -u "$before/$file" "$file"; then
		echo "stale: $file (it has been generated anew: commit it)" >&2
		stale=1
	fi
done

unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	echo "not formatted (make fmt):" >&2
	echo "$unformatted" >&2
	stale=1
fi

if ! go mod tidy -diff; then
	echo "go.mod or go.sum is not tidy (go mod tidy)" >&2
	stale=1
fi
exit "$stale"
