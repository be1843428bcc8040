//! What a caller is told when something cannot be done: RFC 9457, with a code that stays and a hint for a person.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A problem as it goes over the wire (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct Problem {
    /// A name for the kind of problem, `about:blank#` and its code.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Box<str>,
    /// What is wrong, the same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A short code that stays the same over releases.
    pub code: String,
    /// What is wrong this time.
    pub detail: String,
    /// What a person can do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of this status and code.
    pub fn new(status: StatusCode, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("about:blank#{code}").into(),
            title: title.to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            hint: None,
        }
    }

    /// The same with something a person can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Nothing of that name, or nothing this caller may see.
    pub fn not_found(what: &str, name: &str) -> Self {
        let name: String = name.chars().take(80).collect();
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", format!("there is no {what} `{name}`"))
    }

    /// The request makes no sense.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", "The request makes no sense", detail)
    }

    /// It is not possible as things stand.
    pub fn conflict(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, "Not possible as things stand", detail)
    }

    /// Nobody is signed in.
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Sign in first", "this needs a session or a token")
            .hint("sign in, send a token of yours, or use the control socket on this machine")
    }

    /// The request was not made by a page of this server.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// Something failed here; the chain of causes is in the server's log.
    pub fn internal(operation: &'static str, error: &dyn std::error::Error) -> Self {
        tracing::error!(operation, error = crate::error::chain(error), "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed",
            format!("{operation} failed; the cause is in the server's log"),
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

/// A JSON body, whose faults are told as problems.
pub(crate) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(value) = Json::<T>::from_request(request, state).await.map_err(|rejection: JsonRejection| {
            Problem::new(rejection.status(), "bad_body", "The body makes no sense", rejection.body_text())
        })?;
        Ok(Self(value))
    }
}

/// A JSON body that may be left away.
pub(crate) struct MaybeBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if request.headers().get(header::CONTENT_TYPE).is_none() {
            return Ok(Self(T::default()));
        }
        Body::from_request(request, state).await.map(|Body(value)| Self(value))
    }
}

/// Path parameters, whose faults are told as problems.
pub(crate) struct Segment<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segment<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Path(value) = axum::extract::Path::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: PathRejection| Problem::bad_request(rejection.body_text()))?;
        Ok(Self(value))
    }
}

/// Query parameters, whose faults are told as problems.
pub(crate) struct Filter<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Filter<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Query(value) = axum::extract::Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| Problem::bad_request(rejection.body_text()))?;
        Ok(Self(value))
    }
}

impl From<stanch_store::ReadError> for Problem {
    fn from(error: stanch_store::ReadError) -> Self {
        Self::internal("reading the store", &error)
    }
}

impl From<stanch_store::CommitError> for Problem {
    fn from(error: stanch_store::CommitError) -> Self {
        if error.is_conflict() {
            return Self::conflict("changed_meanwhile", error.to_string()).hint("look again and decide anew");
        }
        match error {
            stanch_store::CommitError::IllegalMove { .. } => return Self::conflict("wrong_state", error.to_string()),
            stanch_store::CommitError::LastAdministrator => {
                return Self::conflict("last_administrator", error.to_string())
                    .hint("give somebody else the role of an administrator everywhere first");
            }
            stanch_store::CommitError::Token => return Self::conflict(crate::auth::TOKEN_USED, error.to_string()),
            _ => {}
        }
        Self::internal("writing the store", &error)
    }
}

impl From<crate::clock::NoEntropy> for Problem {
    fn from(error: crate::clock::NoEntropy) -> Self {
        Self::internal("drawing random bytes", &error)
    }
}
