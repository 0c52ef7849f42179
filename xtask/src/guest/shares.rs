//! How a guest gets at directories of the host: 9p, which qemu serves itself, or virtiofs for a kernel without 9p, which
//! needs a server beside qemu for each directory.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use vipd_tests::wait_for;

use super::kernel::Image;

/// The host's root directory.
pub const HOST: &str = "host";
/// The directory of the guest, which it writes to.
pub const SHARE: &str = "share";

const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";
const START: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    P9,
    Virtiofs,
}

/// The servers of a guest; they end with the value, and with the thread that started them.
#[derive(Debug, Default)]
pub struct Servers(Vec<Child>);

impl FileSystem {
    pub fn of(image: &Image) -> Self {
        if image.has_module("9pnet_virtio") { Self::P9 } else { Self::Virtiofs }
    }

    /// The name that init.sh knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::P9 => "9p",
            Self::Virtiofs => "virtiofs",
        }
    }

    /// The modules of a guest that mount it.
    pub fn modules(self) -> &'static [&'static str] {
        match self {
            Self::P9 => &["9pnet_virtio", "9p"],
            Self::Virtiofs => &["virtiofs"],
        }
    }

    /// Adds to qemu what serves `/`, read-only, and `share`.
    pub fn serve(self, qemu: &mut Command, share: &Path, memory: &str) -> Result<Servers> {
        let directories = [(HOST, Path::new("/")), (SHARE, share)];
        match self {
            Self::P9 => {
                for (tag, path) in directories {
                    let path = path.display();
                    let readonly = if tag == HOST { ",readonly=on" } else { "" };
                    qemu.arg("-virtfs").arg(format!(
                        "local,path={path},mount_tag={tag},security_model=none,multidevs=remap{readonly}"
                    ));
                }
                Ok(Servers::default())
            }
            Self::Virtiofs => {
                // The servers read and write the guest's memory.
                qemu.arg("-object").arg(format!("memory-backend-memfd,id=memory,size={memory},share=on"));
                qemu.args(["-numa", "node,memdev=memory"]);
                let mut servers = Servers::default();
                for (tag, path) in directories {
                    let socket = servers.start(tag, path, share)?;
                    qemu.arg("-chardev").arg(format!("socket,id={tag},path={}", socket.display()));
                    qemu.arg("-device").arg(format!("vhost-user-fs-pci,chardev={tag},tag={tag}"));
                }
                Ok(servers)
            }
        }
    }
}

impl Servers {
    fn start(&mut self, tag: &str, path: &Path, share: &Path) -> Result<PathBuf> {
        let socket = share.join(format!("{tag}.socket"));
        let mut server = Command::new("setpriv");
        server.args(["--pdeathsig", "KILL", VIRTIOFSD]);
        server.arg(format!("--socket-path={}", socket.display()));
        // It has no read-only mode: init.sh mounts the host's directory read-only. What the share has is never cached.
        let cache = if tag == HOST { "cache=always" } else { "cache=none" };
        server.arg("-o").arg(format!("source={}", path.display())).args(["-o", cache]);
        // Its usual sandbox has a root of its own, which cannot be the host's.
        server.args(["-o", "sandbox=chroot"]);
        let log = std::fs::File::create(share.join(format!("{tag}.log")))?;
        server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.0.push(server.spawn().with_context(|| format!("cannot run {VIRTIOFSD}"))?);
        wait_for(format_args!("virtiofsd to serve {}", path.display()), START, || socket.exists())?;
        Ok(socket)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.0 {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
