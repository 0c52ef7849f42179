# Run as root in new mount, pid, cgroup, uts and ipc namespaces: makes a root directory over the Debian in $1, on a tmpfs at
# $2, and becomes its systemd. Nothing of it outlives the namespaces.
set -e
base=$1 top=$2
mount --make-rprivate /
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$top/upper,workdir=$top/work" "$top/root"
cd "$top/root"

mount -t proc proc proc
# The kernel's settings are the host's. The network's are the namespace's.
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
# Outside of containers systemd does that by itself.
mount -t bpf -o mode=700 bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    : >"dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm

for unit in systemd-sysctl console-getty getty@tty1 systemd-logind; do
    ln -sf /dev/null "etc/systemd/system/$unit.service"
done
hostname lb01
mkdir -p old
pivot_root . old
umount -l /old
exec env -i container=vipd PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --show-status=false --log-target=journal </dev/null >/dev/null 2>&1
