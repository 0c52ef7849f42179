//! What the NICs of a guest are plugged into: a bridge in a network namespace, with a tap for each NIC.

use anyhow::{Context, Result, ensure};
use vipd_tests::{Lab, Netns};

use super::Nic;

/// With three NICs on it, all of one model.
pub struct Switch {
    lab: Lab,
    nics: Vec<Nic>,
}

impl Switch {
    pub fn new(models: &[String]) -> Result<Self> {
        let lab = Lab::builder().build()?;
        let mut nics = Vec::new();
        for (n, model) in models.iter().enumerate() {
            let (tap, several) = (format!("tap{n}"), model.contains("mq=on"));
            let kind = if several { "multi_queue vnet_hdr" } else { "vnet_hdr" };
            ip(&lab, &format!("tuntap add dev {tap} mode tap {kind}"))?;
            ip(&lab, &format!("link set dev {tap} master br0 up"))?;
            let queues = if several { format!(",queues={QUEUES}") } else { String::new() };
            nics.push(Nic {
                // qemu gives all of them the same MAC otherwise.
                device: format!("{model},mac=52:54:00:10:00:{:02x}", n + 1),
                network: format!("tap,ifname={tap},script=no,downscript=no{queues}"),
            });
        }
        Ok(Self { lab, nics })
    }

    pub fn netns(&self) -> &Netns {
        self.lab.switch()
    }

    pub fn nics(&self) -> &[Nic] {
        &self.nics
    }
}

/// Pairs of queues of a NIC with several: one for each of the guest's two processors, and as many for XDP.
const QUEUES: u32 = 4;

fn ip(lab: &Lab, line: &str) -> Result<()> {
    let output = lab.switch().command("ip").args(line.split(' ')).output().context("ip")?;
    ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
