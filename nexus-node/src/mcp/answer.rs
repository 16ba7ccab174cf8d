//! Results of tools, and how much of them fits.

use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, CustomRequest, ErrorCode, PaginatedRequestParams};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::NodeError;
use crate::problem::Problem;

/// How many characters count as a token.
const CHARS_PER_TOKEN: usize = 4;

/// Methods that exist: what asks for one of them and still cannot be read is not of its shape.
const METHODS: &[&str] = &[
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "server/discover",
    "subscriptions/listen",
];
/// Those that 2026-07-28 has no more.
const METHODS_BEFORE: &[&str] = &["initialize", "ping"];

/// What a tool says when it could not do as it was asked. A model reads it, so it says what to do.
pub(super) type Refusal = Problem;

/// The answer of a tool, or its refusal, for the wire.
pub(super) fn respond(answer: Result<Value, Refusal>) -> CallToolResponse {
    let mut result = match answer {
        Ok(value) => CallToolResult::structured(value),
        Err(problem) => refusal(&problem),
    };
    result.is_error = result.is_error.filter(|error| *error);
    CallToolResponse::Complete(result)
}

fn refusal(problem: &Problem) -> CallToolResult {
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    let mut result = CallToolResult::error(vec![ContentBlock::text(format!("{}{hint}", problem.message))]);
    result.structured_content =
        Some(json!({ "error": { "code": problem.code, "message": problem.message, "hint": problem.hint } }));
    result
}

/// The arguments of a tool. What does not fit is told to the model, which can mend it.
pub(super) fn arguments<T: DeserializeOwned>(given: Option<rmcp::model::JsonObject>) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(given.unwrap_or_default()))
        .map_err(|error| Problem::new("invalid", format!("the arguments do not fit: {error}")))
}

/// There is no tool of that name.
pub(super) fn no_tool(name: &str) -> ErrorData {
    let name: String = name.chars().take(64).collect();
    ErrorData::invalid_params(format!("Unknown tool: {name}"), None)
}

/// Lists here have one page: there is no cursor to come with.
pub(super) fn first_page(page: Option<PaginatedRequestParams>) -> Result<(), ErrorData> {
    match page.and_then(|page| page.cursor) {
        None => Ok(()),
        Some(_) => Err(ErrorData::invalid_params("the list has one page, and no cursor leads into it", None)),
    }
}

/// A request that rmcp could not read as one it knows.
pub(super) fn unread(request: &CustomRequest, context: &RequestContext<RoleServer>) -> ErrorData {
    let method = request.method.as_str();
    let before = context.meta.protocol_version().is_none_or(|version| version.has_initialize());
    if METHODS.contains(&method) || (before && METHODS_BEFORE.contains(&method)) {
        ErrorData::invalid_params(format!("the params of {} are not of its shape", request.method), None)
    } else {
        no_method()
    }
}

/// Nothing of that kind is offered.
pub(super) fn no_method() -> ErrorData {
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "Method not found", None)
}

/// A resource that does not exist.
pub(super) fn no_resource(uri: &str) -> ErrorData {
    let uri: String = uri.chars().take(256).collect();
    ErrorData::resource_not_found(format!("Resource {uri} not found"), Some(json!({ "uri": uri })))
}

/// An error of the node, in the words of the API.
pub(super) fn refused(error: NodeError) -> Refusal {
    error.into()
}

/// Room for so many tokens.
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

    /// How many characters are left.
    pub(super) fn chars(&self) -> usize {
        self.chars
    }

    /// Takes room for something of this length if there is as much.
    pub(super) fn take(&mut self, chars: usize) -> bool {
        let fits = chars <= self.chars;
        if fits {
            self.chars -= chars;
        }
        fits
    }
}
