#!/usr/bin/env bash
# Make the disk of the lab's whole machines: a small Debian with systemd, libvirtd, QEMU, sshd and firewalld, and a local
# package source that holds the NFS packages. $1 is the image to make, $2 an empty directory for the work; needs root.
set -euo pipefail
image=$1 work=$2
root=$work/root

PACKAGES=(
  systemd systemd-sysv dbus kmod openssh-server openssh-client libvirt-daemon libvirt-daemon-system
  libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils iproute2 iputils-ping python3-minimal procps
  firewalld iptables
  # What NFS needs beside its own packages: dpkg takes a second per step in a user-mode Linux.
  rpcbind keyutils libnfsidmap1 libevent-core-2.1-7 ucf adduser
)
# Installed in the machines, from their local source, by whoever needs them.
LATER=(nfs-common nfs-kernel-server)
# What a machine of a lab does not need, and what makes it slow to start: there is no udev, its devices are always there.
MASKED=(
  systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
  systemd-logind.service systemd-machined.service systemd-networkd.service systemd-timesyncd.service
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service systemd-binfmt.service
  systemd-hwdb-update.service systemd-random-seed.service systemd-journal-flush.service systemd-firstboot.service
  getty@tty1.service getty.target
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
  libvirt-guests.service e2scrub_all.service keyboard-setup.service console-setup.service nfs-blkmap.service
  rpcbind.service rpcbind.socket
)

# The mirrors that this machine's apt uses.
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
  grep -E " $codename(-security|-updates)? main\$" | sort -u | sed 's/^/deb /' >"$work/sources.list" || true
[ -s "$work/sources.list" ] || echo "deb http://deb.debian.org/debian $codename main" >"$work/sources.list"

mmdebstrap --mode=root --variant=minbase --include="$(IFS=,; echo "${PACKAGES[*]}")" --skip=cleanup/apt/lists \
  --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='force-unsafe-io' "$codename" "$root" "$work/sources.list"

inside() { DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
cp /etc/resolv.conf "$root/etc/resolv.conf"
inside apt-get -qq --download-only install --yes --no-install-recommends "${LATER[@]}"
mkdir "$root/srv/packages"
mv "$root"/var/cache/apt/archives/*.deb "$root/srv/packages/"
(cd "$root/srv/packages" && dpkg-scanpackages --multiversion . 2>/dev/null >Packages)
rm -rf "$root"/var/lib/apt/lists/* "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root/etc/resolv.conf"
echo 'deb [trusted=yes] file:/srv/packages ./' >"$root/etc/apt/sources.list.d/lab.list"
inside apt-get -qq update

# The kernel of user-mode Linux has iptables' tables, but no nftables of family inet, which firewalld takes by default.
inside update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy
inside update-alternatives --quiet --set ip6tables /usr/sbin/ip6tables-legacy
sed -i 's/^FirewallBackend=.*/FirewallBackend=iptables/; s/^IPv6_rpfilter=.*/IPv6_rpfilter=no/' \
  "$root/etc/firewalld/firewalld.conf"
mkdir -p "$root/lib/modules"
cp -a /usr/lib/uml/modules/* "$root/lib/modules/"

for unit in "${MASKED[@]}"; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
# libvirt would ask them to start.
rm -f "$root"/usr/share/dbus-1/system-services/org.freedesktop.{machine1,login1}.service
inside systemctl --quiet disable firewalld.service
inside systemctl --quiet enable ssh.service libvirtd.service
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
# nfs-common starts them when it is installed.
rm -f "$root/etc/systemd/system/rpcbind.service" "$root/etc/systemd/system/rpcbind.socket"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/etc/hostname"
: >"$root/etc/machine-id"
inside passwd --quiet --delete root
mkdir -p "$root/etc/systemd/system/sysinit.target.wants" "$root/var/lib/libvirt/heartbeat" "$root/var/lib/libvirt/boot"

# Under user-mode Linux a Perl program takes a second to start, and dpkg's helpers are dozens of them for one package:
# installing nfs-common took 90 s, 45 of them debconf asking nothing for two files. The packages themselves are as they are.
put() { cat >"$root$1.lab" && chmod 755 "$root$1.lab" && inside dpkg-divert --quiet --local --rename --add "$1" &&
  mv "$root$1.lab" "$root$1"; }
put /usr/bin/ucf <<'UCF'
#!/bin/sh
# Put a configuration file where there is none, or remove it.
purge=
while case $1 in -p | --purge) purge=1 ;; -*) ;; *) false ;; esac do shift; done
if [ -n "$purge" ]; then rm -f -- "$1"; elif [ ! -e "$2" ]; then cp -- "$1" "$2"; fi
UCF
put /usr/bin/ucfr <<'UCFR'
#!/bin/sh
exit 0
UCFR
put /usr/bin/deb-systemd-helper <<'HELPER'
#!/bin/sh
# Enable units when their package comes, disable them when it goes.
while case $1 in -*) ;; *) false ;; esac do shift; done
act=$1
shift
case $act in
  enable) systemctl --quiet enable "$@" ;;
  purge | disable) systemctl --quiet disable "$@" 2>/dev/null ;;
esac
exit 0
HELPER

# The address comes with the machine's own files; no daemon is needed for that.
cat >"$root/etc/systemd/system/lab-net.service" <<'UNIT'
[Unit]
Description=The lab's network
DefaultDependencies=no
Before=network.target network-online.target
After=local-fs.target
Wants=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /etc/lab-net
[Install]
WantedBy=sysinit.target network-online.target
UNIT
inside systemctl --quiet enable lab-net.service

# The second disk is a tar of the machine's own files: they are there before systemd starts for the first time.
cat >"$root/sbin/lab-init" <<'INIT'
#!/bin/sh
if [ ! -e /etc/lab-seeded ]; then
  tar -xf /dev/ubdb -C / && sync && : >/etc/lab-seeded
fi
exec /sbin/init "$@"
INIT
chmod 755 "$root/sbin/lab-init"

rm -f "$image"
truncate -s 4G "$image"
mkfs.ext4 -q -J size=16 -E lazy_itable_init=1,nodiscard -d "$root" "$image"
