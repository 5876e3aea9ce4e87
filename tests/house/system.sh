#!/usr/bin/env bash
# Installs the programs that tests and load runs talk to, where this machine lets us; else says what is missing.
# Never fails: without a tool its tests are skipped with a word (and fail under CI, see tests/tools.py).
set -uo pipefail
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

missing=()
need() { # need PROGRAM PACKAGE...
  command -v "$1" >/dev/null || missing+=("${@:2}")
}
need sipp sip-tester
need redis-server redis-server
need prometheus prometheus
need promtool prometheus
need baresip baresip-core
need linphone-daemon linphone-cli
need tcpdump tcpdump
need valgrind valgrind
need chromium chromium
need node nodejs
need npm npm
need fail2ban-regex fail2ban
need kamailio kamailio kamailio-lua-modules kamailio-redis-modules
need nft nftables
need ip iproute2
need openssl openssl
need rtpengine rtpengine-daemon
[ ${#missing[@]} -eq 0 ] && exit 0

mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
say() { printf 'system: %s\n' "$*" >&2; }

if ! command -v apt-get >/dev/null; then
  say "missing: ${missing[*]} (Debian's names). No apt here: install them your own way."
  exit 0
fi
if [ "$(id -u)" -eq 0 ]; then
  root=()
elif sudo -n true 2>/dev/null; then
  root=(sudo -n)
else
  say "missing: ${missing[*]}. Not root and no sudo without a password; run this yourself:"
  say "  sudo apt-get install --no-install-recommends ${missing[*]}"
  exit 0
fi

say "installing ${missing[*]}"
# The packages' scripts would start redis, prometheus and kamailio as services of this machine. Nobody asked for
# that, so for the time of the installation the policy says no (101: action forbidden by policy).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap '"${root[@]}" rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null && "${root[@]}" chmod 755 $policy
fi
install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
"${install[@]}" update >/dev/null || say "apt-get update failed; trying with the lists there are"
if "${install[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null; then
  if [ -d /run/systemd/system ]; then
    say "none of them was started; they are enabled for the next boot, which this undoes:"
    say "  systemctl disable redis-server prometheus prometheus-node-exporter kamailio"
  fi
else
  say "apt-get could not install all of: ${missing[*]}"
fi
exit 0
