//! The audit's documents.

use nexus_client::wire::AuditEntry;
use nexus_identity::Timestamp;

use crate::coordinator::{self, DeedResult};

pub(in crate::api) fn audit_entry(entry: coordinator::AuditEntry, by_name: Option<String>) -> AuditEntry {
    let coordinator::AuditEntry { n, index, at_ms, by, deed } = entry;
    let (result, revision, token, code) = match deed.result {
        DeedResult::Revision(revision) => ("done", Some(revision), None, None),
        DeedResult::Granted(token) => ("granted", None, Some(token), None),
        DeedResult::Waiting => ("waiting", None, None, None),
        DeedResult::Refused(code) => ("refused", None, None, Some(code)),
        DeedResult::Noted => ("done", None, None, None),
    };
    AuditEntry {
        n,
        at: at_ms.map(|at_ms| Timestamp::from_ms(at_ms).to_string()),
        by: by.to_string(),
        by_name,
        action: deed.action.as_str().to_owned(),
        name: deed.name,
        result: result.to_owned(),
        revision,
        token,
        code,
        whose: deed.whose.map(|did| did.to_string()),
        index,
    }
}
