//! Clients that begin a request and hold on.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
    task::{LocalSet, spawn_local, yield_now},
};

use crate::{
    control::{PendingRequest, model::Status},
    metrics::{Listen, http::serve, listen::Listener},
};

/// Four clients kept all others waiting for five seconds, and the next four for as long again.
#[test]
fn a_scraper_is_served_while_slow_clients_hold_on() {
    let path = std::env::temp_dir().join(format!("vipd-metrics-slow-{}.sock", std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let listener = Listener::bind(&Listen::Unix(path.clone())).await.unwrap();
        let (commands, mut inbox) = mpsc::channel(1);
        spawn_local(serve(listener, commands));
        spawn_local(async move {
            while let Some(PendingRequest::Status(reply)) = inbox.recv().await {
                reply.send(Status::default()).unwrap();
            }
        });
        let mut slow = Vec::new();
        for _ in 0..200 {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nX").await.unwrap();
            slow.push(stream);
            yield_now().await;
        }
        let mut scraper = UnixStream::connect(&path).await.unwrap();
        scraper.write_all(b"GET /metrics HTTP/1.1\r\nHost: vipd\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        scraper.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        // It was served before the time of the others was over.
        let mut octets = [0; 1024];
        let open = slow.iter().filter(|stream| {
            matches!(stream.try_read(&mut octets), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        assert!(open.count() > 10, "the scraper had to wait until the slow clients were gone");
    });
}
