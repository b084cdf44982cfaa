//! Checks the client against the real server, and against sockets that are none of a balancer's.

use std::{
    os::unix::net::UnixListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::*;
use crate::{admin::Server, model::status::example};

#[test]
fn the_status_arrives_as_it_was_sent() {
    let daemon = Daemon::start(true);
    assert_eq!(daemon.client().status().unwrap(), example::status());
}

#[test]
fn a_reload_reaches_the_daemon_or_is_refused() {
    let daemon = Daemon::start(true);
    daemon.client().reload().unwrap();
    daemon.client().reload().unwrap();
    assert_eq!(daemon.reloads.load(Ordering::SeqCst), 2);

    let busy = Daemon::start(false);
    assert!(matches!(busy.client().reload(), Err(AdminError::Refused { code: 409, .. })));
}

#[test]
fn paths_and_methods_that_are_none_are_refused() {
    let daemon = Daemon::start(true);
    let client = daemon.client();
    assert!(matches!(client.ask("GET", "/stat"), Err(AdminError::Refused { code: 404, .. })));
    assert!(matches!(client.ask("POST", STATUS_PATH), Err(AdminError::Refused { code: 405, .. })));
    assert!(matches!(client.ask("GET", RELOAD_PATH), Err(AdminError::Refused { code: 405, .. })));
    assert_eq!(daemon.reloads.load(Ordering::SeqCst), 0);
}

#[test]
fn sockets_without_a_daemon_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let missing = Client::new(&path).status().unwrap_err();
    assert!(matches!(missing, AdminError::Missing { .. }));
    assert!(missing.to_string().contains("is `balancer run` running?"), "{missing}");

    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::new(&path).status(), Err(AdminError::NotListening { .. })));
}

#[test]
fn answers_that_are_no_balancer_s_are_errors() {
    let cases: [(&'static str, Expected); 4] = [
        ("SSH-2.0-OpenSSH_9.2\r\n", |error| matches!(error, AdminError::NotHttp { .. })),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"cut\"", |error| matches!(error, AdminError::NotHttp { .. })),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", |error| matches!(error, AdminError::Status(_))),
        (
            "HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy",
            |error| matches!(error, AdminError::Refused { code: 503, reason } if reason == "busy"),
        ),
    ];
    for (answer, expected) in cases {
        let error = answered_with(answer);
        assert!(expected(&error), "{answer:?}: {error:?}");
    }
}

type Expected = fn(&AdminError) -> bool;

fn answered_with(answer: &'static str) -> AdminError {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1_024];
        let _length = stream.read(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let error = Client::new(&path).status().unwrap_err();
    server.join().unwrap();
    error
}

/// The admin socket of a daemon that knows the example.
struct Daemon {
    directory: tempfile::TempDir,
    reloads: Arc<AtomicUsize>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    runtime: Option<thread::JoinHandle<()>>,
}

impl Daemon {
    fn start(takes_reloads: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::bind(&directory.path().join("admin.sock")).unwrap();
        let (reloads, takes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(takes_reloads)));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let counted = Arc::clone(&reloads);
        let reload = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            takes.load(Ordering::SeqCst)
        };
        let runtime = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = server.run(example::status, reload) => panic!("the server ended"),
                    _ = stopped => {}
                }
            });
        });
        Self { directory, reloads, stop: Some(stop), runtime: Some(runtime) }
    }

    fn client(&self) -> Client {
        Client::new(self.directory.path().join("admin.sock"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.join().unwrap();
        }
    }
}
