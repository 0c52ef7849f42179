#!/bin/busybox sh
# The first process of a guest, in its initramfs: makes the host's root directory its own, and goes on there.
# Kernel command line: guest.kernel=DIR is where on the host this kernel and its modules are unpacked, guest.shares=TYPE
# is the file system of the two shares, `host` and `share`.
bb=/bin/busybox
fail() { echo "guest: init: $*" >/dev/kmsg; $bb sleep 1; $bb poweroff -f; }

$bb mount -t proc proc /proc
parameter() { $bb sed "s/.*guest\.$1=\([^ ]*\).*/\1/" /proc/cmdline; }
kernel=$(parameter kernel)
shares=$(parameter shares)
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
for module in /modules/*; do $bb insmod "$module" || fail "cannot load $module"; done

# The host's root directory is read-only below; what the guest writes is forgotten with it.
$bb mount -t tmpfs -o size=60% tmpfs /new
$bb mkdir /new/upper /new/work /new/host /new/root
case $shares in
9p)
    host=,trans=virtio,version=9p2000.L,msize=262144,cache=loose
    share=,trans=virtio,version=9p2000.L,msize=262144,cache=none
    ;;
esac
$bb mount -t $shares -o ro$host host /new/host || fail "cannot mount the host's root directory"
$bb mount -t overlay -o lowerdir=/new/host,upperdir=/new/upper,workdir=/new/work overlay /new/root ||
    fail "cannot mount the overlay"

cd /new/root
for dir in proc sys dev; do $bb mount --move /$dir $dir; done
$bb mkdir -p dev/pts dev/shm
$bb mount -t devpts devpts dev/pts
$bb mount -t tmpfs tmpfs dev/shm
$bb mount -t bpf -o mode=0700 bpf sys/fs/bpf
$bb mount -t cgroup2 cgroup sys/fs/cgroup
$bb mount -t tmpfs tmpfs run
$bb mkdir -p run/lock run/netns run/guest run/tmp
$bb mount -t $shares -o rw$share share run/guest || fail "cannot mount the share"
$bb mkdir -p lib/modules
$bb mount -o bind /new/host/$kernel/lib/modules lib/modules || fail "no modules at $kernel"
exec $bb switch_root /new/root /bin/bash /run/guest/agent.sh
