//! Whose machine a member is: said by the admin that admitted it, agreed to by the member itself.

use std::time::Duration;

use nexus_crdt::{Kind, SpaceId};
use nexus_identity::plants::reached;
use nexus_identity::{Chain, Claims, Did};

use super::io::{CommandId, Outcome};
use super::{Engine, LedgerError, Turn};
use crate::ledger::{enos_of_log, read_entry, read_genesis, read_logs, says_persons};
use crate::store::View;

/// The most members of whom a new key says at once whose machines they are.
const SAID_AT_ONCE: usize = 1_000;

/// The most words about whose machine this is that this node agrees to in a day. Each of them is an entry that every member
/// keeps, and an admin may change its mind without end.
pub(crate) const AGREED_MAX: usize = 16;
const DAY: Duration = Duration::from_secs(86_400);

/// The reason why this node does not say whose machine a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSaid {
    /// It did not admit the member, which agreed to be below somebody else.
    NotAdmitted,
    /// Some member's program cannot read such credentials yet.
    TooNew,
    /// This node agreed to so many today that it agrees to no other one.
    TooOften,
}

/// Whether credentials of a member with this chain may say whose machine another one is: all members can read them.
///
/// A mesh whose founder's credential says it has no members that cannot.
pub(crate) fn may_say_persons(view: &dyn View, own: &Chain) -> Result<bool, LedgerError> {
    let of_founder = own.verify_all(&own.mesh()?)?.iter().any(|link| link.person.is_some());
    Ok(of_founder || says_persons(view)?)
}

/// The id by which a member with this chain names its own person in the credentials that it issues.
pub(crate) fn own_person(me: &Did, own: &Chain) -> Option<Did> {
    let claims = own.verify(&own.mesh().ok()?).ok()?;
    Some(claims.person.unwrap_or(*me))
}

/// The person that a member with this chain names in the credentials of a subject: its own, or a new one.
pub(crate) fn person_to_say(mine: bool, subject: Did, me: &Did, own: &Chain) -> Option<Did> {
    if mine { own_person(me, own) } else { Some(subject) }
}

impl Engine {
    /// Signs the credentials of a member anew, with whose machine it is: this node's person's, or a new one's.
    pub(super) fn say_person(
        &mut self,
        member: &Did,
        mine: bool,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        let own = read_genesis(&turn.draft)?.ok_or(LedgerError::NoGenesis)?.chain;
        if !may_say_persons(&turn.draft, &own)? {
            return Ok(Outcome::NotSaid(NotSaid::TooNew));
        }
        let Some(before) = self.state.members.may_say_person(&self.state.me, member) else {
            return Ok(Outcome::NotSaid(NotSaid::NotAdmitted));
        };
        match self.saying(&own, *member, mine, before, turn) {
            Some(chain) => self.publish_chain(&chain, of, turn),
            None => Ok(Outcome::NotSaid(NotSaid::NotAdmitted)),
        }
    }

    /// Agrees to what the admin that admitted this node says about whose machine it is. Says again what a former key of
    /// this node said of others, since it ended with that key. Each is one entry.
    pub(super) fn agree_to_person(&mut self, of: CommandId, turn: &mut Turn<'_>) -> Result<Outcome, LedgerError> {
        let mut written = None;
        let unagreed = self.state.members.unagreed_person(&self.state.me);
        let too_often = unagreed.is_some() && self.agreed_lately(turn)? >= AGREED_MAX;
        if let Some(claims) = unagreed.filter(|_| !too_often)
            && let Some(chain) = self.chain_of(&claims, turn)?
        {
            reached("person_said_later");
            written = Some(self.publish_chain(&chain, of, turn)?);
        }
        let said = self.state.members.persons_said_by_former_keys(&self.state.me);
        if !said.is_empty() {
            let own = read_genesis(&turn.draft)?.ok_or(LedgerError::NoGenesis)?.chain;
            for (member, before) in said.into_iter().take(SAID_AT_ONCE) {
                let mine = before.person != Some(before.subject);
                if let Some(chain) = self.saying(&own, member, mine, before, turn) {
                    reached("person_said_again_by_a_new_key");
                    written = Some(self.publish_chain(&chain, of, turn)?);
                }
            }
        }
        Ok(if too_often { Outcome::NotSaid(NotSaid::TooOften) } else { written.unwrap_or(Outcome::Done(None)) })
    }

    /// The number of credentials of its own that this node wrote down in the last day, counted up to the bound.
    fn agreed_lately(&self, turn: &Turn<'_>) -> Result<usize, LedgerError> {
        let (view, mesh, me) = (&turn.draft, self.state.mesh, self.state.me);
        let mut agreed = 0;
        for (no, log, _) in read_logs(view)? {
            if log.space != SpaceId::mesh(&mesh) || log.author != me {
                continue;
            }
            for eno in enos_of_log(view, no, 0, u64::MAX)?.into_iter().rev() {
                let Some(entry) = read_entry(view, eno)? else { continue };
                // times only grow in a log
                if agreed >= AGREED_MAX || turn.now.since(entry.header().hlc.time()) >= DAY {
                    break;
                }
                let is_credential = entry.header().kind == Kind::CREDENTIAL;
                let chain = || Chain::from_bytes(entry.content().ok()?).ok()?.verify(&mesh).ok();
                agreed += usize::from(is_credential && chain().is_some_and(|claims| claims.subject == me));
            }
        }
        Ok(agreed)
    }

    fn saying(&self, own: &Chain, member: Did, mine: bool, before: Claims, turn: &Turn<'_>) -> Option<Chain> {
        let person = person_to_say(mine, member, &self.state.me, own);
        let claims =
            Claims::new(self.state.mesh, member, before.name, before.roles.iter().collect::<Vec<_>>(), turn.now)
                .issued_by(self.state.me)
                .expiring(before.expires_at)
                .of_person(person);
        own.extend(claims.sign(&self.key)).ok()
    }

    /// The chain whose last credential has these claims, from the log of its issuer.
    fn chain_of(&self, claims: &Claims, turn: &Turn<'_>) -> Result<Option<Chain>, LedgerError> {
        let (view, mesh) = (&turn.draft, self.state.mesh);
        for (no, log, _) in read_logs(view)? {
            if log.space != SpaceId::mesh(&mesh) || log.author != claims.issuer {
                continue;
            }
            for eno in enos_of_log(view, no, 0, u64::MAX)?.into_iter().rev() {
                let Some(entry) = read_entry(view, eno)?.filter(|entry| entry.header().kind == Kind::CREDENTIAL) else {
                    continue;
                };
                let chain = entry.content().ok().and_then(|payload| Chain::from_bytes(payload).ok());
                if let Some(chain) = chain.filter(|chain| chain.verify(&mesh).as_ref() == Ok(claims)) {
                    return Ok(Some(chain));
                }
            }
        }
        Ok(None)
    }
}
