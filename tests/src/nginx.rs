//! nginx on a node: a service that tells which node answers.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{Daemon, Node, wait_for};

impl Node {
    /// Starts an nginx that answers every request with this node's name, and waits until it listens. A node can run
    /// one for each address.
    ///
    /// The address must be bindable: vipd makes a VIP bindable on every node; for others set
    /// [`Node::allow_nonlocal_bind`] first.
    pub fn start_nginx(&self, listen: impl Into<SocketAddr>) -> Result<Daemon> {
        let listen = listen.into();
        let dir = self.dir().join(format!("nginx-{}-{}", listen.ip(), listen.port()));
        fs::create_dir_all(&dir)?;
        let d = dir.display();
        let conf = format!(
            "daemon off;\nmaster_process off;\nuser root;\npid {d}/pid;\nerror_log {d}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  keepalive_timeout 0;\n  default_type text/plain;\n\
             \x20 client_body_temp_path {d}/body;\n  proxy_temp_path {d}/proxy;\n  fastcgi_temp_path {d}/fastcgi;\n\
             \x20 uwsgi_temp_path {d}/uwsgi;\n  scgi_temp_path {d}/scgi;\n\
             \x20 server {{ listen {listen}; location / {{ return 200 \"{}\\n\"; }} }}\n}}\n",
            self.name()
        );
        let file = dir.join("nginx.conf");
        fs::write(&file, conf)?;
        let mut command = self.command("nginx");
        command.arg("-p").arg(&dir).arg("-c").arg(&file).arg("-e").arg(dir.join("error.log"));
        let mut nginx =
            Daemon::start(&format!("nginx on {}", self.name()), &mut command, &dir.join("nginx.log"))?;
        let table = if listen.is_ipv4() { "tcp" } else { "tcp6" };
        let sockets = format!("/proc/{}/net/{table}", nginx.pid());
        let listening = in_proc(listen);
        wait_for(
            format_args!("nginx on {} to listen on {listen}", self.name()),
            Duration::from_secs(5),
            || !nginx.is_running() || fs::read_to_string(&sockets).is_ok_and(|t| t.contains(&listening)),
        )?;
        ensure!(nginx.is_running(), "nginx on {} ended: {}", self.name(), nginx.log());
        Ok(nginx)
    }

    /// Lets programs of this node bind to addresses it does not have.
    pub fn allow_nonlocal_bind(&self) -> Result<()> {
        self.ns().sysctl("net/ipv4/ip_nonlocal_bind", "1")?;
        self.ns().sysctl("net/ipv6/ip_nonlocal_bind", "1")
    }
}

/// A listening socket as `/proc/net/tcp` and `tcp6` write it: words of 32 bits in the host's byte order.
fn in_proc(listen: SocketAddr) -> String {
    let octets = match listen.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words =
        octets.chunks_exact(4).map(|w| format!("{:08X}", u32::from_ne_bytes([w[0], w[1], w[2], w[3]])));
    let (ip, nobody) = (words.collect::<String>(), "0".repeat(2 * octets.len()));
    format!("{ip}:{:04X} {nobody}:0000 0A", listen.port())
}
