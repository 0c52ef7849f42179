//! What the NICs of a guest are plugged into: a bridge in a network namespace, with a tap for each NIC.

use anyhow::{Context, Result, ensure};
use vipd_tests::{Lab, Mac};

use super::{Network, Nic};

/// With three NICs on it, all of one model.
pub struct Switch {
    lab: Lab,
    nics: Vec<Nic>,
}

impl Switch {
    pub fn new(models: &[String]) -> Result<Self> {
        let lab = Lab::builder().build()?;
        let plug = |(n, model): (usize, &String)| {
            let number = u8::try_from(n + 1).context("so many NICs")?;
            Nic::plug(&lab, &format!("tap{n}"), model, number)
        };
        let nics = models.iter().enumerate().map(plug).collect::<Result<_>>()?;
        Ok(Self { lab, nics })
    }

    pub fn network(&self) -> Network<'_> {
        Network { netns: self.lab.switch(), nics: &self.nics }
    }
}

impl Nic {
    /// A NIC of a model, whose tap is a port of the lab's switch. Its MAC ends with a number: qemu gives all the same otherwise.
    pub fn plug(lab: &Lab, tap: &str, model: &str, number: u8) -> Result<Self> {
        let several = model.contains("mq=on");
        let kind = if several { "multi_queue vnet_hdr" } else { "vnet_hdr" };
        ip(lab, &format!("tuntap add dev {tap} mode tap {kind}"))?;
        ip(lab, &format!("link set dev {tap} master br0 up"))?;
        let queues = if several { format!(",queues={QUEUES}") } else { String::new() };
        Ok(Self {
            device: format!("{model},mac={}", Self::mac(number)),
            network: format!("tap,ifname={tap},script=no,downscript=no{queues}"),
        })
    }

    /// The MAC of the NIC with that number.
    pub fn mac(number: u8) -> Mac {
        Mac([0x52, 0x54, 0, 0x10, 0, number])
    }
}

/// Pairs of queues of a NIC with several: one for each of the guest's two processors, and as many for XDP.
const QUEUES: u32 = 4;

fn ip(lab: &Lab, line: &str) -> Result<()> {
    let output = lab.switch().command("ip").args(line.split(' ')).output().context("ip")?;
    ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
