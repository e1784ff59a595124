#!/bin/bash
# Fetches the kernel of the emulated machine: Debian's package (70 MB;
# the one for clouds has no graphics), unpacked into a cache and not installed,
# so that nothing of this machine's boot is touched. Needs root on Debian, and only where it is not there yet.
set -euo pipefail

to=/var/cache/xexit-test/kernel
[[ ! -e "$to/boot" ]] || exit 0
cannot() {
  echo "setup: no kernel for the emulated machine: $*" >&2
  [[ -z "${XEXIT_TEST_NO_SKIP:-}" ]] && exit 0
  exit 1
}
[[ "$(uname -m)" == x86_64 ]] || cannot 'it is made of programs for x86_64'
((EUID == 0)) && command -v apt-get >/dev/null || cannot 'only root on Debian can have it fetched here'

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
newest() { apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1; }
fetch() {
  package="$(newest)"
  [[ -n "$package" ]] && (cd "$work" && rm -f ./*.deb && apt-get download -q "$package") </dev/null >"$work/log" 2>&1
}
fetch || { apt-get update -q </dev/null >"$work/log" 2>&1 && fetch; } || { cat "$work/log" >&2; cannot 'linux-image-amd64 cannot be had'; }
echo "== unpacking $package"
mkdir "$work/tree"
# Few of its modules (and what they depend on): network and graphics.
k='./lib/modules/*/kernel'
dpkg-deb --fsys-tarfile "$work"/*.deb | tar -x -C "$work/tree" --wildcards --no-wildcards-match-slash './boot/vmlinuz-*' \
  "$k/drivers/virtio/*" "$k/drivers/net/virtio_net.*" "$k/drivers/net/net_failover.*" "$k/net/core/failover.*" \
  "$k/drivers/gpu/drm/drm*.ko*" "$k/drivers/gpu/drm/ttm/*" "$k/drivers/gpu/drm/tiny/*"
mkdir -p "${to%/*}"
rm -rf "$to"
chmod 755 "$work/tree"
mv "$work/tree" "$to"
