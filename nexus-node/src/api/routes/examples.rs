//! Example documents for `/openapi.json`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::wire;

const DID: &str = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH";
const OTHER: &str = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
const MESH: &str = "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG";
const PEER_ID: &str = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";
const ID: &str = "bciqbkd2e4rtxhqsmrtqmqbvnq5x2g4u3r3j6qkq5k7p2y4o3xw6ezaa.0";
const OTHER_MEMORY: &str = "bciqd3jwgn5q2mbqrm7mt4a2xq6a3qv7hwq6x7k5j5p2y4o3xw6ezaaq.3";
const AT: &str = "2026-11-20T08:31:12.123Z";
const LATER: &str = "2026-11-20T09:31:12.123Z";

/// A line of JSON Lines.
pub(super) fn line<T: Serialize>(document: &T) -> String {
    // Our documents have string keys, so writing them as JSON cannot fail.
    serde_json::to_string(document).unwrap_or_default() + "\n"
}

pub(super) fn memory() -> wire::Memory {
    wire::Memory {
        attachment: None,
        id: ID.into(),
        was: None,
        imported: None,
        space: "default".into(),
        text: "the build needs a C compiler".into(),
        kind: "note".into(),
        tags: vec!["build".into()],
        meta: BTreeMap::from([("source".to_owned(), "README.md".into())]),
        aliases: vec!["toolchain".into()],
        author: DID.into(),
        author_name: Some("laptop".into()),
        agent: Some("claude-code".into()),
        source: Some(wire::Source::Model),
        edited_by: None,
        created_at: AT.into(),
        seen_at: None,
        updated_at: AT.into(),
        expires_at: None,
        valid_from: Some(AT.into()),
        valid_to: None,
        supersedes: Some(OTHER_MEMORY.into()),
        version: "d0f1c6b0e9b04fa2".into(),
        fields: BTreeMap::from([
            ("text".to_owned(), field_origin()),
            ("kind".to_owned(), field_origin()),
            ("tags".to_owned(), field_origin()),
        ]),
        conflicts: BTreeMap::from([(
            "text".to_owned(),
            vec![
                wire::ConflictValue {
                    value: "the build needs a C compiler".into(),
                    author: DID.into(),
                    author_name: Some("laptop".into()),
                    at: LATER.into(),
                },
                wire::ConflictValue {
                    value: "the build needs clang".into(),
                    author: OTHER.into(),
                    author_name: Some("cloud".into()),
                    at: AT.into(),
                },
            ],
        )]),
        more: false,
    }
}

fn field_origin() -> wire::FieldOrigin {
    wire::FieldOrigin {
        author: DID.into(),
        author_name: Some("laptop".into()),
        agent: Some("claude-code".into()),
        source: Some(wire::Source::Model),
        at: AT.into(),
    }
}

pub(super) fn hit() -> wire::Hit {
    let memory = wire::Memory { conflicts: BTreeMap::new(), ..memory() };
    let why = "It has “compiler”.".into();
    wire::Hit {
        memory,
        score: 0.82,
        weak: false,
        telling: true,
        passage: None,
        why,
        matched: vec!["compiler".into()],
        by_meaning: false,
        same: Vec::new(),
        contradicts: vec![OTHER_MEMORY.into()],
    }
}

pub(super) fn exported() -> wire::Exported {
    wire::Exported { memory: hit().memory, key: Some("build/compiler".into()), proof: None }
}

pub(super) fn new_memory() -> wire::NewMemory {
    wire::NewMemory {
        text: "the build needs a C compiler".into(),
        tags: vec!["build".into()],
        ttl: Some(wire::Span(Duration::from_secs(604_800))),
        ..wire::NewMemory::default()
    }
}

pub(super) fn remembered() -> wire::Remembered {
    wire::Remembered {
        id: ID.into(),
        space: "default".into(),
        author: DID.into(),
        seq: 17,
        created_at: AT.into(),
        durability: wire::Durability { local: true, replicated: 2 },
        replaced: false,
        duplicate_of: None,
        contradicts: Vec::new(),
    }
}

pub(super) fn patch() -> wire::Patch {
    wire::Patch { text: Some("the build needs clang".into()), ..wire::Patch::default() }
}

pub(super) fn unforget() -> wire::Unforget {
    wire::Unforget::default()
}

pub(super) fn forgotten() -> wire::Forgotten {
    wire::Forgotten { id: ID.into(), forgotten: true }
}

pub(super) fn erase() -> wire::Erase {
    wire::Erase { ids: vec![ID.into()] }
}

pub(super) fn erased() -> wire::Erased {
    let item = wire::ErasedItem { id: ID.into(), kind: "memory".into(), erased: true, ..wire::ErasedItem::default() };
    wire::Erased { items: vec![item] }
}

pub(super) fn erasure() -> wire::ErasureStatus {
    let laptop = || vec!["laptop".to_owned()];
    wire::ErasureStatus {
        id: ID.into(),
        erased: true,
        by: laptop(),
        at: Some(AT.into()),
        hidden: laptop(),
        gone: Vec::new(),
        missing: vec!["server".into()],
    }
}

pub(super) fn revision() -> wire::Revision {
    wire::Revision {
        version: "d0f1c6b0e9b04fa2".into(),
        at: AT.into(),
        by: DID.into(),
        agent: Some("claude-code".into()),
        source: Some(wire::Source::Model),
        changed: BTreeMap::from([("text".to_owned(), "the build needs a C compiler".into())]),
        earlier: false,
    }
}

pub(super) fn imported() -> wire::Imported {
    wire::Imported { line: 1, id: Some(ID.into()), space: Some("default".into()), seq: Some(17), ..Default::default() }
}

pub(super) fn change() -> wire::Change {
    wire::Change {
        cursor: "n1lmxjydirvjhtoeiaaaaaaaaaaaaqaaaaaaaau64j6qi".into(),
        kind: "remembered".into(),
        id: ID.into(),
        space: "default".into(),
        author: DID.into(),
        seq: 17,
        state: None,
        key: None,
        former_key: None,
        version: None,
        change: None,
        of: Vec::new(),
    }
}

pub(super) fn changes() -> wire::Changes {
    wire::Changes { changes: vec![change()], cursor: change().cursor }
}

pub(super) fn event() -> String {
    format!("id: {}\nevent: remembered\ndata: {}\n", change().cursor, line(&change()))
}

pub(super) fn space() -> wire::Space {
    wire::Space {
        space: "default".into(),
        id: "9f2c…".into(),
        readers: vec![DID.into(), OTHER.into()],
        writers: vec![DID.into(), OTHER.into()],
        records: 42,
        entries: 57,
        bytes: 18_211,
    }
}

pub(super) fn words() -> wire::Words {
    wire::Words {
        id: ID.into(),
        words: vec!["deploy".into(), "ship it".into()],
        space: "default".into(),
        author: DID.into(),
        author_name: Some("laptop".into()),
        at: AT.into(),
    }
}

pub(super) fn new_words() -> wire::NewWords {
    wire::NewWords { words: words().words, ..wire::NewWords::default() }
}

pub(super) fn new_space() -> wire::NewSpace {
    wire::NewSpace { name: "work".into() }
}

pub(super) fn page() -> wire::Page {
    wire::Page { page: "0001".into(), automerge: "hW9Kg…".into() }
}

pub(super) fn status() -> wire::Status {
    wire::Status {
        did: DID.into(),
        peer_id: PEER_ID.into(),
        name: "laptop".into(),
        mesh_did: MESH.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: 86_400,
        membership: "member".into(),
        offline: false,
        mode: Some("full".into()),
        voters: Some(3),
        voters_up: Some(3),
        coordinator: Some(DID.into()),
        role: Some("leader".into()),
        peers: 1,
        behind: vec![wire::Behind { did: OTHER.into(), name: Some("cloud".into()), entries: 3 }],
        warnings: Vec::new(),
        memories: Some(61),
        conflicts: Some(1),
        disk_bytes: Some(2_400_000),
        last_sync: Some(AT.into()),
        next: None,
        embedder: Some(embedder()),
        rss_bytes: Some(41_000_000),
        pid: Some(4_711),
        started_by: Some("up".into()),
    }
}

fn embedder() -> wire::Embedder {
    wire::Embedder {
        state: "ok".into(),
        reason: None,
        embedder: Some("http://127.0.0.1:11434/api/embed".into()),
        model: Some("nomic-embed-text".into()),
        dimension: Some(768),
        embedded: 61,
        changes: 0,
    }
}

pub(super) fn peer() -> wire::Peer {
    wire::Peer {
        did: OTHER.into(),
        peer_id: PEER_ID.into(),
        name: Some("cloud".into()),
        state: "up".into(),
        cause: None,
        rtt_ms: Some(12.4),
        path: Some("direct".into()),
        synced: false,
        behind: 3,
        last_seen: Some(AT.into()),
        clock_ahead_ms: Some(12),
    }
}

pub(super) fn member() -> wire::Member {
    wire::Member {
        did: OTHER.into(),
        name: "cloud".into(),
        roles: vec!["member".into()],
        admitted_by: Some(DID.into()),
        expires_at: None,
        person: Some(wire::Person { id: DID.into(), first: "laptop".into(), mine: true }),
        revoked: None,
    }
}

pub(super) fn revoke() -> wire::Revoke {
    wire::Revoke { keep: Some(vec!["cloud".into()]), signed: None }
}

pub(super) fn draft_revocation() -> wire::DraftRevocation {
    wire::DraftRevocation { keep: Some(vec!["cloud".into()]) }
}

pub(super) fn revocation_draft() -> wire::RevocationDraft {
    wire::RevocationDraft { did: OTHER.into(), draft: "AAECAw==".into() }
}

pub(super) fn revoked_member() -> wire::RevokedMember {
    wire::RevokedMember {
        did: OTHER.into(),
        revoked_at: AT.into(),
        pins: 2,
        kept: vec![DID.into()],
        fallen: Vec::new(),
    }
}

pub(super) fn left() -> wire::Left {
    wire::Left { did: DID.into(), left_at: AT.into() }
}

pub(super) fn rotate_key() -> wire::RotateKey {
    wire::RotateKey { signed: Some("AAECAw==".into()) }
}

pub(super) fn say_person() -> wire::SayPerson {
    wire::SayPerson { mine: true }
}

pub(super) fn person_said() -> wire::PersonSaid {
    wire::PersonSaid { did: OTHER.into(), name: "cloud".into(), person: "mine".into(), agreed: false }
}

pub(super) fn allow_rotation() -> wire::AllowRotation {
    wire::AllowRotation { member: "cloud".into() }
}

pub(super) fn rotation_allowed() -> wire::RotationAllowed {
    wire::RotationAllowed { did: OTHER.into(), name: "cloud".into(), until: AT.into() }
}

pub(super) fn rotation_draft() -> wire::RotationDraft {
    wire::RotationDraft { did: OTHER.into(), draft: "AAECAw==".into() }
}

pub(super) fn rotated_key() -> wire::RotatedKey {
    wire::RotatedKey { did: OTHER.into(), former: DID.into() }
}

pub(super) fn invite() -> wire::Invite {
    wire::Invite {
        role: Some("member".into()),
        uses: Some(1),
        ttl: Some(wire::Span(Duration::from_secs(3_600))),
        valid: None,
        replace: None,
        mine: true,
        for_whom: None,
    }
}

pub(super) fn invitation() -> wire::Invitation {
    wire::Invitation {
        ticket: "nexus1…".into(),
        join: "nexus-node join nexus1…".into(),
        expires_at: LATER.into(),
        person: Some("mine".into()),
    }
}

pub(super) fn join() -> wire::Join {
    wire::Join { ticket: "nexus1…".into(), name: Some("cloud".into()), timeout: None }
}

pub(super) fn joined() -> wire::Joined {
    wire::Joined {
        did: OTHER.into(),
        peer_id: PEER_ID.into(),
        mesh_did: MESH.into(),
        name: "cloud".into(),
        inviter: DID.into(),
    }
}

pub(super) fn offline(offline: bool) -> wire::Offline {
    wire::Offline { offline }
}

pub(super) fn compacted() -> wire::Compacted {
    let part =
        |part: &str, before_bytes, after_bytes| wire::CompactedPart { part: part.into(), before_bytes, after_bytes };
    wire::Compacted {
        freed_bytes: 24_000_000,
        before_bytes: 64_000_000,
        after_bytes: 40_000_000,
        clean: true,
        parts: vec![part("index", 14_000_000, 10_000_000), part("store", 50_000_000, 30_000_000)],
    }
}

pub(super) fn compacting() -> wire::Compacting {
    wire::Compacting {
        part: Some("store".into()),
        done_bytes: 4_194_304,
        bytes: 50_000_000,
        erased_since: Some(AT.into()),
    }
}

pub(super) fn stopping() -> wire::Stopping {
    wire::Stopping { stopping: true, pid: 4_711 }
}

pub(super) fn new_token() -> wire::NewToken {
    wire::NewToken {
        name: "claude".into(),
        scopes: vec!["memory".into(), "tasks:submit".into()],
        spaces: vec!["work".into()],
        ttl: Some(wire::Span(Duration::from_secs(30 * 86_400))),
        rate: Some("10/s".into()),
    }
}

pub(super) fn token() -> wire::Token {
    wire::Token {
        name: "claude".into(),
        scopes: vec!["memory:read".into(), "memory:write".into(), "tasks:submit".into()],
        spaces: vec!["work".into()],
        created_at: AT.into(),
        expires_at: Some("2026-12-20T08:31:12.123Z".into()),
        rate: Some("10/s".into()),
    }
}

pub(super) fn token_made() -> wire::TokenMade {
    wire::TokenMade { made: token(), token: "nxt_p2xca…".into() }
}

pub(super) fn token_revoked() -> wire::TokenRevoked {
    wire::TokenRevoked { name: "claude".into(), revoked: true }
}

pub(super) fn approve_task() -> wire::ApproveTask {
    wire::ApproveTask { passphrase: Some("correct horse battery".into()) }
}

pub(super) fn approving() -> wire::Approving {
    wire::Approving { approve_with: "passphrase".into() }
}

pub(super) fn change_approving() -> wire::ChangeApproving {
    wire::ChangeApproving { passphrase: Some("correct horse battery".into()), former: None }
}

pub(super) fn setting() -> wire::Setting {
    wire::Setting {
        key: "log".into(),
        value: "info".into(),
        origin: "default".into(),
        live: true,
        about: "The filter of the log.".into(),
    }
}

pub(super) fn settings() -> BTreeMap<String, Value> {
    BTreeMap::from([("log".to_owned(), json!("info"))])
}

pub(super) fn web_link() -> wire::WebLink {
    wire::WebLink { link: "http://127.0.0.1:8002/web/p2XcA…".into(), expires_at: LATER.into() }
}

pub(super) fn kv_item() -> wire::KvItem {
    wire::KvItem {
        key: "deploy/target".into(),
        value: Some("blue".into()),
        value_base64: None,
        revision: 42,
        created: 17,
        by: DID.into(),
        ttl_ms: None,
        local: false,
        age_ms: None,
    }
}

pub(super) fn kv_page() -> wire::KvPage {
    wire::KvPage { items: vec![kv_item()], next: None, revision: 42 }
}

pub(super) fn kv_put() -> wire::KvPut {
    wire::KvPut { value: Some("green".into()), expect: Some("blue".into()), ..wire::KvPut::default() }
}

pub(super) fn kv_written() -> wire::KvWritten {
    wire::KvWritten { key: "deploy/target".into(), value: Some("green".into()), value_base64: None, revision: 43 }
}

pub(super) fn request_outcome() -> wire::RequestOutcome {
    let id = "nexus-ae4hs2lzq5yd2ckq4yaqcbybegz7kq".to_owned();
    wire::RequestOutcome { id, outcome: wire::OutcomeWord::Done, revision: Some(43), token: None, reason: None }
}

pub(super) fn kv_deleted() -> wire::KvWritten {
    wire::KvWritten { value: None, ..kv_written() }
}

pub(super) fn kv_txn() -> wire::KvTxn {
    let set = wire::KvSet { key: "deploy/target".into(), value: Some("green".into()), ..wire::KvSet::default() };
    wire::KvTxn {
        checks: vec![wire::KvCheck {
            key: "deploy/target".into(),
            value: Some("blue".into()),
            ..wire::KvCheck::default()
        }],
        then: vec![wire::KvStep::Put(set), wire::KvStep::Delete("deploy/old".into())],
        otherwise: vec![wire::KvStep::Get("deploy/target".into())],
        allow_secret: false,
    }
}

pub(super) fn kv_txn_done() -> wire::KvTxnDone {
    let item = wire::KvItem { value: Some("green".into()), revision: 43, ..kv_item() };
    wire::KvTxnDone { held: true, revision: 43, items: vec![Some(item), None] }
}

pub(super) fn kv_changes() -> wire::KvChanges {
    let change = wire::KvChange {
        revision: 43,
        kind: "put".into(),
        key: "deploy/target".into(),
        value: Some("green".into()),
        value_base64: None,
        token: None,
        stolen_from: None,
        by: DID.into(),
        by_name: Some("laptop".into()),
    };
    wire::KvChanges { changes: vec![change], revision: 43, missed: false }
}

pub(super) fn audit() -> wire::AuditPage {
    let entry = wire::AuditEntry {
        n: 12,
        at: Some(AT.into()),
        by: DID.into(),
        by_name: Some("laptop".into()),
        action: "steal".into(),
        name: "deploy".into(),
        result: "granted".into(),
        revision: None,
        token: Some(44),
        code: None,
        whose: Some(OTHER.into()),
        index: 1_204,
    };
    wire::AuditPage { items: vec![entry], missing: Vec::new(), next: None }
}

pub(super) fn audit_check() -> wire::AuditCheck {
    let (did, name) = (OTHER.into(), Some("cloud".into()));
    let member = wire::AuditMember { did, name, entries: 12, agrees: Some(true), differs_from: None };
    wire::AuditCheck {
        ok: true,
        entries: 12,
        head: "6f1d".repeat(16),
        first: Some(1),
        broken: None,
        missing: Vec::new(),
        dropped: Vec::new(),
        members: vec![member],
        others: 2,
        next: None,
    }
}

pub(super) fn acquire() -> wire::Acquire {
    let span = |seconds| Some(wire::Span(Duration::from_secs(seconds)));
    wire::Acquire { ttl: span(30), wait: span(10) }
}

pub(super) fn renew() -> wire::Renew {
    wire::Renew { token: 44, ttl: None }
}

pub(super) fn release() -> wire::Release {
    wire::Release { token: 44 }
}

pub(super) fn steal() -> wire::Steal {
    wire::Steal { ttl: acquire().ttl }
}

pub(super) fn lease() -> wire::Lease {
    wire::Lease {
        name: "deploy".into(),
        token: 44,
        holder: DID.into(),
        holder_name: Some("laptop".into()),
        expires_in_ms: 29_990,
        waiting: 0,
    }
}

pub(super) fn released() -> wire::Lease {
    wire::Lease { expires_in_ms: 0, ..lease() }
}

pub(super) fn new_task() -> wire::NewTask {
    let timeout = Some(wire::Span(Duration::from_secs(60)));
    wire::NewTask { capability: "resize".into(), input: task().input, timeout, ..wire::NewTask::default() }
}

pub(super) fn task() -> wire::Task {
    let worker = wire::Assignee { node: DID.into(), name: Some("laptop".into()), agent: Some("resizer".into()) };
    let event = |at: &str, event: &str, worker: Option<wire::Assignee>| wire::TaskEvent {
        at: at.into(),
        event: event.into(),
        by: DID.into(),
        by_name: Some("laptop".into()),
        worker,
        text: None,
    };
    wire::Task {
        id: ID.into(),
        capability: "resize".into(),
        state: "succeeded".into(),
        why: None,
        input: json!({ "picture": "cat.png", "width": 640 }).into(),
        output: Some(json!({ "bytes": 48_211 }).into()),
        error: None,
        space: "tasks".into(),
        priority: wire::Priority::Normal,
        timeout: wire::Span(Duration::from_secs(60)),
        deadline: None,
        attempts: 3,
        request: None,
        once: false,
        needs_approval: false,
        approval: None,
        preemptible: false,
        after: Vec::new(),
        to: None,
        retry_of: None,
        submitter: DID.into(),
        submitter_name: Some("laptop".into()),
        heirs: Vec::new(),
        sandbox: None,
        settler: DID.into(),
        settler_name: Some("laptop".into()),
        agent: Some("nexus-node".into()),
        submitted_at: AT.into(),
        assigned_to: Some(worker.clone()),
        claims: 1,
        failures: 0,
        expiries: 0,
        progress: None,
        worker_rest: None,
        ended_at: Some(LATER.into()),
        events: vec![event(AT, "submitted", None), event(AT, "claimed", Some(worker)), event(LATER, "succeeded", None)],
        candidates: None,
    }
}

pub(super) fn pending_task() -> wire::Task {
    let mut pending = task();
    pending.events.truncate(1);
    wire::Task {
        state: "pending".into(),
        why: Some("no worker for resize waits here".into()),
        output: None,
        assigned_to: None,
        claims: 0,
        ended_at: None,
        ..pending
    }
}

pub(super) fn task_page() -> wire::TaskPage {
    wire::TaskPage { items: vec![wire::Task { events: Vec::new(), ..task() }], next: None }
}

pub(super) fn task_log() -> wire::TaskLog {
    let text = "reading the pictures\n".to_owned();
    let next = text.len() as u64;
    wire::TaskLog { id: task().id, worker: task().assigned_to, attempt: 1, from: 0, text, next, open: true }
}

pub(super) fn task_word() -> wire::TaskWord {
    wire::TaskWord { why: Some("another one does it".into()) }
}

pub(super) fn task_event() -> String {
    format!("event: {}\ndata: {}\n", task().state, line(&task()))
}

const TASK_TOKEN: &str = "0f9d3c5e7a1b24680f9d3c5e7a1b2468";

pub(super) fn claim_task() -> wire::ClaimTask {
    let span = |seconds| Some(wire::Span(Duration::from_secs(seconds)));
    let agent = Some("resizer".into());
    wire::ClaimTask {
        capabilities: [task().capability].into(),
        agent,
        wait: span(30),
        lease: span(30),
        from: Vec::new(),
        cpu_max: Some(80),
        memory_max: Some(90),
        approved_by: None,
        input_schema: Some(json!({ "type": "object", "required": ["path"] })),
        output_schema: None,
    }
}

pub(super) fn claimed_task() -> wire::ClaimedTask {
    let running = wire::Task { state: "running".into(), output: None, ended_at: None, events: Vec::new(), ..task() };
    wire::ClaimedTask { task: running, token: TASK_TOKEN.into(), attempt: 1, lease_ms: 30_000, lock: None, fence: None }
}

pub(super) fn renew_task() -> wire::RenewTask {
    let wait = Some(wire::Span(Duration::from_secs(10)));
    wire::RenewTask {
        token: TASK_TOKEN.into(),
        percent: Some(40),
        text: Some("two of five".into()),
        wait,
        log: None,
        log_from: None,
    }
}

pub(super) fn task_renewal() -> wire::TaskRenewal {
    wire::TaskRenewal { lease_ms: 30_000, left_ms: 41_800 }
}

pub(super) fn finish_task() -> wire::FinishTask {
    wire::FinishTask { token: TASK_TOKEN.into(), output: task().output, ..wire::FinishTask::default() }
}

pub(super) fn agent() -> wire::Agent {
    wire::Agent {
        name: Some("resizer".into()),
        node: DID.into(),
        node_name: Some("laptop".into()),
        roles: vec!["member".into()],
        capabilities: [task().capability].into(),
        waiting: 1,
        running: 0,
        load: wire::AgentLoad { cpu: Some(12), memory: Some(41) },
        health: "ok".into(),
        rest: None,
        reputation: 1.0,
        labels: [("region".into(), "home".into())].into(),
        input_schema: Some(json!({ "type": "object", "required": ["path"] })),
        output_schema: None,
    }
}

pub(super) fn coordinator() -> wire::Coordinator {
    let seat =
        |did: &str, name: &str, state: &str| wire::Seat { did: did.into(), name: name.into(), state: state.into() };
    wire::Coordinator {
        mode: Some("full".into()),
        leader: Some(DID.into()),
        term: 3,
        commit: 1_204,
        applied: 1_204,
        voters: vec![seat(DID, "laptop", "leader"), seat(OTHER, "cloud", "up"), seat(MESH, "desktop", "up")],
        learners: Vec::new(),
        quorum: true,
        generation: 0,
        role: Some("leader".into()),
        one_machine: false,
        format: 1,
    }
}

pub(super) fn add_voter() -> wire::AddVoter {
    wire::AddVoter { did: OTHER.into() }
}

pub(super) fn recover() -> wire::Recover {
    wire::Recover { i_understand: true }
}

#[cfg(feature = "blobs")]
pub(super) use of_blobs::{
    blob, blob_fetch, blob_gc, blob_page, blob_tag, blob_transfer, blobs_removed, blobs_verify, want_copies,
};

#[cfg(feature = "blobs")]
mod of_blobs {
    use std::time::Duration;

    use super::{DID, OTHER, wire};

    const HASH: &str = "5e1b9d4f0c7a3b2e8d6f4a1c9b7e5d3f2a0c8e6b4d9f7a5c3e1b0d8f6a4c2e9b";

    pub(in super::super) fn blob() -> wire::Blob {
        wire::Blob {
            hash: HASH.into(),
            size: 1_073_741_824,
            files: Some(12),
            pinned: true,
            tags: vec!["release".into()],
            copies: Some(wire::BlobCopies { wanted: 2, count: 2, holders: vec![OTHER.into()] }),
            kept_for: Vec::new(),
            damaged: 0,
            providers: vec![DID.into(), OTHER.into()],
        }
    }

    pub(in super::super) fn want_copies() -> wire::WantCopies {
        wire::WantCopies { copies: 2 }
    }

    pub(in super::super) fn blob_page() -> wire::BlobPage {
        wire::BlobPage { items: vec![blob()], next: Some(HASH.into()) }
    }

    pub(in super::super) fn blob_fetch() -> wire::BlobFetch {
        let progress = wire::BlobFetchProgress {
            bytes: 268_435_456,
            size: Some(1_073_741_824),
            files: Some(12),
            files_here: 3,
            sources: vec![OTHER.into()],
            lied: Vec::new(),
            damaged: Vec::new(),
        };
        wire::BlobFetch { progress: Some(progress), ..wire::BlobFetch::default() }
    }

    pub(in super::super) fn blob_transfer() -> wire::BlobTransfer {
        wire::BlobTransfer { hash: HASH.into(), progress: blob_fetch().progress.unwrap_or_default() }
    }

    pub(in super::super) fn blobs_removed() -> wire::BlobsRemoved {
        wire::BlobsRemoved { blobs: 1, bytes: 1_073_741_824, hashes: vec![HASH.into()] }
    }

    pub(in super::super) fn blob_gc() -> wire::BlobGc {
        wire::BlobGc { unused_for: Some(wire::Span(Duration::from_secs(86_400))), dry_run: true }
    }

    pub(in super::super) fn blobs_verify() -> wire::BlobsVerify {
        let verified = wire::BlobVerified { hash: HASH.into(), parts: 4_096, damaged: 1, mended: 1 };
        wire::BlobsVerify { blobs: Some(vec![verified]), ..wire::BlobsVerify::default() }
    }

    pub(in super::super) fn blob_tag() -> wire::BlobTag {
        wire::BlobTag { tag: "release".into() }
    }
}

#[cfg(feature = "documents")]
pub(super) use documents::*;

#[cfg(feature = "documents")]
mod documents {
    use serde_json::json;

    use crate::api::wire;

    const ID: &str = "4NMNnkMhL8jXrdJ9jamS58PAVdXu";
    const VERSION: &str = "3b6b5a0f4c1f0c3d2b8e8f5d4a1c9e7b6d5f4a3c2b1d0e9f8a7b6c5d4e3f2a1b";

    pub(in super::super) fn document() -> wire::Document {
        wire::Document {
            key: Some("plan".into()),
            former_key: None,
            id: ID.into(),
            url: format!("automerge:{ID}"),
            space: "default".into(),
            heads: Some(vec![VERSION.into()]),
            version: Some(VERSION.into()),
            value: Some(json!({ "title": "Release 2", "steps": [{ "text": "tests", "done": false }] })),
            changed: None,
            others: Vec::new(),
            missing: 0,
            refused: Vec::new(),
            former: Vec::new(),
        }
    }

    pub(in super::super) fn documents_page() -> wire::Documents {
        let listed = wire::Document { heads: None, version: None, value: None, ..document() };
        wire::Documents { items: vec![listed], next: Some("kcGxhbg".into()) }
    }

    pub(in super::super) fn document_conflicts() -> wire::DocumentConflicts {
        let item = |by: &str, value: &str| wire::DocumentConflict { by: Some(by.into()), value: value.into() };
        wire::DocumentConflicts { items: vec![item("laptop", "Release 2"), item("tower", "The release")] }
    }

    pub(in super::super) fn new_document() -> wire::NewDocument {
        wire::NewDocument { key: "plan".into(), space: None }
    }

    pub(in super::super) fn document_edits() -> wire::DocumentEdits {
        let set = wire::DocumentEdit::Set { path: "/title".into(), value: json!("Release 2") };
        let text = wire::DocumentEdit::Text {
            path: "/title".into(),
            at: 0,
            delete: 0,
            insert: "The ".into(),
            version: Some(VERSION.into()),
        };
        let mark = wire::DocumentEdit::Mark {
            path: "/title".into(),
            from: 4,
            to: 8,
            name: "bold".into(),
            value: json!(true),
            expand: wire::DocumentMarkExpand::After,
            version: None,
        };
        wire::DocumentEdits { edits: vec![set, text, mark], allow_secret: false }
    }

    pub(in super::super) fn document_history() -> wire::DocumentHistory {
        let entry = wire::DocumentHistoryEntry {
            version: VERSION.into(),
            by: vec!["laptop".into()],
            at: "2026-01-02T03:04:05.000Z".into(),
            operations: 12,
            message: String::new(),
        };
        wire::DocumentHistory { items: vec![entry] }
    }

    pub(in super::super) fn document_text() -> wire::DocumentText {
        let run = |by: &str, text: &str| wire::DocumentTextRun { by: Some(by.into()), text: text.into() };
        let bold = wire::DocumentMark { name: "bold".into(), value: json!(true), start: 4, end: 8 };
        wire::DocumentText { runs: vec![run("laptop", "The "), run("tower", "plan")], marks: vec![bold] }
    }

    pub(in super::super) fn document_event() -> String {
        let change = wire::DocumentChange {
            before: "0".into(),
            version: VERSION.into(),
            patches: vec![json!({ "action": "put", "path": "/title", "value": "Release 2" })],
        };
        let data = serde_json::to_string(&change).unwrap_or_default();
        format!("event: change\nid: {VERSION}\ndata: {data}\n\n")
    }

    pub(in super::super) fn document_name() -> wire::DocumentName {
        wire::DocumentName { key: "plan".into() }
    }
}
