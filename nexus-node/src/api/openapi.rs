//! The description of the API. A route is described where it is made, so every served route has a
//! description.

use std::collections::BTreeMap;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::pass::{Needs, RouteNeeds};
use super::problem::CODES;
use super::{Api, wire};

/// Routes with their descriptions.
pub(crate) struct Routes {
    router: Router<Api>,
    needs: RouteNeeds,
    paths: BTreeMap<String, Map<String, Value>>,
    schemas: SchemaGenerator,
}

/// The description of one method of a route.
pub(crate) struct About<'a> {
    operation: Map<String, Value>,
    schemas: &'a mut SchemaGenerator,
}

/// Describes a method.
type Describes<'r> = Box<dyn for<'a> FnOnce(About<'a>) -> About<'a> + 'r>;

impl Routes {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self {
            router: Router::new(),
            needs: RouteNeeds::default(),
            paths: BTreeMap::new(),
            schemas: settings.into_generator(),
        }
    }

    /// Serves a method of a path to callers that have what it needs, and describes it.
    pub(super) fn on<H: Handler<T, Api>, T: 'static>(
        mut self,
        method: Method,
        path: &'static str,
        needs: Needs,
        handler: H,
        about: impl for<'a> FnOnce(About<'a>) -> About<'a>,
    ) -> Self {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        self.router = self.router.route(path, on(filter, handler));
        self.described(&method, path, needs, Box::new(about))
    }

    /// Describes a method of a path that another router serves.
    pub(crate) fn describe(
        self,
        method: &Method,
        path: &'static str,
        needs: Needs,
        about: impl for<'a> FnOnce(About<'a>) -> About<'a>,
    ) -> Self {
        self.described(method, path, needs, Box::new(about))
    }

    /// One body for all routes: a hundred would be compiled else.
    fn described(mut self, method: &Method, path: &str, needs: Needs, about: Describes<'_>) -> Self {
        self.needs.add(method, path, needs);
        let mut operation = Map::new();
        let mut responses = Map::new();
        responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
        operation.insert("responses".to_owned(), responses.into());
        // A parameter for the rest of the path is described like any other.
        let path = path.replace("{*", "{");
        let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameters: Vec<Value> = names
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        if !parameters.is_empty() {
            operation.insert("parameters".to_owned(), parameters.into());
        }
        let About { mut operation, .. } = about(About { operation, schemas: &mut self.schemas });
        let security = match needs {
            Needs::Nothing => Some(json!([])),
            Needs::Scopes(scopes) | Needs::Unbounded(scopes) => {
                operation.insert("x-scopes".to_owned(), scopes.iter().map(|scope| scope.as_str()).collect());
                None
            }
            Needs::AnyOf(scopes) => {
                let scopes = scopes.iter().map(|scope| scope.as_str()).collect();
                operation.insert("x-scopes-any".to_owned(), scopes);
                None
            }
            Needs::Person => Some(json!([{ "cookie": [] }])),
            Needs::Proof | Needs::Owner => None,
        };
        operation.extend(security.map(|security| ("security".to_owned(), security)));
        let methods = self.paths.entry(path).or_default();
        methods.insert(method.as_str().to_ascii_lowercase(), operation.into());
        self
    }

    /// The routes, what they need, and the document about them.
    pub(super) fn finish(mut self) -> (Router<Api>, RouteNeeds, Value) {
        let problem = self.schemas.subschema_for::<wire::Problem>();
        let mut schemas = self.schemas.take_definitions(true);
        let codes: Vec<Value> = CODES.iter().map(|code| code.name.into()).collect();
        schemas.insert(
            "Code".to_owned(),
            json!({ "type": "string", "enum": codes, "description": "The code of an error." }),
        );
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Nexus",
                "version": env!("CARGO_PKG_VERSION"),
                "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
                "description": "One brain for all your agents, no server. The API of a node of the mesh.",
            },
            "servers": [{ "url": "/" }],
            "security": [{ "token": [] }, { "cookie": [] }],
            "paths": self.paths,
            "components": {
                "securitySchemes": {
                    "token": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "The line in `api-token` of the data directory, or a token that `nexus-node token create` made: that one needs the `x-scopes` of a method, and uses none without them.",
                    },
                    "cookie": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": "nexus-PORT",
                        "description": "The cookie that the link of `nexus-node web` gives a browser; good for the page only.",
                    },
                },
                "responses": {
                    "Problem": {
                        "description": "It was not done; `code` says why.",
                        "content": { "application/problem+json": { "schema": problem } },
                    },
                },
                "schemas": schemas,
            },
        });
        (self.router, self.needs, document)
    }
}

impl About<'_> {
    fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.operation.insert(key.to_owned(), value.into());
        self
    }

    fn member(&mut self, key: &str) -> &mut Map<String, Value> {
        let member = self.operation.entry(key).or_insert_with(|| Map::new().into());
        if !member.is_object() {
            *member = Map::new().into();
        }
        // The line above made it an object.
        member.as_object_mut().unwrap_or_else(|| unreachable!())
    }

    /// Its effect, in one line. The command of the same name does the same.
    pub(crate) fn summary(self, text: &str) -> Self {
        self.set("summary", text)
    }

    /// Further facts.
    pub(super) fn note(self, text: &str) -> Self {
        self.set("description", text)
    }

    /// The method takes a query parameter.
    pub(crate) fn query(self, name: &str, schema: Value, text: &str) -> Self {
        self.parameter(json!({ "name": name, "in": "query", "description": text, "schema": schema }))
    }

    /// The method is done once for each id that its caller gives, however often it is asked for.
    pub(super) fn once(self) -> Self {
        let text = "asked again with the same id, it is answered as the first time; 1 to 255 bytes, in quotes or not";
        let schema = json!({ "type": "string" });
        self.parameter(json!({ "name": "Idempotency-Key", "in": "header", "description": text, "schema": schema }))
    }

    fn parameter(mut self, parameter: Value) -> Self {
        match self.operation.entry("parameters").or_insert_with(|| Vec::<Value>::new().into()) {
            Value::Array(parameters) => parameters.push(parameter),
            other => *other = vec![parameter].into(),
        }
        self
    }

    /// The method takes a document like this one.
    pub(super) fn takes<T: JsonSchema + Serialize>(mut self, required: bool, example: &T) -> Self {
        let content = json!({ "application/json": self.content(example) });
        self.set("requestBody", json!({ "required": required, "content": content }))
    }

    /// The method takes a body of another type.
    pub(crate) fn takes_type(self, content_type: &str, example: &str) -> Self {
        let content = json!({ content_type: { "schema": { "type": "string" }, "example": example } });
        self.set("requestBody", json!({ "required": true, "content": content }))
    }

    /// The method takes a document whose schema is elsewhere.
    #[cfg(any(feature = "documents", feature = "mcp"))]
    pub(crate) fn takes_value(self, example: &Value) -> Self {
        let content = json!({ "application/json": { "schema": { "type": "object" }, "example": example } });
        self.set("requestBody", json!({ "required": true, "content": content }))
    }

    /// The method answers with a document like this one.
    pub(super) fn gives<T: JsonSchema + Serialize>(mut self, status: u16, example: &T) -> Self {
        let content = json!({ "application/json": self.content(example) });
        self.answer(status, "application/json", content)
    }

    /// The method answers with a document whose schema is elsewhere.
    pub(crate) fn gives_value(self, status: u16, example: &Value) -> Self {
        let content = json!({ "application/json": { "schema": { "type": "object" }, "example": example } });
        self.answer(status, "application/json", content)
    }

    /// The method answers with a body of another type.
    pub(crate) fn gives_type(self, status: u16, content_type: &str, example: &str) -> Self {
        let content = json!({ content_type: { "schema": { "type": "string" }, "example": example } });
        self.answer(status, content_type, content)
    }

    /// The method answers with a status and headers alone.
    pub(super) fn gives_nothing(mut self, status: u16, text: &str) -> Self {
        self.member("responses").insert(status.to_string(), json!({ "description": text }));
        self
    }

    /// An answer carries this header.
    pub(super) fn header(mut self, status: u16, name: &str, text: &str) -> Self {
        if let Some(Value::Object(answer)) = self.member("responses").get_mut(&status.to_string()) {
            answer
                .insert("headers".to_owned(), json!({ name: { "description": text, "schema": { "type": "string" } } }));
        }
        self
    }

    fn content<T: JsonSchema + Serialize>(&mut self, example: &T) -> Value {
        let schema = self.schemas.subschema_for::<T>();
        // Our documents have string keys, so writing them as JSON cannot fail.
        shown(schema, serde_json::to_value(example).unwrap_or_default())
    }

    fn answer(mut self, status: u16, content_type: &str, content: Value) -> Self {
        let responses = self.member("responses");
        match responses.get_mut(&status.to_string()).and_then(|answer| answer.get_mut("content")) {
            // the same status with a further content type
            Some(Value::Object(forms)) => {
                forms.extend(content.get(content_type).map(|form| (content_type.to_owned(), form.clone())))
            }
            _ => {
                let text = if status == 201 { "It is there now." } else { "As asked." };
                responses.insert(status.to_string(), json!({ "description": text, "content": content }));
            }
        }
        self
    }
}

/// A schema, and a document that fits it.
fn shown(schema: Schema, example: Value) -> Value {
    json!({ "schema": schema, "example": example })
}

/// A text.
pub(crate) fn text() -> Value {
    json!({ "type": "string" })
}

/// A parameter that may be repeated, with a text each time.
pub(super) fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

/// A number from 0 to 1.
pub(super) fn share() -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": 1 })
}

/// Yes or no.
pub(super) fn flag() -> Value {
    json!({ "type": "boolean" })
}

/// A whole number in these bounds.
pub(super) fn number(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}
