use nexus_crdt::{
    Admission, Draft as EntryDraft, EntryId, Head, Header, Incarnation, Kind, LogId, SpaceId, SpaceRule, Verified,
};
use nexus_identity::plants::planted;
use nexus_identity::{Chain, Did};

use super::payload::OwnPayload;
use super::recount::note_recount;
use super::state::{Log, OpenPage};
use super::waiting::{Need, Waiter};
use super::{CommandId, Effect, Engine, Event, LedgerError, Published, Turn};
use crate::ledger::rows::{self, EntryRow};
use crate::ledger::{fills, find_entry, holds, lacks_only_what_is_erased};
use crate::store::{Table, View};

/// The verdict on an arriving entry.
#[expect(clippy::large_enum_variant, reason = "an entry that waits is moved once; boxing it would cost more")]
enum Verdict {
    /// It was stored.
    Stored,
    /// It was here already, or is worthless.
    Nothing,
    /// It needs something that is not here yet.
    Wait(Verified, Need),
}

impl Engine {
    /// Takes entries from a peer: stores those that continue their logs, keeps those that must wait.
    pub(super) fn take_entries(
        &mut self,
        from: Did,
        entries: Vec<Verified>,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError> {
        let before = self.state.next_eno;
        let (mut behind, events) = (false, turn.events.len());
        let spaces = self.state.spaces.len();
        for entry in entries {
            behind |= !self.take_entry(from, entry, turn)?;
        }
        // once for all of them: others may have waited for new authors or spaces
        if self.state.spaces.len() > spaces || turn.events[events..].contains(&Event::Members) {
            self.retry_waiting(turn)?;
        }
        if behind {
            turn.events.push(Event::Behind { from });
        }
        self.finish_turn(before, turn)
    }

    /// Takes one entry, and those that waited for it. Returns `false` if it must wait itself.
    fn take_entry(&mut self, from: Did, entry: Verified, turn: &mut Turn<'_>) -> Result<bool, LedgerError> {
        let log = entry.header().log();
        match self.judge(entry, turn)? {
            Verdict::Nothing => Ok(true),
            Verdict::Wait(entry, need) => {
                self.state.waiting.keep(Waiter::new(entry, from, need));
                Ok(false)
            }
            Verdict::Stored => {
                self.follow(log, turn)?;
                Ok(true)
            }
        }
    }

    /// Takes the entries that waited for the log's next places.
    fn follow(&mut self, log: LogId, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        loop {
            let next = self.state.logs.get(&log).and_then(Log::head).map_or(0, |head| head.seq + 1);
            let Some(Waiter { entry, from, .. }) = self.state.waiting.take(log, next) else {
                return Ok(());
            };
            match self.judge(entry, turn)? {
                Verdict::Stored => {}
                Verdict::Nothing => return Ok(()),
                Verdict::Wait(entry, need) => {
                    self.state.waiting.keep(Waiter::new(entry, from, need));
                    return Ok(());
                }
            }
        }
    }

    /// Takes the waiting entries whose author or space is here now, and those that waited for them.
    fn retry_waiting(&mut self, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        loop {
            let state = &mut self.state;
            let (spaces, members) = (&state.spaces, &state.members);
            let rule = |space: &SpaceId| spaces.get(space).map(|row| row.rule(*space));
            let met = state.waiting.take_met(|need| match need {
                Need::Before => false,
                Need::Space(space) => rule(space).is_some(),
                Need::Author(author, space) => rule(space).is_some_and(|rule| members.may_have_written(author, &rule)),
            });
            if met.is_empty() {
                return Ok(());
            }
            for Waiter { entry, from, .. } in met {
                self.take_entry(from, entry, turn)?;
            }
        }
    }

    /// Judges one entry, and stores it if it is due.
    fn judge(&mut self, entry: Verified, turn: &mut Turn<'_>) -> Result<Verdict, LedgerError> {
        if let Some(eno) = find_entry(&turn.draft, entry.id())? {
            if fills(&turn.draft, eno, &entry)? {
                self.fill(eno, &entry, turn)?;
            }
            return Ok(Verdict::Nothing);
        }
        let header = entry.header();
        let Some(space) = self.state.rule_of(header.space) else {
            let need = Need::Space(header.space);
            return Ok(Verdict::Wait(entry, need));
        };
        if !self.may_speak(&entry, &space) {
            let need = Need::Author(header.author, header.space);
            return Ok(Verdict::Wait(entry, need));
        }
        if self.is_after_the_end(header, turn)? {
            return Ok(Verdict::Nothing);
        }
        // a peer must not send entries of a space that this node may not read; nothing of them is kept. Those of the
        // mesh are taken by a former member, too: they may show that its end is void
        let of_mesh = header.space == SpaceId::mesh(&self.state.mesh);
        if !of_mesh && !self.state.members.may_read(&self.state.me, &space) {
            return Ok(Verdict::Nothing);
        }
        if !self.has_room_for(header) {
            return Ok(Verdict::Nothing);
        }
        let head = self.state.logs.get(&header.log()).and_then(Log::head);
        let stored = match Head::admit(head.as_ref(), header) {
            Admission::Next => true,
            Admission::Gap { .. } if planted("skips_gaps") => true,
            Admission::Gap { .. } => return Ok(Verdict::Wait(entry, Need::Before)),
            Admission::Aside => self.is_branch(&entry, turn)?,
        };
        if !stored {
            self.note_astray(&entry, turn)?;
        }
        if !stored || !lacks_only_what_is_erased(&turn.draft, &entry)? {
            return Ok(Verdict::Nothing);
        }
        let entry = self.left_of(entry, turn)?;
        self.store(&entry, turn)?;
        Ok(Verdict::Stored)
    }

    /// Whether an entry is by a former member, and can never count. No more of its memories is taken
    /// than counts, and no branch beside the one that counts. Its entries in the mesh space are kept, whatever
    /// their branch, as verdicts may depend on them, and may change.
    fn is_after_the_end(&self, header: &Header, turn: &Turn<'_>) -> Result<bool, LedgerError> {
        let log = header.log();
        if log.space == SpaceId::mesh(&self.state.mesh) || !self.state.members.has_verdict(&log.author) {
            return Ok(false);
        }
        match self.state.members.pin_of(&log) {
            // every entry before a held one is held
            Some(pin) if header.seq <= pin.seq => Ok(holds(&turn.draft, &log, &pin)?),
            _ => Ok(true),
        }
    }

    /// Whether to keep an entry that does not follow its log's head: a second entry at a held seq, or
    /// the next of a held branch. Both are evidence, within a bound. There is no bound while the branch is
    /// missing of which it is known that it counts.
    fn is_branch(&self, entry: &Verified, turn: &Turn<'_>) -> Result<bool, LedgerError> {
        let header = entry.header();
        let log = header.log();
        let Some((no, held)) = self.state.logs.get(&log).and_then(|log| Some((log.no, log.held?))) else {
            return Ok(false);
        };
        // our own entries are written again where they do not count
        let sought =
            || log.author == self.state.me || self.state.members.pin_of(&log).is_some_and(|pin| header.seq <= pin.seq);
        if !held.has_room_at(header.seq) && !sought() || find_entry(&turn.draft, entry.id())?.is_some() {
            return Ok(false);
        }
        if header.seq == 0 {
            return Ok(true);
        }
        let Some(before) = find_entry(&turn.draft, header.prev)? else { return Ok(false) };
        let row = turn.draft.get(Table::Entries, &rows::eno_key(before))?;
        Ok(row.as_deref().and_then(EntryRow::peek) == Some((no, header.seq - 1)))
    }

    /// Whether the author's entries are kept in the space. In the mesh's own space a chain introduces its
    /// author.
    fn may_speak(&self, entry: &Verified, space: &SpaceRule) -> bool {
        let header = entry.header();
        let introduces_itself = || {
            let chain = Chain::from_bytes(entry.content().ok()?).ok()?;
            chain.verify_all(&self.state.mesh).ok()?.into_iter().find(|claims| claims.subject == header.author)
        };
        self.state.members.may_have_written(&header.author, space)
            || (header.kind == Kind::CREDENTIAL
                && header.space == SpaceId::mesh(&self.state.mesh)
                && introduces_itself().is_some())
    }

    /// Takes a chain that a peer showed at the gate: its entries may arrive before the credential.
    pub(super) fn take_chain(&mut self, chain: &Chain, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        let before = self.state.next_eno;
        if self.state.admit(chain, None).is_ok_and(|changed| changed) {
            turn.events.push(Event::Members);
            self.retry_waiting(turn)?;
        }
        self.finish_turn(before, turn)
    }

    /// Begins a new incarnation: another store is ahead in the old log, which must not be written twice.
    pub(super) fn renew_incarnation(&mut self, incarnation: Incarnation, fresh: Incarnation, turn: &mut Turn<'_>) {
        if self.state.incarnation != incarnation || fresh == incarnation {
            return;
        }
        self.state.incarnation = fresh;
        for page in self.state.pages.values_mut() {
            *page = OpenPage::default();
        }
        turn.draft.put(Table::Meta, rows::meta::INCARNATION, &fresh.0);
        turn.events.push(Event::Renewed(fresh));
    }

    /// Reports the entries stored in this turn, and keeps the clock.
    pub(super) fn finish_turn(&mut self, before: u64, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
        for (log, recount) in self.decide(turn)? {
            note_recount(self.state.next_eno - 1, log, recount, turn)?;
        }
        if turn.events.contains(&Event::Members) && !self.state.erasers.is_empty() {
            self.weigh_erasers(turn)?;
        }
        if self.state.next_eno == before {
            return Ok(());
        }
        let stamp = self.state.clock.tick(turn.now);
        self.note_stamp(stamp, turn);
        turn.events.push(Event::Stored { eno: self.state.next_eno - 1 });
        Ok(())
    }

    /// Writes, stores and folds the next entry of our own log of a space for these commands.
    pub(super) fn append(
        &mut self,
        space: SpaceId,
        kind: Kind,
        payload: OwnPayload,
        of: Vec<CommandId>,
        turn: &mut Turn<'_>,
    ) -> Result<Verified, LedgerError> {
        self.append_for(space, kind, payload, Vec::new(), of, turn)
    }

    /// As [`append`](Self::append); `refs` are the entries that it writes again.
    pub(super) fn append_for(
        &mut self,
        space: SpaceId,
        kind: Kind,
        payload: OwnPayload,
        refs: Vec<EntryId>,
        of: Vec<CommandId>,
        turn: &mut Turn<'_>,
    ) -> Result<Verified, LedgerError> {
        let log = self.state.own_log(space);
        let head = self.state.logs.get(&log).and_then(Log::head);
        let hlc = self.state.clock.tick(turn.now);
        let payload = payload.in_format(self.state.entry_format, &mut turn.salts);
        let draft = EntryDraft { mesh: self.state.mesh, log, after: head.as_ref(), hlc, kind, refs, payload };
        let entry = Verified::write(draft, &self.key);
        self.store(&entry, turn)?;
        let to_all = self.state.rule_of(space).is_some_and(|space| self.state.members.all_read(&space));
        turn.after.push(Effect::Publish(Published { entry: entry.id(), to_all, of }));
        Ok(entry)
    }
}
