//! Turns HTTP requests of scrapers into the text of the metrics, with a limit on everything a client can hold on to.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::model::status::Status;

/// Connections at a time; others wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 32;
/// Time for the request's head to arrive.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Time for the whole connection, which is one request: Prometheus gives up after 10 s unless told otherwise.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of the request's head, hyper's least.
const HEAD_BYTES_MAX: usize = 8_192;
/// Header fields of a request.
const FIELDS_MAX: usize = 32;
/// Scrapes that are made at a time; each may hold a text of many megabytes.
const SCRAPES_MAX: usize = 2;
/// Rest after the kernel refused to accept a connection, as it does when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What `/` says.
const INDEX: &str = "<!doctype html>\n<title>balancer</title>\n<p><a href=\"/metrics\">metrics</a></p>\n";

/// Serves `GET /metrics`, `/healthz` and `/` until it is dropped, and every connection with it.
///
/// `source` is called for each scrape on a thread of its own, so it may block.
pub async fn serve<S>(listener: TcpListener, source: S) -> Infallible
where
    S: Fn() -> Status + Clone + Send + 'static,
{
    let scraper = Scraper { source, permits: Arc::new(Semaphore::new(SCRAPES_MAX)) };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, scraper.clone()))),
                Err(error) => {
                    warn!(%error, "cannot accept a scraper");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection<S>(stream: TcpStream, scraper: Scraper<S>)
where
    S: Fn() -> Status + Clone + Send + 'static,
{
    let service = service_fn(move |request| {
        let scraper = scraper.clone();
        async move { Ok::<_, Infallible>(answer(&request, scraper).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIMIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "scraper's connection failed"),
        Err(_elapsed) => debug!(limit = ?CONNECTION_LIMIT, "scraper is too slow"),
    }
}

async fn answer<S>(request: &Request<Incoming>, scraper: Scraper<S>) -> Response<Full<Bytes>>
where
    S: Fn() -> Status + Send + 'static,
{
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = reply(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/metrics" => match scraper.scrape().await {
            Ok(text) => reply(StatusCode::OK, super::CONTENT_TYPE, text),
            Err(error) => {
                warn!(%error, "cannot make the metrics");
                reply(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n"))
            }
        },
        "/healthz" => reply(StatusCode::OK, PLAIN, "ok\n"),
        "/" => reply(StatusCode::OK, "text/html; charset=utf-8", INDEX),
        _ => reply(StatusCode::NOT_FOUND, PLAIN, "see /metrics\n"),
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn reply(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

/// Where the text comes from.
#[derive(Clone)]
struct Scraper<S> {
    source: S,
    permits: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
enum ScrapeError {
    #[error("no thread to make the metrics on")]
    Thread(#[from] io::Error),
    #[error("making the metrics failed; the log says why")]
    Failed,
}

impl<S: Fn() -> Status + Send + 'static> Scraper<S> {
    /// Makes the text on a thread of its own: 100 000 backends take a while, and the runtime has a gateway to run.
    async fn scrape(self) -> Result<String, ScrapeError> {
        let permit = self.permits.acquire_owned().await.map_err(|_closed| ScrapeError::Failed)?;
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new().name("scrape".to_owned()).spawn(move || {
            // A scraper that went away takes its receiver with it, and nobody wants the text.
            let _unwanted = sender.send(super::text(&(self.source)()));
            drop(permit);
        })?;
        receiver.await.map_err(|_panicked| ScrapeError::Failed)
    }
}

#[cfg(test)]
mod tests;
