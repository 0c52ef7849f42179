//! The notifier with real scripts: what a storm leaves to be told, and what is told at a stop.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use tokio::{task::LocalSet, time::sleep};

use super::*;
use crate::coordinator::StateName::*;

/// A directory of its own, and a script in it that is run with each change and the word for it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, script: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("vipd-notify-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let told = dir.join("told");
        fs::write(&told, "").unwrap();
        fs::set_permissions(&told, fs::Permissions::from_mode(0o666)).unwrap();
        let text = format!("#!/bin/sh\ntold={}\n{script}\n", told.display());
        fs::write(dir.join("notify.sh"), text).unwrap();
        fs::set_permissions(dir.join("notify.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    /// The words in the order in which they were told.
    fn told(&self) -> Vec<String> {
        fs::read_to_string(self.0.join("told")).unwrap().lines().map(str::to_owned).collect()
    }

    fn notifier(&self) -> Notifier {
        let file = self.0.join("vipd.conf");
        let script = self.0.join("notify.sh");
        let text = format!(
            "vrrp_instance VI_1 {{\n interface eth0\n virtual_router_id 51\n priority 100\n virtual_ipaddress {{\n 10.0.0.3\n }}\n \
             notify {}\n}}\n",
            script.display()
        );
        fs::write(&file, text).unwrap();
        let source = crate::machine::Source {
            path: file,
            config_id: None,
            unsupported: vipd_config::Unsupported::Refused,
        };
        let config = source.load().unwrap().config;
        Notifier::start(&config, &Accounts::new(&config.script_policy).unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tell(notifier: &mut Notifier, state: StateName) {
    notifier.tell(&Notice { instance: "VI_1".into(), change: Change::State(state), priority: 100 });
}

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future);
}

/// Ten seconds after a storm of 2,000 changes, 291 were told, in order; the newest would have come a minute later.
#[test]
fn after_a_storm_the_newest_state_is_told_and_not_the_whole_storm() {
    let place = Place::new("storm", "sleep 0.05\necho $3 >> $told");
    run(async {
        let mut notifier = place.notifier();
        for n in 0..2000 {
            tell(&mut notifier, if n % 2 == 0 { Backup } else { Master });
            if n % 100 == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        }
        tell(&mut notifier, Fault);
        while place.told().last().is_none_or(|word| word != "FAULT") {
            assert!(place.told().len() < 200, "so many were told before the newest");
            sleep(Duration::from_millis(20)).await;
        }
    });
}

/// Few changes are all told, however slow the script is.
#[test]
fn what_fits_the_queue_is_told_in_order() {
    let place = Place::new("few", "sleep 0.02\necho $3 >> $told");
    run(async {
        let mut notifier = place.notifier();
        let states = [Backup, Master, Fault, Backup, Master, Backup, Master, Fault, Backup, Master];
        states.into_iter().for_each(|state| tell(&mut notifier, state));
        while place.told().len() < states.len() {
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(place.told(), states.map(StateName::as_str));
    });
}

/// The last word was FAULT, never MASTER or STOP: here a script holds the others up.
#[test]
fn a_stop_tells_the_last_state_and_the_stop() {
    let place = Place::new("stop", "echo $3 >> $told\ntest $3 != FAULT || sleep 60");
    run(async {
        let mut notifier = place.notifier();
        for state in [Fault, Backup, Fault, Backup, Master, Stopped] {
            tell(&mut notifier, state);
        }
        notifier.finish().await;
        let told = place.told();
        assert_eq!(told, ["FAULT", "MASTER", "STOP"]);
    });
}

/// The commands of one server run in order, those of another do not wait for them; lines go to the FIFO of load balancing and to the general one,
/// and not to that of VRRP.
#[test]
fn notices_of_services_reach_their_commands_and_fifos() {
    let place = Place::new("services", "test $1 != slow || sleep 0.3\necho $1 >> $told");
    run(async {
        let script = place.0.join("notify.sh");
        let fifo = |name: &str| place.0.join(name).display().to_string();
        let text = format!(
            "global_defs {{\n notify_fifo {}\n vrrp_notify_fifo {}\n lvs_notify_fifo {}\n}}\n\
             virtual_server 10.9.0.1 80 {{\n protocol TCP\n lb_algo rr\n lb_kind NAT\n quorum_up \"{script} quorum\"\n\
             real_server 10.0.0.1 80 {{\n notify_down \"{script} slow\"\n notify_up \"{script} up\"\n }}\n}}\n",
            fifo("general"),
            fifo("vrrp"),
            fifo("lvs"),
            script = script.display()
        );
        let loaded = vipd_config::parse(
            &place.0.join("vipd.conf"),
            &text,
            &vipd_config::Nothing,
            vipd_config::Unsupported::Refused,
        );
        let config = loaded.unwrap().config;
        let mut notifier = Notifier::start(&config, &Accounts::new(&config.script_policy).unwrap());
        let server = &config.balance.servers()[0];
        let (service, target) = (server.id.clone(), &server.targets[0]);
        let told = |up: bool, fifo: &str| BalanceNotice::Target {
            service: service.clone(),
            target: target.id,
            up,
            reason: String::new(),
            command: if up { target.notify_up.clone() } else { target.notify_down.clone() },
            fifo: fifo.to_owned(),
            mail: None,
        };
        notifier.tell_service(told(false, "RS down"));
        notifier.tell_service(told(true, "RS up"));
        notifier.tell_service(BalanceNotice::Quorum {
            service: service.clone(),
            up: true,
            cause: vipd_balance::QuorumCause::Change,
            weight: 1,
            threshold: 1,
            command: server.quorum_up.clone(),
            fifo: "VS up".to_owned(),
            mail: None,
        });
        assert_eq!(notifier.running().len(), 2);
        while place.told().len() < 3 {
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(place.told(), ["quorum", "slow", "up"]);
        for (name, expect) in
            [("general", "RS down\nRS up\nVS up\n"), ("lvs", "RS down\nRS up\nVS up\n"), ("vrrp", "")]
        {
            let mut found = vec![0; 64];
            let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NONBLOCK;
            let fifo = nix::fcntl::open(&place.0.join(name), flags, nix::sys::stat::Mode::empty()).unwrap();
            // A FIFO without lines has nothing to read yet.
            let length = nix::unistd::read(&fifo, &mut found).unwrap_or(0);
            assert_eq!(String::from_utf8_lossy(&found[..length]), expect, "{name}");
        }
        notifier.finish().await;
    });
}
