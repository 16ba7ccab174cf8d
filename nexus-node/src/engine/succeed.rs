use nexus_crdt::{Kind, Pin, Succession};
use nexus_identity::{Chain, Claims, Did, Role, Timestamp};

use super::io::{CommandId, Outcome};
use super::{Engine, LedgerError, Turn};
use crate::ledger::rows::UsageRow;
use crate::ledger::{is_writer, read_genesis};
use crate::store::{Batch, View};

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
    /// The member wrote more than half of a quota, with all its keys, or changed its key too often.
    Full,
}

/// The most keys of one member, one after the other.
const KEYS_MAX: usize = 64;

impl NoSuccession {
    /// The reason for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotAdmin => "it may not admit them",
            Self::NoMember => "the former key is no member's",
            Self::Below => "it was admitted by the former key itself",
            Self::Unfit => "the request is not signed by both keys, or the new key belongs to somebody already",
            Self::Taken => "another new key has taken the place of this one",
            Self::Full => "with all its keys this member wrote over half of its quota, or it had 64 keys already",
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
        let again = match self.may_succeed(succession, &own) {
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
    fn may_succeed(&self, succession: &Succession, own: &Chain) -> Result<bool, NoSuccession> {
        let (former, member) = (&succession.former, &succession.member);
        let members = &self.state.members;
        if succession.verify(&self.state.mesh).is_err() {
            return Err(NoSuccession::Unfit);
        }
        let links = own.verify_all(&self.state.mesh).map_err(|_| NoSuccession::NotAdmin)?;
        if !members.allows(&self.state.me, Role::Admin) {
            return Err(NoSuccession::NotAdmin);
        }
        if links.iter().any(|link| link.subject == *former) {
            return Err(NoSuccession::Below);
        }
        match members.successor(former) {
            Some(other) if other != *member => Err(NoSuccession::Taken),
            Some(_) => Ok(true),
            None if members.get(former).is_none() => Err(NoSuccession::NoMember),
            None if members.get_known(member).is_some() => Err(NoSuccession::Unfit),
            None if self.is_half_full(former) => Err(NoSuccession::Full),
            None => Ok(false),
        }
    }

    /// Whether a member may have no further key: each has a quota of its own, and the entries of the former ones stay.
    fn is_half_full(&self, member: &Did) -> bool {
        let (members, quotas) = (&self.state.members, &self.state.quotas);
        let mut keys = vec![*member];
        while let Some(former) = keys.last().and_then(|last| members.former_key(last)) {
            if keys.len() >= KEYS_MAX || keys.contains(&former) {
                return true;
            }
            keys.push(former);
        }
        let mut all = UsageRow::default();
        for usage in keys.iter().filter_map(|key| self.state.usage.get(key)) {
            all.bytes = all.bytes.saturating_add(usage.bytes);
            all.entries = all.entries.saturating_add(usage.entries);
            all.logs = all.logs.saturating_add(usage.logs);
        }
        let bytes = if is_writer(members, member) { quotas.writer_bytes } else { quotas.reader_bytes };
        all.bytes > bytes / 2 || all.entries > quotas.writer_entries / 2 || all.logs > quotas.logs / 2
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
