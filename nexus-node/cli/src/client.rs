//! The way to the node: its HTTP API, over one connection.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nexus_client::proof::Unproven;
use nexus_client::wire;
use nexus_node::api::{CLIENT, COMMAND_LINE, Problem, code};
use nexus_node::datadir::DataDir;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response, StatusCode};

use crate::names::Names;
use crate::pinned::{Pin, unpinned};
use crate::problems::{data_dir_problem, no_node};
use crate::proof::{self, ProvenConnector, Unreached};

/// The longest time until the node accepts a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time until an answer, by default.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one node.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: String,
    pin: Option<Pin>,
    directory: Option<PathBuf>,
    /// Whether the token is another one than the directory's own.
    given: bool,
    /// The id of the request, for a change that is done once.
    request: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the node at an address: over TLS of that node alone, in the clear of the one with this token.
    pub(crate) fn new(base: &str, token: &str, pin: Option<Pin>) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        Self {
            agent: agent(token, pin.clone(), Some(ANSWER_TIMEOUT)),
            base,
            token: token.to_owned(),
            pin,
            directory: None,
            given: false,
            request: None,
        }
    }

    /// A client of a directory's node.
    pub(crate) fn in_directory(directory: &Path) -> Result<Self, Problem> {
        Self::in_directory_with(directory, None)
    }

    /// The same with another token than the directory's own.
    pub(crate) fn in_directory_with(directory: &Path, given: Option<String>) -> Result<Self, Problem> {
        let url = DataDir::api_url_in(directory).map_err(data_dir_problem)?;
        let url = url.ok_or_else(|| no_node(&format!("no node has run in {}", directory.display())))?;
        let pin = pin_of_directory(directory, &url)?;
        if let Some(given) = given {
            return Ok(Self { given: true, ..Self::new(&url, &given, pin).of_directory(directory) });
        }
        let token = DataDir::api_token_in(directory).map_err(data_dir_problem)?;
        let token = token.ok_or_else(|| no_node(&format!("{} has no api-token", directory.display())))?;
        Ok(Self::new(&url, &token, pin).of_directory(directory))
    }

    /// Marks the client as one of this directory's node. Another node on the port is then recognised.
    pub(crate) fn of_directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Gives the next change an id. Asked again with the same id, it is answered as the first time.
    pub(crate) fn once(mut self, request: Option<String>) -> Self {
        self.request = request;
        self
    }

    /// Sets the longest time until an answer.
    pub(crate) fn patient(mut self, timeout: Duration) -> Self {
        self.agent = agent(&self.token, self.pin.clone(), Some(timeout));
        self
    }

    /// Removes the limit, for streams.
    pub(crate) fn streaming(mut self) -> Self {
        self.agent = agent(&self.token, self.pin.clone(), None);
        self
    }

    /// The data directory of the node, if this program was given that and no address.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The node of an address of TLS.
    pub(crate) fn pin(&self) -> Option<&Pin> {
        self.pin.as_ref()
    }

    /// The answer to a GET.
    ///
    /// # Errors
    /// The node's refusal, or that none is there.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        read(self.run(Method::GET, path, &[], Vec::new())?)
    }

    /// An answer with one of its headers.
    pub(crate) fn get_with<T: DeserializeOwned, const N: usize>(
        &self,
        path: &str,
        headers: [&str; N],
    ) -> Result<(T, [String; N]), Problem> {
        let response = self.run(Method::GET, path, &[], Vec::new())?;
        let value = |header: &str| response.headers().get(header).and_then(|value| value.to_str().ok());
        let values = headers.map(|header| value(header).unwrap_or_default().to_owned());
        Ok((read(response)?, values))
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.changed(self.run(Method::DELETE, path, &[], Vec::new())?)
    }

    /// The answer to a POST of a document.
    ///
    /// # Errors
    /// The node's refusal, or that none is there.
    pub fn post<T: DeserializeOwned>(&self, path: &str, document: &impl Serialize) -> Result<T, Problem> {
        self.changed(self.run(Method::POST, path, &[], json(document)?)?)
    }

    /// The same, with further headers.
    pub(crate) fn post_with<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        document: &impl Serialize,
    ) -> Result<T, Problem> {
        self.changed(self.run(Method::POST, path, headers, json(document)?)?)
    }

    /// The same, of a route that may have nothing to answer.
    pub(crate) fn post_maybe<T: DeserializeOwned>(
        &self,
        path: &str,
        document: &impl Serialize,
    ) -> Result<Option<T>, Problem> {
        let response = self.run(Method::POST, path, &[], json(document)?)?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        self.changed(response).map(Some)
    }

    pub(crate) fn put<T: DeserializeOwned>(&self, path: &str, document: &impl Serialize) -> Result<T, Problem> {
        self.changed(self.run(Method::PUT, path, &[], json(document)?)?)
    }

    pub(crate) fn patch<T: DeserializeOwned>(&self, path: &str, document: &impl Serialize) -> Result<T, Problem> {
        self.changed(self.run(Method::PATCH, path, &[], json(document)?)?)
    }

    /// The answer to a POST in a person's own session: what no token may do. The person was asked before.
    pub(crate) fn post_as_person<T: DeserializeOwned>(
        &self,
        path: &str,
        document: &impl Serialize,
    ) -> Result<T, Problem> {
        self.as_person(Method::POST, path, document)
    }

    /// The same with PUT.
    pub(crate) fn put_as_person<T: DeserializeOwned>(
        &self,
        path: &str,
        document: &impl Serialize,
    ) -> Result<T, Problem> {
        self.as_person(Method::PUT, path, document)
    }

    fn as_person<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        document: &impl Serialize,
    ) -> Result<T, Problem> {
        let signed_in = self.run(Method::POST, "/v1/session", &[], Vec::new())?;
        let cookie = signed_in.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next());
        let cookie = cookie.ok_or_else(|| Problem::new("failed", "the node gave no session"))?;
        let request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header("cookie", cookie)
            // the page itself may use its cookie, and nothing else may
            .header("origin", &self.base)
            .header("user-agent", concat!("nexus-node/", env!("CARGO_PKG_VERSION")))
            .header("accept", "application/json")
            .header("content-type", "application/json");
        let request = request.body(json(document)?);
        let request = request.map_err(|error| Problem::new("invalid", format!("{}{path}: {error}", self.base)))?;
        self.changed(self.answered(&method, self.agent.run(request))?)
    }

    /// The lines of an answer to a GET, as they arrive.
    pub(crate) fn lines(&self, path: &str, headers: &[(&str, &str)]) -> Result<Lines, Problem> {
        let response = self.run(Method::GET, path, headers, Vec::new())?;
        Ok(Lines(Box::new(BufReader::new(response.into_body().into_reader()))))
    }

    /// The bytes of an answer to a GET, as they arrive.
    pub(crate) fn bytes(&self, path: &str) -> Result<impl Read + use<>, Problem> {
        let response = self.run(Method::GET, path, &[("accept", "*/*")], Vec::new())?;
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// Sends content of any size.
    pub(crate) fn put_content<T: DeserializeOwned>(&self, path: &str, mut content: impl Read) -> Result<T, Problem> {
        // a refusal comes before the content is sent
        let headers = [("content-type", "application/octet-stream"), ("expect", "100-continue")];
        let request = self.request(&Method::PUT, path, &headers);
        let request = request.body(ureq::SendBody::from_reader(&mut content));
        let request = request.map_err(|error| Problem::new("invalid", format!("{}{path}: {error}", self.base)))?;
        self.changed(self.answered(&Method::PUT, self.agent.run(request))?)
    }

    /// The lines of an answer to a POST, as they arrive.
    ///
    /// # Errors
    /// The node's refusal, or that none is there.
    pub fn post_lines(&self, path: &str, body: Vec<u8>) -> Result<Lines, Problem> {
        let response = self.run(Method::POST, path, &[], body)?;
        Ok(Lines(Box::new(BufReader::new(response.into_body().into_reader()))))
    }

    fn request(&self, method: &Method, path: &str, headers: &[(&str, &str)]) -> ureq::http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token))
            .header("user-agent", concat!("nexus-node/", env!("CARGO_PKG_VERSION")))
            // typed by a person, as far as this program can tell
            .header(CLIENT, COMMAND_LINE);
        if !headers.iter().any(|(name, _)| *name == "accept") {
            request = request.header("accept", "application/json");
        }
        let id = self.request.as_deref().map(|id| ("idempotency-key", id));
        for (name, value) in headers.iter().copied().chain(id) {
            request = request.header(name, value);
        }
        request
    }

    fn run(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Response<ureq::Body>, Problem> {
        let mut request = self.request(&method, path, headers);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let invalid = |error: ureq::http::Error| Problem::new("invalid", format!("{}{path}: {error}", self.base));
        let answer = if method == Method::GET || method == Method::DELETE {
            self.agent.run(request.body(()).map_err(invalid)?)
        } else {
            self.agent.run(request.body(body).map_err(invalid)?)
        };
        self.answered(&method, answer)
    }

    /// The answer of the node, unless it is a refusal.
    fn answered(
        &self,
        method: &Method,
        answer: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Response<ureq::Body>, Problem> {
        let response = answer.map_err(|error| self.unanswered(method, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let problem = refusal(response);
        match &self.directory {
            // The directory's own token was refused, so this is another node.
            Some(directory) if problem.code == "unauthorized" && !self.given => {
                Err(no_node(&format!("no node is running in {}; another one is at {}", directory.display(), self.base)))
            }
            _ => Err(problem),
        }
    }

    fn unanswered(&self, method: &Method, error: &ureq::Error) -> Problem {
        if let ureq::Error::Other(other) = error {
            if let Some(reason) = other.downcast_ref::<Unproven>() {
                return proof::unproven(&self.base, self.directory.as_deref(), *reason);
            }
            if let Some(Unreached(error)) = other.downcast_ref() {
                return match &self.pin {
                    Some(pin) => unpinned(&self.base, &pin.did(), error),
                    None => self.unreached(error),
                };
            }
        }
        match error {
            // the connection stood, so the request may have arrived
            ureq::Error::Io(error) if method != Method::GET => self.unknown(error),
            ureq::Error::Timeout(_) => Problem::new("timed_out", format!("{} did not answer in time", self.base))
                .hint("is the machine busy? `nexus-node doctor` looks"),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Problem::new("usage", format!("{} is not the address of an API: {error}", self.base))
            }
            _ => self.unreached(error),
        }
    }

    fn unreached(&self, error: &dyn fmt::Display) -> Problem {
        let place = self.directory.as_ref().map(|directory| format!(" in {}", directory.display()));
        no_node(&format!("no node is running{} ({}: {error})", place.unwrap_or_default(), self.base))
    }

    /// The answer to a change.
    fn changed<T: DeserializeOwned>(&self, response: Response<ureq::Body>) -> Result<T, Problem> {
        let bytes = response.into_body().with_config().limit(u64::MAX).read_to_vec();
        understood(&bytes.map_err(|error| self.unknown(&error))?)
    }

    /// The problem of a change whose answer did not arrive.
    fn unknown(&self, error: &dyn fmt::Display) -> Problem {
        let message = format!(
            "{} broke off before its answer; the change may have happened, and it may still happen: {error}",
            self.base
        );
        Problem::new("outcome_unknown", message).hint(match self.request {
            Some(_) => "look before you try again; the same command with the same --request does it once",
            None => "look before you try again: `nexus-node status` shows whether the node runs",
        })
    }
}

/// The node of a directory whose API speaks TLS.
pub(crate) fn pin_of_directory(directory: &Path, url: &str) -> Result<Option<Pin>, Problem> {
    if !url.starts_with("https://") {
        return Ok(None);
    }
    let did = DataDir::api_did_in(directory).map_err(data_dir_problem)?;
    let did = did.ok_or_else(|| no_node(&format!("{} has no api-did", directory.display())))?;
    Pin::new(did).map(Some)
}

/// An agent that knows the node on each fresh connection: by its certificate, or by the proof of the token.
fn agent(token: &str, pin: Option<Pin>, timeout: Option<Duration>) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // A proxy of the environment must not stand between this program and its own machine.
        .proxy(None)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(timeout)
        .build();
    let connector = ProvenConnector::new(token, pin, timeout.unwrap_or(ANSWER_TIMEOUT));
    ureq::Agent::with_parts(config, connector, Names::default())
}

fn json(document: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(document).map_err(|error| Problem::new("invalid", error.to_string()))
}

fn read<T: DeserializeOwned>(response: Response<ureq::Body>) -> Result<T, Problem> {
    let bytes = response.into_body().with_config().limit(u64::MAX).read_to_vec();
    let bytes = bytes.map_err(|error| no_node(&format!("the node went away in the middle of its answer: {error}")))?;
    understood(&bytes)
}

fn understood<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new("failed", format!("the answer cannot be understood: {error}"))
            .hint("is the node of the same version? `nexus-node status` shows it")
    })
}

fn refusal(response: Response<ureq::Body>) -> Problem {
    let status = response.status();
    let bytes = response.into_body().with_config().limit(1 << 20).read_to_vec().unwrap_or_default();
    let Ok(problem) = serde_json::from_slice::<wire::Problem>(&bytes) else {
        return foreign(status);
    };
    let code = code(&problem.code).map_or("failed", |code| code.name);
    Problem { code, message: problem.detail, hint: problem.hint, id: problem.id }
}

/// The problem of an answer that no node gives.
fn foreign(status: StatusCode) -> Problem {
    no_node(&format!("something else answers there ({status})"))
}

/// Lines of an answer, without their ends.
pub struct Lines(Box<dyn BufRead>);

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

impl Iterator for Lines {
    type Item = Result<String, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(Ok(line.trim_end_matches(['\n', '\r']).to_owned())),
            Err(error) => Some(Err(no_node(&format!("the node went away: {error}")))),
        }
    }
}

/// Percent-encodes a part of a path or query.
pub(crate) fn escape(part: &str) -> String {
    let mut text = String::new();
    for &byte in part.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A query of the parameters that have a value.
pub(crate) fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={}", escape(value))));
    let joined = given.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_is_escaped() {
        assert_eq!(escape("a b/c?d#é"), "a%20b%2Fc%3Fd%23%C3%A9");
        assert_eq!(query(&[("a", Some("x&y")), ("b", None), ("c", Some(""))]), "?a=x%26y&c=");
        assert_eq!(query(&[("a", None)]), "");
    }
}
