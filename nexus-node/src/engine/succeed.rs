use std::borrow::Cow;
use std::time::Duration;

use nexus_crdt::{Kind, Pin, Succession};
use nexus_identity::{Chain, Claims, Did, Role, Timestamp};

use super::io::{CommandId, Outcome};
use super::{Engine, LedgerError, Turn};
use crate::ledger::read_genesis;
use crate::ledger::rows::meta;
use crate::store::{Batch, Table, View};

/// The first words of a new key: it takes the place of the key that the store had.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The credentials of the new key.
    pub chain: Chain,
    /// The succession, if nobody has written it down yet: the root admitted the new key.
    pub succession: Option<Succession>,
    /// Rows that must become durable with it.
    pub with: Batch,
}

/// The reason why a new key is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSuccession {
    /// This node may not admit the new key, or not those whom the former one had admitted.
    NotAdmin,
    /// The former key is none of a member.
    NoMember,
    /// This node was admitted by the former key itself, and would fall with it.
    Below,
    /// A key did not sign, or the new one belongs to somebody already.
    Unfit,
    /// Another new key took the former one's place.
    Taken,
    /// The member had too many keys.
    TooMany,
    /// The member's last new key is younger than a day.
    TooSoon {
        /// The time from which on it goes.
        from: Timestamp,
    },
    /// This node does not have the word of whoever admitted the former key, so it does not know since when the member
    /// has that key.
    Unheard,
}

/// The most keys of one member, one after the other.
const KEYS_MAX: usize = 64;
/// The time from one new key of a member to the next, unless an admin's person says otherwise.
const ROTATION_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// The row by which a person on an admin's node lets the next new key of a member through, and its content.
pub(crate) fn rotation_allowed(member: &Did, until: Timestamp) -> (Vec<u8>, [u8; 8]) {
    (meta::rotation(member), until.as_ms().to_le_bytes())
}

impl NoSuccession {
    /// The reason for people.
    pub fn words(self) -> Cow<'static, str> {
        match self {
            Self::NotAdmin => "it may not admit them".into(),
            Self::NoMember => "the former key is no member's".into(),
            Self::Below => "it was admitted by the former key itself".into(),
            Self::Unfit => "the request is not signed by both keys, or the new key belongs to somebody already".into(),
            Self::Taken => "another new key has taken the place of this one".into(),
            Self::TooMany => "this member had 64 keys already".into(),
            Self::TooSoon { from } => {
                format!("a member changes its key once a day, and this one may from {from} on, or by an admin's word")
                    .into()
            }
            Self::Unheard => "it has not heard yet who admitted the key of now".into(),
        }
    }
}

impl Engine {
    /// The last entries of this node's own logs that count.
    ///
    /// # Errors
    /// An error of the view.
    pub fn own_pins(&self, view: &dyn View) -> Result<Vec<Pin>, LedgerError> {
        Ok(self.revocation_of(self.state.me, view)?.pins().to_vec())
    }

    /// Admits a member's new key as what the member is now, and those who would lose their membership with the former
    /// one. The same new key is admitted again.
    pub(super) fn succeed(
        &mut self,
        succession: &Succession,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        let Some(own) = read_genesis(&turn.draft)?.map(|genesis| genesis.chain) else {
            return Ok(Outcome::NotSucceeded(NoSuccession::NotAdmin));
        };
        let again = match self.may_succeed(succession, &own, turn)? {
            Ok(again) => again,
            Err(why) => return Ok(Outcome::NotSucceeded(why)),
        };
        let (former, member) = (&succession.former, &succession.member);
        let as_what = if again { member } else { former };
        let Some(chain) = self.admission_of(as_what, member, &own, turn.now) else {
            return Ok(Outcome::NotSucceeded(NoSuccession::NotAdmin));
        };
        if !again {
            if !self.end_former_key(succession, &own, of, turn)? {
                return Ok(Outcome::NotSucceeded(NoSuccession::NotAdmin));
            }
            self.write_of_mesh(Kind::CREDENTIAL, chain.to_bytes(), of, turn)?;
            turn.draft.delete(Table::Meta, &meta::rotation(former));
        }
        Ok(Outcome::Succeeded(Box::new(chain)))
    }

    /// Writes a succession down, after the admission of those who would lose their membership with the former key.
    /// Nothing, and `false`, if this node may not admit them. The credentials of the new key come next: whoever has
    /// those has the end of the former key.
    fn end_former_key(
        &mut self,
        succession: &Succession,
        own: &Chain,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<bool, LedgerError> {
        let below = self.falling(&succession.former, turn)?;
        let kept = below.iter().map(|below| self.admission_of(below, below, own, turn.now));
        let Some(kept) = kept.collect::<Option<Vec<_>>>() else { return Ok(false) };
        for kept in kept {
            self.write_of_mesh(Kind::CREDENTIAL, kept.to_bytes(), of, turn)?;
        }
        self.write_of_mesh(Kind::SUCCESSION, succession.encode(), of, turn)?;
        Ok(true)
    }

    /// Whether this node may admit a new key. Returns whether it is admitted already.
    fn may_succeed(
        &self,
        succession: &Succession,
        own: &Chain,
        turn: &Turn<'_>,
    ) -> Result<Result<bool, NoSuccession>, LedgerError> {
        let (former, member) = (&succession.former, &succession.member);
        let members = &self.state.members;
        if succession.verify(&self.state.mesh).is_err() {
            return Ok(Err(NoSuccession::Unfit));
        }
        let Ok(links) = own.verify_all(&self.state.mesh) else { return Ok(Err(NoSuccession::NotAdmin)) };
        if !members.allows(&self.state.me, Role::Admin) {
            return Ok(Err(NoSuccession::NotAdmin));
        }
        if links.iter().any(|link| link.subject == *former) {
            return Ok(Err(NoSuccession::Below));
        }
        Ok(match members.successor(former) {
            Some(other) if other != *member => Err(NoSuccession::Taken),
            Some(_) => Ok(true),
            None if members.get(former).is_none() => Err(NoSuccession::NoMember),
            None if members.get_known(member).is_some() => Err(NoSuccession::Unfit),
            None if !members.is_written_by_issuer(former) => Err(NoSuccession::Unheard),
            None if members.line(former).len() >= KEYS_MAX => Err(NoSuccession::TooMany),
            None => match self.rotates_from(former) {
                Some(from) if turn.now < from && !rotation_is_allowed(former, turn)? => {
                    Err(NoSuccession::TooSoon { from })
                }
                _ => Ok(false),
            },
        })
    }

    /// The time from which on a member may have another new key; `None` if it had none yet. The entries here say it, so a
    /// restart forgets nothing.
    fn rotates_from(&self, member: &Did) -> Option<Timestamp> {
        Some(self.state.members.renewed_at(member)?.time().saturating_add(ROTATION_EVERY))
    }

    /// Begins this node's new key: its credentials become known. If the root admitted it, so does the end of the former
    /// key, after the admission of those who would lose their membership with it.
    pub(super) fn rotate(
        &mut self,
        rotation: &Rotation,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        let Rotation { chain, succession, with } = rotation;
        if let Some(succession) = succession
            && !self.end_former_key(succession, chain, of, turn)?
        {
            return Ok(Outcome::NotSucceeded(NoSuccession::NotAdmin));
        }
        self.write_of_mesh(Kind::CREDENTIAL, chain.to_bytes(), of, turn)?;
        super::append::keep(with, turn);
        Ok(Outcome::Succeeded(Box::new(chain.clone())))
    }

    /// A chain by which this node, by its own chain, admits somebody as what `member` is now. `None` if it may not.
    pub(super) fn admission_of(&self, member: &Did, admitted: &Did, own: &Chain, now: Timestamp) -> Option<Chain> {
        let known = self.state.members.get(member)?;
        let claims = Claims::new(self.state.mesh, *admitted, known.name()?.clone(), known.roles(), now)
            .issued_by(self.state.me)
            .expiring(known.expires_at());
        own.extend(claims.sign(&self.key)).ok()
    }
}

/// Whether a person on this node has said that a member's next new key may come now.
fn rotation_is_allowed(member: &Did, turn: &Turn<'_>) -> Result<bool, LedgerError> {
    let until = turn.draft.get(Table::Meta, &meta::rotation(member))?;
    let until = until.and_then(|until| until.try_into().ok()).map(u64::from_le_bytes);
    Ok(until.is_some_and(|until| turn.now <= Timestamp::from_ms(until)))
}
