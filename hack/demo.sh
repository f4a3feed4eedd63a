#!/usr/bin/env bash
# demo.sh
#
# The main job on this machine: runs the pool of the sample manifest, tunes a
# matrix product on it (some configurations really crash or run too long),
# prints the summary, stops the pool. Leaves out/trials.jsonl and out/tune.svg.
# TRIALS is the number of trials, LIMIT the seconds that they may take. The
# programs are in bin/ (make build).
set -euo pipefail
cd "$(dirname "$0")/.."

manifest=config/samples/rpcpool-local.yaml
tracker=127.0.0.1:9190
key=cpu
servers=4
log=out/pool.log
plan=out/pool.txt # what runs where; written when every port is bound

# Whatever happens, nothing that was started here outlives this script.
pool= job=
stop_all() {
	trap - EXIT
	trap '' INT TERM
	for pid in $job $pool; do
		kill -TERM "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
	echo "demo: $1; the end of $log:" >&2
	tail -n 20 "$log" >&2
	exit 1
}

free() {
	bin/rpcpool query --tracker "$tracker" -o json 2>/dev/null | grep -c '"state": "free"' || true
}

mkdir -p out
echo "starting the pool of $manifest (log: $log)"
rm -f "$plan"
set -m # in a process group of its own: Ctrl-C is for us, who stop it in order
bin/rpcpool local -f "$manifest" >"$plan" 2>"$log" &
pool=$!
set +m

deadline=$((SECONDS + 30))
until [ -s "$plan" ] && [ "$(free)" -ge "$servers" ]; do
	kill -0 "$pool" 2>/dev/null || fail "the pool ended"
	[ "$SECONDS" -lt "$deadline" ] || fail "the servers are not free after 30 s"
	sleep 0.1
done
echo
cat "$plan"
echo
bin/rpcpool query --tracker "$tracker"
echo

# On a slow machine the job ends in time, with what it has by then.
timeout --foreground --preserve-status --signal=TERM "${LIMIT:-75}" \
	bin/rpcpool tune --tracker "$tracker" --key "$key" --trials "${TRIALS:-200}" \
	--out out/trials.jsonl --plot out/tune.svg &
job=$!
wait "$job"
job=

echo
bin/rpcpool query --tracker "$tracker"
echo
echo "trials: out/trials.jsonl   picture: out/tune.svg"
