//! The core profile: six tools over the memory.
//!
//! A model reads the descriptions at every start, so they are few and short. The author, the node and
//! the program of a memory are written here. A model chooses the text of a memory, not its author.

mod arguments;
mod cursor;
mod digest;
mod misfit;
mod shown;
mod tools;

use std::borrow::Cow;

use nexus_identity::Did;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, CustomRequest,
    CustomResult, DiscoverResult, GetPromptRequestParams, GetPromptResponse, Implementation, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use self::arguments::{Edit, Forget, Get, Recall, Remember, SessionStart, arguments};
use self::cursor::RecallCursor;
use self::shown::Shown;
use super::agent::Agent;
use super::answer::{self, Refusal, refused, respond};
use super::span::traced;
use super::{DESCRIPTION_TTL_MS, MEMORIES_INFORM, VERSIONS};
use crate::problem::Problem;
use crate::{Memory, NewMemory, Node, Patch, RecallQuery, ValidAt};

/// The metadata key where nodes kept an agent's name before memories had an origin.
pub(super) const AGENT: &str = "agent";
/// The least characters of an id for forgetting a memory: a typo must not hit another one.
const FORGET_ID_CHARS_MIN: usize = 8;
/// The answer where no memory has enough of the question.
const NOTHING_SPEAKS: &str = "Nothing speaks of that. Ask again in other words before you take it for unknown; what is \
    listed shares a word or two.";
/// The most memories of a recall.
const RECALLED_MAX: usize = 1_000;

const INSTRUCTIONS: &str = "A memory that you share with the other agents of this person, on all their machines. \
    Call session_start first, recall before you ask or assume, and remember what will matter in another session: \
    decisions with their reasons, preferences, how things are done here, what is unfinished.";

/// The words by which a client tells its model of this server.
fn instructions() -> String {
    format!("{INSTRUCTIONS} {MEMORIES_INFORM}")
}

/// The server of one request.
#[derive(Clone)]
pub(super) struct Core {
    node: Node,
    agent: Agent,
    project: Option<String>,
}

impl Core {
    pub(super) fn new(node: Node, agent: Agent, project: Option<String>) -> Self {
        Self { node, agent, project }
    }

    async fn call(&self, tool: &str, given: Option<rmcp::model::JsonObject>) -> Option<Result<Value, Refusal>> {
        Some(match tool {
            "session_start" => match arguments::<SessionStart>(tool, given) {
                Ok(asked) => self.session_start(asked).await,
                Err(refusal) => Err(refusal),
            },
            "remember" => match arguments::<Remember>(tool, given) {
                Ok(memory) => self.remember(memory).await,
                Err(refusal) => Err(refusal),
            },
            "recall" => match arguments::<Recall>(tool, given) {
                Ok(asked) => self.recall(asked).await,
                Err(refusal) => Err(refusal),
            },
            "get" => match arguments::<Get>(tool, given) {
                Ok(Get { id }) => self.get(&id).await,
                Err(refusal) => Err(refusal),
            },
            "edit" => match arguments::<Edit>(tool, given) {
                Ok(edit) => self.edit(edit).await,
                Err(refusal) => Err(refusal),
            },
            "forget" => match arguments::<Forget>(tool, given) {
                Ok(Forget { id }) => self.forget(&id).await,
                Err(refusal) => Err(refusal),
            },
            _ => return None,
        })
    }

    /// Whether a tool takes these arguments.
    #[cfg(feature = "testing")]
    pub(super) fn takes(tool: &str, given: rmcp::model::JsonObject) -> bool {
        let asked = |limit: Result<usize, Refusal>, budget: bool| limit.is_ok() && budget;
        match tool {
            "session_start" => arguments::<SessionStart>(tool, Some(given))
                .is_ok_and(|start| asked(start.limit(), start.budget().is_ok()) && start.cursor.is_none()),
            "remember" => arguments::<Remember>(tool, Some(given)).is_ok(),
            "recall" => arguments::<Recall>(tool, Some(given)).is_ok_and(|recall| {
                let node = nexus_identity::Did::from_bytes([1; 32]);
                let cursor = recall.cursor.as_deref().map(|cursor| RecallCursor::parse(cursor, &recall, &node));
                asked(recall.limit(), recall.budget().is_ok()) && cursor.is_none_or(|cursor| cursor.is_ok())
            }),
            "get" => arguments::<Get>(tool, Some(given)).is_ok(),
            "edit" => arguments::<Edit>(tool, Some(given)).is_ok(),
            "forget" => arguments::<Forget>(tool, Some(given)).is_ok(),
            _ => false,
        }
    }

    async fn session_start(&self, asked: SessionStart) -> Result<Value, Refusal> {
        let project = asked.project.clone().or_else(|| self.project.clone());
        digest::digest(&self.node, &self.agent, project, &asked).await
    }

    async fn remember(&self, memory: Remember) -> Result<Value, Refusal> {
        let Remember { text, kind, mut tags, meta, aliases, space, key, ttl, source } = memory;
        let no_tags = tags.is_empty();
        if meta.contains_key(AGENT) {
            let message = "`agent` in the metadata is the node's: older ones keep the program's name there";
            return Err(Problem::new("invalid", message).hint("use another name"));
        }
        let origin = self.agent.caller().origin(None, source.map(Into::into))?;
        if let Some(tag) = self.project.as_deref().map(project_tag)
            && !tags.contains(&tag)
        {
            tags.push(tag);
        }
        let ttl = ttl.map(|ttl| ttl.0);
        let memory = NewMemory { text, space, kind, tags, meta, aliases, key, ttl, origin, ..NewMemory::default() };
        // the project's tag alone replaces no tags
        let memory = NewMemory { keeps: Some(memory.not_given(no_tags)), ..memory };
        let remembered = self.node.brain().remember_noting_duplicates(memory).await.map_err(refused)?;
        let mut answer = json!({
            "id": remembered.id.to_string(),
            "agent": self.agent.name(),
            "durability": {
                "local": remembered.durability.local,
                "replicated": remembered.durability.replicated,
            },
        });
        if remembered.replaced {
            answer["replaced"] = true.into();
        }
        if let Some(of) = remembered.duplicate_of {
            answer["duplicate_of"] = of.to_string().into();
        }
        Ok(answer)
    }

    async fn recall(&self, asked: Recall) -> Result<Value, Refusal> {
        let me = self.node.did();
        let limit = asked.limit()?;
        let from = match &asked.cursor {
            Some(cursor) => RecallCursor::parse(cursor, &asked, &me)?,
            None => 0,
        };
        let project = self.project.as_deref().filter(|_| !asked.everywhere).map(project_tag);
        // of those found, some may belong to other projects
        let spare = if project.is_some() { 4 } else { 1 };
        let query = RecallQuery {
            text: asked.query.clone(),
            or: asked.queries.clone(),
            min: None,
            spaces: asked.spaces.clone(),
            limit: (from + limit * spare).min(RECALLED_MAX),
            tags: asked.tags.clone(),
            kinds: asked.kinds.clone(),
            by: asked.by.clone(),
            since: asked.since.map(|since| since.0),
            tokens: None,
            valid_at: ValidAt::Now,
        };
        let recalled = self.node.brain().recall(query).await?;
        let found = recalled.hits.len();
        let (nothing_speaks, indexed) = (recalled.is_empty(), recalled.indexed);
        let mut budget = asked.budget()?;
        let (mut memories, mut end) = (Vec::new(), from);
        for hit in recalled.hits.into_iter().skip(from) {
            if memories.len() == limit {
                break;
            }
            if project.as_deref().is_none_or(|tag| is_of_project(&hit.memory, tag)) {
                let key = self.key_of(&hit.memory).await;
                let shown = Shown::of(hit.memory).with_key(key).with_same(hit.same, hit.weak);
                let shown = if asked.why { shown.with_why(hit.score, hit.why) } else { shown };
                match shown.into_budget(&mut budget, memories.is_empty()) {
                    Some(memory) => memories.push(memory),
                    None => break,
                }
            }
            end += 1;
        }
        let truncated = end < found || recalled.truncated;
        let next = (truncated && end < RECALLED_MAX).then(|| RecallCursor::render(end, &asked, &me));
        let mut answer = json!({ "memories": memories, "truncated": truncated, "next": next });
        if indexed < 1.0 {
            answer["index"] = format!("{:.0} % searched: the index is being made", indexed * 100.0).into();
        }
        if nothing_speaks {
            answer["note"] = NOTHING_SPEAKS.into();
        }
        Ok(answer)
    }

    async fn get(&self, id: &str) -> Result<Value, Refusal> {
        let memory = self.node.brain().get(id).await.map_err(refused)?;
        let key = self.key_of(&memory).await;
        Ok(Shown::whole(memory).with_key(key).into_value())
    }

    async fn edit(&self, edit: Edit) -> Result<Value, Refusal> {
        let Edit { id, text, kind, tags, aliases, meta } = edit;
        if text.is_none() && kind.is_none() && tags.is_none() && aliases.is_none() && meta.is_none() {
            let problem = Problem::new("invalid", "nothing to change was given");
            return Err(problem.hint("give a text, a kind, tags or metadata"));
        }
        let origin = self.agent.caller().origin(None, None)?;
        let patch = Patch { text, kind, tags, meta, aliases, origin, ..Patch::default() };
        let memory = self.node.brain().edit(id.as_str(), patch).await.map_err(refused)?;
        Ok(Shown::whole(memory).into_value())
    }

    /// The name under which a memory is replaced. A memory that is forgotten meanwhile has none.
    async fn key_of(&self, memory: &Memory) -> Option<String> {
        self.node.brain().key_of(memory.id).await.ok().flatten()
    }

    async fn forget(&self, id: &str) -> Result<Value, Refusal> {
        if id.chars().count() < FORGET_ID_CHARS_MIN {
            let message = format!("an id has at least {FORGET_ID_CHARS_MIN} characters here");
            return Err(Problem::new("invalid", message).hint("give the whole id, as recall shows it"));
        }
        let brain = self.node.brain();
        let memory = brain.get(id).await.map_err(refused)?;
        brain.forget(memory.id).await.map_err(refused)?;
        let peers = self.node.peers().await;
        let replicated = peers.iter().filter(|peer| peer.synced).count();
        Ok(json!({
            "id": memory.id.to_string(),
            "forgotten": true,
            "text": shown::beginning(&memory.text),
            "durability": { "local": true, "replicated": replicated },
        }))
    }
}

/// The beginning of the tags of projects.
const PROJECT: &str = "project:";

/// The tag of a project's memories.
fn project_tag(project: &str) -> String {
    format!("{PROJECT}{project}")
}

/// Whether a memory belongs to the project with this tag, or to none.
fn is_of_project(memory: &Memory, tag: &str) -> bool {
    memory.tags.iter().any(|own| own == tag) || !memory.tags.iter().any(|own| own.starts_with(PROJECT))
}

impl ServerHandler for Core {
    fn get_info(&self) -> ServerConfig {
        let server = Implementation::new("nexus", env!("CARGO_PKG_VERSION")).with_title("Nexus memory");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(server)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
            .with_instructions(instructions())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(VERSIONS)
    }

    async fn discover(&self, _: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        Ok(DiscoverResult::from_server_info(VERSIONS.to_vec(), self.get_info())
            .with_ttl_ms(DESCRIPTION_TTL_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn list_tools(
        &self,
        page: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        answer::first_page(page)?;
        Ok(ListToolsResult::with_all_items(tools::all().to_vec())
            .with_ttl_ms(DESCRIPTION_TTL_MS)
            .with_cache_scope(CacheScope::Public))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match traced(&context, self.call(&request.name, request.arguments)).await {
            Some(answer) => Ok(respond(answer)),
            None => Err(answer::no_tool(&request.name)),
        }
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(answer::unread(&request, &context))
    }

    // An undeclared method is refused, not answered with nothing.

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(answer::no_method())
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(answer::no_method())
    }

    async fn get_prompt(
        &self,
        _: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Err(answer::no_method())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(answer::no_method())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(answer::no_method())
    }
}

/// The member's name, or its DID.
fn name_or_did(name: Option<&str>, did: &Did) -> String {
    name.filter(|name| !name.is_empty()).map_or_else(|| did.to_string(), str::to_owned)
}
