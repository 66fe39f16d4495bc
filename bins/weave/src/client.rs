//! The tool's side of the control API: HTTP over the router's Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use weave_router::{Failure, words};

/// Asks the router behind one socket.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// No router listens at the socket.
    NotRunning(Failure),
    /// The router says why it does not do it, in a sentence.
    Refused(String),
    /// Anything else.
    Failed(Failure),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        error.while_doing("the router refuses")
    }
}

impl ClientError {
    /// As a failure of what the user wanted, for instance `cannot ping c`.
    pub(crate) fn while_doing(self, what: impl Into<String>) -> Failure {
        match self {
            Self::NotRunning(failure) | Self::Failed(failure) => failure,
            Self::Refused(why) => Failure::new(what, why, ""),
        }
    }
}

impl Client {
    /// For the router that listens at `socket`.
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// `GET path`, and the answer's JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = self.ask(Method::GET, path, Bytes::new(), Duration::ZERO);
        self.understood(&answer.await?)
    }

    /// `POST path` with a JSON document, and the answer's JSON; `work` is how long the router may be at it.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &serde_json::Value,
        work: Duration,
    ) -> Result<T, ClientError> {
        let answer = self.ask(Method::POST, path, request.to_string().into(), work);
        self.understood(&answer.await?)
    }

    /// Reads a document out of an answer.
    ///
    /// # Errors
    /// When the router is of a version with other ideas.
    fn understood<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(answer).map_err(|error| {
            self.failed(
                format!("its answer is not understood ({error})"),
                "use the tool and the router of one version",
            )
        })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        work: Duration,
    ) -> Result<Bytes, ClientError> {
        let patience = PATIENCE + work;
        match tokio::time::timeout(patience, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.failed(
                format!("it does not answer within {} s", patience.as_secs()),
                "see its log",
            )),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let broken = |error: hyper::Error| {
            self.failed(format!("the connection broke ({error})"), "see its log")
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "weave")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.failed(error.to_string(), ""))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| {
                    self.failed(
                        format!("its answer cannot be read ({error})"),
                        "see its log",
                    )
                })?
                .to_bytes();
            Ok((status, body))
        };
        // The connection's own future moves the bytes; it ends when the sender is gone.
        let mut exchange = std::pin::pin!(exchange);
        let (status, body) = tokio::select! {
            answer = &mut exchange => answer?,
            // What came before the end may still hold the answer.
            _ = connection => exchange.await?,
        };
        if status == StatusCode::OK {
            return Ok(body);
        }
        let why = serde_json::from_slice::<Refusal>(&body)
            .map_or_else(|_| format!("status {status}"), |refusal| refusal.error);
        Err(ClientError::Refused(why))
    }

    fn failed(&self, why: String, remedy: &str) -> ClientError {
        ClientError::Failed(Failure::new(
            format!("cannot ask the router at {}", self.socket.display()),
            why,
            remedy,
        ))
    }

    fn unreachable(&self, error: &io::Error) -> ClientError {
        let socket = self.socket.display();
        let kind = error.kind();
        if matches!(
            kind,
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        ) {
            return ClientError::NotRunning(Failure::new(
                "not running",
                format!("no router answers at {socket}"),
                "start one with: weave launch [PEER]..., or name its socket with --control PATH",
            ));
        }
        let remedy = if kind == io::ErrorKind::PermissionDenied {
            "run it as the user that runs the router (root)"
        } else {
            "name the router's socket with --control PATH"
        };
        self.failed(words(error), remedy)
    }
}

/// A refusal's body.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// The router answers within milliseconds; one that is stuck is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// A status of 4,096 routers with 512 neighbours each would be larger, but no terminal shows it.
const ANSWER_BYTES_MAX: usize = 64 << 20;
