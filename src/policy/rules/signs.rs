//! Signs: which one makes a zone lawful to look at (C14).

use super::{CLOCK_SLACK_NS, DAY_NS, Reason, Rule};
use crate::clock::{Stamp, Utc, format_utc};
use crate::policy::facts::{Register, Rules, Sign};

/// Either until when the sign counts, or why it does not.
pub fn sign_holds(sign: &Sign, rules: &Rules, now: Stamp<Utc>) -> Result<Stamp<Utc>, Reason> {
    let (id, max_days) = (&sign.id, rules.sign_inspect_max_days);
    let no = |rule, fact: String, remedy: &str| Err(Reason::new(rule, fact, remedy));
    if let Some(w) = &sign.withdrawn {
        let why = if w.reason.is_empty() { String::new() } else { format!(" ({})", w.reason) };
        let fact = format!("sign `{id}` was withdrawn at {} by {}{why}", w.at, w.by);
        return no(Rule::SignNotWithdrawn, fact, "put the sign up again and run `placard sign post`, then `placard sign inspect`");
    }
    let Some(posted) = &sign.posted_on else {
        return no(Rule::SignPosted, format!("no date of posting is recorded for sign `{id}`"), "post it and record `posted_on`");
    };
    if posted.at().ns() > now.ns().saturating_add(CLOCK_SLACK_NS) {
        return no(Rule::SignPosted, format!("sign `{id}` is to be posted on {posted}"), "wait, or correct `posted_on` (UTC)");
    }
    if sign.photo_sha256.is_none() {
        let fact = format!("there is no photograph of sign `{id}` in its place");
        return no(Rule::SignPhotographed, fact, "photograph it and record `photo_sha256`");
    }
    if sign.photo_is_a_placeholder() && !rules.placeholder_photographs {
        let fact = format!("`photo_sha256` of sign `{id}` is a placeholder, which is no photograph to an operational site");
        return no(Rule::SignPhotographed, fact, "photograph the sign in its place and run `placard sign inspect … --photo FILE`");
    }
    let (Some(inspected), Some(_)) = (&sign.inspected_at, &sign.inspected_by) else {
        let fact = format!("no inspection of sign `{id}` is recorded (when and by whom)");
        return no(Rule::SignInspected, fact, "inspect it and record `inspected_at` and `inspected_by`");
    };
    if inspected.at().ns() > now.ns().saturating_add(CLOCK_SLACK_NS) {
        let fact = format!("the inspection of sign `{id}` is dated {inspected}, which is still to come");
        return no(Rule::SignInspected, fact, "correct `inspected_at`, or the wall clock");
    }
    if inspected.at() < posted.at() {
        let fact = format!("sign `{id}` was inspected at {inspected}, before it was posted on {posted}");
        return no(Rule::SignInspected, fact, &format!("go and see it hang, then run `placard sign inspect {id} --by WHO`"));
    }
    if !sign.inspection_is_of_the_text() {
        let fact = format!("sign `{id}` was inspected at {inspected} with another text than it has now, or nobody recorded with which");
        let remedy = format!(
            "see that the sign hangs with its present words (`placard sign text {id}`), then run `placard sign inspect {id} --by WHO`"
        );
        return no(Rule::SignInspected, fact, &remedy);
    }
    let ends = Stamp::from_ns(inspected.at().ns().saturating_add(i64::from(max_days).saturating_mul(DAY_NS)));
    if now >= ends {
        let fact = format!("sign `{id}` was last inspected at {inspected}; that counted for {max_days} days, until {}", format_utc(ends));
        return no(Rule::SignInspected, fact, "inspect it again and record it");
    }
    Ok(ends)
}

/// The sign that makes the zone lawful to look at for the longest; if none does, the one that came closest, and why it does not.
pub(super) fn zone_sign<'a>(
    register: &'a Register,
    rules: &Rules,
    zone: &str,
    now: Stamp<Utc>,
) -> (Option<&'a Sign>, Result<Stamp<Utc>, Reason>) {
    let mut best: Option<(&Sign, Stamp<Utc>)> = None;
    let mut closest: Option<(&Sign, Reason)> = None;
    for sign in register.signs.iter().filter(|s| s.zone == zone) {
        match sign_holds(sign, rules, now) {
            Ok(ends) if best.as_ref().is_none_or(|(_, b)| ends > *b) => best = Some((sign, ends)),
            Ok(_) => {}
            // Rules are declared in the order they are asked.
            Err(reason) if closest.as_ref().is_none_or(|(_, c)| reason.rule > c.rule) => closest = Some((sign, reason)),
            Err(_) => {}
        }
    }
    match (best, closest) {
        (Some((sign, ends)), _) => (Some(sign), Ok(ends)),
        (None, Some((sign, reason))) => (Some(sign), Err(reason)),
        (None, None) => {
            let fact = format!("zone `{zone}` has no sign");
            (None, Err(Reason::new(Rule::SignPresent, fact, "post a sign and record it")))
        }
    }
}
