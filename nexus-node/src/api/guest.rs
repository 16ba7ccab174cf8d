//! Rooms beside the API's own that answer on its socket: behind its guard, described in its document.

use std::fmt;

use axum::Router;

use super::Api;
use super::openapi::Routes;

/// Another room on an API's socket; [`mcp::guest`](crate::mcp::guest) makes one.
pub struct Guest {
    pub(crate) router: Router<Api>,
    /// Adds the guest's routes to the description.
    pub(crate) describe: fn(Routes) -> Routes,
    /// Called whenever the node comes or goes.
    pub(crate) node_changed: Box<dyn Fn() + Send + Sync>,
    /// Called when the API stops, so that streams end.
    pub(crate) closing: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").finish_non_exhaustive()
    }
}
