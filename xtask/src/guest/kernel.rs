//! Debian's kernels by name: fetched once, unpacked under `target/guest/kernels`, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};

use super::apt::{Apt, BACKPORTS};
use crate::sh;

/// A kernel that Debian 12's users run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kernel {
    /// The kernel of Debian 12 (6.1)
    #[value(name = "debian-12")]
    Debian12,
    /// The oldest kernel of Debian 12 that its mirrors still have
    #[value(name = "debian-12-oldest")]
    Debian12Oldest,
    /// The kernel of Debian 12 for clouds, with fewer drivers
    #[value(name = "debian-12-cloud")]
    Debian12Cloud,
    /// The kernel of Debian 12's backports (6.12)
    Backports,
}

/// The kernels that `cargo xtask test` runs: those with every driver.
pub const USUAL: [Kernel; 2] = [Kernel::Debian12, Kernel::Backports];

/// A kernel that is there, with its modules.
#[derive(Debug, Clone)]
pub struct Image {
    pub kernel: Kernel,
    /// What `uname -r` says.
    pub release: String,
    pub vmlinuz: PathBuf,
    /// Has `lib/modules`, as a root directory does.
    pub root: PathBuf,
}

impl Kernel {
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian12 => "debian-12",
            Self::Debian12Oldest => "debian-12-oldest",
            Self::Debian12Cloud => "debian-12-cloud",
            Self::Backports => "backports",
        }
    }

    /// Its package.
    fn package(self, apt: &Apt) -> Result<String> {
        match self {
            Self::Debian12 => apt.kernel_of("linux-image-amd64", None),
            Self::Debian12Oldest => apt.oldest("linux-image-6.1.0-", "-amd64"),
            Self::Debian12Cloud => apt.kernel_of("linux-image-cloud-amd64", None),
            Self::Backports => apt.kernel_of("linux-image-amd64", Some(BACKPORTS)),
        }
    }
}

/// The images of these kernels. The network is asked only for those that are not there yet, or for all with `newest`.
pub fn images(kernels: &[Kernel], newest: bool) -> Result<Vec<Image>> {
    let dir = sh::workspace().join("target/guest");
    let mut apt = None;
    let mut image = |&kernel: &Kernel| {
        let place = dir.join("kernels").join(kernel.name());
        if newest || !place.exists() {
            let apt = match &apt {
                Some(apt) => apt,
                None => apt.insert(Apt::open(&dir.join("apt"))?),
            };
            fetch(apt, kernel, &place).with_context(|| format!("cannot get the kernel {}", kernel.name()))?;
        }
        Image::open(kernel, &place)
    };
    kernels.iter().map(&mut image).collect()
}

/// Downloads and unpacks; what is at `place` is complete or not there.
fn fetch(apt: &Apt, kernel: Kernel, place: &Path) -> Result<()> {
    let package = kernel.package(apt)?;
    let release = package.strip_prefix("linux-image-").context("a kernel's package")?;
    let is_there = Image::open(kernel, place).is_ok_and(|image| image.release == release);
    if is_there {
        eprintln!("guest: {} is {release}, as before", kernel.name());
        return Ok(());
    }
    eprintln!("guest: {} is {package}: downloading 30 to 100 MB into {}", kernel.name(), place.display());
    let unfinished = place.with_extension("unfinished");
    remove(&unfinished)?;
    fs::create_dir_all(&unfinished)?;
    let deb = apt.download(&package, &unfinished)?;
    let root = unfinished.join("root");
    sh::run(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(&root))?;
    sh::run(Command::new("depmod").arg("--basedir").arg(&root).arg(release))?;
    fs::remove_file(&deb)?;
    remove(place)?;
    fs::rename(&unfinished, place).with_context(|| format!("make {}", place.display()))
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(())
}

impl Image {
    fn open(kernel: Kernel, place: &Path) -> Result<Self> {
        let root = place.join("root");
        let modules = root.join("lib/modules");
        let found = fs::read_dir(&modules).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let found = found.with_context(|| {
            format!("read {}; remove {} to fetch it again", modules.display(), place.display())
        })?;
        let release =
            found.first().context("a kernel without modules")?.file_name().to_string_lossy().into_owned();
        let vmlinuz = root.join("boot").join(format!("vmlinuz-{release}"));
        ensure!(
            vmlinuz.is_file(),
            "{} is missing; remove {} to fetch it again",
            vmlinuz.display(),
            place.display()
        );
        Ok(Self { kernel, release, vmlinuz, root })
    }

    /// Whether the kernel has a module, or has it built in.
    pub fn has_module(&self, module: &str) -> bool {
        self.show_depends(module).is_ok_and(|output| output.status.success())
    }

    /// How to load a module: a line `insmod FILE` or `builtin NAME` for it and everything that it needs.
    pub fn show_depends(&self, module: &str) -> Result<Output> {
        let mut modprobe = Command::new("modprobe");
        modprobe.arg("--dirname").arg(&self.root).args(["--set-version", &self.release]);
        modprobe
            .args(["--show-depends", module])
            .output()
            .context("cannot run modprobe; run: cargo xtask setup")
    }
}
