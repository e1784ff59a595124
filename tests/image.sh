#!/bin/bash
# Makes the Debian trees that the tests boot as containers (machine.Boot), each
# once: again only when this file has changed. Needs root, debootstrap and some
# minutes.
#
#   image.sh [NAME…]    debian-12, debian-13; all of them by default
#
# debian-13 has a desktop, too.
set -euo pipefail

cache=/var/cache/xexit-test
want="$(sha256sum <"$0")"
names=("$@")
((${#names[@]})) || names=(debian-12 debian-13)
if ((EUID != 0)) || ! command -v debootstrap >/dev/null; then
  echo "image: only root with debootstrap can make ${names[*]} in $cache" >&2
  [[ -z "${XEXIT_TEST_NO_SKIP:-}" ]] && exit 0
  exit 1
fi
mkdir -p "$cache"
# Two that make one at once would spoil it.
exec 9>"$cache/.lock"
flock 9
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

packages=(
  systemd systemd-sysv dbus dbus-user-session libpam-systemd udev
  mosh podman netavark
  openssh-server sudo login passwd procps util-linux iproute2 psmisc
  at cron tmux screen uidmap gnupg-agent bubblewrap xvfb x11-utils xauth
)
# What apt resolves better than debootstrap does: display managers and servers.
more=(tigervnc-standalone-server tigervnc-tools xdm xdotool xrdp dbus-x11 nftables)
desktop=(xfce4-session xfwm4 xfce4-panel xfdesktop4 xfce4-settings thunar xfce4-terminal gvfs gvfs-backends at-spi2-core)

# quietly runs a command, and shows what it said if it fails.
quietly() {
  "$@" >"$log" 2>&1 </dev/null || { tail -n 40 "$log" >&2; exit 1; }
}

make_image() { # make_image IMAGE SUITE PACKAGE…
  local image="$1" suite="$2" joined
  shift 2
  joined="$(IFS=,; echo "${packages[*]}")"
  quietly debootstrap --variant=minbase --include="$joined" "$suite" "$image"
  printf '#!/bin/sh\nexit 101\n' >"$image/usr/sbin/policy-rc.d" # nothing is started in the tree
  chmod 755 "$image/usr/sbin/policy-rc.d"
  DEBIAN_FRONTEND=noninteractive quietly chroot "$image" apt-get install -y -q --no-install-recommends "$@"
  rm "$image/usr/sbin/policy-rc.d"
  quietly furnish "$image"
}

furnish() { # furnish IMAGE
  chroot "$1" /bin/bash -euo pipefail <<'IN'
for user in alice:21001 bob:21002 guest:21009; do
  useradd -m -s /bin/bash -u "${user#*:}" "${user%:*}"
done
useradd -r -u 499 system
printf 'alice:a\nbob:b\n' | chpasswd -c SHA256 # for xdm and xrdp
printf '%s ALL=(ALL) NOPASSWD: ALL\n' alice bob >/etc/sudoers.d/tests
# Root of the container comes in as each of them; nobody else has the key.
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
for user in alice bob; do
  install -d -o "$user" -g "$user" -m 700 "/home/$user/.ssh"
  install -o "$user" -g "$user" -m 600 /root/.ssh/id_ed25519.pub "/home/$user/.ssh/authorized_keys"
done
printf '%s\n' 'UseDNS no' 'MaxStartups 100' 'PrintMotd no' >/etc/ssh/sshd_config.d/tests.conf
find /etc/systemd -name 'podman*' -delete # it starts where a test wants it
# Nothing happens by the clock, and nothing waits for a network.
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
  fstrim.timer systemd-tmpfiles-clean.timer systemd-networkd-wait-online.service getty@tty1.service console-getty.service
# These start where a test wants them.
systemctl disable xdm xrdp xrdp-sesman
systemctl set-default multi-user.target
mkdir -p /etc/X11/Xsession.d /etc/xexit /etc/Xexit.d /usr/libexec/xexit /usr/libexec/xexit-test
touch /etc/X11/Xsession.d/90xexit /usr/bin/xexit /usr/bin/EndXSession
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /usr/share/doc/* /usr/share/locale/* /usr/share/icons/*/*.cache
IN
}

for name in "${names[@]}"; do
  image="$cache/$name"
  [ "$(cat "$image.made" 2>/dev/null || :)" = "$want" ] && continue
  case $name in
    debian-12) suite=bookworm set=("${more[@]}") ;;
    debian-13) suite=trixie set=("${more[@]}" "${desktop[@]}") ;;
    *) echo "image: no image is called $name" >&2; exit 2 ;;
  esac
  echo "== making $image"
  rm -rf "$image" "$image.made" "$image.new"
  make_image "$image.new" "$suite" "${set[@]}"
  mv "$image.new" "$image"
  echo "$want" >"$image.made"
done
