//! `--metrics`: the router's counters over HTTP, in the text format of Prometheus. `docs/metrics.md` lists them.
//!
//! What is served is made anew for each request, out of the same status that the control API shows, so that both always
//! agree and nothing is kept. It is read-only, and meant for one or two collectors that ask every few seconds: whoever
//! else reaches the address can hold few places, for a short time.

mod families;
mod text;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use weave_io::Handle;

use crate::{Failure, words};
use families::Source;

/// Listens where `--metrics` says.
///
/// # Errors
/// When the system refuses the address or port.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            format!("cannot listen on {address} (TCP) for metrics"),
            words(&error),
            "give an address of this host and a port that is free with --metrics",
        )
    })
}

/// Answers requests until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, handle: Handle) {
    let api = Arc::new(Api {
        handle,
        start_unix: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Closed never: nobody has another handle on it.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors perhaps: others may give some back meanwhile.
                tracing::debug!("a request for metrics is not taken: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let api = Arc::clone(&api);
        tokio::spawn(async move {
            if tokio::time::timeout(CONNECTION_TIME_MAX, answer(stream, api))
                .await
                .is_err()
            {
                tracing::debug!("a request for metrics took too long");
            }
            drop(place);
        });
    }
}

/// What the answers are made from.
struct Api {
    handle: Handle,
    start_unix: Duration,
}

/// One request, one answer.
async fn answer(stream: TcpStream, api: Arc<Api>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(respond(&request, &api).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME_MAX)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("a request for metrics came to nothing: {error}");
    }
}

async fn respond(request: &Request<Incoming>, api: &Api) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, "no such path: there is /metrics\n");
    }
    // The body of an answer to HEAD is left out by hyper.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "no such method here: GET /metrics\n",
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let Ok(status) = api.handle.status().await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the router is ending\n");
    };
    let source = Source {
        status: &status,
        start_unix: api.start_unix,
        process: families::Process::now(),
    };
    let mut response = plain(StatusCode::OK, families::render(&source));
    let format = HeaderValue::from_static(text::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Where collectors look unless told otherwise.
const PATH: &str = "/metrics";
/// Far more collectors than a router has; each holds a descriptor and a few KiB.
const CONNECTIONS_MAX: usize = 16;
/// A collector asks as soon as it is connected: whoever does not gives its place back soon.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(1);
/// The whole exchange, a slow reader included; Prometheus itself gives up after 10 s unless told otherwise.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);
/// The least that hyper takes: a request line and headers have a tenth of it.
const REQUEST_BYTES_MAX: usize = 8192;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
