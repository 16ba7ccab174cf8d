use std::collections::BTreeSet;

use nexus_crdt::{Branches, Head, Kind, LogId, Pin, Revocation, SpaceId};
use nexus_identity::{Chain, Claims, Did};

use super::io::{CommandId, Outcome};
use super::payload::OwnPayload;
use super::{Engine, LedgerError, Turn};
use crate::ledger::{head_at, read_genesis};

impl Engine {
    /// Whether a revocation by this node is in force: of itself, or of a member below it.
    pub(super) fn may_revoke(&self, member: &Did) -> bool {
        let (me, members) = (self.state.me, &self.state.members);
        let stands = members.get(&me).is_some() && members.get(member).is_some();
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
        let logs = &self.state.logs;
        let falling = self.state.members.falls_with(&member, &|log| logs.get(log)?.held?.cut);
        let (mut kept, mut fallen) = (Vec::new(), Vec::new());
        for below in falling {
            match self.admission_of(&below, turn)?.filter(|_| keep.is_none_or(|keep| keep.contains(&below))) {
                Some(chain) => {
                    self.write_of_mesh(Kind::CREDENTIAL, chain.to_bytes(), of, turn)?;
                    kept.push(below);
                }
                None => {
                    self.end_membership(below, of, turn)?;
                    fallen.push(below);
                }
            }
        }
        let pins = self.end_membership(member, of, turn)?;
        Ok(Outcome::Revoked { pins, kept, fallen })
    }

    fn end_membership(&mut self, member: Did, of: CommandId, turn: &mut Turn<'_>) -> Result<usize, LedgerError> {
        let mut pins = Vec::new();
        for (id, log) in self.state.logs.iter().filter(|(id, _)| id.author == member) {
            let last = match log.held {
                Some(held) => self.last_that_counts(id, log.no, &held, turn)?,
                None => None,
            };
            pins.extend(last.map(|last| Pin { space: id.space, incarnation: id.incarnation, last }));
        }
        let revocation = Revocation::new(member, pins);
        let pins = revocation.pins().len();
        self.write_of_mesh(Kind::REVOCATION, revocation.encode(), of, turn)?;
        Ok(pins)
    }

    fn write_of_mesh(
        &mut self,
        kind: Kind,
        payload: Vec<u8>,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        self.append(SpaceId::mesh(&self.state.mesh), kind, OwnPayload::One(payload), vec![of], turn)?;
        Ok(())
    }

    /// A chain by which this node admits a member as what it is now. `None` if it may not.
    fn admission_of(&self, member: &Did, turn: &Turn<'_>) -> Result<Option<Chain>, LedgerError> {
        let (Some(genesis), Some(known)) = (read_genesis(&turn.draft)?, self.state.members.get(member)) else {
            return Ok(None);
        };
        let Some(name) = known.name().cloned() else { return Ok(None) };
        let claims = Claims::new(self.state.mesh, *member, name, known.roles(), turn.now)
            .issued_by(self.state.me)
            .expiring(known.expires_at());
        Ok(genesis.chain.extend(claims.sign(&self.key)).ok())
    }

    fn last_that_counts(
        &self,
        id: &LogId,
        no: u32,
        held: &Branches,
        turn: &Turn<'_>,
    ) -> Result<Option<Head>, LedgerError> {
        let cut = self.state.members.cut_of(id).into_iter().chain(held.cut).min();
        match cut.filter(|cut| *cut <= held.head.seq) {
            None => Ok(Some(held.head)),
            Some(cut) => match cut.checked_sub(1) {
                Some(seq) => Ok(head_at(&turn.draft, no, seq)?),
                None => Ok(None),
            },
        }
    }
}
