//! The capture: adverts, ARP and Neighbor Discovery with the program's verdict, for clients of the control socket.
//!
//! Off until a client asks. Then a task of the main thread has the program capture and takes what it has captured, a bounded number of
//! frames at a time; it ends with the last client. Without this task the program goes on for a moment only, so that nothing is captured for
//! a daemon that was killed. Frames that nobody took in time are lost, and each client is told how many.

mod connection;
mod frame;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};

pub(super) use connection::serve;
pub use frame::{CapturedVerdict, Direction, ShownFrame, hex};

/// Time between two looks at what is captured.
const PERIOD: Duration = Duration::from_millis(10);
/// Frames that are taken at one look: 25,000 in a second at most. The main thread has other work.
const AT_ONCE: usize = 256;
/// Looks after which a client is sent a batch although nothing was captured, so that it knows that time passes.
const QUIET_LOOKS: u32 = 100;
/// Most clients at once.
const CLIENTS: usize = 4;
/// Batches that wait for a slow client; older ones are dropped for it.
const WAITING: usize = 16;

/// What the program has captured.
pub trait Source: fmt::Debug {
    /// Has frames captured for some looks from now on.
    fn renew(&mut self);
    /// Has none captured, and forgets those that nobody took.
    fn end(&mut self);
    /// Frames that found no room, ever.
    fn lost(&self) -> u64;
    /// Takes the oldest frame, if there is one.
    fn pop(&mut self) -> Option<ShownFrame>;
    /// Now, in nanoseconds since 1970.
    fn time_unix_ns(&self) -> u64;
}

/// Frames in the order in which they were captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Now, since 1970.
    pub time_unix_ns: u64,
    /// Frames lost right before these.
    pub lost: u64,
    pub frames: Vec<ShownFrame>,
}

/// A batch with the number of frames before it, captured or lost, since the capture began.
#[derive(Debug)]
struct Numbered {
    before: u64,
    time_unix_ns: u64,
    frames: Vec<ShownFrame>,
}

/// The captures of all clients; all users are on one thread.
#[derive(Clone, Debug)]
pub struct Captures(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    /// `None`: the program is not loaded yet.
    source: Option<Box<dyn Source>>,
    news: broadcast::Sender<Rc<Numbered>>,
    is_running: bool,
    /// Frames so far, captured or lost.
    frames: u64,
    /// Of [`Source::lost`], at the last look.
    lost: u64,
    quiet_looks: u32,
}

/// Why there is no capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("vipd is starting: try again")]
    Starting,
    #[error("{CLIENTS} clients capture already: end one of them")]
    Clients,
}

/// What is captured for one client.
#[derive(Debug)]
pub struct Following {
    news: broadcast::Receiver<Rc<Numbered>>,
    /// Frames that it has been told of, captured or lost.
    told: u64,
}

impl Default for Captures {
    fn default() -> Self {
        let (news, _) = broadcast::channel(WAITING);
        Self(Rc::new(RefCell::new(State {
            source: None,
            news,
            is_running: false,
            frames: 0,
            lost: 0,
            quiet_looks: 0,
        })))
    }
}

impl Captures {
    /// The program is loaded.
    pub fn set_source(&self, source: Box<dyn Source>) {
        self.0.borrow_mut().source = Some(source);
    }

    /// Begins a capture. Frames that come in after this are captured.
    ///
    /// To be called in a local task set, whose task takes the frames; it ends within a look after the last client has gone.
    pub fn follow(&self) -> Result<Following, Refused> {
        let following = {
            let mut state = self.0.borrow_mut();
            let lost = state.source.as_ref().ok_or(Refused::Starting)?.lost();
            if state.news.receiver_count() >= CLIENTS {
                return Err(Refused::Clients);
            }
            if state.is_running {
                return Ok(Following { news: state.news.subscribe(), told: state.frames });
            }
            (state.is_running, state.lost) = (true, lost);
            Following { news: state.news.subscribe(), told: state.frames }
        };
        self.0.borrow_mut().look();
        let captures = self.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                if !captures.0.borrow_mut().look() {
                    return;
                }
            }
        });
        Ok(following)
    }
}

impl State {
    /// Takes what was captured; false if nobody wants it any more.
    fn look(&mut self) -> bool {
        let Some(source) = &mut self.source else { return false };
        if self.news.receiver_count() == 0 {
            source.end();
            self.is_running = false;
            return false;
        }
        source.renew();
        let frames: Vec<ShownFrame> = std::iter::from_fn(|| source.pop()).take(AT_ONCE).collect();
        let (lost, time_unix_ns) = (source.lost(), source.time_unix_ns());
        let newly_lost = lost.wrapping_sub(self.lost);
        self.lost = lost;
        self.frames += newly_lost;
        self.quiet_looks += 1;
        if frames.is_empty() && newly_lost == 0 && self.quiet_looks < QUIET_LOOKS {
            return true;
        }
        self.quiet_looks = 0;
        let before = self.frames;
        self.frames += frames.len() as u64;
        // The count of clients was looked at.
        let _ = self.news.send(Rc::new(Numbered { before, time_unix_ns, frames }));
        true
    }
}

impl Following {
    /// The next frames; `None` at the end of the daemon.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            match self.news.recv().await {
                Ok(batch) => {
                    let lost = batch.before.saturating_sub(self.told);
                    self.told = batch.before + batch.frames.len() as u64;
                    return Some(Batch {
                        time_unix_ns: batch.time_unix_ns,
                        lost,
                        frames: batch.frames.clone(),
                    });
                }
                // The next batch's number says how many frames that were.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
