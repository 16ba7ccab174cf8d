//! Living documents.

use crate::brain::Brain;
use crate::documents::{Documents, Handles};
use crate::node::base::Base;

pub(in crate::node) fn start(base: &Base, brain: Brain) -> Documents {
    let handles = Handles { identity: base.identity.clone(), world: base.world.clone(), engine: base.engine.clone() };
    let documents = Documents::new(handles, brain);
    base.world.spawn("saved documents", documents.clone().keep_saved());
    documents
}
