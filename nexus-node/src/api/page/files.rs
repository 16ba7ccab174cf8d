//! The files of the page, which are inside the program.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::problem::no_route;

/// A file of the page.
struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: &[File] = &[
    File { path: "/", kind: "text/html; charset=utf-8", bytes: include_bytes!("index.html") },
    File { path: "/page.css", kind: "text/css; charset=utf-8", bytes: include_bytes!("page.css") },
    File { path: "/page.js", kind: SCRIPT, bytes: include_bytes!("page.js") },
    File { path: "/show.js", kind: SCRIPT, bytes: include_bytes!("show.js") },
    File { path: "/api.js", kind: SCRIPT, bytes: include_bytes!("api.js") },
    File { path: "/map.js", kind: SCRIPT, bytes: include_bytes!("map.js") },
    File { path: "/memory.js", kind: SCRIPT, bytes: include_bytes!("memory.js") },
    File { path: "/memories.js", kind: SCRIPT, bytes: include_bytes!("memories.js") },
    File { path: "/task.js", kind: SCRIPT, bytes: include_bytes!("task.js") },
    File { path: "/tasks.js", kind: SCRIPT, bytes: include_bytes!("tasks.js") },
    File { path: "/documents.js", kind: SCRIPT, bytes: include_bytes!("documents.js") },
    File { path: "/files.js", kind: SCRIPT, bytes: include_bytes!("files.js") },
    File { path: "/members.js", kind: SCRIPT, bytes: include_bytes!("members.js") },
    File { path: "/keys.js", kind: SCRIPT, bytes: include_bytes!("keys.js") },
    File { path: "/icon.svg", kind: "image/svg+xml", bytes: include_bytes!("icon.svg") },
];

/// The page may load its own files and talk to its own API, and nothing else. So a memory's text cannot
/// become a script, and shown data cannot be sent away.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The path of one-time links.
pub(super) const LINK: &str = "/web/";

/// The paths of the files.
pub(in crate::api) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.path)
}

/// Whether a path needs no token: the files, and the links, which are tokens themselves.
pub(in crate::api) fn is_open(path: &str) -> bool {
    path.starts_with(LINK) || paths().any(|file| file == path)
}

/// Serves a file.
pub(in crate::api) async fn file(uri: axum::http::Uri, headers: HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.path == uri.path()) else {
        return no_route().await.into_response();
    };
    let tag = format!("\"{}\"", &blake3::hash(file.bytes).to_hex()[..16]);
    let seen = headers.get(header::IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes());
    let body = if seen { &[][..] } else { file.bytes };
    let mut response = (if seen { StatusCode::NOT_MODIFIED } else { StatusCode::OK }, body).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    out.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
    response
}
