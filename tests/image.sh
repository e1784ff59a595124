#!/bin/bash
# Makes the Debian tree that the tests boot as a container (machine.Boot), once:
# again only when this file has changed. Needs root, debootstrap and a minute.
set -euo pipefail

image=/var/cache/xexit-test/bookworm
want="$(sha256sum <"$0")"
if ((EUID != 0)) || ! command -v debootstrap >/dev/null; then
  echo "image: only root with debootstrap can make $image" >&2
  [[ -z "${XEXIT_TEST_NO_SKIP:-}" ]] && exit 0
  exit 1
fi
[ "$(cat "$image.made" 2>/dev/null || :)" = "$want" ] && exit 0
echo "== making $image"
rm -rf "$image" "$image.made"
mkdir -p "${image%/*}"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

packages=(
  systemd systemd-sysv dbus dbus-user-session libpam-systemd udev
  mosh podman netavark
  openssh-server sudo login passwd procps util-linux iproute2 psmisc
  at cron tmux screen uidmap gnupg-agent bubblewrap xvfb x11-utils xauth
)
joined="$(IFS=,; echo "${packages[*]}")"
debootstrap --variant=minbase --include="$joined" bookworm "$image" >"$log" 2>&1 || { tail -n 40 "$log" >&2; exit 1; }

chroot "$image" /bin/bash -euo pipefail >"$log" 2>&1 <<'IN' || { tail -n 40 "$log" >&2; exit 1; }
for user in alice:21001 bob:21002 guest:21009; do
  useradd -m -s /bin/bash -u "${user#*:}" "${user%:*}"
done
useradd -r -u 499 system
echo 'alice ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/alice
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
mkdir -p /etc/X11/Xsession.d /etc/xexit /etc/Xexit.d /usr/libexec/xexit /usr/libexec/xexit-test
touch /etc/X11/Xsession.d/90xexit /usr/bin/xexit /usr/bin/EndXSession
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/*
IN
echo "$want" >"$image.made"
