//! Subscriptions: streams that outlive the node on which they began.

use std::time::Duration;

use serde_json::{Value, json};

use super::relay_state::{Out, RelayState, say};

/// The resource for subscriptions of the old era.
pub(super) const GRAPH: &str = "memory://knowledge-graph";
/// The wait before another try while the node is away.
const AGAIN: Duration = Duration::from_millis(500);
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const UPDATED: &str = "notifications/resources/updated";
const META: &str = "io.modelcontextprotocol";

/// Relays a subscription of 2026-07-28 until it is cancelled. When the node was away and comes back,
/// the client is told that its resources may have changed.
pub(super) async fn relay(shared: &RelayState, message: Value, out: &Out) {
    let mut begun: Option<Value> = None;
    loop {
        if let Ok(answer) = shared.ask(&message).await {
            if !answer.streams {
                // The first refusal is the answer. A later one is of a node that is not ready.
                if begun.is_none()
                    && let Ok(bytes) = answer.bytes().await
                {
                    let refusal = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
                        let error = json!({ "code": -32603, "message": "the node did not take the subscription" });
                        json!({ "jsonrpc": "2.0", "id": message.get("id"), "error": error })
                    });
                    return say(out, &refusal).await;
                }
            } else {
                let mut events = answer.events();
                while let Some(event) = events.next().await {
                    let Ok(event) = serde_json::from_slice::<Value>(&event) else { continue };
                    if event.get("method").is_none() {
                        // The node ends it because it stops. For the client it goes on.
                        break;
                    }
                    if event["method"] == ACKNOWLEDGED {
                        match begun.replace(event.clone()) {
                            None => say(out, &event).await,
                            Some(first) => tell_all(&first, out).await,
                        }
                    } else {
                        say(out, &event).await;
                    }
                }
            }
        } else if begun.is_none() {
            let error = json!({ "code": -32603, "message": "no node is running" });
            return say(out, &json!({ "jsonrpc": "2.0", "id": message.get("id"), "error": error })).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Tells the client that every resource of a subscription may have changed.
async fn tell_all(acknowledged: &Value, out: &Out) {
    let accepted = acknowledged.pointer("/params/notifications/resourceSubscriptions");
    for uri in accepted.and_then(Value::as_array).into_iter().flatten() {
        let mut params = json!({ "uri": uri });
        if let Some(meta) = acknowledged.pointer("/params/_meta") {
            params["_meta"] = meta.clone();
        }
        say(out, &json!({ "jsonrpc": "2.0", "method": UPDATED, "params": params })).await;
    }
}

/// Relays a subscription of the old era, with notifications of the old era.
pub(super) async fn legacy(shared: &RelayState, out: &Out) {
    let request = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": {
            "notifications": { "resourceSubscriptions": [GRAPH] },
            "_meta": {
                format!("{META}/protocolVersion"): "2026-07-28",
                format!("{META}/clientCapabilities"): {},
            },
        },
    });
    let updated = json!({ "jsonrpc": "2.0", "method": UPDATED, "params": { "uri": GRAPH } });
    let mut begun = false;
    loop {
        if let Ok(answer) = shared.ask(&request).await
            && answer.streams
        {
            let mut events = answer.events();
            while let Some(event) = events.next().await {
                let event: Value = serde_json::from_slice(&event).unwrap_or_default();
                let again = begun && event["method"] == ACKNOWLEDGED;
                begun |= event["method"] == ACKNOWLEDGED;
                if again || event["method"] == UPDATED {
                    say(out, &updated).await;
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
