use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use nexus_crdt::{
    Core, Dot, EntryId, Evidence, Field, Incarnation, Kind, LogId, PAYLOAD_BYTES_MAX, PlacedWrite, Profile, SpaceId,
    Target, Verified, Was, Write, writes_of,
};
use nexus_identity::Did;
use nexus_identity::plants::{planted, reached};

use super::append::Pending;
use super::io::{Again, CommandId, Outcome};
use super::payload::OwnPayload;
use super::recount::note_recount;
use super::state::Log;
use super::{Engine, Event, LedgerError, Turn};
use crate::ledger::rows::{self, CutRow, Eno, EvidenceRow, RecountRow, Standing};
use crate::ledger::{
    enos_of_log, entries_of_log, evidence_of, find_entry, find_record, has_any, head_at, latest_profile,
    live_in_bounds, own_evidence_against, read_entry, record_that_was, standing,
};
use crate::store::{Table, View};

/// The most entries of evidence that this node writes about one author. An author that forks more often is not worth
/// more: its logs stay cut where they are held.
const EVIDENCE_AGAINST_MAX: u64 = 64;
/// The most forked logs of others that one command looks at.
const LOGS_TOGETHER: usize = 64;
/// The most evidence in memory of forks of which one entry is not kept here.
const ASTRAY_MAX: usize = 64;
/// The most of our own entries that are written again by one command, and their bytes.
const AGAIN_ENTRIES: usize = 256;
const AGAIN_BYTES: usize = 1 << 20;

impl Engine {
    /// Takes the evidence of an entry: the log counts up to where it forked.
    pub(super) fn hear_evidence(
        &mut self,
        eno: Eno,
        author: &Did,
        evidence: &Evidence,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        if planted("heeds_no_evidence") {
            return Ok(());
        }
        let (id, cut) = (evidence.log(), evidence.cut());
        let before = evidence_of(&turn.draft, &id)?.unwrap_or(EvidenceRow { cut, own: 0 });
        let own = before.own.saturating_add(u32::from(*author == self.state.me));
        let row = EvidenceRow { cut: cut.min(before.cut), own };
        turn.draft.put(Table::Evidence, &rows::evidence_key(&id), &rows::encode(&row));
        self.state.astray.retain(|log, kept| *log != id || kept.cut() < row.cut);
        let Some(Log { no, held: Some(held) }) = self.state.logs.get(&id).copied() else {
            reached("evidence_before_its_log");
            return Ok(());
        };
        if !held.counts(cut) {
            return Ok(());
        }
        if held.cut.is_some() {
            reached("fork_cut_twice");
        }
        let lower = held.cut_at(cut);
        self.state.log_mut(id, &mut turn.draft).held = Some(lower);
        turn.draft.put(Table::Frontier, &rows::log_key(no), &rows::encode(&lower));
        // its own entry may show a fork of its own log, too: that has the row of `Cuts`
        note_recount(eno, no, RecountRow { from: cut, to: held.cut }, turn)?;
        self.cut(eno, id, CutRow { log: no, from: cut, below: held.cut }, turn)
    }

    /// Keeps the evidence that an entry is which cannot be kept itself, since the branch before it is not here.
    pub(super) fn note_astray(&mut self, entry: &Verified, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let (header, log) = (entry.header(), entry.header().log());
        let Some(Log { no, held: Some(held) }) = self.state.logs.get(&log).copied() else { return Ok(()) };
        let beside = match head_at(&turn.draft, no, header.seq)? {
            Some(beside) => Some(beside),
            None => Some(held.head).filter(|head| header.seq == head.seq.saturating_add(1)),
        };
        let Some(beside) = beside.filter(|beside| beside.id != entry.id()) else { return Ok(()) };
        let Some(eno) = find_entry(&turn.draft, beside.id)? else { return Ok(()) };
        let Some(evidence) = read_entry(&turn.draft, eno)?.and_then(|beside| Evidence::of(&beside, entry)) else {
            return Ok(());
        };
        let known = self.state.astray.get(&log).map(Evidence::cut).into_iter().chain(held.cut).min();
        if known.is_some_and(|known| known <= evidence.cut()) {
            return Ok(());
        }
        turn.events.push(Event::Astray { log, seq: evidence.cut() });
        if self.state.astray.len() < ASTRAY_MAX || self.state.astray.contains_key(&log) {
            reached("fork_without_its_branch");
            self.state.astray.insert(log, evidence);
            turn.events.push(Event::Unsettled);
        }
        Ok(())
    }

    /// Writes down the evidence of forks that others may not know, and begins a new log in the place of a forked one of
    /// our own. Of our own entries that no longer count, some are written again.
    pub(super) fn settle_open(
        &mut self,
        fresh: Incarnation,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Outcome, LedgerError> {
        let mesh_space = SpaceId::mesh(&self.state.mesh);
        let current = self.state.incarnation;
        let is_current = |id: &&LogId| id.author == self.state.me && id.incarnation == current;
        if self.state.unsettled.iter().chain(self.state.astray.keys()).any(|id| is_current(&id)) {
            self.renew_incarnation(current, fresh, turn);
        }
        if !self.may_write(mesh_space) {
            return Ok(Outcome::Settled { again: Again::Done });
        }
        let me = self.state.me;
        let others: Vec<LogId> =
            self.state.unsettled.iter().filter(|log| log.author != me).take(LOGS_TOGETHER).copied().collect();
        let own: Vec<LogId> = self.state.unsettled.iter().filter(|log| log.author == me).copied().collect();
        let mut evidence: Vec<Evidence> = std::mem::take(&mut self.state.astray).into_values().collect();
        for log in others.iter().chain(&own) {
            evidence.extend(self.evidence_here(log, turn)?);
        }
        self.give_evidence(&evidence, of, turn)?;
        self.state.unsettled.retain(|log| !others.contains(log));
        if others.len() == LOGS_TOGETHER {
            return Ok(Outcome::Settled { again: Again::More });
        }
        self.confirm_ends(of, turn)?;
        self.forget_late(of, turn)?;
        let again = self.write_again_what_is_cut(&own, of, turn)?;
        if again != Again::More {
            self.state.unsettled.retain(|log| !own.contains(log));
        }
        Ok(Outcome::Settled { again })
    }

    fn give_evidence(&mut self, evidence: &[Evidence], of: CommandId, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let mut against = BTreeMap::new();
        for evidence in evidence.iter().filter(|_| !planted("gives_no_evidence")) {
            let log = evidence.log();
            // pins decide about the logs of a former member
            let known = evidence_of(&turn.draft, &log)?.is_some_and(|known| known.cut <= evidence.cut());
            if known || self.state.members.has_verdict(&log.author) {
                continue;
            }
            let written = match against.entry(log.author) {
                Entry::Occupied(written) => written.into_mut(),
                Entry::Vacant(none) => none.insert(own_evidence_against(&turn.draft, &log.author)?),
            };
            if *written < EVIDENCE_AGAINST_MAX {
                *written += 1;
                self.write_of_mesh(Kind::EVIDENCE, evidence.encode(), of, turn)?;
            }
        }
        Ok(())
    }

    /// Two entries that are held here and show where a log is cut; `None` if it is known from evidence alone.
    fn evidence_here(&self, log: &LogId, turn: &Turn<'_>) -> Result<Option<Evidence>, LedgerError> {
        let Some(Log { no, held: Some(held) }) = self.state.logs.get(log).copied() else { return Ok(None) };
        let Some(cut) = held.cut else { return Ok(None) };
        let mut entries = Vec::with_capacity(2);
        for eno in enos_of_log(&turn.draft, no, cut, cut)?.into_iter().take(2) {
            entries.extend(read_entry(&turn.draft, eno)?);
        }
        Ok(match entries.as_slice() {
            [one, other] => Evidence::of(one, other),
            _ => None,
        })
    }

    /// Notes which entries our own entry writes again.
    pub(super) fn note_again(&self, entry: &Verified, turn: &mut Turn<'_>) {
        let header = entry.header();
        if header.author == self.state.me && matches!(header.kind, Kind::WRITES) {
            for again in &header.refs {
                turn.draft.put(Table::Again, again.as_bytes(), &[]);
            }
        }
    }

    fn own_bytes(&self) -> u64 {
        self.usage_of_line(&self.state.me).all.bytes
    }

    /// Writes the writes of our own cut entries again, in our own log of now.
    fn write_again_what_is_cut(
        &mut self,
        logs: &[LogId],
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<Again, LedgerError> {
        if planted("writes_nothing_again") {
            return Ok(Again::Done);
        }
        // with its own log cut, this node would write them in vain
        let current = self.state.incarnation;
        let mut lost: Vec<(Eno, EntryId, SpaceId)> = Vec::new();
        for id in logs.iter().filter(|id| id.incarnation != current && !self.state.members.has_verdict(&id.author)) {
            let Some(Log { no, held: Some(held) }) = self.state.logs.get(id).copied() else { continue };
            let Some(cut) = held.cut else { continue };
            for (eno, entry) in entries_of_log(&turn.draft, no, cut, u64::MAX)? {
                if !turn.draft.contains(Table::Again, entry.as_bytes())? {
                    lost.push((eno, entry, id.space));
                }
            }
        }
        lost.sort_unstable();
        let (mut entries, mut bytes) = (0, 0);
        let mut described = None;
        for (eno, id, space) in &lost {
            if entries == AGAIN_ENTRIES || bytes >= AGAIN_BYTES {
                return Ok(Again::More);
            }
            if self.own_bytes() >= self.state.quotas.writer_bytes / 2 {
                return Ok(Again::Full);
            }
            if standing(&turn.draft, *eno)? != Standing::Cut {
                continue;
            }
            let Some(entry) = read_entry(&turn.draft, *eno)? else { continue };
            if entry.header().kind == Kind::PROFILE && *space == SpaceId::mesh(&self.state.mesh) {
                described = entry.content().ok().and_then(|content| Profile::decode(content).ok()).or(described);
            }
            if entry.header().kind != Kind::WRITES || !self.may_write(*space) {
                continue;
            }
            (entries, bytes) = (entries + 1, bytes + entry.payload().map_or(0, <[u8]>::len));
            self.write_entry_again(*id, &entry, of, turn)?;
        }
        if let Some(profile) = described
            && latest_profile(&turn.draft, &self.state.me)?.is_none()
        {
            self.write_of_mesh(Kind::PROFILE, profile.encode(), of, turn)?;
        }
        Ok(Again::Done)
    }

    /// Writes the writes of one of our own entries again, as far as they are not replaced or forgotten by now. A memory
    /// gets another id, and keeps what others have written to it.
    fn write_entry_again(
        &mut self,
        id: EntryId,
        entry: &Verified,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let space_id = entry.header().space;
        let Some(space) = self.state.spaces.get(&space_id).map(|space| space.no) else { return Ok(()) };
        let Ok(writes) = writes_of(entry) else { return Ok(()) };
        let (mut created, mut creating, mut edits) = (Vec::new(), Vec::new(), Vec::new());
        for write in writes {
            let dot = Dot { entry: id, index: write.index };
            let write = write.write;
            match write.target {
                Target::Create { .. } => {
                    if has_any(&turn.draft, Table::Live, &rows::field_prefix(space, dot, Field::GONE))? {
                        continue;
                    }
                    let page = self.state.pages.entry(space_id).or_default().take();
                    let value = with_former_id(&write.value, dot, &self.state.me, entry);
                    created.push(dot);
                    creating.push(Write { target: Target::Create { page }, value, over: vec![], ..write });
                }
                Target::Edit { record } => {
                    let key = rows::write_key(space, record, write.field.as_str(), dot);
                    // somebody who saw it has replaced it
                    if !turn.draft.contains(Table::Past, &key)? {
                        edits.push(Write { target: Target::Edit { record }, ..write });
                    }
                }
            }
        }
        let mut places = BTreeMap::new();
        let mut created = created.into_iter();
        for writes in self.portions(creating) {
            let of_these: Vec<Dot> = created.by_ref().take(writes.len()).collect();
            let again = self.append_again(space_id, id, writes, of, turn)?;
            for (index, former) in (0..).zip(of_these) {
                places.insert(former, Dot { entry: again, index });
            }
        }
        // the writes of others to these memories name their former ids
        for (former, now) in &places {
            for (field, _, row) in live_in_bounds(&turn.draft, space, *former)? {
                reached("edits_move_with_a_memory_written_again");
                let target = Target::Edit { record: *now };
                edits.push(Write { target, field, value: row.value, over: vec![] });
            }
        }
        for write in &mut edits {
            if let Target::Edit { record } = &mut write.target {
                *record = match places.get(record) {
                    Some(now) => *now,
                    None => self.place_now(*record, turn)?,
                };
            }
        }
        let portions = self.portions(edits);
        if places.is_empty() && portions.is_empty() {
            // nothing of it is left to write: it need not be looked at once more
            turn.draft.put(Table::Again, id.as_bytes(), &[]);
        }
        for writes in portions {
            self.append_again(space_id, id, writes, of, turn)?;
        }
        Ok(())
    }

    fn append_again(
        &mut self,
        space: SpaceId,
        former: EntryId,
        writes: Vec<Write>,
        of: CommandId,
        turn: &mut Turn<'_>,
    ) -> Result<EntryId, LedgerError> {
        let payload = OwnPayload::Writes(writes);
        Ok(self.append_for(space, Kind::WRITES, payload, vec![former], vec![of], turn)?.id())
    }

    /// These writes in parts that each fit an entry.
    fn portions(&self, writes: Vec<Write>) -> Vec<Vec<Write>> {
        let mut portions = Vec::new();
        let mut pending = Pending::of(self.state.entry_format);
        for write in writes {
            if !pending.has_room_for(&[&write]) && !pending.is_empty() {
                let full = std::mem::replace(&mut pending, Pending::of(self.state.entry_format));
                portions.push(full.into_writes());
            }
            pending.push(write);
        }
        if !pending.is_empty() {
            portions.push(pending.into_writes());
        }
        portions
    }

    /// Notes which writes forget a memory of ours by an id that it no longer has.
    pub(super) fn note_late_forgets(&mut self, writes: &[PlacedWrite], turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        for PlacedWrite { write, .. } in writes {
            if let Target::Edit { record } = write.target
                && write.field.as_str() == Field::GONE
                && self.place_now(record, turn)? != record
            {
                self.state.forgotten_late.insert(record);
                turn.events.push(Event::Unsettled);
            }
        }
        Ok(())
    }

    /// Forgets memories of ours that somebody has forgotten by a former id.
    fn forget_late(&mut self, of: CommandId, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        for former in std::mem::take(&mut self.state.forgotten_late) {
            let record = self.place_now(former, turn)?;
            let Some((_, row)) = find_record(&turn.draft, record)?.filter(|(_, row)| !row.gone) else { continue };
            let Some(space) = self.state.spaces.iter().find(|(_, space)| space.no == row.space).map(|(id, _)| *id)
            else {
                continue;
            };
            // anybody can write to any id: it must be of this memory's space
            let by_others = has_any(&turn.draft, Table::Live, &rows::field_prefix(row.space, former, Field::GONE))?;
            if by_others && self.may_write(space) {
                let (target, field) = (Target::Edit { record }, Field::named(Field::GONE));
                let write = Write { target, field, value: "true".to_owned(), over: vec![] };
                self.append(space, Kind::WRITES, OwnPayload::Writes(vec![write]), vec![of], turn)?;
            }
        }
        Ok(())
    }

    /// The id by which a memory of ours that was written again is known now.
    fn place_now(&self, record: Dot, turn: &Turn<'_>) -> Result<Dot, LedgerError> {
        if find_record(&turn.draft, record)?.is_some() {
            return Ok(record);
        }
        Ok(record_that_was(&turn.draft, &record.to_string(), &self.state.me)?.unwrap_or(record))
    }
}

/// A memory's core that names the id it had, its author and its time. Without room for them it stays as it is.
fn with_former_id(core: &str, former: Dot, me: &Did, entry: &Verified) -> String {
    let Some(parsed) = Core::parse(core) else { return core.to_owned() };
    let was = Was::new(former.to_string(), me.to_string(), entry.header().hlc.time().as_ms());
    let text = Core { was: Some(was), ..parsed }.to_json();
    let fits = text.len() <= nexus_crdt::VALUE_BYTES_MAX && text.len() + 1_024 <= PAYLOAD_BYTES_MAX;
    if fits { text } else { core.to_owned() }
}
