//! The answers of the tools, and the graph as a resource.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    ContentBlock, CustomRequest, CustomResult, DiscoverResult, GetPromptRequestParams, GetPromptResponse,
    Implementation, InitializeRequestParams, InitializeResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, MetaObject, PaginatedRequestParams, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource, ResourceContents,
    ResourcesCapability, ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{shape, tools};
use crate::api::issued::Scope;
use crate::api::pass::Pass;
use crate::graph::{Entity, Graph, ProjectGraph, Relation, search};
use crate::mcp::agent::Agent;
use crate::mcp::answer::{self, Budget, Refusal};
use crate::mcp::span::traced;
use crate::mcp::{DESCRIPTION_TTL_MS, VERSIONS};
use crate::problem::Problem;

/// The graph as a resource.
pub(super) const RESOURCE: &str = "memory://knowledge-graph";
/// The longest answer, in tokens: clients cut off longer ones themselves.
const ANSWER_TOKENS: usize = 20_000;
/// The time for which changes are gathered before they are told.
const CHANGES_TOGETHER: Duration = Duration::from_millis(50);

/// The server of one request.
#[derive(Clone)]
pub(in crate::mcp) struct GraphServer {
    graph: Arc<Graph>,
    agent: Agent,
    pass: Pass,
    project: String,
    /// Whether answers are whole and in the order of creation.
    strict: bool,
}

/// A part of the graph, in the tools' form.
#[derive(Serialize)]
struct Part {
    entities: Vec<Entity>,
    relations: Vec<Relation>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    entity_name: String,
    added_observations: Vec<String>,
}

impl GraphServer {
    pub(in crate::mcp) fn new(graph: Arc<Graph>, agent: Agent, pass: Pass, project: String, strict: bool) -> Self {
        Self { graph, agent, pass, project, strict }
    }

    async fn call(&self, tool: &str, mut given: Map<String, Value>) -> Result<CallToolResult, Refusal> {
        let Some(members) = shape::of(tool) else {
            let tool: String = tool.chars().take(64).collect();
            return Err(Problem::new("not_found", format!("MCP error -32602: Tool {tool} not found")));
        };
        self.pass.check(tools::needs(tool))?;
        shape::check(tool, members, &given)?;
        let argument = members.first().and_then(|(name, _)| given.remove(*name)).unwrap_or_default();
        let (project, origin) = (self.project.as_str(), self.agent.caller().origin(None, None)?);
        match tool {
            "create_entities" => {
                let entities = self.graph.create_entities(project, read(argument)?, &origin).await?;
                Ok(given_back("entities", &entities))
            }
            "create_relations" => {
                let relations = self.graph.create_relations(project, read(argument)?, &origin).await?;
                Ok(given_back("relations", &relations))
            }
            "add_observations" => {
                let asked = pairs(argument, "contents")?;
                let added = self.graph.add_observations(project, asked, &origin).await?;
                let added = added
                    .into_iter()
                    .map(|(entity_name, added_observations)| Added { entity_name, added_observations });
                Ok(given_back("results", &added.collect::<Vec<_>>()))
            }
            "delete_entities" => {
                self.graph.delete_entities(project, &read::<Vec<String>>(argument)?).await?;
                Ok(done("Entities deleted successfully"))
            }
            "delete_observations" => {
                self.graph.delete_observations(project, &pairs(argument, "observations")?).await?;
                Ok(done("Observations deleted successfully"))
            }
            "delete_relations" => {
                self.graph.delete_relations(project, &read::<Vec<Relation>>(argument)?).await?;
                Ok(done("Relations deleted successfully"))
            }
            "search_nodes" => {
                let query: String = read(argument)?;
                self.part(|state| match self.strict {
                    true => search::verbatim(state, &query),
                    false => search::ranked(state, &query),
                })
                .await
            }
            "open_nodes" => {
                let names: Vec<String> = read(argument)?;
                let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
                self.part(|state| state.names_of(&wanted).map(|name| state.name(name)).collect()).await
            }
            _ => Ok(self.whole().await?.0),
        }
    }

    /// Some entities with their relations.
    async fn part(&self, which: impl for<'a> Fn(&'a ProjectGraph) -> Vec<&'a str>) -> Result<CallToolResult, Refusal> {
        let current = self.graph.current().await?;
        let state = current.graph(&self.project);
        let names = which(state);
        Ok(self.shown(state, &names, |shown| state.relations_of(shown.iter().map(|entity| entity.name.as_str()))).0)
    }

    /// The whole graph, cut to fit.
    async fn whole(&self) -> Result<(CallToolResult, Part), Refusal> {
        let current = self.graph.current().await?;
        let state = current.graph(&self.project);
        let names: Vec<&str> = state.names().collect();
        Ok(self.shown(state, &names, |_| state.relations().collect()))
    }

    /// As many of these entities as fit, then as many of their relations.
    fn shown<'a>(
        &self,
        state: &'a ProjectGraph,
        names: &[&str],
        relations: impl FnOnce(&[Entity]) -> Vec<&'a Relation>,
    ) -> (CallToolResult, Part) {
        let tokens = if self.strict { usize::MAX } else { ANSWER_TOKENS };
        // A quarter of the room is for relations only.
        let mut budget = Budget::of_tokens(tokens - tokens / 4);
        let mut fits = |chars: usize| budget.take(chars);
        let mut entities: Vec<Entity> = Vec::new();
        let mut cut = false;
        for entity in names.iter().filter_map(|name| state.entity(name)) {
            if fits(length(&entity)) {
                entities.push(entity);
            } else if entities.is_empty() {
                // An entity with some of its observations is better than none.
                entities.extend(shortened(entity, &mut fits));
                cut = true;
                break;
            } else {
                break;
            }
        }
        let related = relations(&entities);
        let wanted = related.len();
        budget.add_tokens(tokens / 4);
        let mut fits = |chars: usize| budget.take(chars);
        let relations: Vec<Relation> =
            related.into_iter().take_while(|relation| fits(length(relation))).cloned().collect();
        let truncated = cut || entities.len() < names.len() || relations.len() < wanted;
        let numbers = (entities.len(), names.len(), relations.len(), wanted);
        let part = Part { entities, relations };
        let mut result = structured(&part, pretty(&part));
        if !self.strict {
            let mut meta = MetaObject::new();
            meta.insert("truncated".to_owned(), truncated.into());
            if truncated {
                let (entities, of_entities, relations, of_relations) = numbers;
                let note = format!(
                    "truncated: {entities} of {of_entities} entities and {relations} of {of_relations} relations are \
                     shown; search_nodes and open_nodes show the others"
                );
                result.content.push(ContentBlock::text(note));
                meta.insert("entities".to_owned(), of_entities.into());
                meta.insert("relations".to_owned(), of_relations.into());
            }
            result.meta = Some(meta);
        }
        (result, part)
    }

    /// Tells a subscriber of changes until it or the node goes.
    async fn tell(&self, context: &SubscriptionContext) -> Result<(), Refusal> {
        let mut known = self.graph.current().await?.graph(&self.project).version();
        while let Some(version) = self.graph.changed(&self.project, known, CHANGES_TOGETHER).await? {
            known = version;
            if context.sink().notify_resource_updated(RESOURCE).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// An entity with as many observations as fit.
fn shortened(entity: Entity, fits: &mut impl FnMut(usize) -> bool) -> Option<Entity> {
    let Entity { name, entity_type, observations } = entity;
    let mut entity = Entity { name, entity_type, observations: Vec::new() };
    if !fits(length(&entity)) {
        return None;
    }
    entity.observations = observations.into_iter().take_while(|content| fits(content.chars().count() + 12)).collect();
    Some(entity)
}

fn length(part: &impl Serialize) -> usize {
    pretty(part).chars().count()
}

/// JSON in the memory server's layout.
fn pretty(part: &impl Serialize) -> String {
    // Parts have string keys and no numbers, so writing them cannot fail.
    serde_json::to_string_pretty(part).unwrap_or_default()
}

fn structured(value: &impl Serialize, text: String) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = serde_json::to_value(value).ok();
    result
}

/// A list as text, and under a name in the structured content.
fn given_back<T: Serialize>(name: &str, list: &Vec<T>) -> CallToolResult {
    structured(&json!({ name: list }), pretty(list))
}

fn done(message: &str) -> CallToolResult {
    structured(&json!({ "success": true, "message": message }), message.to_owned())
}

/// A tool of this profile.
#[cfg(feature = "testing")]
pub(in crate::mcp) fn listed(tool: &str) -> Option<Tool> {
    tools::all().iter().find(|known| known.name == tool).cloned()
}

/// Whether a tool takes these arguments.
#[cfg(feature = "testing")]
pub(in crate::mcp) fn takes(tool: &str, mut given: Map<String, Value>) -> bool {
    let Some(members) = shape::of(tool) else { return false };
    if shape::check(tool, members, &given).is_err() {
        return false;
    }
    let argument = members.first().and_then(|(name, _)| given.remove(*name)).unwrap_or_default();
    match tool {
        "create_entities" => read::<Vec<Entity>>(argument).is_ok(),
        "create_relations" | "delete_relations" => read::<Vec<Relation>>(argument).is_ok(),
        "add_observations" => pairs(argument, "contents").is_ok(),
        "delete_observations" => pairs(argument, "observations").is_ok(),
        "delete_entities" | "open_nodes" => read::<Vec<String>>(argument).is_ok(),
        "search_nodes" => read::<String>(argument).is_ok(),
        _ => true,
    }
}

fn read<T: DeserializeOwned>(argument: Value) -> Result<T, Refusal> {
    serde_json::from_value(argument).map_err(|error| Problem::new("invalid", error.to_string()))
}

/// Entity names with their lists.
fn pairs(argument: Value, list: &str) -> Result<Vec<(String, Vec<String>)>, Refusal> {
    let places: Vec<Map<String, Value>> = read(argument)?;
    let pair = |mut place: Map<String, Value>| {
        let name = read(place.remove("entityName").unwrap_or_default())?;
        Ok((name, read(place.remove(list).unwrap_or_default())?))
    };
    places.into_iter().map(pair).collect()
}

impl ServerHandler for GraphServer {
    fn get_info(&self) -> ServerConfig {
        let server = Implementation::new("nexus-graph", env!("CARGO_PKG_VERSION")).with_title("Nexus knowledge graph");
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().enable_resources_subscribe();
        ServerConfig::new(capabilities.build())
            .with_server_info(server)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let mut welcome = self.negotiate_initialize(&request)?;
        // Before 2026-07-28, notifications need a stream beside the requests, and a session for it.
        welcome.capabilities.resources = Some(ResourcesCapability::default());
        Ok(welcome)
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
        let may = |tool: &&Tool| self.pass.check(tools::needs(&tool.name)).is_ok();
        Ok(ListToolsResult::with_all_items(tools::all().iter().filter(may).cloned().collect())
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
        let answer = traced(&context, self.call(&request.name, request.arguments.unwrap_or_default())).await;
        let mut result =
            answer.unwrap_or_else(|refusal| CallToolResult::error(vec![ContentBlock::text(refusal.message)]));
        result.is_error = result.is_error.filter(|error| *error);
        Ok(CallToolResponse::Complete(result))
    }

    async fn list_resources(
        &self,
        page: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        answer::first_page(page)?;
        let resource = Resource::new(RESOURCE, "knowledge-graph")
            .with_title("Knowledge Graph")
            .with_description("The full knowledge graph with all entities and relations")
            .with_mime_type("application/json");
        Ok(ListResourcesResult::with_all_items(vec![resource])
            .with_ttl_ms(DESCRIPTION_TTL_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn list_resource_templates(
        &self,
        page: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        answer::first_page(page)?;
        Ok(ListResourceTemplatesResult::with_all_items(Vec::new())
            .with_ttl_ms(DESCRIPTION_TTL_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != RESOURCE || !self.pass.allows(Scope::MemoryRead) {
            return Err(answer::no_resource(&request.uri));
        }
        let (result, part) = self.whole().await.map_err(|refusal| ErrorData::internal_error(refusal.message, None))?;
        let contents = ResourceContents::TextResourceContents {
            uri: RESOURCE.to_owned(),
            mime_type: Some("application/json".to_owned()),
            text: pretty(&part),
            meta: result.meta,
        };
        Ok(ReadResourceResponse::Complete(ReadResourceResult::new(vec![contents])))
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut accepted = SubscriptionFilter::new();
        let asked = requested.resource_subscriptions.iter().flatten().any(|uri| uri == RESOURCE);
        let asked = asked && self.pass.allows(Scope::MemoryRead);
        accepted.resource_subscriptions = asked.then(|| vec![RESOURCE.to_owned()]);
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        tokio::select! {
            told = self.tell(&context), if self.pass.allows(Scope::MemoryRead) => told.map_err(|refusal| ErrorData::internal_error(refusal.message, None)),
            () = context.cancelled() => Ok(()),
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
}
