#!/bin/bash
# Installs what `make test` runs against: real X servers, network namespaces
# and the tools of an admin. Needs root on Debian or Ubuntu, and only where
# something is missing.
set -euo pipefail

packages=()
need() { # need COMMAND PACKAGE
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}
need Xvfb xvfb
need Xephyr xserver-xephyr
need xprop x11-utils
need xset x11-xserver-utils
need xauth xauth
need ssh openssh-client
need sshd openssh-server
need xinit xinit
[ -e /etc/X11/Xsession ] || packages+=(x11-common)
need ip iproute2
need ss iproute2
need nft nftables
need ps procps
need setsid util-linux
need logger bsdutils
need gcc gcc
[ -e /usr/include/stdio.h ] || packages+=(libc6-dev)

((${#packages[@]})) || exit 0
echo "== installing ${packages[*]}"
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  echo "setup: missing: ${packages[*]}; only root on Debian or Ubuntu can have them installed here" >&2
  [[ -z "${XEXIT_TEST_NO_SKIP:-}" ]] && exit 0
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
install() { apt-get install -y -q --no-install-recommends "${packages[@]}" </dev/null >"$log" 2>&1; }
install || { apt-get update -q </dev/null >"$log" 2>&1 && install; } || { cat "$log" >&2; exit 1; }
