//! Blobs: content in and out, whatever its size, and the marks that keep it.

use std::convert::Infallible;
use std::ops::Range;
use std::time::Duration;

use axum::Json as Answer;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::watch;

use super::extract::{Json, OptionalJson, Parameters, Path};
use super::guard::single;
use super::memories::JSON_LINES;
use super::pass::Pass;
use super::problem::Problem;
use super::{Api, wire};
use crate::Node;
use crate::blobs::{BlobEntry, BlobHash, BlobsToVerify, DirectoryProgress, Keep, VerifyProgress};

/// The type of content, of which nothing is known. A browser saves it and never shows it: it may be somebody's page.
pub(super) const CONTENT: &str = "application/octet-stream";
/// The time for which a blob is looked for that nobody in reach has, by default.
const WAIT: Duration = Duration::from_secs(10);
/// The longest time that a caller may wait for one.
const WAIT_MAX: Duration = Duration::from_secs(7 * 86_400);
/// The time between two lines about a fetch.
const LINE_EVERY: Duration = Duration::from_millis(200);
/// The longest time for which the rest of a refused body is read.
const LINGER: Duration = Duration::from_secs(2);
/// The time after which a blob that nothing keeps may go, by default.
const UNUSED_FOR: Duration = Duration::from_secs(3_600);

pub(super) async fn put(
    State(api): State<Api>,
    node: Node,
    pass: Pass,
    mut parameters: Parameters,
    body: Body,
) -> Result<Response, Problem> {
    let tag = parameters.one("tag")?;
    let is_cached = parameters.one_as("cached")?.unwrap_or(false);
    let is_directory = parameters.one_as("directory")?.unwrap_or(false);
    let offered = parameters.one("offered")?;
    parameters.end()?;
    let keep = match (tag, is_cached) {
        (Some(_), true) => return Err(Problem::new("invalid", "a blob with a tag is kept, so it is not `cached`")),
        (Some(tag), false) => Keep::Tagged(tag),
        (None, true) => Keep::Cached,
        (None, false) => Keep::Pinned,
    };
    let blobs = node.blobs();
    if let Some(name) = offered {
        if is_directory {
            return Err(Problem::new("invalid", "the links of a directory are sent, and not `offered`"));
        }
        let hash = blobs.take_offer(name, keep).await?.hash;
        return created(&node, blobs.entry(hash).await?.ok_or_else(|| gone(hash))?);
    }
    // the links of a directory are kept once all its files are seen to be here
    let mut writer = blobs.writer(if is_directory { Keep::Cached } else { keep.clone() }).await?;
    let mut pieces = body.into_data_stream();
    loop {
        let piece = tokio::select! {
            piece = pass.while_good(pieces.next()) => piece?,
            () = api.closing() => return Err(Problem::stopping()),
        };
        match piece {
            Some(Ok(piece)) => {
                if let Err(error) = writer.write(&piece).await {
                    // a caller that still sends would not see why
                    let rest = pieces.for_each(|_| std::future::ready(()));
                    let _ = tokio::time::timeout(LINGER, rest).await;
                    return Err(error.into());
                }
            }
            Some(Err(_)) => return Err(Problem::new("malformed", "the body broke off; nothing was kept")),
            None => break,
        }
    }
    let hash = writer.finish().await?.hash;
    let entry = if is_directory {
        blobs.keep_directory(hash, keep).await?
    } else {
        blobs.entry(hash).await?.ok_or_else(|| gone(hash))?
    };
    created(&node, entry)
}

/// The answer to a blob that was added.
fn created(node: &Node, entry: BlobEntry) -> Result<Response, Problem> {
    Ok((StatusCode::CREATED, Answer(wire::blob(entry, vec![node.did().to_string()]))).into_response())
}

pub(super) async fn list(node: Node, mut parameters: Parameters) -> Result<Answer<wire::BlobPage>, Problem> {
    let limit = parameters.one_as("limit")?.unwrap_or(100);
    let after = parameters.one_as::<BlobHash>("after")?;
    let all = parameters.one_as("all")?.unwrap_or(false);
    parameters.end()?;
    if !(1..=1_000).contains(&limit) {
        return Err(Problem::new("invalid", format!("limit is {limit}, it may be 1 to 1000")));
    }
    let page = node.blobs().page(after, limit, all).await?;
    let items = with_providers(&node, page.blobs).await;
    Ok(Answer(wire::BlobPage { items, next: page.next.map(|hash| hash.to_string()) }))
}

/// The blobs that are being fetched.
pub(super) async fn transfers(node: Node) -> Answer<Vec<wire::BlobTransfer>> {
    Answer(node.blobs().transfers().into_iter().map(wire::BlobTransfer::from).collect())
}

/// The content of a blob, all of it or a range. It is fetched first if it is not here.
pub(super) async fn get(
    State(api): State<Api>,
    node: Node,
    Path(name): Path,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let wait = wait(&mut parameters)?;
    parameters.end()?;
    let blobs = node.blobs();
    let hash = blobs.resolve(&name).await?;
    if blobs.info(hash).await?.is_none() {
        tokio::select! {
            fetched = blobs.fetch(hash, wait) => fetched.map(drop)?,
            () = api.closing() => return Err(Problem::stopping()),
        }
    }
    let reader = blobs.read(hash).await?;
    let size = reader.info().size;
    let tag = format!("\"{hash}\"");
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    let mut answer = HeaderMap::new();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT));
    answer.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    answer.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    answer.insert(header::ETAG, value(&tag));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| names_tag(known, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    // a range of something else is no use
    let is_same = headers.get(header::IF_RANGE).is_none_or(|known| known.as_bytes() == tag.as_bytes());
    let asked = if is_same { single(&headers, &header::RANGE)? } else { None };
    let (status, bytes) = match asked.map_or(Asked::Whole, |asked| asked_of(asked, size)) {
        Asked::Whole => (StatusCode::OK, 0..size),
        Asked::Range(range) => {
            answer.insert(header::CONTENT_RANGE, value(&format!("bytes {}-{}/{size}", range.start, range.end - 1)));
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Asked::Beyond => {
            answer.insert(header::CONTENT_RANGE, value(&format!("bytes */{size}")));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, answer).into_response());
        }
    };
    answer.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start));
    // a failure breaks the answer off before its length, so half a blob never passes for a whole one
    let pieces = blobs.stream(reader, bytes).map_ok(Bytes::from).inspect_err(move |error| {
        tracing::error!(blob = %hash.short(), %error, "a blob that is here cannot be read");
    });
    let pieces = pieces.take_until(async move { api.closing().await });
    Ok((status, answer, Body::from_stream(pieces)).into_response())
}

/// Fetches a blob, with all files if it is a directory. Tells line by line how far it is.
pub(super) async fn fetch(
    State(api): State<Api>,
    node: Node,
    Path(name): Path,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let wait = wait(&mut parameters)?;
    parameters.end()?;
    let blobs = node.blobs();
    let hash = blobs.resolve(&name).await?;
    let (seen, progress) = watch::channel(DirectoryProgress::default());
    let fetched = async move {
        tokio::select! {
            end = blobs.fetch_all(hash, wait, |now| drop(seen.send_replace(now.clone()))) => Ok(end?),
            () = api.closing() => Err(Problem::stopping()),
        }
    };
    let running = Running { node, progress, fetched: Some(fetched.boxed()) };
    let lines = stream::unfold(running, |mut running| async move {
        let line = running.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(line)), running))
    });
    Ok(([(header::CONTENT_TYPE, JSON_LINES)], Body::from_stream(lines)).into_response())
}

/// A fetch that somebody follows. It ends with whoever follows it.
struct Running {
    node: Node,
    progress: watch::Receiver<DirectoryProgress>,
    fetched: Option<BoxFuture<'static, Result<BlobEntry, Problem>>>,
}

impl Running {
    async fn next(&mut self) -> Option<String> {
        let fetched = self.fetched.as_mut()?;
        let line = tokio::select! {
            end = fetched => {
                self.fetched = None;
                // the last words on its way are of use to a reader of few lines
                let progress = Some((&*self.progress.borrow()).into());
                match end {
                    Ok(entry) => {
                        let blob = with_providers(&self.node, vec![entry]).await.pop();
                        wire::BlobFetch { progress, blob, error: None }
                    }
                    Err(problem) => wire::BlobFetch { progress, blob: None, error: Some(problem.into()) },
                }
            }
            () = tokio::time::sleep(LINE_EVERY) => {
                let progress = Some((&*self.progress.borrow()).into());
                wire::BlobFetch { progress, ..wire::BlobFetch::default() }
            }
        };
        // texts and numbers can always be written as JSON
        Some(serde_json::to_string(&line).unwrap_or_default() + "\n")
    }
}

pub(super) async fn remove(node: Node, Path(name): Path) -> Result<Answer<wire::BlobsRemoved>, Problem> {
    let blobs = node.blobs();
    let hash = blobs.resolve(&name).await?;
    let removed = blobs.remove(hash).await?;
    if removed.blobs == 0 && removed.bytes == 0 { Err(gone(hash)) } else { Ok(Answer(removed.into())) }
}

pub(super) async fn pin(node: Node, Path(name): Path) -> Result<Answer<wire::Blob>, Problem> {
    let hash = node.blobs().resolve(&name).await?;
    node.blobs().pin(hash).await?;
    shown(&node, hash).await
}

pub(super) async fn unpin(node: Node, Path(name): Path) -> Result<Answer<wire::Blob>, Problem> {
    let hash = node.blobs().resolve(&name).await?;
    node.blobs().unpin(hash).await?;
    shown(&node, hash).await
}

pub(super) async fn tag(
    node: Node,
    Path(name): Path,
    Json(tag): Json<wire::BlobTag>,
) -> Result<Answer<wire::Blob>, Problem> {
    let hash = node.blobs().resolve(&name).await?;
    node.blobs().tag(&tag.tag, hash).await?;
    shown(&node, hash).await
}

pub(super) async fn copies(
    node: Node,
    Path(name): Path,
    Json(wanted): Json<wire::WantCopies>,
) -> Result<Answer<wire::Blob>, Problem> {
    let hash = node.blobs().resolve(&name).await?;
    node.blobs().want_copies(hash, wanted.copies).await?;
    shown(&node, hash).await
}

pub(super) async fn untag(node: Node, Path(tag): Path) -> Result<Answer<wire::Blob>, Problem> {
    let hash = node.blobs().untag(&tag).await?;
    shown(&node, hash).await
}

pub(super) async fn gc(
    node: Node,
    OptionalJson(asked): OptionalJson<wire::BlobGc>,
) -> Result<Answer<wire::BlobsRemoved>, Problem> {
    let unused_for = asked.unused_for.map_or(UNUSED_FOR, |span| span.0);
    Ok(Answer(node.blobs().gc(unused_for, asked.dry_run).await?.into()))
}

/// Looks through a blob, and tells line by line how far it is.
pub(super) async fn verify(State(api): State<Api>, node: Node, Path(name): Path) -> Result<Response, Problem> {
    let hash = node.blobs().resolve(&name).await?;
    Ok(verifying(api, &node, BlobsToVerify::One(hash)))
}

/// Looks through many blobs.
pub(super) async fn verify_all(
    State(api): State<Api>,
    node: Node,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let all = parameters.one_as("all")?.unwrap_or(false);
    parameters.end()?;
    Ok(verifying(api, &node, if all { BlobsToVerify::All } else { BlobsToVerify::Kept }))
}

fn verifying(api: Api, node: &Node, which: BlobsToVerify) -> Response {
    let blobs = node.blobs();
    let (seen, progress) = watch::channel(VerifyProgress::default());
    let ends = async move {
        tokio::select! {
            end = blobs.verify(which, |now| {
                seen.send_replace(now);
            }) => Ok(end?),
            () = api.closing() => Err(Problem::stopping()),
        }
    };
    let running = Some((progress, ends.boxed()));
    let lines = stream::unfold(running, |running| async move {
        let (progress, mut ends) = running?;
        let (line, running) = tokio::select! {
            end = &mut ends => {
                let line = match end {
                    Ok(blobs) => {
                        let blobs = Some(blobs.into_iter().map(wire::BlobVerified::from).collect());
                        wire::BlobsVerify { blobs, ..wire::BlobsVerify::default() }
                    }
                    Err(problem) => wire::BlobsVerify { error: Some(Problem::into(problem)), ..wire::BlobsVerify::default() },
                };
                (line, None)
            }
            () = tokio::time::sleep(LINE_EVERY) => {
                let now = Some((*progress.borrow()).into());
                (wire::BlobsVerify { progress: now, ..wire::BlobsVerify::default() }, Some((progress, ends)))
            }
        };
        // texts and numbers can always be written as JSON
        let line = serde_json::to_string(&line).unwrap_or_default() + "\n";
        Some((Ok::<_, Infallible>(Bytes::from(line)), running))
    });
    ([(header::CONTENT_TYPE, JSON_LINES)], Body::from_stream(lines)).into_response()
}

async fn shown(node: &Node, hash: BlobHash) -> Result<Answer<wire::Blob>, Problem> {
    let entry = node.blobs().entry(hash).await?.ok_or_else(|| gone(hash))?;
    let mut shown = with_providers(node, vec![entry]).await;
    shown.pop().map(Answer).ok_or_else(|| gone(hash))
}

fn gone(hash: BlobHash) -> Problem {
    let problem = Problem::new("not_found", format!("the blob {hash} is not here"));
    problem.hint(format!("`nexus-node blob get {hash} -o FILE` gets it from the members that have it"))
}

/// The blobs with the nodes that have them now.
async fn with_providers(node: &Node, entries: Vec<BlobEntry>) -> Vec<wire::Blob> {
    let hashes: Vec<BlobHash> = entries.iter().map(|entry| entry.hash).collect();
    let others = node.blobs().holders(&hashes).await;
    let own = node.did().to_string();
    let blob = |entry: BlobEntry| {
        let theirs = others.get(&entry.hash).into_iter().flatten().map(|(did, _)| did.to_string());
        let providers = std::iter::once(own.clone()).chain(theirs).collect();
        wire::blob(entry, providers)
    };
    entries.into_iter().map(blob).collect()
}

fn wait(parameters: &mut Parameters) -> Result<Duration, Problem> {
    let wait = parameters.one("wait")?.map(|text| wire::parse_duration(&text)).transpose();
    let wait = wait.map_err(|error| Problem::new("invalid", format!("wait: {error}")))?.unwrap_or(WAIT);
    if wait <= WAIT_MAX { Ok(wait) } else { Err(Problem::new("invalid", "wait may be a week at most")) }
}

/// Whether `If-None-Match` names this version.
fn names_tag(known: &HeaderValue, tag: &str) -> bool {
    let known = known.to_str().unwrap_or_default();
    known.split(',').map(|known| known.trim().trim_start_matches("W/")).any(|known| known == "*" || known == tag)
}

/// The bytes that a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// All. This is also the answer to a text that is no range, and to several ranges.
    Whole,
    Range(Range<u64>),
    /// None that the blob has.
    Beyond,
}

/// The bytes that a `Range` asks for (RFC 9110, 14.1.2).
fn asked_of(range: &str, size: u64) -> Asked {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
    let Some((begin, end)) = range.trim().strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let range = match (begin.is_empty(), end.is_empty(), digits(begin), digits(end)) {
        (true, false, _, Some(last)) => size.saturating_sub(last)..size,
        (false, true, Some(begin), _) => begin..size,
        (false, false, Some(begin), Some(end)) if begin <= end => begin..end.saturating_add(1).min(size),
        _ => return Asked::Whole,
    };
    if range.start < range.end { Asked::Range(range) } else { Asked::Beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Commands and API | A range of a blob is that of RFC 9110; a text that is no range is answered with all of it
    #[test]
    fn a_range_is_read_as_the_standard_says() {
        let range = |begin, end| Asked::Range(begin..end);
        for (asked, expected) in [
            ("bytes=0-0", range(0, 1)),
            ("bytes=2-", range(2, 10)),
            ("bytes=-3", range(7, 10)),
            ("bytes=-99", range(0, 10)),
            ("bytes=5-99", range(5, 10)),
            ("bytes=0-18446744073709551615", range(0, 10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=99999999999999999999-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=3-2", Asked::Whole),
            ("bytes=0-1,4-5", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("items=0-1", Asked::Whole),
            ("", Asked::Whole),
        ] {
            assert_eq!(asked_of(asked, 10), expected, "{asked}");
        }
        assert_eq!(asked_of("bytes=0-", 0), Asked::Beyond);
    }
}
