#!/bin/bash
# What NetworkManager, systemd-networkd and firewalld do to a vipd that serves, when they start, restart and reload: after each step vipd
# has to be the master, and a client to be answered. For a guest: it installs packages and changes the host's network. $DEBS is a directory
# with the packages (network-manager, firewalld and what they need; `apt-get download`), $VIPD the program; with $ONLY one of `NetworkManager`,
# `networkd` and `firewalld` alone.
#
#   cargo xtask guest --kernel debian-12 --timeout 1800 --script "DEBS=DIR VIPD=FILE; $(cat xtask/src/guest/network-managers.sh)"
set -u
failed=0
wanted() { [ -z "${ONLY:-}" ] || [ "$ONLY" = "$1" ]; }
say() { echo "== $*"; }
# Through the links of a merged /usr, which dpkg-deb -x would replace.
for deb in "$DEBS"/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C /; done
ldconfig
mkdir -p /run/dbus /run/systemd/netif/{links,leases,lldp} /run/vipd /etc/vipd
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
rm -f /run/dbus/pid; dbus-daemon --system --fork || echo "no dbus"

# A client on the other end of a cable.
ip netns add client
ip link add v0 type veth peer name v1 netns client
ip address add 10.0.0.5/24 dev v0
ip link set v0 up
ip -n client address add 10.0.0.100/24 dev v1
ip -n client link set lo up
ip -n client link set v1 up
cat > /etc/vipd/vipd.conf <<CONF
vrrp_instance VI_1 {
    interface v0
    virtual_router_id 51
    priority 150
    advert_int 1
    virtual_ipaddress {
        10.0.0.3
    }
    virtual_ipaddress_excluded {
        fd00::3
    }
    virtual_routes {
        198.51.100.0/24 via 10.0.0.100
    }
    virtual_rules {
        from 10.0.0.3 lookup 100
    }
}
CONF
"$VIPD" run -f /etc/vipd/vipd.conf --xdp-mode tc >/run/vipd.log 2>&1 &
state() { "$VIPD" status --json 2>/run/status.err | /usr/bin/python3 -c '
import json, sys
s = json.load(sys.stdin)
i = s["instances"][0]
repairs = {k: v for k, v in s["host_repairs"].items() if v}
print(i["state"], "repairs", repairs, "problem", s["host_problem"], "warnings", [w["what"] for w in s["host_warnings"]], "since_ms", i["in_state_ms"])'; }
until_master() { for _ in $(seq 300); do case $(state 2>/dev/null) in MASTER*) return 0 ;; esac; sleep 0.2; done; return 1; }
until_master || { say "vipd never became master"; tail -20 /run/vipd.log; exit 1; }
# A service at the VIP, and who asks it all the time: there may be no ping.
/usr/bin/python3 - <<'PY' &
import socket
service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
service.bind(("10.0.0.3", 7))
while True:
    data, who = service.recvfrom(64)
    try:
        service.sendto(data, who)
    except OSError:
        pass
PY
ip netns exec client /usr/bin/python3 - <<'PY' &
import socket, time
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(0.1)
answers = open("/run/answers", "w", buffering=1)
while True:
    try:
        asking.sendto(b"?", ("10.0.0.3", 7))
        asking.recv(64)
        print(time.time(), file=answers)
        time.sleep(0.05)
    except OSError:
        time.sleep(0.02)
PY
for _ in $(seq 100); do [ -s /run/answers ] && break; sleep 0.2; done

# Does something, waits, and tells what has become of the VIP.
phase() {
    local name=$1; shift
    local lines; lines=$(wc -l </run/vipd.log)
    local began; began=$(date +%s.%N)
    "$@" >/run/phase.log 2>&1
    sleep 10
    until_master
    say "$name: $(state)"
    /usr/bin/python3 - "$began" <<'PY'
import sys, time
began = float(sys.argv[1])
times = [float(line) for line in open("/run/answers") if line.strip()]
times = [began] + [t for t in times if t > began] + [time.time()]
print("   longest time without an answer: %.2f s; %d answers" % (max(b - a for a, b in zip(times, times[1:])), len(times) - 2))
PY
    tail -n +$((lines + 1)) /run/vipd.log | grep -E "WARN|ERROR|state changed" | cut -c29-260 | sed 's/^/   /' | head -12
    ip route show table all proto 118 | sed 's/^/   route /'
    ip -6 route show table all proto 118 | sed 's/^/   route /'
    ip rule | grep -c . | sed 's/^/   rules: /'
    case $(state) in MASTER*) ;; *) failed=1; say "NOT MASTER"; esac
    local answers; answers=$(wc -l </run/answers); sleep 2
    [ "$(wc -l </run/answers)" -gt "$answers" ] || { failed=1; say "$name: THE VIP IS NOT REACHED"; cat /run/phase.log | tail -5; ip address show v0; ip route; ip rule; }
}

phase "nothing" true

network_manager() {
    # NetworkManager, with a connection for the interface, and lo managed (1.42).
    mkdir -p /etc/NetworkManager/system-connections /var/lib/NetworkManager
    cat > /etc/NetworkManager/system-connections/v0.nmconnection <<CONF
[connection]
id=v0
type=ethernet
interface-name=v0
autoconnect=true
[ipv4]
method=manual
address1=10.0.0.5/24
[ipv6]
method=link-local
CONF
    chmod 600 /etc/NetworkManager/system-connections/v0.nmconnection
    printf '[main]\nplugins=keyfile\nno-auto-default=*\nauth-polkit=false\n[device]\nmatch-device=type:veth\nmanaged=1\n' > /etc/NetworkManager/NetworkManager.conf
    # With /sys read-only it does without udev, as in a container.
    nm() { unshare --mount sh -c 'mount -o remount,bind,ro /sys; exec NetworkManager --no-daemon' >/run/nm.log 2>&1 & nm_pid=$!; sleep 8; nmcli device; nmcli connection up v0; }
    nm_stop() { kill "$nm_pid"; wait "$nm_pid"; }
    phase "NetworkManager starts" nm
    nmcli device | sed 's/^/   /'
    phase "NetworkManager: connection up again" nmcli connection up v0
    phase "NetworkManager: reapply" nmcli device reapply v0
    phase "NetworkManager: lo down and up" nmcli connection up lo
    nm_again() { nm_stop; nm; }
    phase "NetworkManager restarts" nm_again
    phase "NetworkManager ends" nm_stop
}

networkd_steps() {
    # systemd-networkd, which takes foreign routes and rules away unless it is told not to.
    mkdir -p /etc/systemd/network
    printf '[Match]\nName=v0\n[Network]\nAddress=10.0.0.5/24\nLinkLocalAddressing=ipv6\n' > /etc/systemd/network/10-v0.network
    chown systemd-network: /run/systemd/netif /run/systemd/netif/* 2>/run/chown.err
    networkd() { SYSTEMD_LOG_LEVEL=debug unshare --mount sh -c 'mount -o remount,bind,ro /sys; exec /lib/systemd/systemd-networkd' >/run/networkd.log 2>&1 & networkd_pid=$!; sleep 6; }
    networkd_stop() { kill "$networkd_pid"; wait "$networkd_pid"; }
    phase "systemd-networkd starts" networkd
    phase "systemd-networkd: reload and reconfigure" bash -c 'networkctl reload; networkctl reconfigure v0'
    networkd_again() { networkd_stop; networkd; }
    phase "systemd-networkd restarts" networkd_again
    phase "systemd-networkd ends" networkd_stop
    grep -E "v0: |Removing" /run/networkd.log | grep -iE "link state|state changed|unmanaged|remov|configuring|initialized" | cut -c1-200 | head -15 | sed 's/^/   networkd: /'
}

firewalld_steps() {
    # firewalld.
    firewalld_start() { /usr/bin/python3 /usr/sbin/firewalld --nofork --nopid >/run/firewalld.log 2>&1 & firewalld_pid=$!; sleep 15; firewall-cmd --state; firewall-cmd --add-protocol=vrrp; }
    firewalld_stop() { kill "$firewalld_pid"; wait "$firewalld_pid"; }
    phase "firewalld starts" firewalld_start
    nft list tables | sed 's/^/   /'
    phase "firewalld reloads" firewall-cmd --reload
    firewalld_again() { firewalld_stop; firewalld_start; }
    phase "firewalld restarts" firewalld_again
    phase "firewalld ends" firewalld_stop
    tail -3 /run/firewalld.log | sed 's/^/   firewalld: /'
}

wanted NetworkManager && network_manager
wanted networkd && networkd_steps
wanted firewalld && firewalld_steps
"$VIPD" doctor -f /etc/vipd/vipd.conf | grep -iE "problem|warning" | sed 's/^/   doctor: /'
exit $failed
