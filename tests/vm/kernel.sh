#!/bin/bash
# Fetches the kernels of the emulated machine: Debian's packages (70 MB and 57;
# those for clouds have no graphics), unpacked into a cache and not installed, so
# that nothing of this machine's boot is touched. One is this machine's release's,
# the other Debian 11's, 5.10: the oldest that xexit is for. Needs root on Debian,
# and only where they are not there yet.
set -euo pipefail

cache=/var/cache/xexit-test
[[ ! -e "$cache/kernel/boot" || ! -e "$cache/kernel-5.10/boot" ]] || exit 0
cannot() {
  echo "setup: no kernel for the emulated machine: $*" >&2
  [[ -z "${XEXIT_TEST_NO_SKIP:-}" ]] && exit 0
  exit 1
}
[[ "$(uname -m)" == x86_64 ]] || cannot 'it is made of programs for x86_64'
((EUID == 0)) && command -v apt-get >/dev/null || cannot 'only root on Debian can have it fetched here'

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
private=() # how apt-get is told of another release
fetch() { # the newest kernel's package, as $package and $work/*.deb
  package="$(apt-cache "${private[@]}" depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1)"
  [[ -n "$package" ]] && (cd "$work" && rm -f ./*.deb && apt-get "${private[@]}" download -q "$package") </dev/null >"$work/log" 2>&1
}
update() { apt-get "${private[@]}" update -q </dev/null >"$work/log" 2>&1; }

# Few of its modules (and what they depend on): network, and what is asked for.
unpack() { # unpack PATTERN…
  local k='./lib/modules/*/kernel'
  echo "== unpacking $package"
  mkdir "$work/tree"
  dpkg-deb --fsys-tarfile "$work"/*.deb | tar -x -C "$work/tree" --wildcards --no-wildcards-match-slash './boot/vmlinuz-*' \
    "$k/drivers/virtio/*" "$k/drivers/net/virtio_net.*" "$k/drivers/net/net_failover.*" "$k/net/core/failover.*" "${@/#/$k/}"
  chmod 755 "$work/tree"
}
keep() { # keep DIRECTORY
  mkdir -p "$cache"
  rm -rf "${cache:?}/$1"
  mv "$work/tree" "$cache/$1"
}

if [[ ! -e "$cache/kernel/boot" ]]; then
  fetch || { update && fetch; } || { cat "$work/log" >&2; cannot 'linux-image-amd64 cannot be had'; }
  unpack 'drivers/gpu/drm/drm*.ko*' 'drivers/gpu/drm/ttm/*' 'drivers/gpu/drm/tiny/*'
  keep kernel
fi

# From where this machine gets its own packages, with the name of the release
# replaced, and nothing of apt's state touched.
older() {
  local place release signed=''
  [[ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
  while read -r place release; do
    case $release in
      *-security) echo "deb $signed $place bullseye-security main" ;;
      *-*) ;;
      *) echo "deb $signed $place bullseye main" ;;
    esac
  done < <(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Origin: Debian') | sort -u
}
if [[ ! -e "$cache/kernel-5.10/boot" ]]; then
  mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
  older >"$work/apt/sources.list"
  private=(-o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$work/apt/lists"
    -o Dir::Cache="$work/apt/cache" -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o APT::Sandbox::User=root)
  [[ -s "$work/apt/sources.list" ]] || cannot "this machine gets no packages from Debian, so Debian 11's kernel cannot be had"
  { update && fetch; } || { cat "$work/log" >&2; cannot "Debian 11's linux-image-amd64 cannot be had"; }
  [[ $package == linux-image-5.10.* ]] || cannot "Debian 11's kernel is $package"
  unpack 'net/ipv4/inet_diag.*' 'net/ipv4/tcp_diag.*' # sock_diag(7); no Xorg there
  keep kernel-5.10
fi
