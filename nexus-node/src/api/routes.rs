//! Every route with its description.

mod examples;

use axum::Router;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;

use self::examples as example;
use super::backup::BACKUP;
use super::guest::Guest;
use super::issued::Scope::{
    self, BlobsRead, BlobsWrite, KvRead, KvWrite, LocksRead, LocksWrite, MemoryRead, MemoryWrite, MeshRead, TasksRead,
    TasksSubmit, TasksWork,
};
use super::memories::{INDEXED, JSON_LINES, TRUNCATED, WORDS_ALONE};
use super::openapi::{Routes, flag, number, share, text, texts};
use super::pass::Needs::{AnyOf, Nothing, Owner, Person, Proof, Scopes, Unbounded};
use super::pass::RouteNeeds;
use super::problem::{no_method, no_route};
use super::{
    Api, audit, backup, compact, coordinator, critical, erasures, events, import, memories, mesh, metrics, page,
    passphrase, settings, spaces, tasks, tokens, vocabulary,
};

/// The scopes of which one is needed to be told of anything.
const EVENTS: &[Scope] = &[MemoryRead, TasksRead, Scope::DocumentsRead, KvRead, MeshRead, BlobsRead];

/// All routes, with the guests', and their description at `/openapi.json`.
pub(super) fn routes(guests: &[Guest]) -> (Router<Api>, RouteNeeds) {
    let routes = memories_and_spaces(Routes::new());
    let routes = tasks_and_workers(keys_and_locks(routes));
    #[cfg(feature = "blobs")]
    let routes = blobs(routes);
    #[cfg(feature = "documents")]
    let routes = documents(routes);
    let routes = page_and_process(tokens_and_settings(the_mesh(the_coordinators(routes))));
    let routes = routes.describe(&Method::GET, "/openapi.json", Proof, |about| {
        about.summary("This document").gives_value(200, &json!({ "openapi": "3.1.0" }))
    });
    let routes = guests.iter().fold(routes, |routes, guest| (guest.describe)(routes));
    let (router, needs, document) = routes.finish();
    let document = axum::body::Bytes::from(document.to_string());
    let router = router.route(
        "/openapi.json",
        get(move || async move { ([(header::CONTENT_TYPE, "application/json")], document).into_response() }),
    );
    let router = guests.iter().fold(router, |router, guest| router.merge(guest.router.clone()));
    (router.fallback(no_route).method_not_allowed_fallback(no_method), needs)
}

/// The routes at a door for the metrics alone. They are described with all others.
pub(super) fn of_metrics() -> (Router<Api>, RouteNeeds) {
    let mut needs = RouteNeeds::default();
    needs.add(&Method::GET, "/healthz", Nothing);
    needs.add(&Method::GET, "/readyz", Nothing);
    needs.add(&Method::GET, "/metrics", Owner);
    let router = Router::new()
        .route("/healthz", get(|| async { axum::Json(json!({ "ok": true })) }))
        .route("/readyz", get(mesh::ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method);
    (router, needs)
}

fn memories_and_spaces(routes: Routes) -> Routes {
    routes
        .on(Method::GET, "/v1/memories", Scopes(&[MemoryRead]), memories::find, |about| {
            about
                .summary("With `q` recall, the best first; without it list, newest first")
                .query("q", texts(), "a question or words; up to four phrasings of it, of at most 8 KiB each")
                .query("min", share(), "`recall`: only with this score or a higher one")
                .query("no_aliases", flag(), "`list`: only memories without aliases")
                .query("space", texts(), "in these spaces; `list` takes one")
                .query("limit", number(1, 1_000), "at most this many: 10 for `recall`, 100 for `list`, if not given")
                .query("tag", texts(), "with all of these tags")
                .query("kind", texts(), "of one of these kinds")
                .query("project", text(), "of this project; `recall` also what is personal")
                .query("place", text(), "`recall`: of the project of a directory with this name, in place of `project`")
                .query("owner", text(), "`recall`: the owner in the first remote of the directory's repository")
                .query("marks", text(), "`recall`: the marks of the directory's repository, with commas between them")
                .query("conflicts", flag(), "`list`: only memories in conflict")
                .query("by", text(), "`recall`: by this member, a DID or a name, or else by a program of this name")
                .query("since", text(), "`recall`: edited or created within this time, as `7d`")
                .query(
                    "valid_at",
                    text(),
                    "`recall`: what holds at this moment; `ever` for all; what holds now, if not given",
                )
                .query("tokens", number(0, u64::from(u32::MAX)), "`recall`: as many as fit, four characters to a token")
                .query("after", text(), "`list`: go on where an earlier page ended, its `next`")
                .gives(200, &vec![example::hit()])
                .header(200, WORDS_ALONE, "`recall`: `true` if the embedder fails, and words alone were searched")
                .header(
                    200,
                    TRUNCATED,
                    "`recall`: `true` if more would have fitted than `limit` or `tokens` let through",
                )
                .header(
                    200,
                    INDEXED,
                    "`recall`: the part of all memories that was searched, as `40%`, while the index is made",
                )
                .note("Without `q` the answer is `{items: [memory], next}`.")
        })
        .on(Method::POST, "/v1/memories", Scopes(&[MemoryWrite]), memories::remember, |about| {
            about
                .summary("Write a memory; it is on this node's disk when the answer comes")
                .takes(true, &example::new_memory())
                .gives(201, &example::remembered())
        })
        .on(Method::GET, "/v1/memories/{id}", Scopes(&[MemoryRead]), memories::get, |about| {
            about
                .summary("One memory, by its id, the beginning of it, or a former id")
                .query("whole", flag(), "`true`: with the whole text, if a blob has it, from whoever has that")
                .gives(200, &example::memory())
        })
        .on(Method::PATCH, "/v1/memories/{id}", Scopes(&[MemoryWrite]), memories::edit, |about| {
            about
                .summary("Change a memory; writing a field settles a conflict about it")
                .takes(true, &example::patch())
                .gives(200, &example::memory())
        })
        .on(Method::POST, "/v1/memories/{id}/unforget", Scopes(&[MemoryWrite]), memories::unforget, |about| {
            about
                .summary("Write a forgotten memory again, under a new id; its former one is in `was`")
                .takes(false, &example::unforget())
                .gives(200, &example::memory())
        })
        .on(Method::DELETE, "/v1/memories/{id}", Scopes(&[MemoryWrite]), memories::forget, |about| {
            about.summary("Remove a memory everywhere").gives(200, &example::forgotten())
        })
        .on(Method::POST, "/v1/erasures", Owner, erasures::erase, |about| {
            about
                .summary("Erase memories with all their versions, and texts of tasks, on every node that hears of it")
                .note("Somebody else's memory is only forgotten, unless this node's member is an admin.")
                .takes(true, &example::erase())
                .gives(200, &example::erased())
        })
        .on(Method::GET, "/v1/erasures/{id}", Scopes(&[MemoryRead]), erasures::status, |about| {
            about.summary("How far the members are with the erasure of a memory or a task").gives(200, &example::erasure())
        })
        .on(Method::GET, "/v1/memories/{id}/history", Scopes(&[MemoryRead]), memories::history, |about| {
            about.summary("The history of a memory, oldest first").gives(200, &vec![example::revision()])
        })
        .on(Method::GET, "/v1/export", Scopes(&[MemoryRead]), memories::export, |about| {
            about
                .summary("All memories, one a line")
                .query("space", text(), "of one space")
                .query("full", json!({ "type": "boolean" }), "with the proof of who wrote each text")
                .gives_type(200, JSON_LINES, &example::line(&example::exported()))
        })
        .on(Method::GET, "/v1/backup", Owner, backup::backup, |about| {
            about
                .summary("The rows of this node's stores as one stream, for `nexus-node restore`; it has no keys")
                .note("A stream that breaks off has no end, and is refused as a backup.")
                .query("blobs", json!({ "type": "boolean" }), "with the blobs that are kept here, or that entries name")
                .gives_type(200, BACKUP, "nexus backup v1\n…")
        })
        .on(Method::POST, "/v1/import", Scopes(&[MemoryWrite]), import::import, |about| {
            about
                .summary("Memories as JSON Lines in, one acknowledgement a line out, after its commit")
                .note("Read the answer while you send. A line has at most 24.25 MiB, and a text 4 MiB; a bad one stops nothing.")
                .query("secrets", text(), "lines with a secret: `refuse` (default), `mask` or, by a person, `allow`")
                .takes_type(JSON_LINES, &example::line(&example::new_memory()))
                .gives_type(200, JSON_LINES, &example::line(&example::imported()))
        })
        .on(Method::GET, "/v1/events", AnyOf(EVENTS), events::events, |about| {
            about
                .summary("All that happens, as it happens: server-sent events, a WebSocket, or a long poll")
                .note(
                    "A request to upgrade becomes a WebSocket, with a change a message; its token may come as the \
                     subprotocol `bearer, TOKEN`. With `wait` the answer is `{changes, cursor}`, at the first change \
                     or when the time is over. `Last-Event-ID` beats `from`.",
                )
                .query("from", text(), "go on after this cursor; from now on if not given")
                .query(
                    "kinds",
                    texts(),
                    "of these kinds, with commas between them: `memories`, `members`, `spaces`, `tasks`, `documents`, `critical` \
                     (keys and locks), `peers`, `blobs`, `mode`; `all` that the token may read. If not given: \
                     `memories`, `members`, `spaces` and `mode`",
                )
                .query("space", text(), "of one space")
                .query("wait", text(), "poll, and wait this long, as `30s`; 60 s at most")
                .gives(200, &example::changes())
                .gives_type(200, "text/event-stream", &example::event())
                .gives_nothing(101, "A WebSocket.")
        })
        .on(Method::GET, "/v1/project", Scopes(&[MemoryRead]), memories::project, |about| {
            about
                .summary("The project of a directory, by its name and by the marks of its repository")
                .query("place", text(), "the name of the repository's root, or of the directory")
                .query("owner", text(), "the owner in the repository's first remote")
                .query("marks", text(), "the repository's marks, with commas between them")
                .gives_value(200, &json!({ "name": "shop" }))
        })
        .on(Method::GET, "/v1/vocabulary", Scopes(&[MemoryRead]), vocabulary::list, |about| {
            about
                .summary("The groups of words that mean the same in this mesh, by their first words")
                .query("space", text(), "of one space")
                .gives(200, &vec![example::words()])
                .header(200, TRUNCATED, "`true` if there are more groups than are listed")
        })
        .on(Method::POST, "/v1/vocabulary", Scopes(&[MemoryWrite]), vocabulary::add, |about| {
            about
                .summary("Write a group of words that mean the same")
                .takes(true, &example::new_words())
                .gives(201, &example::words())
        })
        .on(Method::DELETE, "/v1/vocabulary/{word}", Scopes(&[MemoryWrite]), vocabulary::remove, |about| {
            about
                .summary("Forget this node's groups with a word")
                .query("space", text(), "of one space")
                .gives(200, &vec![example::words()])
        })
        .on(Method::GET, "/v1/spaces", Scopes(&[MemoryRead]), spaces::list, |about| {
            about.summary("The spaces that hold memories").gives(200, &vec![example::space()])
        })
        .on(Method::POST, "/v1/spaces", Unbounded(&[MemoryWrite]), spaces::create, |about| {
            about
                .summary("Make a space that every member reads and writes")
                .takes(true, &example::new_space())
                .gives(201, &example::space())
        })
        .on(Method::GET, "/v1/spaces/{space}/pages", Scopes(&[MemoryRead]), spaces::pages, |about| {
            about
                .summary("The pages of a space as Automerge documents, one a line, and `{pages:N}` at the end")
                .gives_type(200, JSON_LINES, &example::line(&example::page()))
        })
}

fn keys_and_locks(routes: Routes) -> Routes {
    routes
        .on(Method::GET, "/v1/kv", Scopes(&[KvRead]), critical::list, |about| {
            about
                .summary("Keys in order, with what they hold")
                .query("prefix", text(), "that begin so")
                .query("after", text(), "go on after this key: the `next` of an earlier page")
                .query("limit", number(1, 1_000), "at most this many; 100 if not given")
                .gives(200, &example::kv_page())
        })
        .on(Method::POST, "/v1/kv", Scopes(&[KvWrite]), critical::txn, |about| {
            about
                .summary("A transaction: several checks, and steps at one revision")
                .note(
                    "A check is `{key}` with one of `exists`, `value`, `revision`; a step is `{put: {key, value, \
                     ttl?, fence?}}`, `{delete: key}` or `{get: key}`. If all checks hold, `then` is done, else \
                     `else`; that they do not hold is no error.",
                )
                .once()
                .takes(true, &example::kv_txn())
                .gives(200, &example::kv_txn_done())
        })
        .on(Method::GET, "/v1/kv/{*key}", Scopes(&[KvRead]), critical::get, |about| {
            about
                .summary("A key, as of now; it may contain `/`")
                .query("local", json!({ "type": "boolean" }), "from this node's copy, without asking a quorum")
                .gives(200, &example::kv_item())
        })
        .on(Method::PUT, "/v1/kv/{*key}", Scopes(&[KvWrite]), critical::put, |about| {
            about
                .summary("Give a key a value; with `expect` or `absent` only if that is how it is")
                .once()
                .takes(true, &example::kv_put())
                .gives(200, &example::kv_written())
        })
        .on(Method::DELETE, "/v1/kv/{*key}", Scopes(&[KvWrite]), critical::delete, |about| {
            about
                .summary("Take a key away")
                .query("fence", json!({ "type": "integer", "minimum": 0 }), "a lock's token that must be good")
                .once()
                .gives(200, &example::kv_deleted())
        })
        .on(Method::GET, "/v1/outcomes/{id}", Scopes(&[KvRead]), critical::outcome, |about| {
            about
                .summary("The end of a request that was unknown: `done`, `refused`, `unknown` or `forgotten`")
                .note(
                    "Ask the node that the request was made at, with the id in its error. A request that did not happen \
                     until then never will.",
                )
                .gives(200, &example::request_outcome())
        })
        .on(Method::GET, "/v1/watch", Scopes(&[KvRead, LocksRead]), critical::watch, |about| {
            about
                .summary("Changes of keys and locks after a revision, oldest first: who did what")
                .query("prefix", text(), "whose names begin so")
                .query("after", text(), "a revision, or a cursor of `/v1/events`; from now on if not given")
                .query(
                    "wait",
                    text(),
                    "wait this long for the first one, as `30s`; 60 s at most, not at all if not given",
                )
                .gives(200, &example::kv_changes())
        })
        .on(Method::GET, "/v1/locks", Scopes(&[LocksRead]), critical::locks, |about| {
            about.summary("The locks that are held").gives(200, &vec![example::lease()])
        })
        .on(Method::GET, "/v1/locks/{name}", Scopes(&[LocksRead]), critical::lock, |about| {
            about.summary("A lock that is held, exact as of now").gives(200, &example::lease())
        })
        .on(Method::POST, "/v1/locks/{name}/acquire", Scopes(&[LocksWrite]), critical::acquire, |about| {
            about
                .summary("Take a lock, or wait in line for it; whoever takes it renews it")
                .once()
                .takes(false, &example::acquire())
                .gives(200, &example::lease())
        })
        .on(Method::POST, "/v1/locks/{name}/renew", Scopes(&[LocksWrite]), critical::renew, |about| {
            about
                .summary("Let a lease run its whole time again")
                .takes(true, &example::renew())
                .gives(200, &example::lease())
        })
        .on(Method::POST, "/v1/locks/{name}/release", Scopes(&[LocksWrite]), critical::release, |about| {
            about.summary("Give a lock back").takes(true, &example::release()).gives(200, &example::released())
        })
        .on(Method::POST, "/v1/locks/{name}/steal", Scopes(&[LocksWrite]), critical::steal, |about| {
            about
                .summary("Take a lock from whoever holds it; who did stays visible")
                .once()
                .takes(false, &example::steal())
                .gives(200, &example::lease())
        })
}

fn tasks_and_workers(routes: Routes) -> Routes {
    routes
        .on(Method::POST, "/v1/tasks", Scopes(&[TasksSubmit]), tasks::submit, |about| {
            about
                .summary("Submit a task; it is on this node's disk when the answer comes, and outlives the caller")
                .note(
                    "With a `request` that a task of this node has, the answer is that task, if it asks for the same. If not \
                     it is refused: `other_request`. The header `Idempotency-Key` is such a `request`, too.",
                )
                .once()
                .takes(true, &example::new_task())
                .gives(201, &example::pending_task())
        })
        .on(Method::GET, "/v1/tasks", Scopes(&[TasksRead]), tasks::list, |about| {
            about
                .summary("A page of tasks, the newest first, without their events")
                .query("state", texts(), "in one of these states")
                .query("limit", number(1, 1_000), "at most this many; 100 if not given")
                .query("after", text(), "go on where an earlier page ended, its `next`")
                .gives(200, &example::task_page())
        })
        .on(Method::GET, "/v1/tasks/{id}", Scopes(&[TasksRead]), tasks::get, |about| {
            about
                .summary("One task, by its id or the beginning of it")
                .query("wait", text(), "wait this long for its end, as `30s`; 60 s at most, not at all if not given")
                .query("why", flag(), "`true`: with the nodes that were looked at for it, best first")
                .query("whole", flag(), "`true`: with the input and the output that are in blobs, from whoever has them")
                .gives(200, &example::task())
        })
        .on(Method::GET, "/v1/tasks/{id}/log", Scopes(&[TasksRead]), tasks::log, |about| {
            about
                .summary("A part of what the command of its last attempt wrote to stderr, from the worker's node")
                .note("The last 64 KiB are kept, for an hour after the last word.")
                .query("attempt", number(0, u32::MAX.into()), "the attempt of an earlier part; of another one it begins anew")
                .query("from", number(0, u64::MAX), "the `next` of an earlier part")
                .query("wait", text(), "wait this long for more, as `10s`; 60 s at most, not at all if not given")
                .gives(200, &example::task_log())
        })
        .on(Method::POST, "/v1/tasks/{id}/cancel", Scopes(&[TasksSubmit]), tasks::cancel, |about| {
            about
                .summary("Take a task back; a worker that has it is told")
                .takes(false, &example::task_word())
                .gives(200, &example::task())
        })
        .on(Method::POST, "/v1/tasks/{id}/approve", Person, tasks::approve, |about| {
            about
                .summary("Let a task be worked on that waits for an approval; a person's session, on an admin's node, never the submitter's")
                .takes(false, &example::approve_task())
                .gives(200, &example::pending_task())
        })
        .on(Method::POST, "/v1/tasks/{id}/reject", Owner, tasks::reject, |about| {
            about
                .summary("End a task that waits for an approval")
                .takes(false, &example::task_word())
                .gives(200, &example::task())
        })
        .on(Method::POST, "/v1/tasks/{id}/retry", Scopes(&[TasksSubmit]), tasks::retry, |about| {
            about
                .summary("Submit a task that has ended once more, as another one")
                .takes(false, &example::task_word())
                .gives(201, &example::pending_task())
        })
        .on(Method::GET, "/v1/tasks/events", Scopes(&[TasksRead]), tasks::events, |about| {
            about
                .summary("Tasks as something happens to them: server-sent events, a task each, named by its state")
                .note(
                    "Of one task the present state comes first, and the stream ends with the task. Of all tasks the id of an \
                     event is its cursor, as at `/v1/events`: `Last-Event-ID` goes on after it, and beats `from`.",
                )
                .query("from", text(), "go on after this cursor; from now on if not given")
                .query("task", text(), "of this task alone")
                .gives_type(200, "text/event-stream", &example::task_event())
        })
        .on(Method::POST, "/v1/tasks/claim", Unbounded(&[TasksWork]), tasks::claim, |about| {
            about
                .summary("Wait for a task that this worker can do; from then on it must be heard of within its lease")
                .takes(true, &example::claim_task())
                .gives(200, &example::claimed_task())
                .gives_nothing(204, "None came in time.")
        })
        .on(Method::POST, "/v1/tasks/{id}/renew", Scopes(&[TasksWork]), tasks::renew, |about| {
            about
                .summary("Say that the worker lives, and how far it is")
                .note(
                    "A `conflict` says that the claim is over: stop the work. With `wait` it comes as soon as that is so.",
                )
                .takes(true, &example::renew_task())
                .gives(200, &example::task_renewal())
        })
        .on(Method::POST, "/v1/tasks/{id}/finish", Scopes(&[TasksWork]), tasks::finish, |about| {
            about
                .summary("Say how an attempt ended: `output`, `error` or `release`; it is on the disk when the answer comes")
                .note("A `conflict` says that the claim was over before. An output is kept then, marked as late.")
                .takes(true, &example::finish_task())
                .gives(200, &example::task())
        })
        .on(Method::GET, "/v1/agents", Scopes(&[TasksRead]), tasks::agents, |about| {
            about.summary("The workers that wait for work or do some").gives(200, &vec![example::agent()])
        })
}

#[cfg(feature = "blobs")]
fn blobs(routes: Routes) -> Routes {
    use super::blobs;

    let wait = "look for so long if nobody in reach has it, as `10m`; 10 s if not given";
    routes
        .on(Method::PUT, "/v1/blobs", Unbounded(&[BlobsWrite]), blobs::put, |about| {
            about
                .summary("Add content of any size; all of it is on this node's disk when the answer comes")
                .query("tag", text(), "a name that leads to it from now on, instead of a pin")
                .query("cached", flag(), "`true`: keep it only until it was not used for a while")
                .query("directory", flag(), "`true`: it has the links of a directory, whose files are here")
                .query("offered", text(), "the name of content that a program of the same account put beside; no body then")
                .takes_type(blobs::CONTENT, "any bytes")
                .gives(201, &example::blob())
        })
        .on(Method::GET, "/v1/blobs", Unbounded(&[BlobsRead]), blobs::list, |about| {
            about
                .summary("A page of the blobs that are here, by hash, with the nodes that have them now")
                .query("all", flag(), "`true`: with the files of directories")
                .query("limit", number(1, 1_000), "at most this many; 100 if not given")
                .query("after", text(), "go on where an earlier page ended, its `next`")
                .gives(200, &example::blob_page())
        })
        .on(Method::GET, "/v1/transfers", Unbounded(&[BlobsRead]), blobs::transfers, |about| {
            about.summary("The blobs that are being fetched to this node").gives(200, &[example::blob_transfer()])
        })
        .on(Method::GET, "/v1/blobs/{blob}", Unbounded(&[BlobsRead]), blobs::get, |about| {
            about
                .summary("The content of a blob, by its hash, the first digits of it, or a tag")
                .note("A blob that is not here is fetched first. Takes `Range` and `If-None-Match`; the `ETag` is the hash.")
                .query("wait", text(), wait)
                .gives_type(200, blobs::CONTENT, "any bytes")
                .gives_type(206, blobs::CONTENT, "some of them")
                .gives_nothing(304, "The caller has it.")
                .gives_nothing(416, "The blob has no such bytes.")
        })
        .on(Method::POST, "/v1/blobs/{blob}/fetch", Unbounded(&[BlobsRead]), blobs::fetch, |about| {
            about
                .summary("Fetch a blob to this node, with all files if it is a directory")
                .note("JSON Lines: how far it is, five times a second, and last the blob or an error.")
                .query("wait", text(), wait)
                .gives_type(200, JSON_LINES, &example::line(&example::blob_fetch()))
        })
        .on(Method::DELETE, "/v1/blobs/{blob}", Unbounded(&[BlobsWrite]), blobs::remove, |about| {
            about
                .summary("Remove a blob from this node, with its pin and tags; others keep theirs")
                .gives(200, &example::blobs_removed())
        })
        .on(Method::POST, "/v1/blobs/{blob}/pin", Unbounded(&[BlobsWrite]), blobs::pin, |about| {
            about.summary("Keep a blob that is here until it is unpinned").gives(200, &example::blob())
        })
        .on(Method::POST, "/v1/blobs/{blob}/unpin", Unbounded(&[BlobsWrite]), blobs::unpin, |about| {
            about.summary("Take the pin of a blob away").gives(200, &example::blob())
        })
        .on(Method::POST, "/v1/blobs/{blob}/tag", Unbounded(&[BlobsWrite]), blobs::tag, |about| {
            about
                .summary("Let a name lead to a blob that is here, and keep it so")
                .takes(true, &example::blob_tag())
                .gives(200, &example::blob())
        })
        .on(Method::POST, "/v1/blobs/{blob}/copies", Unbounded(&[BlobsWrite]), blobs::copies, |about| {
            about
                .summary("Have other members keep copies of a blob that is here, so many in all")
                .note("The answer comes before they have them: `copies.count` tells how many there are.")
                .takes(true, &example::want_copies())
                .gives(200, &example::blob())
        })
        .on(Method::DELETE, "/v1/blobs/tags/{tag}", Unbounded(&[BlobsWrite]), blobs::untag, |about| {
            about.summary("Take a name away; the answer is the blob to which it led").gives(200, &example::blob())
        })
        .on(Method::POST, "/v1/blobs/{blob}/verify", Unbounded(&[BlobsWrite]), blobs::verify, |about| {
            about
                .summary("Look through a blob that is here, with its files if it is a directory")
                .note("JSON Lines: how far it is, five times a second, and last the blobs or an error. Damaged parts are \
                       marked, and fetched anew from a member that has them.")
                .gives_type(200, JSON_LINES, &example::line(&example::blobs_verify()))
        })
        .on(Method::POST, "/v1/blobs/verify", Unbounded(&[BlobsWrite]), blobs::verify_all, |about| {
            about
                .summary("Look through the blobs that something keeps")
                .query("all", flag(), "`true`: those that nothing keeps, too")
                .note("JSON Lines, as for one blob.")
                .gives_type(200, JSON_LINES, &example::line(&example::blobs_verify()))
        })
        .on(Method::POST, "/v1/blobs/gc", Unbounded(&[BlobsWrite]), blobs::gc, |about| {
            about
                .summary("Remove the blobs that no pin, tag or directory keeps and nobody used for a while")
                .takes(false, &example::blob_gc())
                .gives(200, &example::blobs_removed())
        })
}

#[cfg(feature = "documents")]
fn documents(routes: Routes) -> Routes {
    use super::issued::Scope::{DocumentsRead, DocumentsWrite};
    use super::{automerge, documents};

    routes
        .on(Method::GET, "/automerge", Scopes(&[DocumentsRead]), automerge::automerge, |about| {
            about
                .summary(
                    "A WebSocket for programs with automerge-repo: documents by their addresses, in both directions",
                )
                .query("token", text(), "a token that names an agent, for programs that cannot set a header")
                .gives_nothing(101, "A WebSocket.")
        })
        .on(Method::GET, "/v1/documents", Scopes(&[DocumentsRead]), documents::list, |about| {
            about
                .summary("The documents of a space, by key; those without a key come last")
                .query("space", text(), "of this space")
                .query("limit", number(1, 1_000), "at most this many; 1,000 if not given")
                .query("after", text(), "go on behind this place: the `next` of the page before")
                .gives(200, &example::documents_page())
        })
        .on(Method::POST, "/v1/documents", Scopes(&[DocumentsWrite]), documents::create, |about| {
            about
                .summary("Create the document of a key, or find it: two nodes that create it apart create the same one")
                .takes(true, &example::new_document())
                .gives(201, &example::document())
                .gives(200, &example::document())
        })
        .on(Method::PUT, "/v1/documents", Scopes(&[DocumentsWrite]), documents::import, |about| {
            about
                .summary("Take the document of an Automerge file, as a new document")
                .query("space", text(), "in this space")
                .query("key", text(), "with this key")
                .query("id", text(), "as the document of this address; changes that are here already are passed over")
                .takes_type(documents::FILE, "the bytes of a file")
                .gives(201, &example::document())
        })
        .on(Method::GET, "/v1/documents/{key}", Scopes(&[DocumentsRead]), documents::get, |about| {
            about
                .summary("A document by its key or address, as JSON")
                .query("space", text(), "of this space")
                .query("path", text(), "the value at this JSON Pointer, as `/steps/0`; the whole, if not given")
                .query("version", text(), "as it was at this version")
                .query("at", text(), "as it was at this time, by the clocks of those who changed it")
                .gives(200, &example::document())
        })
        .on(Method::PATCH, "/v1/documents/{key}", Scopes(&[DocumentsWrite]), documents::merge, |about| {
            about
                .summary("Change a document by a merge patch (RFC 7396): `null` removes; only what differs is written")
                .query("space", text(), "of this space")
                .query("path", text(), "the value at this JSON Pointer; the whole, if not given")
                .query("allow_secret", flag(), "`true`, from a person: texts that look like credentials, too")
                .takes_value(&json!({ "title": "Release 2", "draft": null }))
                .gives(200, &example::document())
        })
        .on(Method::POST, "/v1/documents/{key}/edits", Scopes(&[DocumentsWrite]), documents::edit, |about| {
            about
                .summary("Change a document: all edits or none")
                .query("space", text(), "of this space")
                .takes(true, &example::document_edits())
                .gives(200, &example::document())
        })
        .on(Method::GET, "/v1/documents/{key}/history", Scopes(&[DocumentsRead]), documents::history, |about| {
            about
                .summary("The changes of a document, the newest first")
                .query("space", text(), "of this space")
                .query("limit", number(1, 1_000), "at most this many; 100 if not given")
                .gives(200, &example::document_history())
        })
        .on(Method::GET, "/v1/documents/{key}/conflicts", Scopes(&[DocumentsRead]), documents::conflicts, |about| {
            about
                .summary("The values that were written to one place of a document at once, the shown one first")
                .query("space", text(), "of this space")
                .query("path", text(), "the JSON Pointer of the place")
                .gives(200, &example::document_conflicts())
        })
        .on(Method::GET, "/v1/documents/{key}/text", Scopes(&[DocumentsRead]), documents::text, |about| {
            about
                .summary("A text of a document in runs of letters, each with its author, and its marks")
                .query("space", text(), "of this space")
                .query("path", text(), "the JSON Pointer of the text")
                .gives(200, &example::document_text())
        })
        .on(Method::GET, "/v1/documents/{key}/changes", Scopes(&[DocumentsRead]), documents::changes, |about| {
            about
                .summary("A document as it changes: server-sent events, with patches")
                .note(
                    "The id of an event is the version after it. `Last-Event-ID` goes on from there, and beats `from`.",
                )
                .query("space", text(), "of this space")
                .query("from", text(), "go on from this version; from now on if not given")
                .gives_type(200, "text/event-stream", &example::document_event())
        })
        .on(Method::GET, "/v1/documents/{key}/file", Scopes(&[DocumentsRead]), documents::export, |about| {
            about
                .summary("A document as a file that every program with Automerge reads")
                .query("space", text(), "of this space")
                .gives_type(200, documents::FILE, "the bytes of a file")
        })
        .on(Method::POST, "/v1/documents/{key}/name", Scopes(&[DocumentsWrite]), documents::name, |about| {
            about
                .summary("Give a document a key")
                .query("space", text(), "of this space")
                .takes(true, &example::document_name())
                .gives(200, &example::document())
        })
        .on(Method::POST, "/v1/documents/{key}/compact", Scopes(&[DocumentsWrite]), documents::compact, |about| {
            about
                .summary(
                    "Begin the document of a key anew from its value; the former one stays readable by its address",
                )
                .query("space", text(), "of this space")
                .gives(200, &example::document())
        })
}

fn the_coordinators(routes: Routes) -> Routes {
    routes
        .on(Method::GET, "/v1/coordinator", Scopes(&[MeshRead]), coordinator::show, |about| {
            about.summary("The coordinators, as this node sees them").gives(200, &example::coordinator())
        })
        .on(Method::GET, "/v1/audit", Owner, audit::list, |about| {
            about
                .summary("The audit of keys, locks and coordinators, oldest first")
                .query("after", json!({ "type": "integer", "minimum": 0 }), "go on after this entry, by number")
                .query("since", text(), "within this time, by the clocks of those who did it, as `1d`")
                .query("limit", number(1, 1_000), "at most this many; 100 if not given")
                .gives(200, &example::audit())
        })
        .on(Method::GET, "/v1/audit/verify", Owner, audit::verify, |about| {
            about
                .summary("Whether that log is as it was written, and as the other members have it")
                .note("Looks at some thousands of entries at a time: go on with `after` while there is a `next`.")
                .query("after", json!({ "type": "integer", "minimum": 0 }), "go on after this entry, by number")
                .gives(200, &example::audit_check())
        })
        .on(Method::POST, "/v1/coordinator/voters", Owner, coordinator::add_voter, |about| {
            about.summary("Have a member vote").takes(true, &example::add_voter()).gives(200, &example::coordinator())
        })
        .on(Method::DELETE, "/v1/coordinator/voters/{did}", Owner, coordinator::remove_voter, |about| {
            about.summary("Have a voter vote no more, by DID or name").gives(200, &example::coordinator())
        })
        .on(Method::POST, "/v1/coordinator/step-down", Owner, coordinator::step_down, |about| {
            about.summary("Have another voter lead").gives(200, &example::coordinator())
        })
        .on(Method::POST, "/v1/coordinator/recover", Owner, coordinator::recover, |about| {
            about
                .summary("Begin anew from this node's copy, after the loss of the quorum for good")
                .takes(true, &example::recover())
                .gives(200, &example::coordinator())
        })
}

fn the_mesh(routes: Routes) -> Routes {
    routes
        .on(Method::GET, "/v1/status", Scopes(&[MeshRead]), mesh::status, |about| {
            about.summary("This node and its mesh at a glance").gives(200, &example::status())
        })
        .on(Method::GET, "/v1/peers", Scopes(&[MeshRead]), mesh::peers, |about| {
            about.summary("The other members").gives(200, &vec![example::peer()])
        })
        .on(Method::GET, "/v1/members", Scopes(&[MeshRead]), mesh::members, |about| {
            about
                .summary("The members of the mesh")
                .query("revoked", json!({ "type": "boolean" }), "`true`: the former members, each with the end of it")
                .gives(200, &vec![example::member()])
        })
        .on(Method::POST, "/v1/members/{member}/revoke", Owner, mesh::revoke, |about| {
            about
                .summary("End a membership, by DID or name; an ended one does not return")
                .takes(false, &example::revoke())
                .gives(200, &example::revoked_member())
        })
        .on(Method::POST, "/v1/members/{member}/revocation", Owner, mesh::draft_revocation, |about| {
            about
                .summary("Draft the end of a membership for the mesh's root key to sign; nothing changes")
                .takes(false, &example::draft_revocation())
                .gives(200, &example::revocation_draft())
        })
        .on(Method::GET, "/v1/members/{member}/below", Scopes(&[MeshRead]), mesh::below, |about| {
            about
                .summary("The members whose membership would end with this one's, unless they are kept")
                .gives(200, &vec![example::member()])
        })
        .on(Method::POST, "/v1/leave", Owner, mesh::leave, |about| {
            about.summary("End this node's own membership; it keeps what it has").gives(200, &example::left())
        })
        .on(Method::POST, "/v1/key/rotate", Owner, mesh::rotate_key, |about| {
            about
                .summary("Give this node another key; the answer comes when the node has started again with it")
                .takes(false, &example::rotate_key())
                .gives(200, &example::rotated_key())
        })
        .on(Method::POST, "/v1/key/allow", Owner, mesh::allow_rotation, |about| {
            about
                .summary("Let a member's next new key through within a day of its last one; an admin's node")
                .takes(true, &example::allow_rotation())
                .gives(200, &example::rotation_allowed())
        })
        .on(Method::POST, "/v1/members/{member}/person", Owner, mesh::say_person, |about| {
            about
                .summary(
                    "Say whether a member is another machine of this node's person, or the first one of somebody else",
                )
                .takes(true, &example::say_person())
                .gives(200, &example::person_said())
        })
        .on(Method::POST, "/v1/key/draft", Owner, mesh::draft_rotation, |about| {
            about
                .summary(
                    "Draft the credentials of this node's next key for the mesh's root key to sign; nothing changes",
                )
                .gives(200, &example::rotation_draft())
        })
        .on(Method::POST, "/v1/invite", Owner, mesh::invite, |about| {
            about
                .summary("A ticket to join this mesh with")
                .takes(false, &example::invite())
                .gives(201, &example::invitation())
        })
        .on(Method::POST, "/v1/join", Owner, mesh::join, |about| {
            about
                .summary("Join another mesh; the answer comes when the node has started again in it")
                .takes(true, &example::join())
                .gives(200, &example::joined())
        })
        .on(Method::POST, "/v1/offline", Owner, mesh::offline, |about| {
            about.summary("Close all connections and refuse new ones").gives(200, &example::offline(true))
        })
        .on(Method::POST, "/v1/online", Owner, mesh::online, |about| {
            about.summary("Come back").gives(200, &example::offline(false))
        })
        .on(Method::POST, "/v1/compact", Owner, compact::compact, |about| {
            about
                .summary("Write this node's files anew without what was deleted; the answer comes when that is done")
                .note("Reads and writes go on meanwhile. The work goes on if the caller goes away.")
                .gives(200, &example::compacted())
        })
        .on(Method::GET, "/v1/compact", Owner, compact::compacting, |about| {
            about
                .summary("How far that is, and since when erased bytes are on the disk")
                .gives(200, &example::compacting())
        })
        .on(Method::POST, "/v1/stop", Owner, mesh::stop, |about| {
            about.summary("End the process; with the token only").gives(202, &example::stopping())
        })
}

fn tokens_and_settings(routes: Routes) -> Routes {
    routes
        .on(Method::POST, "/v1/tokens", Owner, tokens::create, |about| {
            about
                .summary("Make a token that names an agent, and says what it may do; with the `api-token` only")
                .note("The answer tells the token this once.")
                .takes(true, &example::new_token())
                .gives(201, &example::token_made())
        })
        .on(Method::GET, "/v1/tokens", Owner, tokens::list, |about| {
            about.summary("The tokens that name agents; with the `api-token` only").gives(200, &vec![example::token()])
        })
        .on(Method::DELETE, "/v1/tokens/{name}", Owner, tokens::revoke, |about| {
            about
                .summary("Revoke the token of an agent, and end what it opened; with the `api-token` only")
                .gives(200, &example::token_revoked())
        })
        .on(Method::GET, "/v1/approving", Owner, passphrase::show, |about| {
            about.summary("The proof that approving takes here").gives(200, &example::approving())
        })
        .on(Method::PUT, "/v1/approving", Person, passphrase::change, |about| {
            about
                .summary("Set, change or remove the passphrase for approving; a person's session")
                .note("Changing or removing it takes the former one. Of five wrong ones a minute no further one is heard.")
                .takes(true, &example::change_approving())
                .gives(200, &example::approving())
        })
        .on(Method::GET, "/v1/config", Owner, settings::show, |about| {
            about.summary("Each setting with its origin").gives(200, &vec![example::setting()])
        })
        .on(Method::PATCH, "/v1/config", Owner, settings::change, |about| {
            about
                .summary("Change settings; the answer has those that were named")
                .takes(true, &example::settings())
                .gives(200, &vec![example::setting()])
        })
}

fn page_and_process(routes: Routes) -> Routes {
    let mut routes = routes;
    for path in page::paths() {
        routes = routes.on(Method::GET, path, Nothing, page::file, |about| {
            about.summary("A file of the page; it holds no data").gives_nothing(200, "The file.")
        });
    }
    routes
        .on(Method::POST, "/v1/web", Owner, page::link, |about| {
            about.summary("A link that signs a browser in, once; with the token only").gives(201, &example::web_link())
        })
        .on(Method::GET, "/web/{code}", Nothing, page::follow, |about| {
            about.summary("The target of that link").gives_nothing(303, "To the page, with the cookie.")
        })
        .on(Method::POST, "/v1/session", Owner, page::sign_in, |about| {
            about.summary("Give this browser the cookie; with the token only").gives_nothing(204, "Signed in.").header(
                204,
                "set-cookie",
                "good for 7 days, HttpOnly, SameSite=Strict",
            )
        })
        .on(Method::DELETE, "/v1/session", Owner, page::sign_out, |about| {
            about.summary("Take the cookie from this browser").gives_nothing(204, "Signed out.")
        })
        .on(Method::GET, "/healthz", Nothing, mesh::health, |about| {
            about
                .summary("The process answers; with a nonce it proves that it holds the token")
                .note("A client that is about to send the token asks for the proof first, on the same connection.")
                .query("nonce", text(), "16 to 128 letters, digits, `-` or `_`, drawn at random")
                .gives_value(200, &json!({ "ok": true, "proof": "b6a1…" }))
        })
        .on(Method::GET, "/readyz", Nothing, mesh::ready, |about| {
            about.summary("The node answers").gives_value(200, &json!({ "ready": true, "mode": "full" }))
        })
        .on(Method::GET, "/metrics", Owner, metrics::metrics, |about| {
            about.summary("The figures of this process, for Prometheus").gives_type(
                200,
                "text/plain",
                "nexus_records{space=\"default\"} 42\n",
            )
        })
}
