//! The server with clients that send too much, read nothing, or only hold on.

use tokio::task::{LocalSet, spawn_local};

use super::*;

/// Runs a server that answers a status, and a test that gets its path.
fn with_server<F: Future<Output = ()>>(name: &str, test: impl FnOnce(PathBuf) -> F) {
    let path = std::env::temp_dir().join(format!("vipd-control-{name}-{}.sock", std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (commands, mut inbox) = mpsc::channel(1);
        spawn_local(serve(
            bind(&path).unwrap(),
            role_of(name),
            commands,
            Journal::default(),
            Captures::default(),
        ));
        spawn_local(async move {
            let mut unanswered = Vec::new();
            while let Some(command) = inbox.recv().await {
                match command {
                    PendingRequest::Status(reply) => reply.send(Status::default()).unwrap(),
                    // Never answered.
                    command => unanswered.push(command),
                }
            }
        });
        test(path.clone()).await;
    });
    let _ = fs::remove_file(&path);
}

/// A test whose name begins so has a socket that only shows.
fn role_of(name: &str) -> Role {
    if name.starts_with("shows") { Role::Show } else { Role::Everything }
}

/// Every request that changes something is refused in a sentence, and the connection goes on.
#[test]
fn a_socket_that_only_shows_changes_nothing() {
    with_server("shows", async |path| {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        for request in ["reload", "compare", "drain", "undrain", "capture", "stop", "leave"] {
            let line = format!("{{\"command\":\"{request}\"}}\n");
            match ask(&mut stream, line.as_bytes()).await {
                Some(Response::Error { message }) => assert!(message.contains("only shows"), "{message}"),
                other => panic!("{request}: {other:?}"),
            }
        }
        let handover = b"{\"command\":\"hand_over\",\"instance\":\"VI_1\",\"to\":\"backup\"}\n";
        assert!(matches!(ask(&mut stream, handover).await, Some(Response::Error { .. })));
        assert!(matches!(ask(&mut stream, STATUS).await, Some(Response::Status(_))));
        let events = ask(&mut stream, b"{\"command\":\"events\"}\n").await;
        assert!(matches!(events, Some(Response::Events(_))), "{events:?}");
    });
}

async fn ask(stream: &mut UnixStream, text: &[u8]) -> Option<Response> {
    stream.write_all(text).await.ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

const STATUS: &[u8] = b"{\"command\":\"status\"}\n";

/// After 4,096 octets of junk on one line the rest of the line was executed.
#[test]
fn what_follows_junk_on_a_line_is_not_executed() {
    with_server("junk", async |path| {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let junk = [vec![b'x'; 4096], STATUS.to_vec()].concat();
        stream.write_all(&junk).await.unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        let said = String::from_utf8(said).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert!(lines.len() == 1 && lines[0].contains("longer than 4096 octets"), "{said}");
    });
}

/// Each connection was served for as long as it was held.
#[test]
fn clients_that_only_hold_on_keep_nobody_out() {
    with_server("held", async |path| {
        let mut held = Vec::new();
        for _ in 0..200 {
            held.push(UnixStream::connect(&path).await.unwrap());
            tokio::task::yield_now().await;
        }
        let mut stream = UnixStream::connect(&path).await.unwrap();
        assert!(matches!(ask(&mut stream, STATUS).await, Some(Response::Status(_))));
        // The oldest are closed, the newest are not.
        let mut closed = 0;
        for stream in &held {
            tokio::task::yield_now().await;
            closed += usize::from(matches!(stream.try_read(&mut [0]), Ok(0)));
        }
        assert_eq!(closed, 200 + 1 - CONNECTIONS);
    });
}

/// Clients that wait for an answer keep their places; more of them are told why they get none.
#[test]
fn one_client_too_many_is_told_so() {
    with_server("busy", async |path| {
        let mut waiting = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(b"{\"command\":\"events\",\"follow\":true}\n").await.unwrap();
            let mut said = vec![0; 64];
            assert!(stream.read(&mut said).await.unwrap() > 0);
            waiting.push(stream);
        }
        // Sixteen follow; the others were refused, and are waited for.
        for stream in &mut waiting[16..] {
            stream.write_all(b"{\"command\":\"stop\"}\n").await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let mut said = String::new();
        BufReader::new(&mut stream).read_line(&mut said).await.unwrap();
        assert!(said.contains("vipd already serves 64 clients"), "{said}");
    });
}

/// A client may be answered by something that is no vipd.
#[test]
fn a_client_takes_no_endless_answer() {
    let mut endless = io::BufReader::new(io::repeat(b'x'));
    let error = client::read_line(&mut endless).unwrap_err();
    assert!(error.to_string().contains("not vipd"), "{error}");
}
