//! Turns HTTP requests on the admin socket into the gateway's status as JSON, and into requests to reload.

use std::{convert::Infallible, io, path::Path, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, error, info, warn};

use super::{
    RELOAD_PATH, STATUS_PATH,
    socket::{BindError, Socket},
};
use crate::model::status::Status;

/// Connections at a time; others wait in the socket's backlog.
const CONNECTIONS_MAX: usize = 32;
/// Time for the request's head to arrive.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Time for the whole connection, which is one request.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of the request's head, hyper's least.
const HEAD_BYTES_MAX: usize = 8_192;
/// Header fields of a request.
const FIELDS_MAX: usize = 32;
/// Statuses that are made at a time.
const STATUSES_MAX: usize = 2;
/// Rest after the kernel refused to accept a connection, as it does when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin socket, bound.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
}

impl Server {
    /// Listens at `path`: mode 0660, its directory made when there is none, the socket of a dead daemon replaced. The file
    /// goes when the server is dropped.
    ///
    /// # Errors
    /// When a daemon answers there already, when something else is there, or the kernel's refusal.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        Socket::bind(path).map(|socket| Self { socket })
    }

    /// Answers until it is dropped. Called within a tokio runtime.
    ///
    /// `status` is called on a thread of its own, so it may block. `reload` asks for a reload and returns at once; false
    /// when none can be asked for now.
    pub async fn run<S, R>(self, status: S, reload: R)
    where
        S: Fn() -> Status + Clone + Send + 'static,
        R: Fn() -> bool + Clone + Send + 'static,
    {
        let listener = match self.socket.listener.try_clone().and_then(UnixListener::from_std) {
            Ok(listener) => listener,
            Err(error) => return error!(%error, "the admin socket does not answer"),
        };
        let desk = Desk { status, reload, permits: Arc::new(Semaphore::new(STATUSES_MAX)) };
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(connection(stream, desk.clone()))),
                    Err(error) => {
                        warn!(%error, "cannot accept on the admin socket");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_ended) = connections.join_next() => {}
            }
        }
    }
}

async fn connection<S, R>(stream: UnixStream, desk: Desk<S, R>)
where
    S: Fn() -> Status + Clone + Send + 'static,
    R: Fn() -> bool + Clone + Send + 'static,
{
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
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
        Ok(Err(error)) => debug!(%error, "connection to the admin socket failed"),
        Err(_elapsed) => debug!(limit = ?CONNECTION_LIMIT, "client of the admin socket is too slow"),
    }
}

/// What requests are answered with.
#[derive(Clone)]
struct Desk<S, R> {
    status: S,
    reload: R,
    permits: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
enum StatusError {
    #[error("no thread to make the status on")]
    Thread(#[from] io::Error),
    #[error("the status has no JSON")]
    Json(#[from] serde_json::Error),
    #[error("making the status failed; the daemon's log says why")]
    Failed,
}

impl<S, R> Desk<S, R>
where
    S: Fn() -> Status + Send + 'static,
    R: Fn() -> bool,
{
    async fn answer(self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.uri().path(), request.method()) {
            (STATUS_PATH, &Method::GET) => match self.json().await {
                Ok(json) => reply(StatusCode::OK, "application/json", json),
                Err(error) => {
                    warn!(%error, "cannot make the status");
                    reply(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n"))
                }
            },
            (RELOAD_PATH, &Method::POST) => {
                let asked = (self.reload)();
                info!(asked, "reload wanted on the admin socket");
                if asked {
                    reply(StatusCode::ACCEPTED, PLAIN, "the config is read again\n")
                } else {
                    reply(StatusCode::CONFLICT, PLAIN, "a reload waits already, or the daemon is stopping\n")
                }
            }
            (STATUS_PATH | RELOAD_PATH, _) => reply(StatusCode::METHOD_NOT_ALLOWED, PLAIN, USAGE),
            (_, _) => reply(StatusCode::NOT_FOUND, PLAIN, USAGE),
        }
    }

    /// Makes the JSON on a thread of its own: 100 000 backends take a while, and the runtime has a gateway to run.
    async fn json(self) -> Result<Vec<u8>, StatusError> {
        let permit = self.permits.acquire_owned().await.map_err(|_closed| StatusError::Failed)?;
        let (sender, receiver) = oneshot::channel();
        let status = self.status;
        std::thread::Builder::new().name("status".to_owned()).spawn(move || {
            // A client that went away takes its receiver with it, and nobody wants the status.
            let _unwanted = sender.send(serde_json::to_vec(&status()));
            drop(permit);
        })?;
        Ok(receiver.await.map_err(|_panicked| StatusError::Failed)??)
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";
const USAGE: &str = "GET /status or POST /reload\n";

fn reply(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
