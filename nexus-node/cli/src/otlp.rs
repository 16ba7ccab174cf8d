//! Traces to an OpenTelemetry collector, if the configuration names one.
//!
//! Spans are taken from `tracing` and sent as OTLP/HTTP in its JSON encoding, which every collector
//! reads beside protobuf; so it takes no crate that is not here anyway. Ids are those that the API
//! has answered and logged.
//!
//! What a collector does never reaches the node: whoever ends a span puts it into a [`queue`] of a
//! fixed length or, when that is full, counts it as dropped; one thread sends.
//!
//! | room | what is in it |
//! |---|---|
//! | `layer` | from spans of `tracing` to finished ones |
//! | `queue` | what waits to be sent, and what was dropped |
//! | `document` | how it is written |

mod document;
mod layer;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use nexus_node::api::Counter;

pub(crate) use self::layer::layer;
use self::queue::{Finished, Queue};

/// How long the collector may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a batch is sent before it is dropped.
const TRIES: u32 = 4;
/// The pause before a batch is sent again; it doubles with each try.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a node that stops waits for the last batch.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The spans that wait, for those who end them and for the thread that sends them.
#[derive(Clone, Debug)]
pub(crate) struct Otlp {
    queue: Arc<Queue>,
    url: String,
}

/// What became of a batch.
enum Sent {
    /// So many of its spans were refused.
    Taken(u64),
    /// Sending it again may help.
    Later(String),
    /// Sending it again would not.
    Refused(String),
}

impl Otlp {
    /// Spans for the collector at this address; nothing is sent yet.
    pub(crate) fn new(endpoint: &str) -> Self {
        // The base address, as in OpenTelemetry's own `OTEL_EXPORTER_OTLP_ENDPOINT`.
        Self { queue: Arc::default(), url: format!("{}/v1/traces", endpoint.trim_end_matches('/')) }
    }

    /// Sends from now on, in the name of this node, on a thread of its own.
    pub(crate) fn start(&self, did: &str, name: &str) -> std::io::Result<()> {
        let (this, resource) = (self.clone(), document::resource(did, name));
        std::thread::Builder::new().name("otlp".to_owned()).spawn(move || this.run(&resource)).map(drop)
    }

    /// Sends what waits and ends, but does not wait long for it.
    pub(crate) fn finish(&self) {
        self.queue.close(FLUSH_TIMEOUT);
    }

    /// What was sent and what was dropped so far.
    pub(crate) fn counters(&self) -> [Counter; 2] {
        let [sent, dropped] = self.queue.counts();
        [
            Counter { name: "nexus_otlp_spans_sent_total", help: "Spans that the collector has taken.", value: sent },
            Counter {
                name: "nexus_otlp_spans_dropped_total",
                help: "Spans that the collector could not be given in time, or has refused.",
                value: dropped,
            },
        ]
    }

    fn run(self, resource: &serde_json::Value) {
        let client = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            // The collector is where the configuration says, whatever other programs go through.
            .proxy(None)
            .build()
            .new_agent();
        // An outage is told once, not with every batch.
        let mut told = false;
        while let Some(batch) = self.queue.take() {
            let lost = self.deliver(&client, resource, &batch);
            match (&lost, told) {
                (Some(why), false) => {
                    tracing::warn!(url = self.url, why, "traces are dropped: the collector does not take them");
                }
                (None, true) => tracing::info!(url = self.url, "the collector takes traces again"),
                _ => {}
            }
            told = lost.is_some();
        }
        self.queue.ended();
    }

    /// Sends a batch until it is taken, refused, or not worth another try; why it was lost, if it was.
    fn deliver(&self, client: &ureq::Agent, resource: &serde_json::Value, batch: &[Finished]) -> Option<String> {
        let spans = batch.len() as u64;
        let body = document::traces(resource, batch);
        let mut why = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 && !self.queue.pause(AGAIN * 2_u32.pow(attempt - 1)) {
                break;
            }
            match send(client, &self.url, &body) {
                Sent::Taken(refused) => {
                    self.queue.count(spans.saturating_sub(refused), refused);
                    return None;
                }
                Sent::Later(reason) => why = reason,
                Sent::Refused(reason) => {
                    why = reason;
                    break;
                }
            }
        }
        self.queue.count(0, spans);
        Some(why)
    }
}

fn send(client: &ureq::Agent, url: &str, body: &str) -> Sent {
    // The statuses that OTLP calls retryable; all others mean that this batch will never be taken.
    const RETRYABLE: [u16; 4] = [429, 502, 503, 504];
    match client.post(url).header("content-type", "application/json").send(body) {
        Ok(mut answer) if answer.status().is_success() => {
            let said = answer.body_mut().read_json::<serde_json::Value>().unwrap_or_default();
            Sent::Taken(document::rejected(&said))
        }
        Ok(answer) if RETRYABLE.contains(&answer.status().as_u16()) => Sent::Later(answer.status().to_string()),
        Ok(answer) => Sent::Refused(answer.status().to_string()),
        Err(error) => Sent::Later(error.to_string()),
    }
}
