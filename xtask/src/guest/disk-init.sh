#!/bin/busybox sh
# The first process of a guest with a disk, in its initramfs: as Debian's, mounts the disk and goes on with its systemd.
bb=/bin/busybox
fail() { echo "guest: init: $*" >/dev/kmsg; $bb sleep 1; $bb poweroff -f; }

$bb mount -t proc proc /proc
$bb mount -t devtmpfs dev /dev
for module in /modules/*; do $bb insmod "$module" || fail "cannot load $module"; done
n=0
while [ ! -e /dev/vda ] && [ $n -lt 100 ]; do
    $bb sleep 0.1
    n=$((n + 1))
done
$bb mount -t ext4 /dev/vda /new || fail "cannot mount the disk"
for dir in proc dev; do $bb mount --move /$dir /new/$dir; done
exec $bb switch_root /new /sbin/init
