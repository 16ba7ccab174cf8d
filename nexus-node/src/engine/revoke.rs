use std::collections::BTreeSet;

use nexus_crdt::{Branches, Head, Kind, LogId, Member, Pin, Revocation, RevocationDraft, RootRevocation, SpaceId};
use nexus_identity::plants::planted;
use nexus_identity::{Claims, Did, Name, Role};

use super::io::{CommandId, Outcome};
use super::payload::OwnPayload;
use super::{Engine, LedgerError, Turn};
use crate::ledger::{head_at, read_genesis};
use crate::store::View;

impl Engine {
    /// Whether a revocation by this node is in force: of itself, or of a member below it.
    pub(super) fn may_revoke(&self, member: &Did) -> bool {
        let (me, members) = (self.state.me, &self.state.members);
        let ends = members.get(member).is_some() || members.successor(member).is_some();
        let stands = members.get(&me).is_some() && ends;
        stands && (me == *member || members.may_revoke(member).contains(&me))
    }

    /// Ends a membership. Of the member's logs that counts which is held here.
    ///
    /// Members whose membership would end with it are admitted again by this node, or end with what their
    /// logs hold here, too. Their entries come before the revocation: whoever has it has those.
    pub(super) fn revoke(
        &mut self,
        member: Did,
        keep: Option<&BTreeSet<Did>>,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        let (mut kept, mut fallen) = (Vec::new(), Vec::new());
        let Some(own) = read_genesis(&turn.draft)?.map(|genesis| genesis.chain) else {
            return Ok(self.not_permitted());
        };
        let falling = self.falling(&member, turn)?;
        // a new key of this member, or of one below it, may have left them in their places by the word of somebody else
        for below in self.state.members.admitted_below(&member).into_iter().filter(|below| !falling.contains(below)) {
            if keep.is_none_or(|keep| keep.contains(&below)) || below == self.state.me || !self.may_revoke(&below) {
                kept.push(below);
            } else {
                let revocation = self.revocation_of(below, &turn.draft)?;
                self.write_of_mesh(Kind::REVOCATION, revocation.encode(), of, turn)?;
                fallen.push(below);
            }
        }
        for below in falling {
            match self
                .admission_of(&below, &below, &own, turn.now)
                .filter(|_| keep.is_none_or(|keep| keep.contains(&below)) && !planted("keeps_nobody"))
            {
                Some(chain) => {
                    self.write_of_mesh(Kind::CREDENTIAL, chain.to_bytes(), of, turn)?;
                    kept.push(below);
                }
                None => {
                    let revocation = self.revocation_of(below, &turn.draft)?;
                    self.write_of_mesh(Kind::REVOCATION, revocation.encode(), of, turn)?;
                    fallen.push(below);
                }
            }
        }
        let revocation = self.revocation_of(member, &turn.draft)?;
        self.write_of_mesh(Kind::REVOCATION, revocation.encode(), of, turn)?;
        Ok(Outcome::Revoked { pins: revocation.pins().len(), kept, fallen })
    }

    /// Confirms that members below this node have left.
    pub(super) fn confirm_ends(&mut self, of: CommandId, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let me = self.state.me;
        if self.state.members.get(&me).is_none() {
            return Ok(());
        }
        for revocation in self.state.members.confirmations(&me) {
            self.write_of_mesh(Kind::REVOCATION, revocation.encode(), of, turn)?;
        }
        Ok(())
    }

    /// Drafts the end of a membership for the root to sign. Members whose membership would end with it and
    /// who are not kept are part of it.
    pub(super) fn draft_revocation(
        &self,
        member: Did,
        keep: Option<&BTreeSet<Did>>,
        name: Name,
        turn: &Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        let (me, mesh) = (self.state.me, self.state.mesh);
        let (mut kept, mut ended) = (false, vec![member]);
        let falling = self.falling(&member, turn)?;
        for below in falling.iter().filter(|below| **below != me) {
            if keep.is_none_or(|keep| keep.contains(below)) {
                kept = true;
            } else {
                ended.push(*below);
            }
        }
        let others = self.state.members.admitted_below(&member).into_iter().filter(|below| !falling.contains(below));
        ended.extend(others.filter(|below| *below != me && keep.is_some_and(|keep| !keep.contains(below))));
        let falls = falling.contains(&me);
        let admits = (falls || kept && !self.state.members.allows(&me, Role::Admin)).then(|| {
            let roles = self.state.members.get(&me).map(Member::roles).unwrap_or_default();
            // perhaps no other admin is left
            Claims::new(mesh, me, name, roles.into_iter().chain([Role::Admin]), turn.now)
        });
        let revocations = ended.into_iter().map(|member| self.revocation_of(member, &turn.draft));
        let revocations = revocations.collect::<Result<_, _>>()?;
        Ok(Outcome::Drafted(Box::new(RevocationDraft { mesh, revocations, admits })))
    }

    /// Writes down the end of a membership that the root has signed, after the admissions of those who stay.
    pub(super) fn revoke_as_root(
        &mut self,
        word: &RootRevocation,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        let own = match &word.chain {
            Some(chain) => Some(chain.clone()),
            None => read_genesis(&turn.draft)?.map(|genesis| genesis.chain),
        };
        let (Some(own), Some(first)) = (own, word.revocations.first()) else { return Ok(self.not_permitted()) };
        if let Some(chain) = &word.chain {
            self.write_of_mesh(Kind::CREDENTIAL, chain.to_bytes(), of, turn)?;
        }
        let (mut kept, fallen) = (Vec::new(), word.revocations[1..].iter().map(|ended| ended.member).collect());
        for below in self.falling(&first.member, turn)?.into_iter().filter(|below| !word.ends(below)) {
            if let Some(chain) = self.admission_of(&below, &below, &own, turn.now) {
                self.write_of_mesh(Kind::CREDENTIAL, chain.to_bytes(), of, turn)?;
                kept.push(below);
            }
        }
        for revocation in &word.revocations {
            self.write_of_mesh(Kind::REVOCATION, revocation.encode(), of, turn)?;
        }
        Ok(Outcome::Revoked { pins: first.pins().len(), kept, fallen })
    }

    /// The members whose membership would end with this one's.
    pub(super) fn falling(&self, member: &Did, turn: &Turn<'_>) -> Result<Vec<Did>, LedgerError> {
        Ok(self.state.judged(&turn.draft, |members, branches| members.falls_with(member, branches))?)
    }

    /// The end of a membership, with the last entry of each log that counts here.
    pub(super) fn revocation_of(&self, member: Did, view: &dyn View) -> Result<Revocation, LedgerError> {
        let mut pins = Vec::new();
        for (id, log) in self.state.logs.iter().filter(|(id, _)| id.author == member) {
            let last = match log.held {
                Some(held) => self.last_that_counts(id, log.no, &held, view)?,
                None => None,
            };
            pins.extend(last.map(|last| Pin { space: id.space, incarnation: id.incarnation, last }));
        }
        Ok(Revocation::new(member, pins))
    }

    pub(super) fn write_of_mesh(
        &mut self,
        kind: Kind,
        payload: Vec<u8>,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        self.append(SpaceId::mesh(&self.state.mesh), kind, OwnPayload::One(payload), vec![of], turn)?;
        Ok(())
    }

    fn last_that_counts(
        &self,
        id: &LogId,
        no: u32,
        held: &Branches,
        view: &dyn View,
    ) -> Result<Option<Head>, LedgerError> {
        let reach = self.state.members.reach_of(id, held.cut);
        match reach.below.checked_sub(1) {
            _ if reach.below > held.head.seq => Ok(Some(held.head)),
            Some(seq) => Ok(head_at(view, no, seq)?),
            None => Ok(None),
        }
    }
}
