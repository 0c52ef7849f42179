# What vipd costs TCP and UDP on virtio, in a guest. From the repository, after `cargo build --release`:
#
#   nic=virtio-net-pci,mq=on,vectors=10
#   cargo xtask guest --kernel backports --nic $nic --nic $nic --script "VIPD=$PWD/target/release/vipd; $(cat bench/virtio-traffic.sh)"
#
# Each line is a front (none, native, tc), a protocol, an address (10.0.0.5: the node's own; 10.0.0.3: the VIP) and what was
# received: Mbit/s, or packets of 18 octets a second. Compare within one run: the guest is emulated.
: "${VIPD:?}"
set -e
modprobe virtio_net; modprobe tun 2>/dev/null || true
sleep 1
N=(); for d in /sys/class/net/*; do if [ -e $d/device ]; then N+=($(basename $d)); fi; done
mount -t bpf -o mode=0700 bpf /sys/fs/bpf 2>/dev/null || true
ip netns add node; ip netns add client
ip link set ${N[0]} name nic0 netns node; ip link set ${N[1]} name nic0 netns client
ip -n node link set lo up; ip -n node addr add 10.0.0.5/8 dev nic0; ip -n node link set nic0 up
ip -n client addr add 10.0.0.100/8 dev nic0; ip -n client link set nic0 up
sleep 1
cat > /tmp/m.py <<'PY'
import socket,sys,time,threading,os
kind,addr=sys.argv[1],sys.argv[2]
T=4.0
def ns(n):
    import ctypes
    fd=os.open('/run/netns/'+n,os.O_RDONLY); l=ctypes.CDLL(None,use_errno=True)
    assert l.setns(fd,0x40000000)==0
res={}
if kind=='tcp':
    ready=threading.Event()
    def server():
        ns('node'); s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); s.bind((addr,5001)); s.listen(1); ready.set()
        c,_=s.accept(); n=0; b=time.time(); buf=bytearray(1<<18)
        while True:
            k=c.recv_into(buf)
            if not k: break
            n+=k
        res['x']=n*8e-6/(time.time()-b)
    t=threading.Thread(target=server); t.start(); ready.wait()
    ns('client'); c=socket.create_connection((addr,5001),timeout=10); block=bytes(1<<17); e=time.time()+T
    while time.time()<e: c.sendall(block)
    c.close(); t.join(); print('%.1f'%res['x'])
else:
    ready=threading.Event(); stop=threading.Event()
    def server():
        ns('node'); s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET,33,16<<20); s.bind((addr,5001)); s.settimeout(0.2); ready.set(); n=0
        buf=bytearray(64)
        while not stop.is_set():
            try: s.recv_into(buf); n+=1
            except socket.timeout: pass
        res['x']=n/T
    t=threading.Thread(target=server); t.start(); ready.wait()
    ns('client'); c=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); c.connect((addr,5001)); m=bytes(18); e=time.time()+T
    while time.time()<e:
        for _ in range(50):
            try: c.send(m)
            except OSError: pass
    time.sleep(0.5); stop.set(); t.join(); print('%.0f'%res['x'])
PY
printf 'vrrp_instance V {\n interface nic0\n virtual_router_id 51\n priority 150\n advert_int 1\n virtual_ipaddress {\n 10.0.0.3\n }\n}\n' > /tmp/v.conf
measure() { for k in tcp udp; do for a in 10.0.0.5 10.0.0.3; do echo "$1 $k $a $(python3 /tmp/m.py $k $a)"; done; done; }
for round in 1 2 3; do
for front in none native tc; do
  if [ $front = none ]; then ip -n node addr add 10.0.0.3/8 dev nic0; sleep 2; measure none; ip -n node addr del 10.0.0.3/8 dev nic0
  else
    mkdir -p /run/v; nsenter --net=/run/netns/node "$VIPD" run -f /tmp/v.conf --runtime-dir /run/v --bpffs-dir /sys/fs/bpf --xdp-mode $front > /tmp/v.log 2>&1 & p=$!
    for i in $(seq 100); do nsenter --net=/run/netns/node "$VIPD" status --runtime-dir /run/v 2>/dev/null | grep -q "MASTER for" && break; sleep 0.5; done
    ip -n client neigh flush all; sleep 2; measure $front
    nsenter --net=/run/netns/node "$VIPD" stop --runtime-dir /run/v || true; wait $p || cat /tmp/v.log
  fi
  ip -n client neigh flush all
done; done
