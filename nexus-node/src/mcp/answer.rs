//! Results of tools, and the budget of tokens for them.

use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, CustomRequest, ErrorCode, PaginatedRequestParams};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::json;

use super::core::in_one_line;
use crate::NodeError;
use crate::problem::Problem;

/// The number of characters that count as a token.
const CHARS_PER_TOKEN: usize = 4;

/// Known methods. A request for one of them that cannot be read is of the wrong shape.
const METHODS: &[&str] = &[
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "server/discover",
    "subscriptions/listen",
];
/// Methods that 2026-07-28 has dropped.
const METHODS_BEFORE: &[&str] = &["initialize", "ping"];

/// The refusal of a tool. A model reads it, so it names the remedy.
pub(super) type Refusal = Problem;

/// The result or the refusal of a tool, for the wire.
///
/// A result is text alone. All versions of MCP let a tool without an output schema answer so, and nothing is there twice.
/// A refusal has its code for programs beside its words.
pub(super) fn respond(answer: Result<String, Refusal>) -> CallToolResponse {
    CallToolResponse::Complete(match answer {
        Ok(text) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
            result.is_error = None;
            result
        }
        Err(problem) => refusal(&problem),
    })
}

/// The refusal of a tool as a result.
pub(super) fn refusal(problem: &Problem) -> CallToolResult {
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    // names of others may be in it
    let text = in_one_line(&format!("{}{hint}", problem.message));
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.structured_content =
        Some(json!({ "error": { "code": problem.code, "message": problem.message, "hint": problem.hint } }));
    result
}

/// The error for an unknown tool.
pub(super) fn no_tool(name: &str) -> ErrorData {
    let name: String = name.chars().take(64).collect();
    ErrorData::invalid_params(format!("Unknown tool: {name}"), None)
}

/// Refuses a cursor: lists here have one page.
pub(super) fn first_page(page: Option<PaginatedRequestParams>) -> Result<(), ErrorData> {
    match page.and_then(|page| page.cursor) {
        None => Ok(()),
        Some(_) => Err(ErrorData::invalid_params("the list has one page, and no cursor leads into it", None)),
    }
}

/// The error for a request that rmcp could not read.
pub(super) fn unread(request: &CustomRequest, context: &RequestContext<RoleServer>) -> ErrorData {
    let method = request.method.as_str();
    let before = context.meta.protocol_version().is_none_or(|version| version.has_initialize());
    if METHODS.contains(&method) || (before && METHODS_BEFORE.contains(&method)) {
        ErrorData::invalid_params(format!("the params of {} are not of its shape", request.method), None)
    } else {
        no_method()
    }
}

/// The error for a method that is not offered.
pub(super) fn no_method() -> ErrorData {
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "Method not found", None)
}

/// The error for an unknown resource.
pub(super) fn no_resource(uri: &str) -> ErrorData {
    let uri: String = uri.chars().take(256).collect();
    ErrorData::resource_not_found(format!("Resource {uri} not found"), Some(json!({ "uri": uri })))
}

/// An error of the node, with the API's code and hint.
pub(super) fn refused(error: NodeError) -> Refusal {
    error.into()
}

/// A budget of tokens for a graph, whose shape is JSON.
#[derive(Debug)]
pub(super) struct Budget {
    chars: usize,
}

impl Budget {
    pub(super) fn of_tokens(tokens: usize) -> Self {
        Self { chars: tokens.saturating_mul(CHARS_PER_TOKEN) }
    }

    pub(super) fn add_tokens(&mut self, tokens: usize) {
        self.chars = self.chars.saturating_add(tokens.saturating_mul(CHARS_PER_TOKEN));
    }

    /// Takes room for this many characters, if there is as much.
    pub(super) fn take(&mut self, chars: usize) -> bool {
        let fits = chars <= self.chars;
        if fits {
            self.chars -= chars;
        }
        fits
    }
}
