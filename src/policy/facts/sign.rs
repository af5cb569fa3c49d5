//! `[[sign]]`: what hangs where, what it tells whoever walks by, and that somebody saw it there.
//!
//! A sign's words bind. `announces` says by which words of the text which purpose is announced, in which language, and counts only while those
//! words stand in the text; an inspection is of the text that it was made of: once the text is another, nobody has inspected the sign.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::policy::when::When;
use crate::purpose::PurposeKind;

/// Words of fewer letters or digits announce nothing: they would be found in any text.
const LEAST_LETTERS: usize = 4;

/// `[[sign]]`: C14.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    pub id: String,
    pub zone: String,
    /// What it says.
    pub text: String,
    pub languages: Vec<String>,
    /// Where it hangs, so that an inspector finds it.
    pub position: String,
    /// SHA-256 of a photograph of the sign in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo_sha256: Option<String>,
    /// Since when it hangs; set anew when it is posted again. No earlier inspection counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted_on: Option<When>,
    /// Who posted it again, by `placard sign post`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspected_at: Option<When>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspected_by: Option<String>,
    /// SHA-256 of the text that hung when it was inspected. `placard sign inspect` records it; `placard commission` does for a site file that
    /// gives `inspected_at` and leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspected_text_sha256: Option<String>,
    /// Who answers for the processing, as the text says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// Where people turn to, as the text says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Which purposes it announces, by which words (`placard sign text --record` enters them).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announces: Vec<Announcement>,
    /// Present from the moment the sign was withdrawn until it is posted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawal>,
    /// Oldest first. Nothing rests on these; they are kept so that it stays known who took the sign down and who put it up.
    #[serde(default, rename = "past_withdrawal", skip_serializing_if = "Vec::is_empty")]
    pub past_withdrawals: Vec<PastWithdrawal>,
}

impl Sign {
    /// That somebody put it up again. The withdrawal in force, or `unwritten` where the file does not show it yet, becomes a past one. A
    /// sign that hangs already stays as it is.
    pub fn post(&mut self, posting: &Posting, unwritten: Option<&Withdrawal>) {
        let ended = self.withdrawn.take().or_else(|| unwritten.cloned());
        if ended.is_none() && self.posted_on.is_some() {
            return;
        }
        let (posted_at, posted_by) = (posting.at.clone(), posting.by.clone());
        self.past_withdrawals.extend(ended.map(|w| PastWithdrawal { at: w.at, by: w.by, reason: w.reason, posted_at, posted_by }));
        self.posted_on = Some(posting.at.clone());
        self.posted_by = Some(posting.by.clone());
    }

    /// SHA-256 of the text, as an inspection records it.
    pub fn text_sha256(&self) -> String {
        crate::hex::sha256(self.text.as_bytes())
    }

    /// Whether the recorded inspection is of the text that the sign has now.
    pub fn inspection_is_of_the_text(&self) -> bool {
        self.inspected_text_sha256.as_ref().is_some_and(|seen| *seen == self.text_sha256())
    }

    /// What of who answers, and where to turn to, its text does not say: the first of the two.
    pub fn unsaid(&self) -> Option<&'static str> {
        let said = |name: &Option<String>| name.as_ref().is_some_and(|n| !n.trim().is_empty() && self.text.contains(n.as_str()));
        match (said(&self.controller), said(&self.contact)) {
            (false, _) => Some("controller"),
            (_, false) => Some("contact"),
            _ => None,
        }
    }

    /// Languages in which its text announces purposes of this kind. Words that announce another kind too, in part or whole, announce neither:
    /// nobody who reads them knows which.
    pub fn announces_in(&self, kind: PurposeKind) -> BTreeSet<&str> {
        let plain = |a: &&Announcement| {
            let shared = |b: &Announcement| b.purpose != a.purpose && (a.words.contains(&b.words) || b.words.contains(&a.words));
            a.words.chars().filter(|c| c.is_alphanumeric()).count() >= LEAST_LETTERS
                && self.text.contains(&a.words)
                && self.languages.contains(&a.language)
                && !self.announces.iter().any(shared)
        };
        self.announces.iter().filter(|a| a.purpose == kind).filter(plain).map(|a| a.language.as_str()).collect()
    }

    /// The quickstart's `0000…`: well-formed, and no photograph's digest.
    pub fn photo_is_a_placeholder(&self) -> bool {
        self.photo_sha256.as_ref().is_some_and(|digest| digest.bytes().all(|b| b == b'0'))
    }
}

/// One purpose in one language: by which words of the sign's text. Its case is not named: who is looked for is nobody's business who walks by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    pub purpose: PurposeKind,
    pub language: String,
    /// As they stand in the text.
    pub words: String,
}

/// That a sign no longer counts, since when, by whose word and why.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    pub at: When,
    pub by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A withdrawal that ended when the sign was posted again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PastWithdrawal {
    pub at: When,
    pub by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    pub posted_at: When,
    pub posted_by: String,
}

/// Who put a sign up again, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    pub at: When,
    pub by: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::testing::good;

    fn told(sign: &Sign) -> Vec<&str> {
        sign.announces_in(PurposeKind::MissingPerson).into_iter().collect()
    }

    #[test]
    fn words_announce_a_purpose_while_they_stand_in_the_text_and_mean_that_one_alone() {
        let good = good().signs.remove(0);
        assert_eq!((told(&good), good.unsaid()), (vec!["en", "zh"], None));
        let with = |edit: &dyn Fn(&mut Sign)| {
            let mut sign = good.clone();
            edit(&mut sign);
            sign
        };
        let own = |s: &mut Sign, words: &str| {
            s.announces.iter_mut().filter(|a| a.language == "en").take(1).for_each(|a| words.clone_into(&mut a.words))
        };
        assert_eq!(told(&with(&|s| s.text = s.text.replace("missing persons", "lost luggage"))), ["zh"]);
        assert_eq!(told(&with(&|s| s.languages = vec!["zh".to_owned()])), ["zh"], "no language of the sign");
        assert_eq!(told(&with(&|s| own(s, "a"))), ["zh"], "found in any text");
        assert_eq!(told(&with(&|s| own(s, " , . ,"))), ["zh"]);
        assert_eq!(told(&with(&|s| own(s, "named crimes"))), ["zh"], "words of another purpose");
        assert_eq!(told(&with(&|s| own(s, &good.text))), ["zh"], "the whole text says everything and nothing");
        assert!(told(&with(&|s| s.announces.clear())).is_empty());
        assert_eq!(with(&|s| s.controller = None).unsaid(), Some("controller"));
        assert_eq!(with(&|s| s.controller = Some(" ".to_owned())).unsaid(), Some("controller"));
        assert_eq!(with(&|s| s.contact = Some("desk 9".to_owned())).unsaid(), Some("contact"));
    }
}
