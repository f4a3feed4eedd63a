#!/usr/bin/env bash
# table.sh DOCUMENT TABLE
#
# Puts the text of the file TABLE into DOCUMENT, between the lines "<!-- table -->"
# and "<!-- end of table -->".
set -euo pipefail

document=$1 table=$2
new=$(mktemp "$document.XXXXXX")
trap 'rm -f "$new"' EXIT
awk -v table="$table" '
	/^<!-- end of table -->$/ { inside = 0; ended = 1 }
	!inside { print }
	/^<!-- table -->$/ { inside = 1; while ((getline line < table) > 0) print line }
	END { if (!ended) { print "no place for a table" >"/dev/stderr"; exit 1 } }
' "$document" >"$new"
chmod --reference="$document" "$new"
mv "$new" "$document"
