//! An embedder behind HTTP: Ollama's `/api/embed`, or `/v1/embeddings` as OpenAI has it.
//!
//! Its answers are a stranger's bytes: bounded, and checked by [`ask`](super::embedder::ask). It is asked at the given
//! address alone: no redirect is followed, and no proxy of the environment is used.

use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::codes::DIMENSION_MAX;
use super::embedder::{EmbedFault, Embedder};

/// The bytes that an answer may have beside its vectors.
const AROUND_BYTES_MAX: usize = 64 << 10;
/// The bytes that a component may have in JSON.
const COMPONENT_BYTES_MAX: usize = 32;
/// How much of what a refusal says is shown, in characters.
const SAID_CHARS_MAX: usize = 160;

/// The form of questions and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Ollama,
    OpenAi,
}

/// An embedder at an address.
pub(super) struct HttpEmbedder {
    name: String,
    place: Arc<Endpoint>,
}

struct Endpoint {
    /// Host and port, as they are dialled.
    authority: String,
    host: String,
    path: String,
    dialect: Dialect,
    model: String,
    key: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for HttpEmbedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HttpEmbedder").field(&self.name).finish()
    }
}

impl HttpEmbedder {
    /// The embedder at an address that the configuration has checked.
    pub(super) fn new(address: &str, model: &str, key: Option<Zeroizing<String>>) -> Option<Self> {
        let rest = address.strip_prefix("http://")?;
        let (host, path) = rest.split_at(rest.find('/')?);
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let authority = if has_port { host.to_owned() } else { format!("{host}:80") };
        let dialect = if path.ends_with("/embeddings") { Dialect::OpenAi } else { Dialect::Ollama };
        let name = format!("{address}#{model}");
        let (host, path, model) = (host.to_owned(), path.to_owned(), model.to_owned());
        Some(Self { name, place: Arc::new(Endpoint { authority, host, path, dialect, model, key }) })
    }
}

impl Embedder for HttpEmbedder {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> &str {
        &self.place.model
    }

    fn fixed(&self) -> Option<usize> {
        None
    }

    fn embed(&self, texts: Vec<String>) -> BoxFuture<'static, Result<Vec<Option<Vec<f32>>>, EmbedFault>> {
        let place = self.place.clone();
        async move { place.embed(&texts).await }.boxed()
    }
}

impl Endpoint {
    async fn embed(&self, texts: &[String]) -> Result<Vec<Option<Vec<f32>>>, EmbedFault> {
        let most = AROUND_BYTES_MAX + texts.len() * DIMENSION_MAX * COMPONENT_BYTES_MAX;
        let (status, body) = self.exchange(self.question(texts)?, most).await?;
        if status != 200 {
            return Err(EmbedFault::Refused { status, said: said(&body) });
        }
        read(self.dialect, &body, texts.len())
    }

    fn question(&self, texts: &[String]) -> Result<Request<Full<Bytes>>, EmbedFault> {
        let document = match self.dialect {
            Dialect::Ollama => serde_json::json!({"model": self.model, "input": texts}),
            Dialect::OpenAi => serde_json::json!({"model": self.model, "input": texts, "encoding_format": "float"}),
        };
        let mut request = Request::post(self.path.as_str())
            .header(header::HOST, self.host.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("nexus-node/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.as_str()));
        }
        let body = Full::new(Bytes::from(document.to_string()));
        request.body(body).map_err(|_| EmbedFault::Unreachable("its address or key cannot be sent".to_owned()))
    }

    /// Sends a question over a connection of its own, which ends with the answer.
    async fn exchange(&self, question: Request<Full<Bytes>>, most: usize) -> Result<(u16, Bytes), EmbedFault> {
        let failed = |error: &dyn std::fmt::Display| EmbedFault::Unreachable(error.to_string());
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| failed(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let answered = async {
            let answer = sender.send_request(question).await.map_err(|error| failed(&error))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), most).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    EmbedFault::Lies(format!("it has more than {most} bytes"))
                } else {
                    failed(&error)
                }
            })?;
            Ok((status, body.to_bytes()))
        };
        let (mut connection, mut answered, mut open) = (pin!(connection), pin!(answered), true);
        loop {
            tokio::select! {
                answer = &mut answered => return answer,
                _ = &mut connection, if open => open = false,
            }
        }
    }
}

/// The vectors of an answer, in the order of the texts.
fn read(dialect: Dialect, body: &[u8], texts: usize) -> Result<Vec<Option<Vec<f32>>>, EmbedFault> {
    #[derive(Deserialize)]
    struct Ollama {
        embeddings: Vec<Vec<f32>>,
    }
    #[derive(Deserialize)]
    struct OpenAi {
        data: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        index: Option<usize>,
        embedding: Vec<f32>,
    }
    let unreadable = |error: serde_json::Error| EmbedFault::Lies(format!("it cannot be read: {error}"));
    if dialect == Dialect::Ollama {
        let answer: Ollama = serde_json::from_slice(body).map_err(unreadable)?;
        return Ok(answer.embeddings.into_iter().map(Some).collect());
    }
    let answer: OpenAi = serde_json::from_slice(body).map_err(unreadable)?;
    let count = answer.data.len();
    if count != texts {
        return Err(EmbedFault::Lies(format!("it has {count} vectors for {texts} texts")));
    }
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; texts];
    for (place, item) in answer.data.into_iter().enumerate() {
        let slot = vectors.get_mut(item.index.unwrap_or(place)).filter(|slot| slot.is_none());
        *slot.ok_or_else(|| EmbedFault::Lies("two vectors are of one text".to_owned()))? = Some(item.embedding);
    }
    Ok(vectors)
}

/// The beginning of what a refusal says, for a line of a person's terminal.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SAID_CHARS_MAX)]);
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(SAID_CHARS_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        let body = br#"{"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1, 3.5]}], "usage": {}}"#;
        assert_eq!(read(Dialect::OpenAi, body, 2).unwrap(), [Some(vec![1.0, 3.5]), Some(vec![2.0])]);
        let body = br#"{"model": "m", "embeddings": [[1], [2]], "total_duration": 1}"#;
        assert_eq!(read(Dialect::Ollama, body, 2).unwrap(), [Some(vec![1.0]), Some(vec![2.0])]);
        for body in [r#"{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}"#, "[]", ""] {
            assert!(matches!(read(Dialect::OpenAi, body.as_bytes(), 2), Err(EmbedFault::Lies(_))), "{body}");
        }
        assert!(matches!(read(Dialect::Ollama, b"{\"embeddings\": [[NaN]]}", 1), Err(EmbedFault::Lies(_))));
    }

    #[test]
    fn an_address_says_where_to_ask_and_in_which_form() {
        let of = |address| {
            let embedder = HttpEmbedder::new(address, "m", None)?;
            let Endpoint { authority, host, path, dialect, .. } = &*embedder.place;
            Some((authority.clone(), host.clone(), path.clone(), *dialect))
        };
        let is = |authority: &str, host: &str, path: &str, dialect| {
            Some((authority.to_owned(), host.to_owned(), path.to_owned(), dialect))
        };
        assert_eq!(
            of("http://127.0.0.1:11434/api/embed"),
            is("127.0.0.1:11434", "127.0.0.1:11434", "/api/embed", Dialect::Ollama)
        );
        assert_eq!(of("http://[::1]/v1/embeddings"), is("[::1]:80", "[::1]", "/v1/embeddings", Dialect::OpenAi));
    }

    proptest! {
        #[test]
        fn any_bytes_are_vectors_or_a_fault(body in prop::collection::vec(any::<u8>(), 0..200), texts in 0_usize..4) {
            let _ = read(Dialect::Ollama, &body, texts);
            let _ = read(Dialect::OpenAi, &body, texts);
            prop_assert!(said(&body).chars().all(|c| !c.is_control()));
        }
    }
}
