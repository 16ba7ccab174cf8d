//! Whose machine a member is: said by an admin's node, agreed to by the member's own.

use std::time::Duration;

use nexus_crdt::Members;
use nexus_identity::{Did, Name, Role};

use super::{Inner, Node};
use crate::engine::{AGREED_MAX, Command, NotSaid, Outcome};
use crate::error::{AccessError, AdminDuty, NodeError};
use crate::identity::Identity;
use crate::runtime::EngineHandle;
use crate::world::World;

/// Whose machine a newcomer or a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Another machine of this node's person.
    Mine,
    /// The first machine of somebody else, by a name for people.
    Other(Name),
}

/// A member, and whose machine it was said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersonSaid {
    /// The member.
    pub did: Did,
    /// Its name.
    pub name: String,
    /// Whether it agreed already: its own node does, once it hears of it.
    pub agreed: bool,
}

impl Node {
    /// Says whether a member that this node admitted is another machine of this node's person, or the first one of
    /// somebody else. The member's own node agrees once it hears of it, and from then on it holds.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if this node is no admin's, did not admit the member, or if a member's program cannot read
    /// such credentials yet; [`NodeError::NotFound`] if there is no such member.
    pub async fn say_person(&self, member: Did, mine: bool) -> Result<PersonSaid, NodeError> {
        self.check_running()?;
        let Inner { identity, engine, .. } = &*self.0;
        let (members, me) = (identity.members(), identity.me());
        if !members.allows(&me, Role::Admin) {
            return Err(AccessError::NotAdmin(AdminDuty::SayPerson).into());
        }
        let did = self.current_key(member);
        self.check_another_member(&did)?;
        let name = members.shown_name(&did).unwrap_or_else(|| did.short());
        if is_said(&members, &did, &me, mine) {
            return Ok(PersonSaid { did, name, agreed: true });
        }
        match engine.run(Command::SayPerson { member: did, mine }).await? {
            Outcome::NotSaid(NotSaid::TooNew) => Err(AccessError::PersonsTooNew.into()),
            Outcome::NotSaid(NotSaid::NotAdmitted) => {
                let by = members.admitter(&did).filter(|by| *by != me).and_then(|by| members.shown_name(&by));
                Err(AccessError::NotAdmitted { by: by.unwrap_or_else(|| "the root key".to_owned()) }.into())
            }
            Outcome::Done(_) => Ok(PersonSaid { did, name, agreed: false }),
            // the membership has changed meanwhile
            _ => Err(AccessError::NotAdmin(AdminDuty::SayPerson).into()),
        }
    }
}

/// Whether a member agreed already to what is to be said of it.
fn is_said(members: &Members, did: &Did, me: &Did, mine: bool) -> bool {
    members.has_person(did)
        && if mine { members.same_person(did, me) } else { members.person(did) == members.line_id(did) }
}

/// The shortest time between two words about whose machine this is that this node agrees to. Each costs an entry.
const AGREE_EVERY: Duration = Duration::from_secs(30);

/// The pause before the next try, once it agreed as often as it does in a day.
const AGREE_AGAIN: Duration = Duration::from_secs(3_600);

/// Agrees to what the admin that admitted this node says about whose machine it is, and says again what a former key of
/// this node said of others. Ends with the node.
pub(super) async fn agree(world: World, engine: EngineHandle, identity: Identity) {
    let me = identity.me();
    let mut members = identity.follow();
    let mut told = false;
    loop {
        let now = members.borrow_and_update().clone();
        if now.unagreed_person(&me).is_some() || !now.persons_said_by_former_keys(&me).is_empty() {
            let Ok(outcome) = engine.run_once_there_is_room(&world, || Command::AgreeToPerson).await else { return };
            let too_often = matches!(outcome, Outcome::NotSaid(NotSaid::TooOften));
            if too_often && !told {
                tracing::warn!(
                    a_day = AGREED_MAX,
                    "an admin says again and again whose machine this is: the last word agreed to stands for now"
                );
            }
            told = too_often;
            let due = world.now() + if too_often { AGREE_AGAIN } else { AGREE_EVERY };
            // a change meanwhile, of that word among them, is seen after it
            let mut meanwhile = members.clone();
            let ended = async { while meanwhile.changed().await.is_ok() {} };
            tokio::select! {
                () = world.sleep_until(due) => {}
                () = ended => return,
            }
            if too_often {
                continue;
            }
        }
        if members.changed().await.is_err() {
            return;
        }
    }
}
