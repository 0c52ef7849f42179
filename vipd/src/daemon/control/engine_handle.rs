//! The main thread's end of the channel to the engine thread.

use tokio::sync::mpsc;

use super::super::messages::EngineMessage;

/// Sends messages to the engine thread.
#[derive(Clone, Debug)]
pub struct EngineHandle(mpsc::Sender<EngineMessage>);

impl EngineHandle {
    /// The handle that sends by this end of the channel.
    pub fn new(messages_tx: mpsc::Sender<EngineMessage>) -> Self {
        Self(messages_tx)
    }

    /// Sends one; waits while the engine thread is frozen.
    pub async fn send(&self, message: EngineMessage) {
        // An engine that has ended is noticed by its end, not here.
        let _ = self.0.send(message).await;
    }
}
