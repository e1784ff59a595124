#!/bin/bash
# Installs what `make test` runs against: real X servers, network namespaces,
# ways to log in and the tools of an admin. Needs root on Debian or Ubuntu, and only where
# something is missing.
set -euo pipefail

packages=()
need() { # need COMMAND PACKAGE
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}
need Xvfb xvfb
need Xephyr xserver-xephyr
need Xvnc tigervnc-standalone-server
need Xwayland xwayland
need weston weston
need systemd-analyze systemd
need systemd-nspawn systemd-container
need debootstrap debootstrap
need xprop x11-utils
need xset x11-xserver-utils
need xauth xauth
need ssh openssh-client
need sshd openssh-server
need xinit xinit
[ -e /etc/X11/Xsession ] || packages+=(x11-common)
need dbus-daemon dbus
need ip iproute2
need ss iproute2
need nft nftables
need ps procps
need setsid util-linux
need strace strace
need logger bsdutils
need gcc gcc
need ldd libc-bin
need run-parts debianutils
need xkbcomp x11-xkb-utils
need qemu-system-x86_64 qemu-system-x86
[ -e /usr/lib/xorg/Xorg ] || packages+=(xserver-xorg-core)
[ -e /usr/lib/xorg/modules/drivers/dummy_drv.so ] || packages+=(xserver-xorg-video-dummy)
[ -e /usr/include/stdio.h ] || packages+=(libc6-dev)
[ -e /usr/include/X11/Xlib.h ] || packages+=(libx11-dev)

# A display manager that is installed takes the screen over: it is only unpacked,
# for the machines that the scenarios run in, and what it links with installed.
lightdm="$(cd "$(dirname "$0")/.." && pwd)/bin/lightdm"
unpacked() { command -v /usr/sbin/lightdm >/dev/null 2>&1 || [ -x "$lightdm/usr/sbin/lightdm" ]; }

((${#packages[@]})) || ! unpacked || exit 0
unpacked || what="lightdm (unpacked only)"
echo "== installing ${packages[*]} ${what:-}"
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  echo "setup: missing: ${packages[*]} ${what:-}; only root on Debian or Ubuntu can have them installed here" >&2
  [[ -z "${XEXIT_TEST_NO_SKIP:-}" ]] && exit 0
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
work="$(mktemp -d)"
log="$work/log"
trap 'rm -rf "$work"' EXIT
install() {
  local libraries
  if ! unpacked; then
    (cd "$work" && apt-get download -q lightdm && dpkg-deb -x lightdm_*.deb lightdm) >"$log" 2>&1 || return
    libraries="$(dpkg-deb -f "$work"/lightdm_*.deb Depends | tr ',' '\n' | grep -v '|' | grep -oE '^ *lib[^ (]+')"
  fi
  # shellcheck disable=SC2086 # a list of names
  apt-get install -y -q --no-install-recommends "${packages[@]}" ${libraries:-} </dev/null >"$log" 2>&1 || return
  if ! unpacked; then
    mkdir -p "$lightdm" && cp -a "$work/lightdm/." "$lightdm/"
  fi
}
install || { apt-get update -q </dev/null >"$log" 2>&1 && rm -f "$work"/*.deb && install; } || { cat "$log" >&2; exit 1; }
