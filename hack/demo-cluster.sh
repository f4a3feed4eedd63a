#!/usr/bin/env bash
# demo-cluster.sh
#
# The main job on a real cluster, which KUBECONFIG names: installs the operator
# with Helm, applies the smallest sample, scales it to SERVERS (4), and runs a
# tuning job of TRIALS trials in a pod; some really crash or run too long. Prints
# the summary; leaves out/cluster/tune.log, tune.svg and tune.png, and the pool.
# HELM and KUBECTL are the programs, IMAGE is rpcpool's, which the nodes have or
# can pull. The other programs are in bin/ (make build).
set -euo pipefail
cd "$(dirname "$0")/.."

helm=${HELM:-helm}
kubectl=${KUBECTL:-kubectl}
image=${IMAGE:?the image of rpcpool, NAME:TAG}
servers=${SERVERS:-4}
space=tuning
out=out/cluster

# What it does, and when.
say() { printf '\n\033[1m%3d s  %s\033[0m\n' "$SECONDS" "$1"; }

show() {
	printf '$ %s\n' "$(basename "$1") ${*:2}"
	"$@"
}

fail() {
	echo "demo: $1" >&2
	"$kubectl" --namespace "$space" get rpcpools,pods -o wide >&2 || true
	"$kubectl" --namespace "$space" describe rpcpool minimal >&2 || true
	exit 1
}

k() { "$kubectl" --namespace "$space" "$@"; }

mkdir -p "$out"
say "the operator, with Helm"
"$helm" upgrade --install rpcpool charts/rpcpool --namespace rpcpool-system --create-namespace \
	--set image.repository="${image%:*}" --set image.tag="${image##*:}" --wait --timeout 2m
"$kubectl" create namespace "$space" --dry-run=client -o yaml | "$kubectl" apply -f - >/dev/null

say "a pool of $servers servers"
show "$kubectl" --namespace "$space" apply -f config/samples/rpcpool-minimal.yaml
show "$kubectl" --namespace "$space" scale rpcpool minimal --replicas="$servers"
# Scaling has just changed what Ready is about; the count is what a client waits for.
k wait rpcpool/minimal --for=jsonpath='{.status.free}'="$servers" --timeout=60s >/dev/null || fail "the servers are not free after 60 s"
show "$kubectl" --namespace "$space" get rpcpools,pods -o wide

say "a tuning job in a pod, some trials of which crash"
k delete job tune --ignore-not-found >/dev/null
show "$kubectl" --namespace "$space" create job tune --image="$image" -- \
	rpcpool tune --tracker rpcpool-tracker:9190 --key minimal --trials "${TRIALS:-200}" --out -
k wait pod --selector=job-name=tune --for=jsonpath='{.status.phase}'=Running --timeout=60s >/dev/null 2>&1 || true # it may have ended
k logs --follow job/tune >"$out/tune.log" || fail "the job has no log"
k wait job/tune --for=condition=Complete --timeout=10s >/dev/null || fail "the job has failed; its log is $out/tune.log"

say "what came of it"
bin/rpcpool plot "$out/tune.log" --out "$out/tune.svg"
bin/rpcpool plot "$out/tune.log" --out "$out/tune.png" >/dev/null
echo
show "$kubectl" --namespace "$space" get rpcpools,pods -o wide
printf '\nlog: %s   pictures: %s %s\n' "$out/tune.log" "$out/tune.svg" "$out/tune.png"
