#!/usr/bin/env bash
# lint-scripts.sh
#
# Checks the syntax of every shell script, and the rest by shellcheck where that
# is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts=(hack/*.sh .ci/run)
for script in "${scripts[@]}"; do
	bash -n "$script"
	if [ ! -x "$script" ]; then
		echo "$script is not executable" >&2
		exit 1
	fi
done
if command -v shellcheck >/dev/null; then
	shellcheck "${scripts[@]}"
fi
