//! Talking to the server over its control socket: the same API that the pages and other programs use.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};

/// A connection to one server.
pub(crate) struct Api {
    http: Client,
}

/// An error as the API gives it (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Api {
    /// A client for the server behind this socket. Nothing is sent yet.
    pub(crate) fn on_socket(socket: &Path) -> Result<Self, Failure> {
        let http = Client::builder()
            .unix_socket(socket)
            .no_proxy()
            // There is no TLS on a socket: a host without certificates of authorities has one too.
            .tls_certs_only([])
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| Failure::new("the HTTP client could not be made").because(error))?;
        Ok(Self { http })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.json(Method::GET, path, None::<&()>).await
    }

    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Failure> {
        self.json(Method::POST, path, Some(body)).await
    }

    /// Asks for something whose answer holds nothing.
    pub(crate) async fn done<B: Serialize>(&self, path: &str, body: &B) -> Result<(), Failure> {
        self.send(Method::POST, path, Some(body)).await.map(drop)
    }

    /// The answer as it comes, for what is long.
    pub(crate) async fn stream(&self, path: &str) -> Result<Response, Failure> {
        self.send(Method::GET, path, None::<&()>).await
    }

    async fn json<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, Failure> {
        let answer = self.send(method, path, body).await?;
        answer
            .json()
            .await
            .map_err(|error| Failure::new(format!("the server's answer to {path} makes no sense")).because(error))
    }

    async fn send<B: Serialize>(&self, method: Method, path: &str, body: Option<&B>) -> Result<Response, Failure> {
        let mut request = self.http.request(method, format!("http://localhost/api/v1{path}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| {
            Failure::new("the server does not answer").because(error).hint("is `stanch up` still running?")
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let problem: Problem = answer.json().await.unwrap_or_default();
        Err(refusal(status, problem))
    }
}

fn refusal(status: StatusCode, problem: Problem) -> Failure {
    let message = match (problem.detail, problem.title.is_empty()) {
        (Some(detail), _) => detail,
        (None, false) => problem.title,
        (None, true) => format!("the server answered {status}"),
    };
    let mut failure = Failure::new(message);
    if matches!(status, StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::UNAUTHORIZED | StatusCode::LOCKED) {
        failure.exit = Exit::Refused;
    }
    match problem.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
