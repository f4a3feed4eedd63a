#!/usr/bin/env bash
# coverage.sh PROFILE      print coverage by package; fail if one is below its bar
# coverage.sh --packages   list the packages that count, for -coverpkg
#
# Generated files do not count. A line counts as covered if any test of the module ran it: that is what
# -coverpkg measures, and the profile has each block once per test binary.
set -euo pipefail

# The bar of a package and of those below it, in percent.
bars='
tvm 85
rpc 85
tracker 85
sidecar 85
'
module=rpcpool.dev

if [ "${1:-}" = --packages ]; then
	echo "$bars" | awk -v m="$module" 'NF == 2 { printf "%s%s/%s/...", sep, m, $1; sep = "," }'
	exit 0
fi

awk -v m="$module" -v bars="$bars" '
	BEGIN {
		n = split(bars, lines, "\n")
		for (i = 1; i <= n; i++)
			if (split(lines[i], word, " ") == 2)
				bar[word[1]] = word[2]
	}
	/^mode:/ { next }
	/\.pb\.go:/ { next } # generated
	{
		# rpcpool.dev/tvm/frame.go:12.3,14.2 statements count
		statements[$1] = $2
		if ($3 > 0) hit[$1] = 1
	}
	END {
		for (block in statements) {
			package = block
			sub(/\/[^\/]*$/, "", package)
			sub("^" m "/", "", package)
			total[package] += statements[block]
			if (block in hit) covered[package] += statements[block]
		}
		printf "%-28s %10s %9s %5s\n", "package", "statements", "covered", "bar"
		fflush()
		for (package in total) {
			want = ""
			for (prefix in bar)
				if (package == prefix || index(package, prefix "/") == 1) {
					want = bar[prefix]
					seen[prefix] = 1
				}
			percent = total[package] ? 100 * covered[package] / total[package] : 0
			verdict = (want != "" && percent < want) ? "  BELOW" : ""
			printf "%-28s %10d %8.1f%% %4s%%%s\n", package, total[package], percent, want, verdict | "sort"
			if (verdict != "") failed = 1
		}
		close("sort")
		for (prefix in bar)
			if (!(prefix in seen)) { print "no coverage of " prefix " in the profile"; failed = 1 }
		exit failed
	}
' "$1"
