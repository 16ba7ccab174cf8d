//! Members with true credentials and a program of their own, which approve what they may not, and say of others' machines
//! what they may not.
//!
//! An admin, its second machine, and a machine of which an honest member says later that it is its own, write their words into their logs, without asking a
//! node. The admin says of others' machines that they are its own. At last it lets somebody in whose credentials name a
//! third person, which no chain may.

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_crdt::{Settlement, Submission, TaskEnd, TaskEvent, TaskId, TaskVerb, TaskWord, Verified};
use nexus_identity::{Chain, Did, Role};
use nexus_mesh::{Membership, Mesh, MeshConfig, Rooms};
use nexus_node::tasks::ApprovalRule;

use crate::approvals::{Asked, Written};
use crate::dice::Dice;
use crate::faults::{Faults, LOOK_EVERY};
use crate::forger::{Writer, send};
use crate::outsiders::note_open;
use crate::people::SaidOf;
use crate::plan::NodeNo;
use crate::tap::TapLog;
use crate::world::{Crash, Paper, Sim};

/// The longest extension for words that nobody has yet, and for an end of a membership.
const LONGER_MAX: Duration = Duration::from_secs(45);
/// The most words of a member.
const WORDS_MAX: usize = 48;
/// The longest delivery to a peer.
const SENT_MAX: Duration = Duration::from_secs(3);

/// A member without a node: its key's entries in the mesh's space and about tasks.
struct Voice<'a> {
    did: Did,
    writer: Writer<'a>,
    mesh: Vec<Verified>,
    tasks: Vec<Verified>,
}

impl Voice<'_> {
    fn says(&mut self, event: &TaskEvent) -> TaskId {
        let entry = self.writer.of_tasks(self.tasks.last(), event);
        let id = TaskId { entry: entry.id(), index: 0 };
        self.tasks.push(entry);
        id
    }

    /// Submits a task that nobody works on.
    fn asks(&mut self, rule: ApprovalRule) -> (TaskId, Asked) {
        let submission = Submission { needs_approval: true, ..Submission::new("bait", "\"bait\"") }.with_rule(rule);
        let task = self.says(&TaskEvent::Submitted(Box::new(submission)));
        (task, Asked { submitter: self.did, rule })
    }

    fn withdraws(&mut self, task: TaskId) {
        let none = String::new;
        let (output, code, error, more) = (none(), none(), none(), none());
        let outcome = TaskEnd::Cancelled;
        let over = Settlement { task, ownership: 0, token: None, outcome, output, code, error, more };
        self.says(&TaskEvent::Settled(Box::new(over)));
    }

    fn entries(&self) -> Vec<Verified> {
        self.mesh.iter().chain(&self.tasks).cloned().collect()
    }
}

impl Faults {
    /// Lets them join, and has them say what they may not until their time is over.
    pub(crate) async fn approves_what_it_may_not(&self, no: usize, last: Duration, choice: u64) {
        let (sim, mut dice) = (&self.sim, Dice::new(choice));
        let Ok(outsider) = sim.outsider(&format!("rogue{no}"), TapLog::default()) else { return };
        let names = ["second", "third", "spare"].map(|name| sim.machine(&format!("{name}{no}")));
        let [Ok(second), Ok(third), Ok(spare)] = names else { return };
        let of_honest = dice.index(2);
        let Some(papers) = Papers::of(sim, outsider.no, [second, third, spare], of_honest) else { return };
        let mut config = MeshConfig::new(outsider.key.clone());
        config.membership = Some(Membership { mesh: sim.mesh(), chain: papers.rogue.clone() });
        let Some((mesh, mut events)) = outsider.mesh(config, Rooms::new(), self.nodes) else { return };
        let keys = [outsider.no, second, spare, third].map(|no| sim.key(no));
        let mut voices = keys.each_ref().map(|key| Voice {
            did: key.did(),
            writer: Writer::new(sim, key, &mut dice),
            mesh: Vec::new(),
            tasks: Vec::new(),
        });
        let [rogue, sibling, machine, _] = [0, 1, 2, 3].map(|n| voices[n].did);
        self.knows(of_honest, rogue, sibling, machine);
        self.introduces(&papers, &mut voices);
        let baits: Vec<(usize, TaskId)> = [0, 1].map(|n| (n, self.bait(&mut voices[n]))).into();
        // nobody but the one that no chain may admit says a word about the second one
        self.word(&mut voices[1], baits[0].1, true);
        self.word(&mut voices[3], baits[1].1, true);
        let (mut open, mut said) = (BTreeSet::new(), BTreeSet::new());
        let end = sim.now() + last;
        // its words come before it is said whose machine it is
        let named_at = sim.now() + last / 2;
        let mut named = Some(&papers.named);
        let mut heard = false;
        while sim.now() < end || !heard && sim.now() < end + LONGER_MAX {
            let pause = tokio::time::sleep(Duration::from_millis(dice.between(500, 2_000)));
            tokio::select! {
                biased;
                event = events.recv() => if !note_open(&mut open, event) { break },
                () = pause => {
                    if let Some(chain) = named.take_if(|_| sim.now() >= named_at) {
                        self.is_named(&mut voices[2], chain, of_honest);
                    }
                    self.says_more(&mut voices, &mut said, &mut dice);
                    heard |= self.sends(&mesh, &open, &voices[..3], &mut dice).await;
                }
            }
        }
        for (n, bait) in baits.iter().copied() {
            voices[n].withdraws(bait);
        }
        let late = sim.now() + LONGER_MAX;
        while sim.now() < late && !self.founder_has(&voices[..3]) {
            self.sends(&mesh, &open, &voices[..3], &mut dice).await;
            sim.sleep(LOOK_EVERY).await;
            while let Ok(event) = tokio::time::timeout(Duration::ZERO, events.recv()).await {
                if !note_open(&mut open, event) {
                    break;
                }
            }
        }
        // nobody takes these
        for peer in &open {
            let entries = voices[3].entries();
            let _ = tokio::time::timeout(SENT_MAX, send(&mesh, *peer, &entries)).await;
        }
        if self.counts_a_word(baits[0].1).await {
            sim.network().fire("rogue_word_counted");
        }
        if heard {
            sim.network().fire("rogue_approver");
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
        sim.crash(outsider.no, Crash::Process);
        if dice.chance(0.5) {
            self.is_revoked(rogue).await;
        }
    }

    /// Notes the members that come, as the simulator knows them.
    fn knows(&self, of_honest: NodeNo, rogue: Did, sibling: Did, machine: Did) {
        let people = &mut self.ledger.borrow_mut().approvals.people;
        let (founder, honest) = (self.sim.did(0), self.sim.did(of_honest));
        people.admitted(rogue, &founder, Role::Admin, Some(SaidOf::Other));
        people.admitted(sibling, &rogue, Role::Member, Some(SaidOf::Mine));
        people.admitted(machine, &honest, Role::Member, None);
    }

    /// Each shows its credentials in its log, and the rogue claims others' machines there.
    fn introduces(&self, papers: &Papers, voices: &mut [Voice<'_>; 4]) {
        let chains = [&papers.rogue, &papers.second, &papers.spare, &papers.third];
        for (voice, chain) in voices.iter_mut().zip(chains) {
            voice.mesh.push(voice.writer.credentials(chain));
        }
        let [rogue, ..] = voices;
        for claim in &papers.claims {
            let claim = rogue.writer.credentials_after(rogue.mesh.last(), claim);
            rogue.mesh.push(claim);
        }
    }

    /// The honest member says that a machine is its own, and the machine agrees.
    fn is_named(&self, voice: &mut Voice<'_>, chain: &Chain, by: NodeNo) {
        let entry = voice.writer.credentials_after(voice.mesh.last(), chain);
        let (by, said) = (self.sim.did(by), SaidOf::Mine);
        let approvals = &mut self.ledger.borrow_mut().approvals;
        approvals.people.may_be_said(&voice.did, &by, said);
        approvals.written.push(Written { log: entry.header().log(), seq: entry.header().seq, by, said });
        voice.mesh.push(entry);
    }

    fn bait(&self, voice: &mut Voice<'_>) -> TaskId {
        let (task, asked) = voice.asks(ApprovalRule::Person);
        self.ledger.borrow_mut().approvals.asked.insert(0, (task, asked));
        task
    }

    /// Has a member write a word about a task.
    fn word(&self, voice: &mut Voice<'_>, task: TaskId, approves: bool) {
        self.ledger.borrow_mut().approvals.may_say(task, voice.did, approves);
        let verb = if approves { TaskVerb::Approve } else { TaskVerb::Reject };
        voice.says(&TaskEvent::Word(TaskWord { task, verb, why: String::new() }));
    }

    /// Has all of them approve the tasks that came since. The admin approves what only others may.
    fn says_more(&self, voices: &mut [Voice<'_>; 4], said: &mut BTreeSet<TaskId>, dice: &mut Dice) {
        let tasks: Vec<(TaskId, Asked)> = {
            let approvals = &self.ledger.borrow().approvals;
            let is_bait = |asked: &Asked| voices[..2].iter().any(|voice| voice.did == asked.submitter);
            let new = approvals.asked.iter().filter(|(task, asked)| !said.contains(task) && !is_bait(asked));
            new.copied().collect()
        };
        for (task, asked) in tasks {
            said.insert(task);
            let rogue_may = self.ledger.borrow().approvals.people.might(asked.rule, &voices[0].did, &asked.submitter);
            for (n, voice) in voices.iter_mut().enumerate() {
                let is_wanted = match n {
                    0 => !rogue_may,
                    // no chain admits it, so nobody has its log
                    3 => false,
                    _ => dice.chance(0.7),
                };
                if is_wanted && voice.tasks.len() < WORDS_MAX {
                    self.word(voice, task, dice.chance(0.9));
                }
            }
        }
    }

    /// Sends all that they have to a peer. Returns whether it was sent.
    async fn sends(&self, mesh: &Mesh, open: &BTreeSet<Did>, voices: &[Voice<'_>], dice: &mut Dice) -> bool {
        let peers: Vec<Did> = open.iter().copied().collect();
        let Some(&peer) = dice.pick(&peers) else { return false };
        let mut all = true;
        for voice in voices {
            let sent = tokio::time::timeout(SENT_MAX, send(mesh, peer, &voice.entries())).await;
            all &= matches!(sent, Ok(Some(())));
        }
        all
    }

    /// Whether the founder's node holds the last words of these members.
    fn founder_has(&self, voices: &[Voice<'_>]) -> bool {
        let Ok(frontier) = self.sim.frontier(0) else { return false };
        let has = |entry: &Verified| {
            let header = entry.header();
            frontier.iter().any(|(log, head)| *log == header.log() && head.seq >= header.seq)
        };
        voices.iter().all(|voice| voice.mesh.last().is_none_or(has) && voice.tasks.last().is_none_or(has))
    }

    /// Whether the founder's node counts a word about a task.
    async fn counts_a_word(&self, task: TaskId) -> bool {
        let shown = self.sim.on(0, async |node| node.tasks().get(&task.to_string()).await).await;
        shown.is_ok_and(|shown| shown.verdict.is_some())
    }

    /// The founder ends a membership.
    async fn is_revoked(&self, did: Did) {
        let sim = &self.sim;
        let late = sim.now() + LONGER_MAX;
        while sim.now() < late {
            if sim.on(0, async |founder| founder.revoke(did, None).await).await.is_ok() {
                self.ledger.borrow_mut().approvals.people.ended(&did);
                return;
            }
            sim.sleep(LOOK_EVERY).await;
        }
    }
}

/// Their credentials.
struct Papers {
    /// Credentials of the admin.
    rogue: Chain,
    /// Credentials of its second machine.
    second: Chain,
    /// Credentials of somebody whose issuer, the admin, names a third person.
    third: Chain,
    /// Credentials of an honest person's machine, which do not say so.
    spare: Chain,
    /// The same with whose machine it is.
    named: Chain,
    /// The admin's claims that others' machines are its own.
    claims: Vec<Chain>,
}

impl Papers {
    fn of(sim: &Sim, rogue: NodeNo, [second, third, spare]: [NodeNo; 3], of_honest: NodeNo) -> Option<Self> {
        let founders = sim.chain_of(0)?;
        let (did, key) = (sim.did(rogue), sim.key(rogue));
        let paper = |subject: NodeNo, role, person| Paper { subject, role, person, is_late: false };
        let of_rogue = sim.extend(&founders, &sim.key(0), paper(rogue, Role::Admin, Some(did)))?;
        let mut claims = Vec::new();
        for no in 2..sim.len() {
            let is_claimed = sim.node(no).is_some() && no != rogue;
            if is_claimed {
                let claim = Paper { is_late: true, ..paper(no, Role::Member, Some(did)) };
                claims.push(sim.extend(&of_rogue, &key, claim)?);
            }
        }
        let honest = sim.chain_of(of_honest)?;
        let of_honest = sim.key(of_honest);
        Some(Self {
            second: sim.extend(&of_rogue, &key, paper(second, Role::Member, Some(did)))?,
            third: {
                // the founder could have said that the admin is its own machine: the last link would fit that chain
                let founders_person = sim.person_of(&founders);
                let other = sim.extend(&founders, &sim.key(0), paper(rogue, Role::Admin, founders_person))?;
                let fits = sim.extend(&other, &key, paper(third, Role::Member, founders_person))?;
                with_last_link(&of_rogue, &other, &fits)?
            },
            spare: sim.extend(&honest, &of_honest, paper(spare, Role::Member, None))?,
            named: {
                let mine = paper(spare, Role::Member, sim.person_of(&honest));
                sim.extend(&honest, &of_honest, Paper { is_late: true, ..mine })?
            },
            rogue: of_rogue,
            claims,
        })
    }
}

/// A chain, and the link that another one has behind its beginning.
fn with_last_link(chain: &Chain, beginning: &Chain, whole: &Chain) -> Option<Chain> {
    let (chain, whole) = (chain.to_bytes(), whole.to_bytes());
    let (count, links) = chain.split_first_chunk()?;
    let count = u32::from_le_bytes(*count) + 1;
    let last = whole.get(beginning.to_bytes().len()..)?;
    Chain::from_bytes(&[&count.to_le_bytes(), links, last].concat()).ok()
}
