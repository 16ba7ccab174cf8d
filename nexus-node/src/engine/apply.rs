use std::sync::Arc;

use nexus_crdt::{
    Branches, DRIFT_MAX, Evidence, FormError, Hlc, Kind, PlacedSuccession, PlacedWrite, Profile, Seat, SpaceDefinition,
    SpaceId, Succession, Verified, task_events_of, writes_of,
};
use nexus_identity::{Chain, Did};

use super::writes::FoldWrites;
use super::{Engine, Event, LedgerError, Turn};
use crate::ledger::rows::{self, CutRow, Eno, EntryRow, SpaceNo, SpaceRow, Standing, meta};
use crate::ledger::{evidence_of, placed_revocation};
use crate::store::Table;

impl Engine {
    /// Stores an entry of a log and settles its effects.
    pub(super) fn store(&mut self, entry: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let header = entry.header();
        let eno = self.state.next_eno;
        self.state.next_eno = eno + 1;
        let log = self.state.log_mut(header.log(), &mut turn.draft).no;
        let row =
            EntryRow { log, seq: header.seq, header: entry.header_bytes().to_vec(), signature: *entry.signature() };
        turn.draft.put(Table::Entries, &rows::eno_key(eno), &rows::encode(&row));
        if let Some(payload) = entry.payload() {
            turn.draft.put(Table::Payloads, &rows::eno_key(eno), payload);
        }
        turn.draft.put(Table::Ids, entry.id().as_bytes(), &rows::eno_key(eno));
        turn.draft.put(Table::LogIndex, &rows::log_index_key(log, header.seq, entry.id()), &rows::eno_key(eno));
        let seen_at = self.state.agreed.unwrap_or(turn.now);
        // this node's own stamps go on from its clock of before, and stay in the order of its writes
        if header.author != self.key.did() && header.hlc > Hlc::at(seen_at.saturating_add(DRIFT_MAX)) {
            turn.draft.put(Table::Ahead, &rows::eno_key(eno), &seen_at.as_ms().to_le_bytes());
        }
        self.settle(eno, entry, turn)?;
        self.state.clock.observe(header.hlc, turn.now, self.state.drift);
        Ok(())
    }

    /// Changes the derived tables from the set of entries before this one to the set with it. A rebuild
    /// does the same, entry by entry in the order of their enos.
    pub(super) fn settle(&mut self, eno: Eno, entry: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let header = entry.header();
        let held = self.place(eno, entry, turn)?;
        self.count(entry, held.entries == 1, turn);
        self.note_again(entry, turn);
        let reach = self.state.reach_of(&header.log());
        if reach.branch.is_some_and(|last| last.id == entry.id()) {
            self.state.branched.insert(header.log());
        }
        self.fold_as_it_counts(eno, entry, header.seq < reach.below, turn)?;
        if let Some(space) = self.state.spaces.get_mut(&header.space) {
            space.entries += 1;
            space.bytes += u64::from(header.payload_len);
            turn.draft.put(Table::Spaces, header.space.as_bytes(), &rows::encode(space));
        }
        Ok(())
    }

    /// Folds an entry, and notes whether it counts.
    pub(super) fn fold_as_it_counts(
        &mut self,
        eno: Eno,
        entry: &Verified,
        counts: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let standing = match self.fold(eno, entry, counts, turn)? {
            Ok(standing) => standing,
            Err(why) => {
                let why = why.to_string();
                turn.draft.put(Table::Quarantine, &rows::eno_key(eno), why.as_bytes());
                turn.events.push(Event::Quarantined { entry: entry.id(), author: entry.header().author, why });
                Standing::Quarantined
            }
        };
        if standing == Standing::Cut && entry.header().author == self.state.me {
            self.state.unsettled.insert(entry.header().log());
            turn.events.push(Event::Unsettled);
        }
        if standing != Standing::Applied {
            turn.draft.put(Table::Standing, &rows::eno_key(eno), &rows::encode(&standing));
        }
        Ok(())
    }

    /// Gives an entry its place in its log. If another entry has that place, the log is cut there.
    fn place(&mut self, eno: Eno, entry: &Verified, turn: &mut Turn<'_>) -> Result<Branches, LedgerError> {
        let id = entry.header().log();
        let log = self.state.log_mut(id, &mut turn.draft);
        let (no, before) = (log.no, log.held);
        let mut held = Branches::with(before, entry.id(), entry.header());
        if before.is_none()
            && let Some(proven) = evidence_of(&turn.draft, &id)?
        {
            held = held.cut_at(proven.cut);
        }
        self.state.log_mut(id, &mut turn.draft).held = Some(held);
        turn.draft.put(Table::Frontier, &rows::log_key(no), &rows::encode(&held));
        let below = before.and_then(|held| held.cut);
        if let Some(from) = held.cut.filter(|_| held.cut != below) {
            let cut = CutRow { log: no, from, below };
            turn.draft.put(Table::Cuts, &rows::eno_key(eno), &rows::encode(&cut));
            self.cut(eno, id, cut, turn)?;
        }
        Ok(held)
    }

    /// Folds an entry's payload, if the entry counts. The inner error is the author's fault: quarantine.
    fn fold(
        &mut self,
        eno: Eno,
        entry: &Verified,
        counts: bool,
        turn: &mut Turn<'_>,
    ) -> Result<Result<Standing, FormError>, LedgerError> {
        let header = entry.header();
        let in_mesh_space = header.space == SpaceId::mesh(&self.state.mesh);
        match header.kind {
            // a chain proves itself at any place
            Kind::CREDENTIAL if in_mesh_space => {
                let admitted = entry.content().and_then(|content| {
                    let chain = Chain::from_bytes(content);
                    let admitted = chain.and_then(|chain| self.state.admit(&chain, Some(&header.author)));
                    admitted.map_err(|error| FormError::Content(error.to_string()))
                });
                Ok(admitted.map(|changed| {
                    if changed {
                        turn.events.push(Event::Members);
                    }
                    Standing::Applied
                }))
            }
            // whether it counts is part of the verdict
            Kind::REVOCATION if in_mesh_space => Ok(placed_revocation(&self.state.mesh, entry).map(|placed| {
                self.state.undecided |= Arc::make_mut(&mut self.state.members).revoke(placed);
                Standing::Applied
            })),
            // both keys have signed it
            Kind::SUCCESSION if in_mesh_space => {
                let succession = entry.content().and_then(Succession::decode);
                let taken = succession.and_then(|succession| {
                    let (author, order) = (header.author, (header.seq, entry.id()));
                    let placed = PlacedSuccession { author, order, hlc: header.hlc, succession };
                    let taken = Arc::make_mut(&mut self.state.members).succeed(placed);
                    taken.map_err(|error| FormError::Content(error.to_string()))
                });
                Ok(taken.map(|changed| {
                    self.state.undecided |= changed;
                    Standing::Applied
                }))
            }
            // the log's author has signed it
            Kind::EVIDENCE if in_mesh_space => {
                let evidence = entry.content().and_then(Evidence::decode).and_then(|evidence| {
                    let verified = evidence.verify(&self.state.mesh);
                    verified.map(|()| evidence).map_err(|error| FormError::Content(error.to_string()))
                });
                if let Ok(evidence) = &evidence {
                    self.hear_evidence(eno, &header.author, evidence, turn)?;
                }
                Ok(evidence.map(|_| Standing::Applied))
            }
            // it proves itself at any place, as long as its author is an admin
            Kind::SEAT if in_mesh_space => Ok(entry.content().and_then(Seat::decode).map(|seat| {
                if Arc::make_mut(&mut self.state.members).seat(&header.author, header.hlc, entry.id(), seat) {
                    turn.events.push(Event::Members);
                }
                Standing::Applied
            })),
            // the space is known nevertheless: nodes that do not see the fork send entries for it
            Kind::SPACE if in_mesh_space => {
                let definition = entry.content().and_then(SpaceDefinition::decode);
                if let Ok(definition) = &definition {
                    let id = SpaceId::created_by(entry.id());
                    self.define_space(eno, id, header.author, definition, !counts, turn);
                }
                Ok(if counts { definition.map(|_| Standing::Applied) } else { Ok(Standing::Cut) })
            }
            _ if !counts => Ok(Ok(Standing::Cut)),
            Kind::WRITES if !in_mesh_space => match writes_of(entry) {
                Err(FormError::Absent) => Ok(Ok(Standing::Erased)),
                Ok(writes) if writes.is_empty() => Ok(Ok(Standing::Erased)),
                Ok(writes) => {
                    self.fold_writes(eno, entry, &writes, turn)?;
                    Ok(Ok(Standing::Applied))
                }
                Err(why) => Ok(Err(why)),
            },
            kind if kind.is_tasks() && !in_mesh_space => match task_events_of(entry) {
                Err(FormError::Absent) => Ok(Ok(Standing::Erased)),
                Ok(events) => {
                    if let Some(space) = self.state.spaces.get(&header.space).map(|space| space.no) {
                        self.fold_task_events((eno, space), entry, &events, turn)?;
                    }
                    Ok(Ok(Standing::Applied))
                }
                Err(why) => Ok(Err(why)),
            },
            Kind::PROFILE if in_mesh_space => {
                let profile = entry.content().and_then(Profile::decode);
                Ok(profile.map(|profile| {
                    let key = rows::profile_key(&header.author, header.hlc, entry.id());
                    turn.draft.put(Table::Profiles, &key, &rows::eno_key(eno));
                    let members = Arc::make_mut(&mut self.state.members);
                    if members.describe(&header.author, header.hlc, entry.id(), profile) {
                        turn.events.push(Event::Members);
                    }
                    Standing::Applied
                }))
            }
            _ => Ok(Ok(Standing::Unknown)),
        }
    }

    fn define_space(
        &mut self,
        eno: Eno,
        id: SpaceId,
        author: Did,
        definition: &SpaceDefinition,
        cut: bool,
        turn: &mut Turn<'_>,
    ) {
        let no = SpaceNo::try_from(eno + 1).unwrap_or(SpaceNo::MAX);
        let (name, access) = (definition.name.clone(), definition.access);
        let row = SpaceRow { no, name, access, author, records: 0, entries: 0, bytes: 0, cut };
        turn.draft.put(Table::Spaces, id.as_bytes(), &rows::encode(&row));
        self.state.spaces.insert(id, row);
        turn.events.push(Event::Spaces);
    }

    fn fold_writes(
        &mut self,
        eno: Eno,
        entry: &Verified,
        writes: &[PlacedWrite],
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let header = entry.header();
        let log = self.state.log_mut(header.log(), &mut turn.draft).no;
        let Some(space) = self.state.spaces.get_mut(&header.space) else {
            return Ok(());
        };
        let mut fold = FoldWrites::new(space.no, &mut turn.draft);
        fold.entry(eno, log, entry, writes)?;
        space.records = space.records.saturating_add_signed(fold.records());
        self.note_late_forgets(writes, turn)
    }

    /// Notes the latest stamp, so that stamps grow across restarts.
    pub(super) fn note_stamp(&self, stamp: nexus_crdt::Hlc, turn: &mut Turn<'_>) {
        turn.draft.put(Table::Meta, meta::HLC, &stamp.0.to_le_bytes());
    }
}
