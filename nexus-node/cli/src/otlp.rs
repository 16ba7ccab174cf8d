//! Traces to an OpenTelemetry collector, if the configuration names one.
//!
//! Spans come from `tracing` and are sent as OTLP/HTTP in its JSON encoding, which every collector
//! reads beside protobuf. So no further crate is needed. The ids are those in the API's answers and
//! logs.
//!
//! The collector never delays the node. The end of a span puts it into a [`queue`] of a fixed length.
//! If the queue is full, the span is dropped and counted. One thread sends.
//!
//! | room | content |
//! |---|---|
//! | `layer` | from spans of `tracing` to finished ones |
//! | `queue` | spans that wait, and the count of dropped ones |
//! | `document` | their JSON form |

mod document;
mod layer;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use nexus_node::api::Counter;
use ureq::unversioned::transport::DefaultConnector;

pub(crate) use self::layer::layer;
use self::queue::{Finished, Queue};
use crate::names::Names;

/// The longest time until the collector's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most tries to send a batch.
const TRIES: u32 = 4;
/// The pause before the second try. It doubles with each try.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest wait of a stopping node for the last batch.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The waiting spans, shared by their producers and the thread that sends them.
#[derive(Clone, Debug)]
pub(crate) struct Otlp {
    queue: Arc<Queue>,
    url: String,
}

/// The result of sending a batch.
enum BatchResult {
    /// The batch was taken, except for this number of spans.
    Taken(u64),
    /// Another try may help.
    Later(String),
    /// Another try would not help.
    Refused(String),
}

impl Otlp {
    /// Spans for the collector at this address. Nothing is sent yet.
    pub(crate) fn new(endpoint: &str) -> Self {
        // The base address, as in OpenTelemetry's own `OTEL_EXPORTER_OTLP_ENDPOINT`.
        Self { queue: Arc::default(), url: format!("{}/v1/traces", endpoint.trim_end_matches('/')) }
    }

    /// Starts the thread that sends, in the name of this node.
    pub(crate) fn start(&self, did: &str, name: &str) -> std::io::Result<()> {
        let (this, resource) = (self.clone(), document::resource(did, name));
        std::thread::Builder::new().name("otlp".to_owned()).spawn(move || this.run(&resource)).map(drop)
    }

    /// Sends the waiting spans and ends, within a short time.
    pub(crate) fn finish(&self) {
        self.queue.close(FLUSH_TIMEOUT);
    }

    /// The counts of sent and dropped spans.
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
            // The collector's address is used as it is, without a proxy of the environment.
            .proxy(None)
            .build();
        let client = ureq::Agent::with_parts(client, DefaultConnector::default(), Names::default());
        // An outage is logged once, not with every batch.
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

    /// Sends a batch until it is taken, refused, or out of tries. Returns the reason of a loss.
    fn deliver(&self, client: &ureq::Agent, resource: &serde_json::Value, batch: &[Finished]) -> Option<String> {
        let spans = batch.len() as u64;
        let body = document::traces(resource, batch);
        let mut why = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 && !self.queue.pause(AGAIN * 2_u32.pow(attempt - 1)) {
                break;
            }
            match send(client, &self.url, &body) {
                BatchResult::Taken(refused) => {
                    self.queue.count(spans.saturating_sub(refused), refused);
                    return None;
                }
                BatchResult::Later(reason) => why = reason,
                BatchResult::Refused(reason) => {
                    why = reason;
                    break;
                }
            }
        }
        self.queue.count(0, spans);
        Some(why)
    }
}

fn send(client: &ureq::Agent, url: &str, body: &str) -> BatchResult {
    // The statuses that OTLP calls retryable. With any other one, a batch will never be taken.
    const RETRYABLE: [u16; 4] = [429, 502, 503, 504];
    match client.post(url).header("content-type", "application/json").send(body) {
        Ok(mut answer) if answer.status().is_success() => {
            let said = answer.body_mut().read_json::<serde_json::Value>().unwrap_or_default();
            BatchResult::Taken(document::rejected(&said))
        }
        Ok(answer) if RETRYABLE.contains(&answer.status().as_u16()) => BatchResult::Later(answer.status().to_string()),
        Ok(answer) => BatchResult::Refused(answer.status().to_string()),
        Err(error) => BatchResult::Later(error.to_string()),
    }
}
