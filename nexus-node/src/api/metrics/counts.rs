//! Counts of what was asked and answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};

use super::text::Text;
use crate::NodeError;
use crate::histogram::Histogram;

/// The methods counted apart.
const METHODS: [&str; 6] = ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD"];

/// The answers, by route.
#[derive(Default)]
pub(in crate::api) struct Requests {
    routes: RwLock<BTreeMap<String, BTreeMap<&'static str, Arc<Series>>>>,
    pub(super) in_flight: AtomicI64,
}

/// The requests of one route and method.
#[derive(Default)]
struct Series {
    statuses: RwLock<BTreeMap<u16, AtomicU64>>,
    took: Histogram,
}

/// A request in progress. It ends also when its client goes away.
pub(in crate::api) struct InFlight<'a>(&'a AtomicI64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Requests {
    pub(in crate::api) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(&self.in_flight)
    }

    /// Counts an answer. A route is a path with unfilled parameters, so there are few.
    pub(in crate::api) fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let method = METHODS.iter().find(|known| **known == method.as_str()).copied().unwrap_or("other");
        let series = self.series(route, method);
        let counted = {
            let statuses = series.statuses.read().unwrap_or_else(PoisonError::into_inner);
            statuses.get(&status.as_u16()).map(|count| count.fetch_add(1, Relaxed)).is_some()
        };
        if !counted {
            let mut statuses = series.statuses.write().unwrap_or_else(PoisonError::into_inner);
            statuses.entry(status.as_u16()).or_default().fetch_add(1, Relaxed);
        }
        series.took.note(took);
    }

    fn series(&self, route: &str, method: &'static str) -> Arc<Series> {
        let known = {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            routes.get(route).and_then(|methods| methods.get(method)).cloned()
        };
        known.unwrap_or_else(|| {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            routes.entry(route.to_owned()).or_default().entry(method).or_default().clone()
        })
    }

    pub(super) fn write(&self, text: &mut Text) {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let all =
            || routes.iter().flat_map(|(route, methods)| methods.iter().map(move |(method, s)| (route, *method, s)));
        text.family("nexus_http_requests_total", "counter", "Requests that were answered.");
        for (route, method, series) in all() {
            for (status, count) in &*series.statuses.read().unwrap_or_else(PoisonError::into_inner) {
                let status = status.to_string();
                text.value("", &[("route", route), ("method", method), ("status", &status)], count.load(Relaxed));
            }
        }
        text.family(
            "nexus_http_request_duration_seconds",
            "histogram",
            "Time to the head of the answer; streams go on after it.",
        );
        for (route, method, series) in all() {
            text.histogram(&[("route", route), ("method", method)], &series.took);
        }
        text.one("nexus_http_requests_in_flight", "Requests that are being answered.", self.in_flight.load(Relaxed));
    }
}

/// The outcomes of changes of critical state requested over HTTP: `done`, or the code of the refusal.
#[derive(Default)]
pub(in crate::api) struct Proposals(RwLock<BTreeMap<&'static str, AtomicU64>>);

impl Proposals {
    /// Counts a change by its outcome.
    pub(in crate::api) fn count<T>(&self, outcome: Result<T, NodeError>) -> Result<T, NodeError> {
        let name = outcome.as_ref().map_or_else(NodeError::code, |_| "done");
        let counted = {
            let counts = self.0.read().unwrap_or_else(PoisonError::into_inner);
            counts.get(name).map(|count| count.fetch_add(1, Relaxed)).is_some()
        };
        if !counted {
            let mut counts = self.0.write().unwrap_or_else(PoisonError::into_inner);
            counts.entry(name).or_default().fetch_add(1, Relaxed);
        }
        outcome
    }

    pub(super) fn write(&self, text: &mut Text) {
        text.family("nexus_critical_changes_total", "counter", "Changes of critical state that were asked for here.");
        for (outcome, count) in &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            text.value("", &[("outcome", outcome)], count.load(Relaxed));
        }
    }
}
