#!/usr/bin/env bash
# fuzz.sh
#
# Runs every fuzz target of the module, one after another, for FUZZTIME each.
set -euo pipefail
cd "$(dirname "$0")/.."

grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r package; do
	grep -h -o '^func Fuzz[A-Za-z0-9_]*' "$package"/*_test.go | sed 's/^func //' | sort | while read -r target; do
		echo "fuzzing $package $target"
		go test -vet=off -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" -fuzzminimizetime 20x "$package" </dev/null
	done
done
