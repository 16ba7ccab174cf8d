//! Coordinators in a build without them: there are none.

use std::convert::Infallible;
use std::time::Duration;

use futures::future::BoxFuture;
use nexus_identity::Did;
use redb::StorageBackend;
use tokio::sync::watch;

use super::command::{Command, Group};
use super::format::TooNew;
use super::settled::Settled;
use super::state::Outcome;
use super::{Answer, AuditCheck, AuditPage, Coordinators, Manage, Query, RequestKey};
use crate::error::{NodeError, OpaqueError};
use crate::request::RequestId;
use crate::store::{Row, Store, StoreError, Table};
use crate::world::World;

/// A part in the coordinators that cannot be.
pub(crate) struct Coordinator(Infallible);

/// Rows of a copy that cannot be.
pub(crate) struct CopiedRows(Infallible);

impl CopiedRows {
    pub(crate) async fn next(&mut self) -> Result<Option<(Table, Vec<Row>)>, StoreError> {
        match self.0 {}
    }
}

impl Coordinator {
    /// Looks whether Raft's files can be read; nobody reads them here.
    pub(crate) fn examine(_: &Store, _: Box<dyn StorageBackend>, _: Did, _: Did) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether this build has coordinators.
    pub(crate) const BUILT: bool = false;

    pub(crate) async fn propose(&self, _: Command, _: Option<RequestKey>) -> Result<Outcome, NodeError> {
        match self.0 {}
    }

    pub(crate) async fn outcome(&self, _: &RequestId) -> Result<Settled, NodeError> {
        match self.0 {}
    }

    pub(crate) async fn read(&self, _: &Query) -> Result<Answer, NodeError> {
        match self.0 {}
    }

    pub(crate) fn read_local(&self, _: &Query) -> Option<(Answer, Option<Duration>)> {
        match self.0 {}
    }

    pub(crate) fn no_copy(&self, _: &str) -> NodeError {
        match self.0 {}
    }

    pub(crate) fn broken(&self) -> Option<OpaqueError> {
        match self.0 {}
    }

    pub(crate) fn ran_full(&self) -> watch::Receiver<bool> {
        match self.0 {}
    }

    pub(crate) fn waits_for_admins(&self) -> Option<Vec<String>> {
        match self.0 {}
    }

    pub(crate) async fn overview(&self) -> Option<Coordinators> {
        match self.0 {}
    }

    pub(crate) fn too_new(&self) -> Vec<(Option<Did>, TooNew)> {
        match self.0 {}
    }

    pub(crate) async fn manage(&self, _: Manage) -> Result<(), NodeError> {
        match self.0 {}
    }

    pub(crate) async fn recover(&self) -> Result<Group, NodeError> {
        match self.0 {}
    }

    pub(crate) async fn audit(&self, _: u64, _: Option<u64>, _: usize) -> Result<AuditPage, NodeError> {
        match self.0 {}
    }

    pub(crate) async fn verify_audit(&self, _: u64) -> Result<AuditCheck, NodeError> {
        match self.0 {}
    }

    pub(crate) fn digest(&self) -> Option<(u64, [u8; 32])> {
        match self.0 {}
    }

    pub(crate) fn generation(&self) -> Option<u32> {
        match self.0 {}
    }

    pub(crate) fn applied_index(&self) -> Option<watch::Receiver<u64>> {
        match self.0 {}
    }

    pub(crate) const fn world(&self) -> &World {
        match self.0 {}
    }

    pub(crate) fn did(&self) -> Did {
        match self.0 {}
    }

    pub(crate) fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) {
        match self.0 {}
    }

    pub(crate) async fn scrub_log(&self) {
        match self.0 {}
    }

    pub(crate) fn copied(&self) -> CopiedRows {
        match self.0 {}
    }

    pub(crate) async fn ended(&self) {
        match self.0 {}
    }

    pub(crate) async fn stop(&self) {
        match self.0 {}
    }

    pub(crate) fn close(&self) {
        match self.0 {}
    }
}
