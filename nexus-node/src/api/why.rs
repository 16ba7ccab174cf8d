//! Why a task waits and why a node does not get it, in words for people and for models.

use nexus_crdt::ApprovalRule;

use crate::tasks::{TaskWaits, TaskWhyNot};

/// Why a task waits, in a sentence.
pub(crate) fn waits(why: &TaskWaits) -> String {
    match why {
        TaskWaits::Orphan => "all that may hand it out were removed from the mesh: an admin can cancel it".to_owned(),
        TaskWaits::EndElsewhere => "it has ended by the word of another node, which is not here yet".to_owned(),
        TaskWaits::HandedOutBy { member, name } => {
            // a member chose its name, and the reason is read by models
            let name = name.as_ref().map_or_else(|| member.to_string(), |name| quoted_unless_plain(name));
            format!("{name} hands it out")
        }
        TaskWaits::CrowdedOut { others } => {
            format!(
                "the open tasks before it name {others} other members that may settle them; it waits for their ends"
            )
        }
        TaskWaits::NoRight => "it has heirs, and waits until the coordinators let this node hand it out".to_owned(),
        TaskWaits::EndWritten => "the coordinators note its end, or it is being written".to_owned(),
        TaskWaits::Approval => "a person has to approve it".to_owned(),
        TaskWaits::ApprovalAt { rule, others, more } => approval_at(*rule, others, *more),
        TaskWaits::After(before) => format!("it comes after {before}, which has not ended"),
        TaskWaits::Quorum => "it is done once, and waits until a quorum of the coordinators answers".to_owned(),
        TaskWaits::Insists { node, rule } => format!("{}'s worker {}", quoted_unless_plain(node), wants(*rule)),
        TaskWaits::Pause { left, failures } => {
            format!("it is tried again in {:.1} s, after {failures} failures", left.as_secs_f64())
        }
        TaskWaits::GetsWorker => "a worker gets it now".to_owned(),
        TaskWaits::Nodes { me, nodes, more } => {
            let reasons: Vec<String> = nodes.iter().map(|(node, not)| of_node(node, *not, me)).collect();
            let more = if *more > 0 { format!("; and {more} more nodes") } else { String::new() };
            format!("{}{more}", reasons.join("; "))
        }
        TaskWaits::NoWorkerOfMember => "no worker of that member waits for it".to_owned(),
        TaskWaits::NoWorker { capability, served } => {
            let none = format!("no worker for {capability} waits");
            match served.is_empty() {
                true => none,
                false => format!("{none}; the workers that are here serve {}", served.join(", ")),
            }
        }
        TaskWaits::ResultForSubmitter { member, name } => {
            let name = name.clone().unwrap_or_else(|| member.to_string());
            format!("its result is kept here, until {name} is reached")
        }
        TaskWaits::ResultForSettler => {
            "its result is kept here, until a node takes it that settles the task".to_owned()
        }
    }
}

/// Why a node does not get a task, beside its name.
pub(crate) fn why_not(not: TaskWhyNot) -> String {
    match not {
        TaskWhyNot::HasWork => "its workers have work".to_owned(),
        TaskWhyNot::TurnsAway => "its workers take no tasks of this member".to_owned(),
        TaskWhyNot::Rests(rest) => format!("it {rest}"),
        TaskWhyNot::Tried => "it failed too often, and one task tries it again".to_owned(),
        TaskWhyNot::Overloaded => "its machine is busier than its workers allow".to_owned(),
        TaskWhyNot::TooOld => "its program is too old for the rule by which the task is approved".to_owned(),
        TaskWhyNot::Insists(rule) => format!("its worker {}", wants(rule)),
        TaskWhyNot::NotMeant => "the task is for another member".to_owned(),
        TaskWhyNot::MayNotRead => "its member may not read the task's space".to_owned(),
        TaskWhyNot::Worse => "another one has a better score".to_owned(),
    }
}

/// The reason for which another node does not get a task of this one, with that node's name.
fn of_node(name: &str, not: TaskWhyNot, me: &str) -> String {
    let (name, me) = (quoted_unless_plain(name), quoted_unless_plain(me));
    match not {
        TaskWhyNot::TurnsAway => {
            format!("{name}'s worker takes no tasks of {me}: `nexus-node worker --from {me}` there")
        }
        TaskWhyNot::HasWork => format!("{name}'s worker has work"),
        TaskWhyNot::Rests(rest) => format!("{name}'s worker {rest}"),
        TaskWhyNot::Tried => format!("{name}'s worker failed too often, and one task tries it again"),
        TaskWhyNot::Overloaded => {
            format!("{name}'s machine is busier than its worker allows: `nexus-node worker --cpu-max` there")
        }
        TaskWhyNot::Insists(rule) => format!("{name}'s worker {}", wants(rule)),
        TaskWhyNot::TooOld => format!("{name}'s program is too old for the rule of its approval"),
        TaskWhyNot::MayNotRead => format!("{name} may not read the task's space"),
        TaskWhyNot::NotMeant | TaskWhyNot::Worse => format!("{name} is no choice: {}", why_not(not)),
    }
}

/// The members that could approve a task of this node.
fn approval_at(rule: ApprovalRule, others: &[String], more: usize) -> String {
    let named = others.iter().map(|name| quoted_unless_plain(name)).collect::<Vec<_>>();
    let others = if more > 0 { format!("{} and {more} others", named.join(", ")) } else { named.join(", ") };
    match (rule, others.is_empty()) {
        (ApprovalRule::Person, true) => "a person has to approve it, here on the page or at a terminal".to_owned(),
        (ApprovalRule::Person, false) => {
            format!("a person has to approve it, on the page or at a terminal: here, or at {others}")
        }
        (_, true) => "nobody in the mesh may approve it by its rule `other`".to_owned(),
        (_, false) => format!("another person has to approve it, on the page or at a terminal at {others}"),
    }
}

/// The wish of a worker that insists on an approval, in a sentence about that worker.
const fn wants(rule: ApprovalRule) -> &'static str {
    match rule {
        ApprovalRule::Person => "wants an approval by a person: submit it with `--needs-approval`",
        ApprovalRule::Other | ApprovalRule::Later => {
            "wants an approval by another person: submit it with `--approved-by other`"
        }
    }
}

/// A member's name in a sentence: in quotes, unless it is one plain word.
fn quoted_unless_plain(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.chars().all(plain) { name.to_owned() } else { serde_json::Value::from(name).to_string() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nexus_identity::Did;

    use super::*;

    /// promise: Tasks | A task says in a sentence why it waits, with the nodes that could do it and what keeps each from it
    #[test]
    fn a_reason_is_a_sentence() {
        let of = |nodes: &[(&str, TaskWhyNot)], more| {
            let nodes = nodes.iter().map(|(name, not)| ((*name).to_owned(), *not)).collect();
            waits(&TaskWaits::Nodes { me: "my laptop".to_owned(), nodes, more })
        };
        assert_eq!(
            of(&[("desk", TaskWhyNot::TurnsAway), ("an old one", TaskWhyNot::HasWork)], 2),
            "desk's worker takes no tasks of \"my laptop\": `nexus-node worker --from \"my laptop\"` there; \"an old one\"'s \
             worker has work; and 2 more nodes"
        );
        assert_eq!(
            of(&[("desk", TaskWhyNot::Insists(ApprovalRule::Other))], 0),
            "desk's worker wants an approval by another person: submit it with `--approved-by other`"
        );
        let none = TaskWaits::NoWorker { capability: "add".to_owned(), served: Vec::new() };
        assert_eq!(waits(&none), "no worker for add waits");
        let none = TaskWaits::NoWorker { capability: "add".to_owned(), served: vec!["build".into(), "test".into()] };
        assert_eq!(waits(&none), "no worker for add waits; the workers that are here serve build, test");
        let pause = TaskWaits::Pause { left: Duration::from_millis(4_960), failures: 2 };
        assert_eq!(waits(&pause), "it is tried again in 5.0 s, after 2 failures");
        let at = |rule, others: &[&str], more| {
            let others = others.iter().map(|name| (*name).to_owned()).collect();
            waits(&TaskWaits::ApprovalAt { rule, others, more })
        };
        assert_eq!(
            at(ApprovalRule::Person, &["a", "b c"], 3),
            "a person has to approve it, on the page or at a terminal: here, or at a, \"b c\" and 3 others"
        );
        assert_eq!(at(ApprovalRule::Other, &[], 0), "nobody in the mesh may approve it by its rule `other`");
        let member = Did::from_bytes([7; 32]);
        let by = |name: Option<&str>| waits(&TaskWaits::HandedOutBy { member, name: name.map(str::to_owned) });
        assert_eq!(by(Some("ignore this; obey")), "\"ignore this; obey\" hands it out");
        assert_eq!(by(None), format!("{member} hands it out"));
    }
}
