//! The main thread's end, beside a thread that does not do its part.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

use std::{path::Path, sync::mpsc as blocking, time::Instant};

use vipd_common::wire::bfd::{Diagnostic, SessionState};
use vipd_config::{Nothing, Unsupported};

use super::*;

fn config(names: &[&str]) -> Config {
    let session = |name: &&str| {
        format!("bfd_instance {name} {{\nneighbor_ip 10.0.0.6\nsource_ip 10.0.0.{}\n}}\n", name.len())
    };
    let file: String = names.iter().map(session).collect();
    let instance =
        "vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\nvirtual_ipaddress {\n10.0.0.9\n}\n}\n";
    let text = file + instance;
    let loaded = vipd_config::parse(Path::new("k.conf"), &text, &Nothing, Unsupported::Refused);
    loaded.expect("a configuration").config
}

/// A thread that reads no message, and ends when the sender is dropped.
fn hanging() -> (RunningBfd, mpsc::Receiver<BfdMessage>, blocking::Sender<()>) {
    let (messages_tx, messages_rx) = mpsc::channel(2);
    let (end_tx, end_rx) = blocking::channel();
    let thread = std::thread::spawn(move || _ = end_rx.recv());
    (RunningBfd { messages_tx, thread }, messages_rx, end_tx)
}

fn no_plane() -> Result<BfdPlane> {
    anyhow::bail!("there are no maps")
}

/// A session is in the status whatever the thread does: with what is known of it, what is wrong and what to do.
#[tokio::test]
async fn a_thread_that_does_not_answer_is_said_to() {
    let mut sessions = BfdSessions::default();
    let (running, messages_rx, _end) = hanging();
    sessions.running = Some(running);
    sessions.configure(&config(&["a", "bb"]), HeardInterfaces::new(), no_plane);
    let up = BfdView {
        state: SessionState::Up,
        diagnostic: Diagnostic::NONE,
        was_up: true,
        is_reached: true,
        lack: None,
    };
    sessions.states_tx.send_modify(|states| _ = states.insert("a".to_owned(), up));
    // The last one finds the queue full; then the thread has let go of it.
    for problem in ["the thread of BFD does not answer", "the thread of BFD does not take requests"] {
        let status = sessions.status().await;
        let seen: Vec<_> =
            status.iter().map(|one| (one.name.as_str(), one.state.as_str(), one.counts_as_up)).collect();
        assert_eq!(seen, [("a", "Up", true), ("bb", "Down", false)]);
        for one in &status {
            assert_eq!(
                (one.problem.as_deref(), one.remedy.as_deref()),
                (Some(problem), Some(unserved::RESTART))
            );
        }
    }
    drop(messages_rx);
    assert!(sessions.status().await.iter().all(|one| one.problem.as_deref() == Some(ENDED)));
}

/// Why no session runs is what the status says, and what those see who depend on one.
#[tokio::test]
async fn a_lack_is_shown() {
    let mut sessions = BfdSessions::default();
    sessions.configure(&config(&["a"]), HeardInterfaces::new(), no_plane);
    let status = sessions.status().await;
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].problem.as_deref(), Some("there are no maps"));
    let view = sessions.states().borrow()["a"].clone();
    assert_eq!(view.to_string(), "session is down (it does not run: there are no maps)");
}

/// The main thread waits for nobody: a configuration that finds no room is told when there is.
#[tokio::test]
async fn a_thread_that_hangs_delays_nobody() {
    let mut sessions = BfdSessions::default();
    let (running, mut messages_rx, end) = hanging();
    sessions.running = Some(running);
    let begun = Instant::now();
    let last = config(&["a", "bb", "ccc"]);
    for names in [&["a"][..], &["a", "bb"]] {
        sessions.configure(&config(names), HeardInterfaces::new(), no_plane);
    }
    sessions.configure(&last, HeardInterfaces::new(), no_plane);
    assert!(begun.elapsed() < ANSWER / 2, "{:?}", begun.elapsed());
    assert!(sessions.unsent.is_some());
    for _ in 0..2 {
        assert!(messages_rx.recv().await.is_some());
    }
    sessions.check(&last, HeardInterfaces::new(), no_plane);
    let Some(BfdMessage::Configure(wanted)) = messages_rx.recv().await else { panic!("no configuration") };
    assert_eq!((wanted.sessions.len(), sessions.unsent.is_none()), (3, true));
    // A thread that has the message and does not end.
    timeout(ANSWER * 3, sessions.leave()).await.expect("nobody waits for it");
    drop(end);
}
