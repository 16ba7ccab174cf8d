//! Maelstrom's messages: sender, receiver, and a body with a type and, for requests, a number.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The operation was not done in time. It may still happen, or have happened.
pub(super) const TIMEOUT: u64 = 0;
/// The request is unknown.
pub(super) const NOT_SUPPORTED: u64 = 10;
/// The operation cannot be done now, and was not.
pub(super) const UNAVAILABLE: u64 = 11;
/// The request cannot be read.
pub(super) const MALFORMED: u64 = 12;
/// The operation failed at an unknown point.
pub(super) const CRASH: u64 = 13;
/// The key does not exist.
pub(super) const NO_KEY: u64 = 20;
/// The key differs from the expected value.
pub(super) const NOT_AS_EXPECTED: u64 = 22;

/// A message, one a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) src: String,
    pub(super) dest: String,
    #[serde(default)]
    pub(super) body: Value,
}

impl Envelope {
    /// The answer to this message; `None` if the message has no number.
    pub(super) fn reply(&self, answer: Result<Value, Failure>) -> Option<Self> {
        let asked = self.body.get("msg_id").filter(|id| id.is_u64())?;
        let mut body =
            answer.unwrap_or_else(|failure| json!({ "type": "error", "code": failure.code, "text": failure.text }));
        body["in_reply_to"] = asked.clone();
        Some(Self { src: self.dest.clone(), dest: self.src.clone(), body })
    }
}

/// The failure of a request: one of Maelstrom's codes, and words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u64,
    pub(super) text: String,
}

impl Failure {
    pub(super) const fn new(code: u64, text: String) -> Self {
        Self { code, text }
    }

    /// The failure of a request without a field.
    pub(super) fn lacks(field: &str) -> Self {
        Self::new(MALFORMED, format!("the request has no good {field:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_request_and_goes_back_to_who_asked() {
        let asked: Envelope =
            serde_json::from_value(json!({ "src": "c1", "dest": "n1", "body": { "type": "read", "msg_id": 7 } }))
                .unwrap();
        let answer = asked.reply(Ok(json!({ "type": "read_ok", "value": 3 }))).unwrap();
        let expected =
            json!({ "src": "n1", "dest": "c1", "body": { "type": "read_ok", "value": 3, "in_reply_to": 7 } });
        assert_eq!(serde_json::to_value(&answer).unwrap(), expected);
        let failed = asked.reply(Err(Failure::new(NO_KEY, "none".to_owned()))).unwrap();
        assert_eq!(failed.body, json!({ "type": "error", "code": 20, "text": "none", "in_reply_to": 7 }));
        let told = Envelope { body: json!({ "type": "read" }), ..asked };
        assert!(told.reply(Ok(json!({}))).is_none());
    }
}
