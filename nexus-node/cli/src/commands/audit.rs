use clap::{Args, Subcommand};
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::client::{Client, query};
use crate::output::{Printer, Style, called, count, in_a_line, is_narrow, moment, sane, short_did, width};
use crate::session::CliSession;

/// The records of a page.
const PAGE: &str = "1000";

/// All requests about keys, locks and coordinators, oldest first
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: Option<Check>,
    /// Only requests of this last time, by the clocks of the nodes that asked, as `1d`
    #[arg(long, value_name = "TIME")]
    since: Option<wire::Span>,
}

#[derive(Debug, Subcommand)]
enum Check {
    /// Check that the audit is unchanged and equal in the other members' copies
    Verify,
}

impl Audit {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        match self.command {
            Some(Check::Verify) => verify(&client, &session.printer),
            None => list(&client, self.since, &session.printer),
        }
    }
}

fn list(client: &Client, since: Option<wire::Span>, printer: &Printer) -> Result<(), Problem> {
    let since = since.map(|since| wire::show_duration(since.0));
    // names only make the output easier to read
    let members: Vec<wire::Member> =
        if printer.json() { Vec::new() } else { client.get("/v1/members").unwrap_or_default() };
    let (mut after, mut shown, mut missing) = (None::<String>, false, Vec::new());
    loop {
        let asked = query(&[("since", since.as_deref()), ("after", after.as_deref()), ("limit", Some(PAGE))]);
        let page: wire::AuditPage = client.get(&format!("/v1/audit{asked}"))?;
        for entry in &page.items {
            shown = true;
            printer.answer(entry, || line(entry, &members, printer))?;
        }
        missing.extend(page.missing);
        match page.next {
            Some(next) => after = Some(next.to_string()),
            None => break,
        }
    }
    if let Some((first, last)) = missing.first().zip(missing.last()) {
        let are = match missing.as_slice() {
            [_] => format!("entries {} to {} are", first.from, last.to),
            gaps => format!("{} between {} and {} are", entries(gaps), first.from, last.to),
        };
        let hint = "they are older than this node's copy: ask again in a moment, or ask another member";
        printer.warning(&format!("{are} not on this node yet"), Some(hint));
    } else if !shown {
        printer.note("nothing was done to keys and locks; `nexus-node kv put KEY VALUE` writes one");
    }
    Ok(())
}

/// The number of entries in all of the gaps.
fn entries(gaps: &[wire::AuditGap]) -> String {
    let sum = gaps.iter().map(|gap| gap.to.saturating_sub(gap.from).saturating_add(1)).fold(0, u64::saturating_add);
    count(sum, "entry", "entries")
}

fn line(entry: &wire::AuditEntry, members: &[wire::Member], printer: &Printer) -> String {
    let called = |did: &str| sane(&called(members, did));
    let narrow = is_narrow();
    let moment = |at: &str| {
        let at = moment(at);
        // the year and the seconds are in --json
        if narrow { at.get(5..16).unwrap_or_default().to_owned() } else { at }
    };
    let at = entry.at.as_deref().map_or_else(|| "-".to_owned(), moment);
    let by = called(&entry.by);
    let style = if entry.result == "refused" { Style::Odd } else { Style::Dim };
    let what = match (entry.revision, entry.token, &entry.code) {
        (Some(revision), ..) => format!("revision {revision}"),
        (_, Some(token), _) => format!("token {token}"),
        (.., Some(code)) => format!("refused: {}", sane(code)),
        _ => entry.result.clone(),
    };
    let whose = match (entry.action.as_str(), &entry.whose) {
        ("grant", Some(did)) => format!(", to {}", called(did)),
        (_, Some(did)) => format!(", of {}", called(did)),
        _ => String::new(),
    };
    let votes = entry.action.starts_with("voter_");
    let name = match entry.action.as_str() {
        _ if votes => called(&entry.name),
        "raise" => format!("format {}", sane(&entry.name)),
        _ => sane(&entry.name),
    };
    let action = printer.paint(Style::Bold, &format!("{:<13}", entry.action));
    let (at_width, told) = (if narrow { 11 } else { 19 }, format!("({what}{whose})"));
    let (name, told) = if narrow { fitted(&name, &told, by.chars().count()) } else { (name, told) };
    format!("{:>6}  {at:<at_width$}  {by:<12}  {action}  {name}  {}", entry.n, printer.paint(style, &told))
}

/// A name and its outcome, cut so that both fit a line of a narrow terminal.
fn fitted(name: &str, told: &str, by: usize) -> (String, String) {
    const COLUMNS: usize = 6 + 2 + 11 + 2 + 2 + 13 + 2 + 2;
    let room = width().saturating_sub(COLUMNS + by.max(12)).max(20);
    let told = in_a_line(told, room.saturating_sub(name.chars().count().min(8)));
    let name = in_a_line(name, room.saturating_sub(told.chars().count()).max(8));
    (name, told)
}

fn verify(client: &Client, printer: &Printer) -> Result<(), Problem> {
    let progress = printer.progress("checking", None);
    let mut whole: Option<wire::AuditCheck> = None;
    loop {
        let after = whole.as_ref().and_then(|whole| whole.next).map(|next| next.to_string());
        let mut step: wire::AuditCheck =
            client.get(&format!("/v1/audit/verify{}", query(&[("after", after.as_deref())])))?;
        if let Some(before) = whole {
            step.entries += before.entries;
            step.first = before.first.or(step.first);
            step.missing.splice(0..0, before.missing);
            step.dropped.splice(0..0, before.dropped);
        }
        progress.set_position(step.entries);
        let last = step.next.is_none() || !step.ok;
        whole = Some(step);
        if last {
            break;
        }
    }
    progress.finish_and_clear();
    let Some(check) = whole else { return Ok(()) };
    printer.answer(&Verified::from(&check), || text(&check, printer))?;
    if check.ok && compared(&check) == 0 && check.others > 0 {
        let others = count(check.others as u64, "other member", "other members");
        let why =
            format!("this copy is whole, and was compared with nobody: there may be a copy on {others}, none is up");
        return Err(Problem::new("unreachable", why).hint("`nexus-node peers` shows who is away: verify again then"));
    }
    if check.ok {
        return Ok(());
    }
    let why = check.broken.as_ref().map_or_else(
        || "other members have another past".to_owned(),
        |broken| format!("entry {} is not as it was: {}", broken.n, broken.why),
    );
    Err(Problem::new("failed", why).hint("compare with `nexus-node audit verify` on the other members"))
}

/// The result without the fields of single steps.
#[derive(serde::Serialize)]
struct Verified<'a> {
    ok: bool,
    entries: u64,
    head: &'a str,
    first: Option<u64>,
    broken: &'a Option<wire::AuditBroken>,
    missing: &'a [wire::AuditGap],
    dropped: &'a [wire::AuditGap],
    members: &'a [wire::AuditMember],
    compared: usize,
}

impl<'a> From<&'a wire::AuditCheck> for Verified<'a> {
    fn from(check: &'a wire::AuditCheck) -> Self {
        let wire::AuditCheck { ok, entries, head, first, broken, missing, dropped, members, .. } = check;
        let compared = compared(check);
        Self { ok: *ok, entries: *entries, head, first: *first, broken, missing, dropped, members, compared }
    }
}

/// The members whose copies were compared.
fn compared(check: &wire::AuditCheck) -> usize {
    check.members.iter().filter(|member| member.agrees.is_some()).count()
}

fn text(check: &wire::AuditCheck, printer: &Printer) -> String {
    let mark = match check.ok {
        true => printer.paint(Style::Good, "ok"),
        false => printer.paint(Style::Bad, "NOT OK"),
    };
    let mut lines = vec![format!("{mark}: {} checked, head {}", count(check.entries, "entry", "entries"), check.head)];
    if let Some(first) = check.first.filter(|first| *first > 1) {
        lines.push(format!("  it begins at entry {first}"));
    }
    if let Some((first, last)) = check.dropped.first().zip(check.dropped.last()) {
        let gone = format!("let go of {} to make room", entries(&check.dropped));
        lines.push(format!("  {gone}, between entries {} and {}", first.from, last.to));
    }
    for gap in &check.missing {
        lines.push(format!("  entries {} to {} are not on this node yet", gap.from, gap.to));
    }
    for member in &check.members {
        let name = member.name.as_deref().map_or_else(|| short_did(&member.did), sane);
        let says = match member.agrees {
            Some(true) => printer.paint(Style::Good, "the same past"),
            Some(false) => {
                let from = member.differs_from.map_or_else(String::new, |from| format!(" from entry {from} on"));
                printer.paint(Style::Bad, &format!("another past{from}"))
            }
            None => "not compared: the records to tell are gone from one of the two".to_owned(),
        };
        lines.push(format!("  {name}: {}, {says}", count(member.entries, "entry", "entries")));
    }
    if check.members.is_empty() {
        lines.push("  compared with no other member: none with a copy is up".to_owned());
    }
    lines.join("\n")
}
