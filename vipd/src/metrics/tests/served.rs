//! A server of the metrics and the page, on a thread of its own, with a made-up status.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc as std_mpsc,
    thread,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::{LocalSet, spawn_local},
};

use crate::{
    control::{PendingRequest, model::Status},
    metrics::{Listen, http::serve, listen::Listener},
};

/// Ends with the value.
pub struct Served {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A request for a path.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: vipd\r\n\r\n")
}

impl Served {
    /// Serves on a free port of the loopback interface.
    pub fn new(status: Status) -> Self {
        let (address_tx, address_rx) = std_mpsc::channel();
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                let listener = Listener::bind(&Listen::Tcp("127.0.0.1:0".parse().unwrap())).await.unwrap();
                let Listener::Tcp(tcp) = &listener else { panic!("another listener") };
                address_tx.send(tcp.local_addr().unwrap()).unwrap();
                let (commands, mut inbox) = mpsc::channel(1);
                spawn_local(serve(listener, commands));
                spawn_local(async move {
                    while let Some(PendingRequest::Status(reply)) = inbox.recv().await {
                        let _ = reply.send(status.clone());
                    }
                });
                let _ = ended.await;
            });
        });
        Self { address: address_rx.recv().unwrap(), end: Some(end), thread: Some(thread) }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request, and returns the whole answer.
    pub fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
