//! The core profile: four tools over the memory. The full profile has three more for tasks, and three for documents.
//!
//! A model pays for each token: for the descriptions at every start, and for the answers. So both are few and short, and
//! an answer is text in lines. The author, the node and
//! the program of a memory are written here. A model chooses the text of a memory, not its author.

mod arguments;
mod brief;
mod cursor;
#[cfg(feature = "documents")]
mod documents;
mod line;
mod misfit;
mod tasks;
#[cfg(test)]
mod tests;
mod tools;
mod whole;

use std::borrow::Cow;

use nexus_identity::Timestamp;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, CustomRequest,
    CustomResult, DiscoverResult, GetPromptRequestParams, GetPromptResponse, Implementation, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

pub(super) use self::arguments::tokens_within;
use self::arguments::{Forget, Recall, Remember, SessionStart, TaskCreate, TaskUpdate, Wanted, arguments};
pub(super) use self::brief::brief;
use self::cursor::RecallCursor;
use self::whole::Whole;
use super::agent::Agent;
use super::answer::{self, Refusal, refused, respond};
use super::raw::TaskJson;
use super::span::{part, traced};
use super::tokens::{Room, beginning};
use super::{DESCRIPTION_TTL_MS, MEMORIES_INFORM, VERSIONS};
use crate::api::pass::Pass;
use crate::brain::{Handle, PROJECT_TAG, matched_form};
use crate::memory::{Hit, MemoryId};
use crate::memory::{Recalled, ValidAt};
use crate::problem::Problem;
use crate::project::ProjectChoice;
use crate::{Brain, Memory, NewMemory, Node, Patch, RecallQuery};

/// The metadata key where nodes kept an agent's name before memories had an origin.
pub(super) const AGENT: &str = "agent";
/// The least characters of an id for forgetting a memory: a typo must not hit another one.
const FORGET_ID_CHARS_MIN: usize = 8;
/// The most of a contradicted memory's text that is told, in tokens.
const CONTRADICTED_TOKENS: usize = 40;
/// The answer where no memory has enough of the question.
const NOTHING_SPEAKS: &str = "Nothing speaks of that. Ask again in other words before you take it for unknown; what is \
    listed shares a word or two.";
/// The answer where all hits are of other projects.
const NOTHING_IN_PROJECT: &str = "Nothing speaks of that. Ask again in other words, or with everywhere for other projects, \
    before you take it for unknown; what is listed shares a word or two.";
/// The most other memories that say the same as a hit, by their ids.
const SAME_MAX: usize = 3;
/// The length of the beginning of a forgotten text, in tokens.
const FORGOTTEN_TOKENS: usize = 20;
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
pub(super) struct CoreServer {
    node: Node,
    /// The memory, as far as the caller may use it.
    brain: Brain,
    agent: Agent,
    project: Option<ProjectChoice>,
    pass: Pass,
    /// Whether it has the tools for tasks and documents.
    is_full: bool,
}

impl CoreServer {
    pub(super) fn new(node: Node, agent: Agent, project: Option<ProjectChoice>, pass: Pass) -> Self {
        Self { brain: pass.brain(node.brain()), node, agent, project, pass, is_full: false }
    }

    /// The name of the session's project.
    async fn project(&self) -> Result<Option<String>, Refusal> {
        match self.project.clone() {
            Some(choice) => Ok(Some(self.pass.project(&self.node, choice).await.map_err(refused)?)),
            None => Ok(None),
        }
    }

    /// Sees to it that other machines know the session's project. A failure is no reason to refuse a memory.
    async fn declare(&self) {
        let Some(ProjectChoice::At(place)) = &self.project else { return };
        if self.pass.is_bounded() {
            // the record would be in a space of all
            return;
        }
        let Ok(origin) = self.agent.caller().origin(None, None) else { return };
        if let Err(error) = self.node.declare_project(place.clone(), origin).await {
            tracing::debug!(%error, "the record of a project is not written");
        }
    }

    /// With the tools for tasks and documents.
    pub(super) fn full(self) -> Self {
        Self { is_full: true, ..self }
    }

    fn tools(&self) -> impl Iterator<Item = &'static Tool> {
        let tools = if self.is_full { tools::full() } else { tools::all() };
        tools.iter().filter(|tool| self.pass.check(tools::needs(&tool.name)).is_ok())
    }

    /// The answer of a tool; `None` if there is none of that name.
    async fn call(
        &self,
        tool: &str,
        given: Option<rmcp::model::JsonObject>,
        json: TaskJson,
    ) -> Option<Result<String, Refusal>> {
        // a tool that its token does not let it use is refused with the scope
        tools::full().iter().find(|known| known.name == tool && (self.is_full || tools::is_core(tool)))?;
        if let Err(refusal) = self.pass.check(tools::needs(tool)) {
            return Some(Err(refusal));
        }
        Some(self.answer(tool, given, json).await)
    }

    async fn answer(
        &self,
        tool: &str,
        given: Option<rmcp::model::JsonObject>,
        json: TaskJson,
    ) -> Result<String, Refusal> {
        match tool {
            "session_start" => self.session_start(arguments(tool, given)?).await,
            "remember" => self.remember(arguments(tool, given)?).await,
            "recall" => self.recall(arguments(tool, given)?).await,
            "forget" => self.forget(arguments(tool, given)?).await,
            "task_create" => self.task_create(arguments::<TaskCreate>(tool, given)?.of(json)).await,
            "task_claim" => self.task_claim(arguments(tool, given)?).await,
            "task_update" => self.task_update(arguments::<TaskUpdate>(tool, given)?.of(json)).await,
            #[cfg(feature = "documents")]
            "doc_list" => self.doc_list(arguments(tool, given)?).await,
            #[cfg(feature = "documents")]
            "doc_get" => self.doc_get(arguments(tool, given)?).await,
            #[cfg(feature = "documents")]
            "doc_edit" => self.doc_edit(arguments(tool, given)?).await,
            listed => Err(Problem::new("internal", format!("the tool {listed} does nothing"))),
        }
    }

    /// A tool of any profile.
    #[cfg(feature = "testing")]
    pub(super) fn listed(tool: &str) -> Option<Tool> {
        tools::full().iter().find(|known| known.name == tool).cloned()
    }

    /// Whether a tool takes these arguments.
    #[cfg(feature = "testing")]
    pub(super) fn takes(tool: &str, given: rmcp::model::JsonObject) -> bool {
        use self::arguments::TaskClaim;
        match tool {
            "session_start" => {
                arguments::<SessionStart>(tool, Some(given)).is_ok_and(|start| start.max_tokens().is_ok())
            }
            "remember" => arguments::<Remember>(tool, Some(given)).is_ok(),
            "recall" => arguments::<Recall>(tool, Some(given)).is_ok_and(|recall| {
                let node = nexus_identity::Did::from_bytes([1; 32]);
                let cursor = recall.cursor.as_deref().map(|cursor| RecallCursor::parse(cursor, &recall, &node));
                recall.wanted().is_ok()
                    && recall.limit().is_ok()
                    && recall.max_tokens().is_ok()
                    && cursor.is_none_or(|cursor| cursor.is_ok())
            }),
            "forget" => arguments::<Forget>(tool, Some(given)).is_ok(),
            "task_create" => arguments::<TaskCreate>(tool, Some(given)).is_ok(),
            "task_claim" => arguments::<TaskClaim>(tool, Some(given)).is_ok(),
            "task_update" => arguments::<TaskUpdate>(tool, Some(given)).is_ok(),
            #[cfg(feature = "documents")]
            "doc_list" => arguments::<arguments::DocList>(tool, Some(given)).is_ok(),
            #[cfg(feature = "documents")]
            "doc_get" => arguments::<arguments::DocGet>(tool, Some(given)).is_ok_and(|get| get.max_tokens().is_ok()),
            #[cfg(feature = "documents")]
            "doc_edit" => arguments::<arguments::DocEdit>(tool, Some(given)).is_ok(),
            _ => false,
        }
    }

    async fn session_start(&self, asked: SessionStart) -> Result<String, Refusal> {
        let max_tokens = asked.max_tokens()?;
        let project = match asked.project {
            Some(project) => Some(project),
            None => self.project().await?,
        };
        brief(&self.node, &self.brain, self.agent.name(), project.as_deref(), max_tokens).await.map_err(refused)
    }

    async fn remember(&self, given: Remember) -> Result<String, Refusal> {
        if given.meta.as_ref().is_some_and(|meta| meta.contains_key(AGENT)) {
            let message = "`agent` in the metadata is the node's: older ones keep the program's name there";
            return Err(Problem::new("invalid", message).hint("use another name"));
        }
        match &given.id {
            Some(id) => self.change(&id.clone(), given).await,
            None => self.write(given).await,
        }
    }

    /// Writes a new memory.
    async fn write(&self, given: Remember) -> Result<String, Refusal> {
        let Remember { text, id: _, kind, tags, meta, aliases, space, key, ttl, supersedes, source } = given;
        let missing = || Problem::new("invalid", "text: it is missing, expected a text");
        let text = text.ok_or_else(|| missing().hint("give the text, or the id of the memory to change"))?;
        let mut tags = tags.unwrap_or_default();
        let no_tags = tags.is_empty();
        let origin = self.agent.caller().origin(None, source.map(Into::into))?;
        let in_project = self.project().await?;
        if let Some(tag) = in_project.as_deref().map(project_tag)
            && !tags.iter().any(|own| own.starts_with(PROJECT_TAG))
        {
            self.declare().await;
            tags.push(tag);
        }
        let (meta, aliases, ttl) = (meta.unwrap_or_default(), aliases.unwrap_or_default(), ttl.map(|ttl| ttl.0));
        let memory =
            NewMemory { text, space, kind, tags, meta, aliases, key, ttl, supersedes, origin, ..Default::default() };
        // the project's tag alone replaces no tags
        let memory = NewMemory { keeps: Some(memory.not_given(no_tags)), ..memory };
        let remembered = self.brain.remember(memory).await.map_err(refused)?;
        let others = remembered.duplicate_of.into_iter().chain(remembered.contradicts.iter().copied());
        let ids: Vec<MemoryId> = [remembered.id].into_iter().chain(others).collect();
        let handles = self.handles(ids).await?;
        let mut names = handles.iter().map(|handle| handle.short.as_str());
        let (id, others) = (names.next().unwrap_or_default(), remembered.durability.replicated);
        let verb = if remembered.replaced { "Replaced" } else { "Remembered" };
        let mut answer = format!("{verb} {id}, here and on {others} others.");
        if let Some(of) = remembered.duplicate_of.and_then(|_| names.next()) {
            answer.push_str(&format!(" duplicate_of {of}"));
        }
        for (id, short) in remembered.contradicts.into_iter().zip(names) {
            // it may be forgotten meanwhile
            let Ok(memory) = self.brain.get(id).await else { continue };
            let author = memory.author_name.as_deref().map_or_else(|| memory.author.short(), name_as_word);
            let (start, cut) = beginning(&memory.text, CONTRADICTED_TOKENS);
            let text = line::quoted(&format!("{start}{}", if cut { "…" } else { "" }));
            answer.push_str(&format!("\nmay contradict {short} by {author}: {text}"));
        }
        Ok(answer)
    }

    /// Changes a memory. An id that means none is an error, and never a new memory.
    async fn change(&self, id: &str, given: Remember) -> Result<String, Refusal> {
        let Remember { text, id: _, kind, mut tags, meta, aliases, space, key, ttl, supersedes, source } = given;
        if space.is_some() || key.is_some() || ttl.is_some() || supersedes.is_some() {
            let message = "with an id, space, key, ttl and supersedes cannot be given: they stay as they are";
            return Err(Problem::new("invalid", message).hint("leave them out, or remember anew and forget the former"));
        }
        if text.is_none() && kind.is_none() && tags.is_none() && aliases.is_none() && meta.is_none() {
            let problem = Problem::new("invalid", "nothing to change was given");
            return Err(problem.hint("give a text, a kind, tags, aliases or metadata"));
        }
        if let Some(tags) = tags.as_mut().filter(|tags| !tags.iter().any(|tag| tag.starts_with(PROJECT_TAG))) {
            // it stays in its project, whose tag it got without being asked
            let former = self.brain.get(id).await.map_err(refused)?.tags;
            tags.extend(former.into_iter().filter(|tag| tag.starts_with(PROJECT_TAG)));
        }
        let origin = self.agent.caller().origin(None, source.map(Into::into))?;
        let patch = Patch { text, kind, tags, meta, aliases, origin, ..Patch::default() };
        let memory = self.brain.edit(id, patch).await.map_err(refused)?;
        let handles = self.handles(vec![memory.id]).await?;
        let short = handles.first().map_or(id, |handle| &handle.short);
        let open: Vec<String> = memory.conflicts.keys().map(|field| line::word(field)).collect();
        let open = if open.is_empty() { String::new() } else { format!(" Still a conflict in {}.", open.join(", ")) };
        Ok(format!("Changed {short}.{open}"))
    }

    async fn recall(&self, asked: Recall) -> Result<String, Refusal> {
        match asked.wanted()? {
            Wanted::Hits(query) => self.hits(query, &asked).await,
            Wanted::Whole(id) => self.whole(id.to_owned(), asked.max_tokens()?).await,
        }
    }

    /// The hits for a question, a line each.
    async fn hits(&self, query: &str, asked: &Recall) -> Result<String, Refusal> {
        let me = self.node.did();
        let (limit, max_tokens) = (asked.limit()?, asked.max_tokens()?);
        let from = match &asked.cursor {
            Some(cursor) => RecallCursor::parse(cursor, asked, &me)?,
            None => 0,
        };
        let project = if asked.everywhere { None } else { self.project().await? };
        let query = RecallQuery {
            or: asked.queries.clone(),
            spaces: asked.spaces.clone(),
            limit: (from + limit).min(RECALLED_MAX),
            tags: asked.tags.clone(),
            kinds: asked.kinds.clone(),
            by: asked.by.clone(),
            since: asked.since.map(|since| since.0),
            valid_at: asked.valid_at.map_or(ValidAt::Now, ValidAt::from),
            project: project.clone(),
            ..RecallQuery::of(query)
        };
        let recalled = self.brain.recall(query).await?;
        let nothing_speaks = recalled.is_empty();
        let Recalled { hits, truncated, indexed } = recalled;
        let (found, mut end) = (hits.len(), hits.len().max(from));
        let chosen: Vec<(usize, Hit)> = hits.into_iter().enumerate().skip(from).collect();
        let few = |ids: &[MemoryId]| ids[..ids.len().min(SAME_MAX)].to_vec();
        let ids =
            chosen.iter().flat_map(|(_, hit)| [vec![hit.memory.id], few(&hit.same), few(&hit.contradicts)].concat());
        let mut handles = self.handles(ids.collect()).await?.into_iter();
        let (now, mut room, mut lines) = (self.brain.now(), Room::of(max_tokens), Vec::new());
        if nothing_speaks {
            lines.push(if project.is_some() { NOTHING_IN_PROJECT } else { NOTHING_SPEAKS }.to_owned());
        }
        if self.brain.embedder_fails() {
            lines.push("Words alone were searched: the embedder fails.".to_owned());
        }
        if indexed < 1.0 {
            lines.push(format!("{:.0} % searched: the index is being made.", indexed * 100.0));
        }
        let notes = lines.len();
        for (place, hit) in chosen {
            let Some(handle) = handles.next() else { break };
            let mut next = |ids: &[MemoryId]| -> Vec<String> {
                handles.by_ref().take(ids.len().min(SAME_MAX)).map(|handle| handle.short).collect()
            };
            let (same, others) = (next(&hit.same), next(&hit.contradicts));
            let marks = marks(&hit, &same, &others, asked.why, now);
            let text = hit.passage.as_deref().unwrap_or(&hit.memory.text);
            match in_room((&hit.memory, text), &handle, marks, now, &mut room, lines.len() == notes) {
                Some(line) => lines.push(line),
                None => {
                    end = place;
                    break;
                }
            }
        }
        if (end < found || truncated) && end > from && end < RECALLED_MAX {
            lines.push(format!("More: cursor {}", RecallCursor::render(end, asked, &me)));
        }
        Ok(lines.join("\n"))
    }

    /// One memory with all that it has.
    async fn whole(&self, id: String, max_tokens: usize) -> Result<String, Refusal> {
        let names = self.node.members().into_iter().map(|member| (member.did, member.name)).collect();
        let brain = self.brain.clone();
        let read = brain.reading(move |brain| {
            let memory = brain.get_blocking(id.as_str())?;
            let history = brain.history_blocking(memory.id)?;
            Ok((brain.handles_blocking(&[memory.id])?, history, memory))
        });
        let (handles, history, mut memory) = read.await.map_err(refused)?;
        let mut lacks = None;
        if let Some(attachment) = memory.attachment {
            match brain.whole_text(&memory).await {
                Ok(text) => memory.text = text,
                Err(error) => {
                    let (here, all) = (memory.text.len(), attachment.bytes());
                    lacks = Some(format!("Only the first {here} of {all} bytes of the text are here: {error}"));
                }
            }
        }
        let key = handles.into_iter().next().and_then(|handle| handle.key);
        let whole = Whole { memory, key, history, names, lacks };
        Ok(whole.render(brain.now(), Room::of(max_tokens)))
    }

    async fn handles(&self, ids: Vec<MemoryId>) -> Result<Vec<Handle>, Refusal> {
        self.brain.reading(move |brain| brain.handles_blocking(&ids)).await.map_err(refused)
    }

    async fn forget(&self, Forget { id }: Forget) -> Result<String, Refusal> {
        let id = id.as_str();
        if id.chars().count() < FORGET_ID_CHARS_MIN {
            let message = format!("an id has at least {FORGET_ID_CHARS_MIN} characters here");
            return Err(Problem::new("invalid", message).hint("give the id as recall shows it"));
        }
        let brain = self.brain.clone();
        let memory = brain.get(id).await.map_err(refused)?;
        let handles = self.handles(vec![memory.id]).await?;
        brain.forget(memory.id).await.map_err(refused)?;
        let peers = self.node.peers().await;
        let others = peers.iter().filter(|peer| peer.synced).count();
        let short = handles.first().map_or(id, |handle| &handle.short);
        let (start, cut) = beginning(&memory.text, FORGOTTEN_TOKENS);
        let text = line::quoted(&format!("{start}{}", if cut { "…" } else { "" }));
        Ok(format!("Forgot {short}, here and on {others} others: {text}"))
    }
}

/// The marks of a hit: its conflict and end, the others that say the same, and how well it fits.
fn marks(hit: &Hit, same: &[String], others: &[String], why: bool, now: Timestamp) -> Vec<String> {
    let mut marks = line::marks(&hit.memory, now);
    if !same.is_empty() {
        let more = hit.same.len() - same.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        marks.push(format!("same as {}{more}", same.join(", ")));
    }
    if !others.is_empty() {
        marks.push(format!("may contradict {}", others.join(", ")));
    }
    if hit.passage.is_some() {
        marks.push("a part, whole by its id".to_owned());
    }
    if hit.weak {
        marks.push(if hit.by_meaning { "weak, by meaning" } else { "weak" }.to_owned());
    }
    if why {
        marks.push(format!("{:.2}, {}", hit.score, line::in_one_line(&hit.why)));
    }
    marks
}

/// The line of a hit, if there is room. The first one is cut to fit, so that a long one does not make the answer empty.
fn in_room(
    (memory, text): (&Memory, &str),
    handle: &Handle,
    mut marks: Vec<String>,
    now: Timestamp,
    room: &mut Room,
    first: bool,
) -> Option<String> {
    let header = |marks: &[String]| line::header(memory, handle, marks, now);
    let text = line::indented(text);
    let whole = format!("{}: {text}", header(&marks));
    if room.take(&whole) {
        return Some(whole);
    }
    if !first {
        return None;
    }
    marks.push("cut".to_owned());
    let header = header(&marks);
    room.take(&header);
    let (text, _) = beginning(&text, room.left());
    room.part(room.left());
    Some(format!("{header}: {}", text.trim_end()))
}

/// A name of others as one word: as it is if it is plain, else quoted.
pub(super) fn name_as_word(name: &str) -> String {
    line::word(name)
}

/// A text of others in one line, in which nothing is hidden.
pub(super) fn in_one_line(text: &str) -> String {
    line::in_one_line(text)
}

/// The tag of a project's memories.
fn project_tag(project: &str) -> String {
    format!("{PROJECT_TAG}{project}")
}

/// Whether two tags are the same in the form in which they are compared.
fn is_tag(one: &str, other: &str) -> bool {
    one == other || matched_form(one) == matched_form(other)
}

/// Whether a memory belongs to the project with this tag.
fn is_of_project(memory: &Memory, tag: &str) -> bool {
    memory.tags.iter().any(|own| is_tag(own, tag))
}

/// Whether a memory belongs to no project.
fn is_of_none(memory: &Memory) -> bool {
    !memory.tags.iter().any(|own| own.starts_with(PROJECT_TAG))
}

impl ServerHandler for CoreServer {
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
        Ok(ListToolsResult::with_all_items(self.tools().cloned().collect())
            .with_ttl_ms(DESCRIPTION_TTL_MS)
            .with_cache_scope(CacheScope::Public))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let tools = if self.is_full { tools::full() } else { tools::all() };
        tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let json = part::<TaskJson>(&context).unwrap_or_default();
        match traced(&context, self.call(&request.name, request.arguments, json)).await {
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
