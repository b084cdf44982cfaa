//! Checks what scrapers get, and what slow and greedy ones do not.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::model::status::example;

#[tokio::test]
async fn metrics_are_the_status_of_now() {
    let answer = ask("GET /metrics HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.ends_with(&super::super::text(&example::status())), "{answer}");
}

#[tokio::test]
async fn other_paths_and_methods_have_their_codes() {
    let codes = [
        ("GET / HTTP/1.1", "200"),
        ("GET /healthz HTTP/1.1", "200"),
        ("HEAD /metrics HTTP/1.1", "200"),
        ("GET /metrics HTTP/1.0", "200"),
        ("GET /metric HTTP/1.1", "404"),
        ("POST /metrics HTTP/1.1", "405"),
        ("nonsense", "400"),
    ];
    for (line, code) in codes {
        let answer = ask(&format!("{line}\r\nHost: gw\r\n\r\n")).await;
        assert_eq!(answer.split(' ').nth(1), Some(code), "{line}: {answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let answer = ask(&format!("GET /metrics HTTP/1.1\r\nHost: gw\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn more_fields_than_the_limit_are_refused() {
    let fields = "X: x\r\n".repeat(FIELDS_MAX + 1);
    let answer = ask(&format!("GET /metrics HTTP/1.1\r\n{fields}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_source_that_panics_costs_its_own_scrape_only() {
    let address = start(|| panic!("expected by the test")).await;
    for _scrape in 0..SCRAPES_MAX + 1 {
        let answer = request(address, "GET /metrics HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_cut_off() {
    let address = start(example::status).await;
    // Real time: a paused clock runs ahead of real sockets.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    let begun = std::time::Instant::now();
    let mut rest = Vec::new();
    let _reset_or_end = slow.read_to_end(&mut rest).await;
    assert!(begun.elapsed() >= HEAD_LIMIT / 2 && begun.elapsed() < CONNECTION_LIMIT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn idle_clients_up_to_the_limit_do_not_grow_beyond_it() {
    let address = start(example::status).await;
    let mut idle = Vec::new();
    for _client in 0..CONNECTIONS_MAX {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let one_more = timeout(Duration::from_millis(200), request(address, "GET /healthz HTTP/1.1\r\nHost: gw\r\n\r\n"));
    assert!(one_more.await.is_err(), "it waits in the backlog");
    drop(idle);
    let answer = request(address, "GET /healthz HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

async fn ask(text: &str) -> String {
    request(start(example::status).await, text).await
}

async fn start(source: impl Fn() -> Status + Clone + Send + 'static) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, source));
    address
}

async fn request(address: std::net::SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}
