#!/usr/bin/env bash
# need.sh PROGRAM PACKAGE...
#
# Makes sure that PROGRAM is there: installs the Debian packages as root, or
# else says what to install.
set -euo pipefail

program=$1
shift
if command -v "$program" >/dev/null; then
	exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "$program is missing. Install it, on Debian or Ubuntu by: sudo apt-get install $*" >&2
	exit 1
fi
echo "installing $* for $program"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends "$@" >/dev/null
# What is wanted are programs. Some packages bring a service as well, which systemd has
# started by now and starts at every boot; RUNLEVEL=1 does not keep it from that.
for package in "$@"; do
	if systemctl is-active --quiet "$package" 2>/dev/null; then
		echo "the service $package runs now, which nothing here needs: systemctl disable --now $package"
	fi
done
