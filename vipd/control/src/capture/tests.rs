use std::collections::VecDeque;

use tokio::task::LocalSet;

use super::*;

/// A ring in memory.
#[derive(Clone, Debug, Default)]
struct Ring(Rc<RefCell<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    is_on: bool,
    lost: u64,
    frames: VecDeque<ShownFrame>,
}

impl Source for Ring {
    fn renew(&mut self) {
        self.0.borrow_mut().is_on = true;
    }

    fn end(&mut self) {
        let mut ring = self.0.borrow_mut();
        ring.is_on = false;
        ring.frames.clear();
    }

    fn lost(&self) -> u64 {
        self.0.borrow().lost
    }

    fn pop(&mut self) -> Option<ShownFrame> {
        self.0.borrow_mut().frames.pop_front()
    }

    fn time_unix_ns(&self) -> u64 {
        5
    }
}

impl Ring {
    fn add(&self, frames: u64) {
        let mut ring = self.0.borrow_mut();
        for _ in 0..frames {
            ring.frames.push_back(frame());
        }
    }

    fn is_on(&self) -> bool {
        self.0.borrow().is_on
    }
}

fn frame() -> ShownFrame {
    ShownFrame {
        time_unix_ns: 1,
        interface: "eth0".into(),
        direction: Direction::In,
        verdict: CapturedVerdict::Sent,
        reason: Some("arp_replies".into()),
        tc: false,
        length: 300,
        octets: vec![0x0a, 0xff],
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

async fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[test]
fn nothing_is_captured_before_a_client_asks_and_after_the_last_has_gone() {
    run(async {
        let (captures, ring) = (Captures::default(), Ring::default());
        assert_eq!(captures.follow().unwrap_err(), Refused::Starting);
        captures.set_source(Box::new(ring.clone()));
        assert!(!ring.is_on());
        let (mut one, two) = (captures.follow().unwrap(), captures.follow().unwrap());
        assert!(ring.is_on(), "before the first answer");
        ring.add(1);
        let batch = one.next().await.unwrap();
        assert_eq!(batch, Batch { time_unix_ns: 5, lost: 0, frames: vec![frame()] });
        drop(one);
        ring.add(1);
        wait_for("the other client goes on", || ring.0.borrow().frames.is_empty()).await;
        assert!(ring.is_on());
        drop(two);
        ring.add(1);
        wait_for("the end of the capture", || !ring.is_on()).await;
        assert!(ring.0.borrow().frames.is_empty());
        // Again, without what was left.
        let mut again = captures.follow().unwrap();
        assert!(ring.is_on());
        assert_eq!(again.next().await.unwrap().frames, [], "a quiet batch tells of the time");
    });
}

#[test]
fn a_slow_client_is_told_what_it_has_lost_and_the_number_of_clients_is_bounded() {
    run(async {
        let (captures, ring) = (Captures::default(), Ring::default());
        captures.set_source(Box::new(ring.clone()));
        ring.0.borrow_mut().lost = 7;
        let mut slow = captures.follow().unwrap();
        let others: Vec<_> = (1..CLIENTS).map(|_| captures.follow().unwrap()).collect();
        assert_eq!(captures.follow().unwrap_err(), Refused::Clients);
        drop(others);
        // More than one look takes, for more looks than batches wait.
        let looks = WAITING as u64 + 5;
        ring.add(looks * AT_ONCE as u64);
        ring.0.borrow_mut().lost += 3;
        wait_for("enough looks", || ring.0.borrow().frames.is_empty()).await;
        let (mut lost, mut seen) = (0, 0);
        while lost + seen < looks * AT_ONCE as u64 + 3 {
            let batch = slow.next().await.unwrap();
            assert!(batch.frames.len() <= AT_ONCE);
            (lost, seen) = (lost + batch.lost, seen + batch.frames.len() as u64);
        }
        assert_eq!(seen, (WAITING * AT_ONCE) as u64);
        assert_eq!(lost, 5 * AT_ONCE as u64 + 3);
    });
}

#[test]
fn a_frame_is_a_line_of_json() {
    let json = serde_json::to_string(&frame()).unwrap();
    assert!(json.contains(r#""verdict":"sent","reason":"arp_replies""#), "{json}");
    assert!(json.contains(r#""octets":"0aff""#), "{json}");
    assert_eq!(serde_json::from_str::<ShownFrame>(&json).unwrap(), frame());
    for odd in ["0af", "0ag0", "0aé"] {
        assert!(serde_json::from_str::<ShownFrame>(&json.replace("0aff", odd)).is_err(), "{odd}");
    }
}
