//! How a command that changes the register says what became of that, and in whose name it asks.

use serde_json::{Value, json};

use crate::policy::facts::Register;
use crate::policy::store::{Hold, Outcome};

/// The person behind `sudo`, if there is one.
pub(super) fn login() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named.filter(|n| !n.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// In force, or what it waits for. `register`: the one in force.
pub(super) fn outcome_text(outcome: &Outcome, register: &Register) -> String {
    match outcome {
        Outcome::Unchanged => "nothing changed".to_owned(),
        Outcome::Rejected { proposal } => format!("proposal {} is rejected and will never be in force", proposal.short()),
        Outcome::InForce { seq, stand_ins: true, .. } => {
            format!("in force (change {seq}), signed by the two stand-ins: nobody approved it, and it counts in no operational site")
        }
        Outcome::InForce { seq, held, tried, .. } => {
            let held: String = held.iter().map(held_text).collect();
            let tried: String = tried.iter().map(|t| format!("\n  in force without the signature of `{}`: {}", t.person, t.why)).collect();
            format!("in force (change {seq}){held}{tried}")
        }
        Outcome::Pending { proposal, needs, signed } => {
            let who: Vec<&str> =
                register.people.iter().filter(|p| needs.roles().iter().any(|r| p.roles.contains(r))).map(|p| &*p.id).collect();
            let signed = if signed.is_empty() { "nobody has signed".to_owned() } else { format!("signed by {}", signed.join(", ")) };
            format!(
                "NOT IN FORCE: proposal {} waits ({}; {signed}). Who may sign: {}. Each: `placard approve sign {} --key FILE`",
                proposal.short(),
                needs.describe(),
                who.join(", "),
                proposal.short()
            )
        }
    }
}

/// What a stop keeps dark beside what it stops.
pub(super) fn held_text(hold: &Hold) -> String {
    let Hold { stream, objection } = hold;
    format!(
        "\n  stream `{stream}` is paused as a whole: without that another zone or purpose of it could be lit by this stop. When two approvers have \
         looked at that: `placard objection settle {objection}`"
    )
}

pub(super) fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Unchanged => json!({ "state": "unchanged" }),
        Outcome::Rejected { proposal } => json!({ "state": "rejected", "proposal": proposal }),
        Outcome::InForce { seq, proposal, stand_ins, held, tried } => {
            json!({ "state": "in-force", "change": seq, "proposal": proposal, "stand_ins": stand_ins, "held": held, "tried": tried })
        }
        Outcome::Pending { proposal, needs, signed } => {
            json!({ "state": "waits", "proposal": proposal, "needs": needs.describe(), "signatures": needs.signatures(), "signed": signed })
        }
    }
}
