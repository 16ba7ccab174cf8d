mod lines;
mod persons;
mod verdict;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::plants::planted;
use nexus_identity::{BadSignature, CHAIN_LINKS_MAX, Chain, ChainError, Claims, Did, Name, Role, Timestamp};

use crate::entry_id::EntryId;
use crate::error::FormError;
use crate::frontier::Head;
use crate::hlc::Hlc;
use crate::log::{Branching, Reach};
use crate::log_id::LogId;
use crate::revocation::{Pin, PlacedRevocation, Revocation};
use crate::seat::{Seat, SignedSeats};
use crate::succession::{PlacedSuccession, WrittenSuccessions};

use lines::Lines;
pub use verdict::Revoked;
use verdict::{Verdict, Verdicts};

/// The profile of a member: the payload of an entry of kind [`crate::Kind::PROFILE`]. Canonical bytes:
/// borsh, fields in this order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Profile {
    /// Its current name.
    pub name: Name,
}

impl Profile {
    /// Reads canonical payload bytes.
    ///
    /// # Errors
    /// [`FormError::NotCanonical`].
    pub fn decode(payload: &[u8]) -> Result<Self, FormError> {
        borsh::from_slice(payload).map_err(|_| FormError::NotCanonical)
    }

    /// The canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a profile encodes")
    }
}

/// One member, by the held credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its credentials, the latest last.
    credentials: BTreeMap<Vec<u8>, HeldCredential>,
    profile: Option<(Hlc, EntryId, Name)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HeldCredential {
    claims: Claims,
    /// Whether an entry holds it. Others were shown at the gate: while no entry holds one of its subject, they say
    /// who is above it, and no other verdict depends on them.
    published: bool,
    /// Whether the member itself published it, and so agreed to be below its issuer.
    own: bool,
    /// Whether the log of its issuer has it, or the root issued it.
    by_issuer: bool,
    /// Whether it counts: its issuer's membership stands.
    counts: bool,
}

impl Member {
    const fn unknown() -> Self {
        Self { credentials: BTreeMap::new(), profile: None }
    }

    /// Its name: that of its latest profile, else of its latest credential.
    pub fn name(&self) -> Option<&Name> {
        let latest = self.credentials.last_key_value().map(|(_, held)| &held.claims.name);
        self.profile.as_ref().map(|(_, _, name)| name).or(latest)
    }

    /// Whether a credential that counts includes the rights of `role`.
    pub fn allows(&self, role: Role) -> bool {
        self.counting().any(|claims| claims.roles.allow(role))
    }

    /// The roles of all its credentials that count.
    pub fn roles(&self) -> BTreeSet<Role> {
        self.counting().flat_map(|claims| claims.roles.iter().collect::<Vec<_>>()).collect()
    }

    /// The issuer of its latest credential.
    pub fn admitted_by(&self) -> Option<Did> {
        let latest = self.credentials.last_key_value().map(|(_, held)| held.claims.issuer);
        self.counting().last().map(|claims| claims.issuer).or(latest)
    }

    /// The end of its last credential that counts; `None` if one has no end.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.counting().map(|claims| claims.expires_at).reduce(|a, b| Some(a?.max(b?))).flatten()
    }

    fn counting(&self) -> impl DoubleEndedIterator<Item = &Claims> {
        self.credentials.values().filter(|held| held.counts).map(|held| &held.claims)
    }

    /// Whether a credential, counting or not, includes the rights of `role`.
    fn allowed_once(&self, role: Role) -> bool {
        self.credentials.values().any(|held| held.claims.roles.allow(role))
    }

    /// Those above it at once: the issuers that it agreed to, else all. Credentials that no entry holds say it
    /// while there are no others.
    fn issuers(&self) -> impl Iterator<Item = Did> {
        let agreed = self.credentials.values().any(|held| held.own);
        let published = self.is_published();
        let held = self.credentials.values().filter(move |held| held.published || !published);
        held.filter(move |held| held.own || !agreed).map(|held| held.claims.issuer)
    }

    /// Whether an entry holds a credential of it. Otherwise it has shown one at the gate alone.
    fn is_published(&self) -> bool {
        self.credentials.values().any(|held| held.published)
    }

    /// Drops the weakest credentials beyond the bound, apart for those that it published itself and for those
    /// that no entry holds: none takes the place of another sort.
    fn bound(&mut self, mesh: &Did) {
        if self.credentials.len() <= Members::CREDENTIALS_MAX {
            return;
        }
        let strength = |held: &HeldCredential| (held.claims.issuer == *mesh, held.claims.roles.iter().max());
        let mut strongest: Vec<_> = self.credentials.iter().collect();
        strongest.sort_by_key(|(key, held)| Reverse((strength(held), *key)));
        let sorts: [fn(&HeldCredential) -> bool; 3] = [|held| held.own, |held| held.published, |held| !held.published];
        let kept = sorts.into_iter().flat_map(|sort| {
            let of_sort = strongest.iter().filter(move |(_, held)| sort(held));
            of_sort.take(Members::CREDENTIALS_MAX).map(|(key, _)| (*key).clone())
        });
        let kept: BTreeSet<Vec<u8>> = kept.collect();
        self.credentials.retain(|key, _| kept.contains(key));
    }
}

/// A member whose membership ended.
#[derive(Clone, Copy, Debug)]
pub struct FormerMember<'a> {
    /// The member, by its credentials and profile.
    pub member: &'a Member,
    /// The end of its membership.
    pub revoked: Revoked,
}

/// The members of the mesh: the fold of credentials, profiles and revocations. It depends on the set of
/// entries alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    mesh: Did,
    /// Everybody with a credential, also those whose membership does not stand.
    members: BTreeMap<Did, Member>,
    /// Profiles of authors whose credentials are not here yet.
    strangers: BTreeMap<Did, (Hlc, EntryId, Name)>,
    /// Revocations by author, in force or not. Those that the root signed are its own.
    revocations: BTreeMap<Did, Revocations>,
    /// Those whose membership does not stand.
    against: BTreeMap<Did, Verdict>,
    /// The same of those whom no entry names, with the revocation if there is one. It says nothing about entries: what
    /// counts of them never depends on credentials that were shown.
    shown_out: BTreeMap<Did, Option<Revoked>>,
    /// Seats among the coordinators by who signed them, an admin or not.
    seats: BTreeMap<Did, SignedSeats>,
    /// Successions of keys by who wrote them down, counting or not.
    successions: BTreeMap<Did, WrittenSuccessions>,
    /// The keys of members that had more than one.
    lines: Lines,
}

/// The revocations of an author by their order. The first ones are kept, up to a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Revocations {
    kept: BTreeMap<(u64, EntryId), PlacedRevocation>,
    /// The first one beyond the bound: none from there on is kept, however few pins it has.
    beyond: Option<(u64, EntryId)>,
}

impl Revocations {
    /// The most revocations of one author.
    const COUNT_MAX: usize = 4_096;
    /// The most pins in the revocations of one author, of 80 bytes each.
    const PINS_MAX: usize = 16_384;

    /// The number of those kept, and of the pins in them.
    fn size(&self) -> (usize, usize) {
        (self.kept.len(), self.kept.values().map(|placed| placed.revocation.pins().len()).sum())
    }

    /// Takes one within the bound. Returns whether it was kept.
    fn take(&mut self, placed: PlacedRevocation) -> bool {
        let order = placed.order();
        if self.beyond.is_some_and(|beyond| order >= beyond) {
            return false;
        }
        self.kept.insert(order, placed);
        let (_, mut pins) = self.size();
        while self.kept.len() > Self::COUNT_MAX || pins > Self::PINS_MAX {
            let Some((last, placed)) = self.kept.pop_last() else { break };
            pins -= placed.revocation.pins().len();
            self.beyond = Some(last);
        }
        self.kept.contains_key(&order)
    }
}

impl Members {
    /// The most credentials kept for one member, and as many that it published itself. The strongest stay:
    /// their order does not depend on that of their arrival, and no issuer can take a right away by giving a
    /// lesser one.
    const CREDENTIALS_MAX: usize = 16;

    /// No members yet.
    pub const fn of(mesh: Did) -> Self {
        Self {
            mesh,
            members: BTreeMap::new(),
            strangers: BTreeMap::new(),
            revocations: BTreeMap::new(),
            against: BTreeMap::new(),
            shown_out: BTreeMap::new(),
            seats: BTreeMap::new(),
            successions: BTreeMap::new(),
            lines: Lines::none(),
        }
    }

    /// The mesh.
    pub const fn mesh(&self) -> Did {
        self.mesh
    }

    /// Adds a chain, and admits every link's subject. Returns whether that changed anything.
    ///
    /// # Errors
    /// The chain does not hold; nothing changed.
    pub fn admit(&mut self, chain: &Chain) -> Result<bool, ChainError> {
        Ok(self.insert(chain.verify_all(&self.mesh)?, None))
    }

    /// Adds a chain from an entry. If the author is its subject, it agreed to be below the issuers.
    ///
    /// # Errors
    /// Same as [`admit`](Self::admit).
    pub fn admit_by(&mut self, author: &Did, chain: &Chain) -> Result<bool, ChainError> {
        Ok(self.insert(chain.verify_all(&self.mesh)?, Some(author)))
    }

    /// Admits a chain into shared members; `author` published it, if it is from an entry. They are copied
    /// only if the chain adds something.
    ///
    /// # Errors
    /// Same as [`admit`](Self::admit).
    pub fn admit_shared(members: &mut Arc<Self>, chain: &Chain, author: Option<&Did>) -> Result<bool, ChainError> {
        let all = chain.verify_all(&members.mesh)?;
        let known = |claims: &Claims| {
            let held = members.members.get(&claims.subject)?.credentials.get(&credential_key(claims))?;
            let by_issuer = held.by_issuer || !members.is_by_issuer(claims, author);
            Some(by_issuer && (held.own || author != Some(&claims.subject)) && (held.published || author.is_none()))
        };
        Ok(!all.iter().all(|claims| known(claims) == Some(true)) && Arc::make_mut(members).insert(all, author))
    }

    fn insert(&mut self, all: Vec<Claims>, author: Option<&Did>) -> bool {
        let mut changed = false;
        for claims in all {
            let (key, subject) = (credential_key(&claims), claims.subject);
            let counts = self.issuer_stands(&claims);
            let (published, own) = (author.is_some(), author == Some(&subject));
            let by_issuer = self.is_by_issuer(&claims, author);
            let profile = self.strangers.remove(&subject);
            let member = self.members.entry(subject).or_insert_with(Member::unknown);
            member.profile = profile.or(member.profile.take());
            let state =
                |member: &Member| member.credentials.get(&key).map(|held| (held.published, held.own, held.by_issuer));
            let before = state(member);
            let new = HeldCredential { claims, published, own, by_issuer, counts };
            let held = member.credentials.entry(key.clone()).or_insert(new);
            held.published |= published;
            held.own |= own;
            held.by_issuer |= by_issuer;
            member.bound(&self.mesh);
            changed |= state(member) != before;
        }
        changed
    }

    /// Whether an entry by `author` is the issuer's own word for a credential. The root has no log: its signature is its
    /// word.
    fn is_by_issuer(&self, claims: &Claims, author: Option<&Did>) -> bool {
        author == Some(&claims.issuer) || claims.issuer == self.mesh
    }

    /// Whether a credential counts until the verdicts are found again: whoever issued it is an admin now.
    fn issuer_stands(&self, claims: &Claims) -> bool {
        !self.has_ends() || claims.issuer == self.mesh || self.allows(&claims.issuer, Role::Admin)
    }

    /// Takes an author's profile from entry `id`. The latest one counts. Returns whether a member
    /// changed; profiles of strangers are kept until they are members.
    pub fn describe(&mut self, author: &Did, hlc: Hlc, id: EntryId, profile: Profile) -> bool {
        let said = (hlc, id, profile.name);
        let newer = |(at, by, _): &(Hlc, EntryId, Name)| (hlc, id) > (*at, *by);
        let Some(member) = self.members.get_mut(author) else {
            if self.strangers.get(author).is_none_or(newer) {
                self.strangers.insert(*author, said);
            }
            return false;
        };
        let newer = member.profile.as_ref().is_none_or(newer);
        if newer {
            member.profile = Some(said);
        }
        newer
    }

    /// Drops an author's profile, since some of its profile entries no longer count.
    pub fn undescribe(&mut self, author: &Did) {
        self.strangers.remove(author);
        if let Some(member) = self.members.get_mut(author) {
            member.profile = None;
        }
    }

    /// Takes a revocation. Whether it is in force, and which memberships stand, says
    /// [`decided`](Self::decided). Returns whether it was kept.
    pub fn revoke(&mut self, placed: PlacedRevocation) -> bool {
        if !placed.by_root {
            return self.revocations.entry(placed.log.author).or_default().take(placed);
        }
        // Nobody forges a revocation of the root, but any member can write it down again.
        let (order, time) = (placed.order(), (placed.hlc, placed.order()));
        let of_root = &mut self.revocations.entry(self.mesh).or_default().kept;
        let same = of_root.iter().find(|(_, other)| other.revocation == placed.revocation);
        let same = same.map(|(order, other)| (other.hlc, *order));
        let first = same.is_none_or(|other| time < other);
        if first {
            if let Some((_, order)) = same {
                of_root.remove(&order);
            }
            of_root.insert(order, placed);
        }
        first
    }

    /// Takes a seat that `author` signed. Returns whether that changed anything.
    pub fn seat(&mut self, author: &Did, hlc: Hlc, id: EntryId, seat: Seat) -> bool {
        self.seats.entry(*author).or_default().take((hlc, id), seat)
    }

    /// Takes a succession. Which keys end with it says [`decided`](Self::decided). Returns whether that changed
    /// anything.
    ///
    /// # Errors
    /// Its keys did not sign it for this mesh; nothing changed.
    pub fn succeed(&mut self, placed: PlacedSuccession) -> Result<bool, BadSignature> {
        placed.succession.verify(&self.mesh)?;
        Ok(self.successions.entry(placed.author).or_default().take(placed))
    }

    /// The successions that count: an issuer of the new key wrote it down, or the new key itself if the root
    /// admitted it.
    fn counting_successions(&self) -> impl Iterator<Item = &PlacedSuccession> {
        self.successions.values().flat_map(WrittenSuccessions::iter).filter(|placed| {
            let new = &placed.succession.member;
            let credentials = self.members.get(new).into_iter().flat_map(|known| known.credentials.values());
            let mut issuers = credentials.filter(|held| held.published).map(|held| held.claims.issuer);
            issuers.any(|issuer| issuer == placed.author || issuer == self.mesh && placed.author == *new)
        })
    }

    /// The key that took the place of a former one, whoever it is now. Of several the lowest counts.
    pub fn successor(&self, former: &Did) -> Option<Did> {
        let of_former = self.counting_successions().filter(|placed| placed.succession.former == *former);
        of_former.min_by_key(|placed| placed.rank()).map(|placed| placed.succession.member)
    }

    /// The key whose place a member's key took.
    pub fn former_key(&self, member: &Did) -> Option<Did> {
        let of_member = self.counting_successions().filter(|placed| placed.succession.member == *member);
        of_member.map(|placed| placed.succession.former).min()
    }

    /// Whether an admin signed a seat. Seats signed by those who are none, or none any more, do not count.
    pub fn has_seat(&self, seat: &Seat) -> bool {
        self.seats_of_admins().any(|signed| signed.contains(seat))
    }

    /// Whether an admin signed a seat of a member in a group, with whichever draw.
    pub fn has_seat_of(&self, generation: u32, group: u64, member: &Did) -> bool {
        self.seats_of_admins().any(|signed| signed.has_seat_of(generation, group, member))
    }

    /// Whether an admin signed any seat.
    pub fn has_seats(&self) -> bool {
        self.seats_of_admins().next().is_some()
    }

    fn seats_of_admins(&self) -> impl Iterator<Item = &SignedSeats> {
        self.seats.iter().filter(|(author, _)| self.allows(author, Role::Admin)).map(|(_, signed)| signed)
    }

    /// Whether there is anything that ends a membership, in force or not.
    pub fn has_ends(&self) -> bool {
        !self.revocations.is_empty() || !self.successions.is_empty()
    }

    /// These members after it was found again which memberships stand. `None` if that changes nothing.
    pub fn decided(&self, branches: &dyn Branching) -> Option<Self> {
        if !self.has_ends() {
            return None;
        }
        let Verdicts { against, shown, counting } = verdict::judge(self, branches, None);
        let mut after = self.clone();
        (after.against, after.shown_out) = (against, shown);
        after.lines = Lines::of(self.counting_successions());
        for (did, member) in &mut after.members {
            for (key, held) in member.credentials.iter_mut().filter(|(_, held)| held.published) {
                held.counts = counting.contains(&(*did, key.as_slice()));
            }
        }
        after.count_shown();
        after.end_shown();
        (after != *self).then_some(after)
    }

    /// Finds which credentials count of those that were shown at the gate alone, from the root downward.
    fn count_shown(&mut self) {
        let shown = |(did, member): (&Did, &Member)| {
            let shown = member.credentials.iter().filter(|(_, held)| !held.published);
            shown.map(|(key, held)| (*did, key.clone(), held.claims.clone())).collect::<Vec<_>>()
        };
        let shown: Vec<_> = self.members.iter().flat_map(shown).collect();
        for (did, key, _) in &shown {
            self.set_counts(did, key, false);
        }
        for _ in 0..CHAIN_LINKS_MAX {
            for (did, key, claims) in &shown {
                if self.issuer_stands(claims) {
                    self.set_counts(did, key, true);
                }
            }
        }
    }

    /// Ends those whom no entry names once none of the credentials that they showed counts.
    fn end_shown(&mut self) {
        let ended = |member: &Member| !member.is_published() && member.counting().next().is_none();
        for (did, _) in self.members.iter().filter(|(_, member)| ended(member)) {
            self.shown_out.entry(*did).or_default();
        }
    }

    fn set_counts(&mut self, did: &Did, key: &[u8], counts: bool) {
        if let Some(held) = self.members.get_mut(did).and_then(|member| member.credentials.get_mut(key)) {
            held.counts = counts;
        }
    }

    /// The members whose membership would end with this one's, itself left out.
    pub fn falls_with(&self, member: &Did, branches: &dyn Branching) -> Vec<Did> {
        let with = verdict::judge(self, branches, Some(member)).against;
        self.iter().map(|(did, _)| *did).filter(|did| did != member && with.contains_key(did)).collect()
    }

    /// The members below this one whose credentials no entry holds: they showed them at the gate, and fall with this one as
    /// soon as the entry comes.
    pub fn shown_below(&self, member: &Did) -> Vec<Did> {
        let shown = self.iter().filter(|(did, known)| !known.is_published() && self.is_above(member, did));
        shown.map(|(did, _)| *did).collect()
    }

    /// Whether somebody is an issuer above a member, by the credentials that each agreed to.
    pub fn is_above(&self, above: &Did, member: &Did) -> bool {
        above != member && self.all_above(member).contains(above)
    }

    /// Those whose revocation of a member is in force, besides the root.
    pub fn may_revoke(&self, member: &Did) -> Vec<Did> {
        if planted("revokes_upwards") {
            return self.members.keys().copied().filter(|did| did != member && self.allows(did, Role::Admin)).collect();
        }
        let admins = self.all_above(member).into_iter().filter(|did| did != member && self.allows(did, Role::Admin));
        admins.filter(|did| self.level(did) < self.level(member)).collect()
    }

    fn all_above(&self, member: &Did) -> BTreeSet<Did> {
        let (mut above, mut next) = (BTreeSet::new(), vec![*member]);
        while let Some(did) = next.pop() {
            let issuers = self.members.get(&did).into_iter().flat_map(Member::issuers);
            next.extend(issuers.filter(|issuer| *issuer != self.mesh && above.insert(*issuer)));
        }
        above
    }

    /// The length of the shortest chain to a member whose credentials count.
    fn level(&self, member: &Did) -> usize {
        let (mut seen, mut level, mut row) = (BTreeSet::from([*member]), 1, vec![*member]);
        while level <= CHAIN_LINKS_MAX {
            let issuers = row.iter().filter_map(|did| self.members.get(did)).flat_map(Member::counting);
            let issuers: BTreeSet<Did> = issuers.map(|claims| claims.issuer).collect();
            if issuers.contains(&self.mesh) {
                return level;
            }
            row = issuers.into_iter().filter(|did| seen.insert(*did)).collect();
            level += 1;
        }
        usize::MAX
    }

    /// The end of a membership, if it was revoked.
    pub fn revoked(&self, did: &Did) -> Option<Revoked> {
        let verdict = self.against.get(did).map(|verdict| verdict.revoked);
        verdict.or_else(|| self.shown_out.get(did).copied()).flatten()
    }

    /// The entries of a log that count. `forked_at` is its lowest seq with two entries.
    pub fn reach_of(&self, log: &LogId, forked_at: Option<u64>) -> Reach {
        let verdict = self.against.get(&log.author);
        verdict.map_or(Reach::up_to(forked_at), |verdict| verdict.reach_of(log, forked_at))
    }

    /// The last entry of a log that counts, if its author's membership ended and it has one.
    pub fn pin_of(&self, log: &LogId) -> Option<Head> {
        self.against.get(&log.author)?.pin_of(log)
    }

    /// Whether somebody's membership does not stand: it was revoked, or those who admitted it lost theirs.
    pub fn has_ended(&self, did: &Did) -> bool {
        self.against.contains_key(did) || self.shown_out.contains_key(did)
    }

    /// Whether a verdict says which entries of an author's logs count.
    pub fn has_verdict(&self, author: &Did) -> bool {
        self.against.contains_key(author)
    }

    /// Whether somebody whom no entry names is no member any more. Nothing more is taken of what it writes.
    pub(crate) fn is_shown_out(&self, did: &Did) -> bool {
        self.shown_out.contains_key(did)
    }

    /// All whose membership does not stand: it was revoked, or those who admitted them lost theirs.
    pub fn ended(&self) -> impl Iterator<Item = &Did> {
        self.against.keys().chain(self.shown_out.keys())
    }

    /// The revocations by which `above` confirms that members below it have left: with the entries that each of them
    /// named itself, of which some may still come. From then on nobody with the key of such a member can make these
    /// void by leaving once more.
    ///
    /// Confirmed are members with at most 64 logs, and as long as half of the bound on an author's revocations is free.
    pub fn confirmations(&self, above: &Did) -> Vec<Revocation> {
        const LOGS_MAX: usize = 64;
        let written = self.revocations.get(above);
        let (mut count, mut pins) = written.map_or((0, 0), Revocations::size);
        let mut confirmations = Vec::new();
        let left = self.against.iter().filter(|(_, verdict)| verdict.by_itself && verdict.pins.len() <= LOGS_MAX);
        for (member, verdict) in left.filter(|(member, _)| self.may_revoke(member).contains(above)) {
            (count, pins) = (count + 1, pins + verdict.pins.len());
            if count > Revocations::COUNT_MAX / 2 || pins > Revocations::PINS_MAX / 2 {
                break;
            }
            let pins = verdict.pins.iter().map(|(log, last)| Pin { space: log.0, incarnation: log.1, last: *last });
            confirmations.push(Revocation::new(*member, pins));
        }
        confirmations
    }

    /// Everybody who is or was a member, by DID.
    pub fn iter_known(&self) -> impl Iterator<Item = (&Did, &Member)> {
        self.members.iter()
    }

    /// One member.
    pub fn get(&self, did: &Did) -> Option<&Member> {
        self.members.get(did).filter(|member| self.stands(did, member))
    }

    /// One member or former member.
    pub fn get_known(&self, did: &Did) -> Option<&Member> {
        self.members.get(did)
    }

    fn stands(&self, did: &Did, member: &Member) -> bool {
        !self.has_ended(did) && member.counting().next().is_some()
    }

    /// Whether a member has a credential with the rights of `role`.
    pub fn allows(&self, did: &Did, role: Role) -> bool {
        self.get(did).is_some_and(|member| member.allows(role))
    }

    /// Whether somebody has, or had, the rights of `role`.
    pub fn allowed_once(&self, did: &Did, role: Role) -> bool {
        self.members.get(did).is_some_and(|member| member.allowed_once(role))
    }

    /// All members, by DID.
    pub fn iter(&self) -> impl Iterator<Item = (&Did, &Member)> {
        self.members.iter().filter(|(did, member)| self.stands(did, member))
    }

    /// The members whose membership was revoked, by DID.
    pub fn former(&self) -> impl Iterator<Item = (&Did, FormerMember<'_>)> {
        self.members
            .iter()
            .filter_map(|(did, member)| Some((did, FormerMember { member, revoked: self.revoked(did)? })))
    }

    /// The last key of the line of a member that changed its key; the same one if it did not.
    pub fn last_key(&self, did: &Did) -> Did {
        let (mut last, mut seen) = (*did, BTreeSet::from([*did]));
        while let Some(next) = self.successor(&last).filter(|next| seen.insert(*next)) {
            last = next;
        }
        last
    }

    /// A member by its name, for people: with the end of its DID where another member's name is like it, so that no
    /// member is taken for another one. A former member gives way to a present one.
    pub fn shown_name(&self, did: &Did) -> Option<String> {
        let name = self.get_known(did)?.name()?;
        let is_like = |(other, member): (&Did, &Member)| {
            other != did && member.name().is_some_and(|other| other.is_like(name.as_str()))
        };
        let shared = self.iter().any(|known| is_like(known) && self.last_key(known.0) != self.last_key(did));
        // nor is a name what only looks told apart
        let mimics = name.as_str().ends_with(')');
        Some(if shared || mimics { format!("{name} ({})", did.short()) } else { name.to_string() })
    }

    /// The members that somebody means by a DID or a name, in either form; if nobody is a member by it now, those who
    /// were. Several have names that are like it, and only an id tells them apart.
    pub fn called(&self, who: &str) -> Vec<Did> {
        let is = |(did, member): &(&Did, &Member)| {
            let named = member.name().is_some_and(|name| name.is_like(who) || is_told_apart(who, name.as_str(), did));
            named || did.to_string() == who
        };
        let mut found: Vec<Did> = self.iter().filter(is).map(|(did, _)| *did).collect();
        if found.is_empty() {
            found = self.iter_known().filter(is).map(|(did, _)| *did).collect();
        }
        found
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        if self.against.is_empty() && self.shown_out.is_empty() { self.members.len() } else { self.iter().count() }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The sort key of a credential: by time, then by bytes.
#[expect(clippy::expect_used, reason = "borsh writes to memory")]
fn credential_key(claims: &Claims) -> Vec<u8> {
    let bytes = borsh::to_vec(claims).expect("claims encode");
    [claims.issued_at.as_ms().to_be_bytes().as_slice(), &bytes].concat()
}

/// Whether a text is a name with the end of its member's DID, as [`Members::shown_name`] has it.
fn is_told_apart(text: &str, name: &str, did: &Did) -> bool {
    let end = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(" (")).and_then(|rest| rest.strip_suffix(')'));
    end.is_some_and(|end| end == did.short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_identity::Keypair;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn claims(issuer: u8, subject: u8, role: Role, at: u64) -> Claims {
        let name = format!("n{subject}-{at}").parse().unwrap();
        Claims::new(key(0).did(), key(subject).did(), name, [role], Timestamp::from_ms(at)).issued_by(key(issuer).did())
    }

    /// promise: Entries and memories | Membership depends on the set of chains alone
    #[test]
    fn membership_depends_on_the_set_of_chains_alone() {
        let founder = Chain::found(claims(0, 1, Role::Admin, 1).sign(&key(0))).unwrap();
        let reader = founder.extend(claims(1, 2, Role::Reader, 2).sign(&key(1))).unwrap();
        let writer = founder.extend(claims(1, 2, Role::Member, 3).sign(&key(1))).unwrap();
        let fold = |chains: &[&Chain]| {
            let mut members = Members::of(key(0).did());
            for chain in chains {
                members.admit(chain).unwrap();
            }
            members
        };
        let members = fold(&[&founder, &reader, &writer]);
        assert_eq!(members, fold(&[&writer, &reader, &founder, &reader]));
        assert!(!fold(&[&reader]).allows(&key(2).did(), Role::Member));
        assert!(members.allows(&key(2).did(), Role::Member));
        assert_eq!(members.get(&key(2).did()).unwrap().name().unwrap().as_str(), "n2-3");
    }

    #[test]
    fn a_profile_that_comes_before_its_author_is_a_member_counts_from_then_on() {
        let chain = Chain::found(claims(0, 1, Role::Admin, 1).sign(&key(0))).unwrap();
        let profile = |name: &str| Profile { name: name.parse().unwrap() };
        let describe = |members: &mut Members, at: u64, name| {
            members.describe(&key(1).did(), Hlc(at), EntryId::of(&at.to_le_bytes()), profile(name))
        };
        let mut early = Members::of(key(0).did());
        assert!(!describe(&mut early, 2, "later"));
        assert!(!describe(&mut early, 1, "earlier"));
        assert!(early.is_empty());
        early.admit(&chain).unwrap();
        let mut late = Members::of(key(0).did());
        late.admit(&chain).unwrap();
        assert!(describe(&mut late, 1, "earlier"));
        assert!(describe(&mut late, 2, "later"));
        assert_eq!(early, late);
        assert_eq!(early.get(&key(1).did()).unwrap().name().unwrap().as_str(), "later");
        early.undescribe(&key(1).did());
        assert_eq!(early.get(&key(1).did()).unwrap().name().unwrap().as_str(), "n1-1");
    }

    #[test]
    fn of_many_renewals_the_latest_count_in_any_order() {
        let founder = Chain::found(claims(0, 1, Role::Admin, 1).sign(&key(0))).unwrap();
        let renewals = (0..40).map(|at| founder.extend(claims(1, 2, Role::Member, at).sign(&key(1))).unwrap());
        let mut renewals: Vec<Chain> = renewals.collect();
        let fold = |chains: &[Chain]| {
            let mut members = Members::of(key(0).did());
            for chain in chains {
                members.admit(chain).unwrap();
            }
            members
        };
        let forwards = fold(&renewals);
        renewals.reverse();
        assert_eq!(forwards, fold(&renewals));
        let mut shared = std::sync::Arc::new(Members::of(key(0).did()));
        for chain in &renewals {
            let (mut own, before) = ((*shared).clone(), shared.clone());
            let changed = own.admit(chain).unwrap();
            assert_eq!(Members::admit_shared(&mut shared, chain, None), Ok(changed));
            assert_eq!(Members::admit_shared(&mut shared, chain, None), Ok(false));
            assert_eq!((&own, changed), (&*shared, before != shared));
        }
        assert_eq!(*shared, forwards);
        assert_eq!(forwards.get(&key(2).did()).unwrap().name().unwrap().as_str(), "n2-39");
    }

    /// promise: Entries and memories | Membership depends on the set of chains alone
    #[test]
    fn a_chain_of_another_mesh_changes_nothing() {
        let mut members = Members::of(key(9).did());
        let foreign = Chain::found(claims(0, 1, Role::Admin, 1).sign(&key(0))).unwrap();
        assert!(members.admit(&foreign).is_err());
        assert!(members.is_empty());
    }
}
