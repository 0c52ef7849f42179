//! `vipd init`: asks, proposes what it finds, and writes the configurations of two nodes.

mod listen;
mod survey;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufRead, IsTerminal, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use survey::Interface;
use text::{Answers, NodeText};

use super::{Exit, fail};
use crate::{
    control::{self, ClientError, Request, Response, model::InstanceStatus},
    daemon::clock,
    files,
    machine::ThisMachine,
    stations::{self, AskedLink, Until},
};
use vipd_config::{Severity, Unsupported};

/// How long a station has to answer for a VIP.
const ASK_FOR: Duration = Duration::from_secs(1);
/// The VRID that is proposed first.
const FIRST_VRID: u8 = 51;

/// Answers that are given beforehand.
#[derive(Debug, Args)]
pub struct InitOptions {
    /// Interface that gets the VIPs; asked for, or the only one with addresses
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// A virtual IP; may be given more than once. Without a length it has that of its subnet on the interface
    #[arg(long = "vip", value_name = "IP[/LEN]")]
    vips: Vec<String>,
    /// The other node's address: adverts are unicast to it, as clouds need. Without it adverts are multicast
    #[arg(long, value_name = "IP")]
    peer: Option<IpAddr>,
    /// Virtual router ID, 1 to 255; by default one that nobody advertises on the interface
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u8).range(1..))]
    vrid: Option<u8>,
    /// A command that exits with 0 while the service behind the VIPs is well
    #[arg(long, value_name = "COMMAND")]
    check: Option<String>,
    /// Name of the vrrp_instance
    #[arg(long, value_name = "NAME", default_value = "VI_1")]
    name: String,
    /// Seconds to listen for virtual routers on the interface, after asking who has the VIPs; 0: do neither
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=60))]
    listen: u64,
    /// File for this node; the other node's is beside it, with .peer after its name
    #[arg(short, long, value_name = "FILE", default_value = "/etc/vipd/vipd.conf")]
    output: PathBuf,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    /// Ask nothing: what is not given is as proposed
    #[arg(short, long)]
    yes: bool,
}

/// Asks, writes, and says what is next.
///
/// `socket`: of a vipd that may run here.
pub fn init(options: InitOptions, socket: &Path) -> Exit {
    match write(&options, socket) {
        Ok(said) => {
            // The files are there, whoever reads the rest.
            let _ = write!(io::stdout(), "{said}");
            Exit::Success
        }
        Err(error) => fail(&error),
    }
}

fn write(options: &InitOptions, socket: &Path) -> Result<String> {
    let output = &options.output;
    let mut name = output.file_name().context("--output names no file")?.to_owned();
    name.push(".peer");
    let peer = output.with_file_name(name);
    let existing: Vec<String> = [output, &peer]
        .into_iter()
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    ensure!(
        options.force || existing.is_empty(),
        "there is {} already; --force replaces it, --output names another place",
        existing.join(" and ")
    );
    let answers = Asking::new(options, running(socket)).answers(options)?;
    let files = [(output, NodeText::This), (&peer, NodeText::Other)]
        .map(|(path, node)| (path, text::file(&answers, node)));
    let mut said = String::new();
    for (path, text) in &files {
        said += &check(path, text)?;
    }
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    for (path, text) in &files {
        files::replace(path, text, 0o644)?;
    }
    let (this, other) = (output.display(), peer.display());
    let start = if *output == Path::new("/etc/vipd/vipd.conf") {
        "systemctl restart vipd".to_owned()
    } else {
        format!("vipd run -f {this}")
    };
    let host = options.peer.map_or_else(|| "OTHER-NODE".to_owned(), |peer| peer.to_string());
    said += &format!(
        "wrote {this} and {other}\n\nNext:\n  scp {other} root@{}:{this}\n  {start}    # on both nodes\n",
        if host.contains(':') { format!("[{host}]") } else { host }
    );
    Ok(said)
}

/// What `vipd check` says of a file that is not there yet: its warnings.
///
/// # Errors
///
/// It has errors.
fn check(path: &Path, text: &str) -> Result<String> {
    let loaded = vipd_config::parse(path, text, &ThisMachine::new(None), Unsupported::Refused);
    let loaded = loaded.context("nothing is written: the answers do not make a configuration")?;
    let warnings = loaded.warnings.iter().filter(|warning| warning.severity == Severity::Warning);
    Ok(warnings.map(|warning| format!("{warning}\n")).collect())
}

/// The instances of the vipd that runs here.
fn running(socket: &Path) -> Vec<InstanceStatus> {
    match control::request(socket, &Request::Status) {
        Ok(Response::Status(status)) => status.instances,
        Ok(_) | Err(ClientError::NotRunning(_)) => Vec::new(),
        Err(error) => {
            eprintln!(
                "vipd: what the vipd that runs here serves is not known: {:#}",
                anyhow::Error::new(error)
            );
            Vec::new()
        }
    }
}

/// Asks where somebody can answer.
struct Asking {
    is_interactive: bool,
    running: Vec<InstanceStatus>,
}

impl Asking {
    fn new(options: &InitOptions, running: Vec<InstanceStatus>) -> Self {
        let is_interactive = !options.yes && io::stdin().is_terminal() && io::stdout().is_terminal();
        Self { is_interactive, running }
    }

    fn answers(&self, options: &InitOptions) -> Result<Answers> {
        let interfaces = survey::interfaces().context("look for interfaces")?;
        let interface = self.interface(options, &interfaces)?;
        let vips = self.vips(options, &interface)?;
        self.tell_owners(options, &interface, &vips);
        let is_v6 = vips.first().is_some_and(|(vip, _)| vip.is_ipv6());
        let unicast = self.unicast(options, &interface)?;
        let vrid = self.vrid(options, &interface, is_v6)?;
        let check = match &options.check {
            Some(check) => Some(check.clone()),
            None => {
                self.ask("Command that checks the service, or nothing", Some(""), |text| Ok(text.to_owned()))?
            }
        };
        let check = check.filter(|check| !check.is_empty());
        ensure!(
            check.as_ref().is_none_or(|check| !check.contains(['"', '\n'])),
            "--check: quotes are not possible here; put the command into a script"
        );
        let name = options.name.clone();
        Ok(Answers { interface: interface.name, vips, name, vrid, unicast, check })
    }

    /// The answer, again until it is one. Where nobody can answer: the proposal.
    fn ask<T>(
        &self,
        question: &str,
        proposal: Option<&str>,
        read: impl Fn(&str) -> Result<T>,
    ) -> Result<Option<T>> {
        if !self.is_interactive {
            return proposal.map(read).transpose();
        }
        loop {
            let shown = proposal.filter(|proposal| !proposal.is_empty());
            let hint = shown.map(|proposal| format!(" [{proposal}]")).unwrap_or_default();
            write!(io::stdout(), "{question}{hint}: ")?;
            io::stdout().flush()?;
            let mut line = String::new();
            ensure!(io::stdin().lock().read_line(&mut line)? > 0, "nothing is written: no more answers");
            match (line.trim(), proposal) {
                ("", None) => {}
                (text, proposal) => {
                    match read(if text.is_empty() { proposal.unwrap_or_default() } else { text }) {
                        Ok(answer) => return Ok(Some(answer)),
                        Err(error) => writeln!(io::stdout(), "  {error:#}")?,
                    }
                }
            }
        }
    }

    fn interface(&self, options: &InitOptions, interfaces: &[Interface]) -> Result<Interface> {
        let names: Vec<String> = interfaces.iter().map(described).collect();
        let there = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
        let find = |name: &str| {
            let found = interfaces.iter().find(|interface| interface.name == name).cloned();
            found.with_context(|| format!("no interface {name} is up and has an address; {there}"))
        };
        if let Some(name) = &options.interface {
            return find(name);
        }
        let proposal = if let [only] = interfaces { Some(only.name.as_str()) } else { None };
        if self.is_interactive {
            names.iter().try_for_each(|name| writeln!(io::stdout(), "  {name}"))?;
        }
        let proposal =
            proposal.or_else(|| interfaces.first().filter(|_| self.is_interactive).map(|first| &*first.name));
        let answer = self.ask("Interface for the VIPs", proposal, find)?;
        answer.with_context(|| format!("--interface is needed: {there}"))
    }

    fn vips(&self, options: &InitOptions, interface: &Interface) -> Result<Vec<(IpAddr, u8)>> {
        let read = |text: &str| {
            let words = text.split([' ', ',']).filter(|word| !word.is_empty());
            words.map(|word| vip(word, interface)).collect::<Result<Vec<_>>>()
        };
        let vips = match options.vips.is_empty() {
            false => read(&options.vips.join(" "))?,
            true => self
                .ask("Virtual IP, or several", None, read)?
                .context("--vip is needed, as in --vip 10.0.0.3")?,
        };
        ensure!(!vips.is_empty(), "--vip is needed, as in --vip 10.0.0.3");
        Ok(vips)
    }

    /// Says who has one of the VIPs already: this host's vipd, or a station that answers for it. Nothing is refused: the pair may take
    /// them over from others.
    fn tell_owners(&self, options: &InitOptions, interface: &Interface, vips: &[(IpAddr, u8)]) {
        for (vip, _) in vips {
            for i in
                self.running.iter().filter(|i| i.vips.iter().chain(&i.vips_excluded).any(|own| own == vip))
            {
                eprintln!(
                    "vipd: {vip} is a VIP of {} already, in the vipd that runs here ({})",
                    i.name, i.state
                );
            }
        }
        if options.listen == 0 {
            return;
        }
        let addresses: Vec<IpAddr> = vips.iter().map(|(vip, _)| *vip).collect();
        let Some(mac) = interface.mac else { return };
        let link = AskedLink { index: interface.index, mac };
        match stations::ask(link, &addresses, (ASK_FOR, Until::Answered), clock::unix_ms) {
            Ok(owners) => owners.iter().flat_map(|(vip, of)| of.first().map(|mac| (vip, mac))).for_each(|(vip, mac)| {
                eprintln!(
                    "vipd: {mac} answers for {vip} on {}: somebody has it already. A host that has it on its interface must give it up \
                     before, as keepalived does when it is stopped",
                    interface.name
                );
            }),
            Err(error) => eprintln!("vipd: whether somebody has the VIPs on {} is not known: {error}", interface.name),
        }
    }

    fn unicast(&self, options: &InitOptions, interface: &Interface) -> Result<Option<(IpAddr, IpAddr)>> {
        let read = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).context("not an IP address"),
        };
        let question = "The other node's address, for unicast; nothing for multicast";
        let peer = match options.peer {
            Some(peer) => Some(peer),
            None => self.ask(question, Some(""), read)?.flatten(),
        };
        let Some(peer) = peer else { return Ok(None) };
        // A peer behind a router is in no subnet of the interface.
        let first = || interface.addresses.iter().copied().find(|(own, _)| own.is_ipv4() == peer.is_ipv4());
        let (own, _) = interface.beside(peer).or_else(first).with_context(|| {
            format!("{} has no address of the family of {peer}: adverts go from one", interface.name)
        })?;
        ensure!(own != peer, "{peer} is an address of this node; --peer is the other node's");
        Ok(Some((own, peer)))
    }

    fn vrid(&self, options: &InitOptions, interface: &Interface, is_v6: bool) -> Result<u8> {
        let heard = match options.listen {
            0 => BTreeMap::new(),
            seconds => {
                let heard = listen::vrids(interface, is_v6, Duration::from_secs(seconds), clock::unix_ms);
                heard.unwrap_or_else(|error| {
                    eprintln!("vipd: other virtual routers on {} are not known: {error}", interface.name);
                    BTreeMap::new()
                })
            }
        };
        let family = if is_v6 { "ipv6" } else { "ipv4" };
        let own = self.running.iter().filter(|i| i.interface == interface.name && i.family == family);
        let own: BTreeMap<u8, String> = own
            .map(|i| (i.vrid, format!("the vipd that runs here has virtual router {} ({})", i.vrid, i.name)))
            .collect();
        own.values().for_each(|text| eprintln!("vipd: {text} on {}", interface.name));
        for (vrid, from) in &heard {
            eprintln!("vipd: {from} advertises virtual router {vrid} on {}", interface.name);
        }
        let used: BTreeSet<u8> = own.keys().chain(heard.keys()).copied().collect();
        if let Some(vrid) = options.vrid {
            if used.contains(&vrid) {
                eprintln!(
                    "vipd: virtual router {vrid} is in use on {}: only the nodes of one pair may have the same ID there",
                    interface.name
                );
            }
            return Ok(vrid);
        }
        let proposal =
            free(&used).context("every virtual router ID is in use on this interface")?.to_string();
        let read = |text: &str| match text.parse::<u8>() {
            Ok(vrid) if vrid > 0 => Ok(vrid),
            _ => bail!("expected 1 to 255"),
        };
        let answer = self.ask("Virtual router ID", Some(&proposal), read)?;
        answer.context("--vrid is needed")
    }
}

/// The first VRID that nobody advertises, from [`FIRST_VRID`] on, and then from the beginning.
fn free(used: &BTreeSet<u8>) -> Option<u8> {
    (FIRST_VRID..=255).chain(1..FIRST_VRID).find(|vrid| !used.contains(vrid))
}

/// `eth0 (10.0.0.5/24)`.
fn described(interface: &Interface) -> String {
    let addresses: Vec<String> =
        interface.addresses.iter().map(|(address, len)| format!("{address}/{len}")).collect();
    format!("{} ({})", interface.name, addresses.join(" "))
}

/// A VIP, with the length of its subnet on the interface unless it has one.
fn vip(text: &str, interface: &Interface) -> Result<(IpAddr, u8)> {
    let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let address: IpAddr =
        address.parse().with_context(|| format!("{text} is not an IP address, as in 10.0.0.3/24"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    ensure!(
        interface.addresses.iter().all(|(own, _)| *own != address),
        "{address} is this node's own address on {}; a VIP is one more address, which moves",
        interface.name
    );
    let len = match len {
        Some(len) => len
            .parse()
            .ok()
            .filter(|len| *len <= most)
            .with_context(|| format!("{text}: the length is 0 to {most}"))?,
        None => interface.beside(address).map_or(most, |(_, len)| len),
    };
    Ok((address, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_vip_has_the_length_of_its_subnet() {
        let addresses = vec![(ip("10.0.0.5"), 24), (ip("2001:db8::5"), 64)];
        let interface = Interface { name: "eth0".into(), index: 2, mac: None, addresses };
        for (text, expect) in [
            ("10.0.0.3", Ok(("10.0.0.3", 24))),
            ("10.0.0.3/32", Ok(("10.0.0.3", 32))),
            ("10.9.0.3", Ok(("10.9.0.3", 32))),
            ("2001:db8::3", Ok(("2001:db8::3", 64))),
            ("2001:db9::3", Ok(("2001:db9::3", 128))),
            ("10.0.0.5", Err("own address")),
            ("10.0.0.3/33", Err("0 to 32")),
            ("10.0.0", Err("not an IP address")),
        ] {
            match (vip(text, &interface), expect) {
                (Ok(found), Ok((address, len))) => assert_eq!(found, (ip(address), len), "{text}"),
                (Err(error), Err(expect)) => {
                    assert!(format!("{error:#}").contains(expect), "{text}: {error:#}")
                }
                (found, expect) => panic!("{text}: {found:?}, expected {expect:?}"),
            }
        }
    }

    #[test]
    fn a_free_vrid_is_proposed() {
        let heard = |vrids: &[u8]| vrids.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(free(&heard(&[])), Some(51));
        assert_eq!(free(&heard(&[51, 52, 54])), Some(53));
        let all: Vec<u8> = (1..=255).collect();
        assert_eq!(free(&heard(&all[50..])), Some(1));
        assert_eq!(free(&heard(&all)), None);
    }
}
