//! What the register's file holds: changes, one after the other, each with the digest of the one before, and what people sign.
//!
//! A *proposal* is a list of edits, each of one fact; its digest is what people sign. An edit names the fact that it replaces by digest, so
//! that it does not apply where somebody changed that fact meanwhile. Everything is JSON with its fields in the order given here; facts in
//! it are TOML, the words that a site file has, so that whoever signs can read what they sign.
//!
//! With a change is kept what was judged of it when it was recorded (`lighting.rs`), under the site's signature: whether what it takes away
//! could light something, and which streams it pauses for that. Whoever reads it goes by that, and not by what the program of their day would
//! say. Changes that were recorded before there was such a thing have none, and are judged as now.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::keys::{KeyError, PersonKey};
use crate::hex;
use crate::policy::facts::{Mode, Person};
use crate::policy::when::When;

const PROPOSAL: &str = "placard/1/proposal";
const CHANGE: &str = "placard/1/change";
const FACT: &str = "placard/1/fact";

/// Which of the register's tables. Closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    Rules,
    Zone,
    Area,
    Sign,
    Purpose,
    View,
    Order,
    Consent,
    Alternative,
    Governance,
    Authorisation,
    Objection,
    Device,
    Person,
}

impl Table {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Zone => "zone",
            Self::Area => "area",
            Self::Sign => "sign",
            Self::Purpose => "purpose",
            Self::View => "view",
            Self::Order => "order",
            Self::Consent => "consent",
            Self::Alternative => "alternative",
            Self::Governance => "governance",
            Self::Authorisation => "authorisation",
            Self::Objection => "objection",
            Self::Device => "device",
            Self::Person => "person",
        }
    }
}

/// One fact put, replaced or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    pub table: Table,
    /// The fact that was there; absent: a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Digest>,
    /// The fact that is there from now on; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<String>,
}

impl Edit {
    pub fn put(table: Table, fact: &impl Serialize) -> Self {
        Self { table, replaces: None, fact: Some(fact_text(fact)) }
    }
    pub fn replace(table: Table, old: &impl Serialize, new: &impl Serialize) -> Self {
        Self { table, replaces: Some(fact_digest(old)), fact: Some(fact_text(new)) }
    }
    pub fn remove(table: Table, old: &impl Serialize) -> Self {
        Self { table, replaces: Some(fact_digest(old)), fact: None }
    }
}

/// A fact's canonical text.
pub(super) fn fact_text(fact: &impl Serialize) -> String {
    // Every fact is a table of strings, numbers, lists and tables, which TOML can write; an error message parses as no fact.
    toml::to_string(fact).unwrap_or_else(|e| format!("unwritable: {e}"))
}

pub(super) fn fact_digest(fact: &impl Serialize) -> Digest {
    Digest::of(FACT, fact_text(fact).as_bytes())
}

/// What somebody wants changed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    pub edits: Vec<Edit>,
    pub by: String,
    pub at: When,
    pub why: String,
    /// Random: the same wish a second time is another proposal, for which nobody has signed yet.
    pub nonce: String,
}

impl Proposal {
    pub fn new(edits: Vec<Edit>, by: &str, why: &str, at: When) -> Result<Self, KeyError> {
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| KeyError::Library("give random bytes"))?;
        Ok(Self { edits, by: by.to_owned(), at, why: why.to_owned(), nonce: hex::of(&nonce) })
    }

    /// What people sign.
    pub fn digest(&self) -> Digest {
        Digest::of(PROPOSAL, &json(self))
    }
}

/// Somebody's signature under a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Their id in the register.
    pub person: String,
    pub at: When,
    /// Ed25519, 128 hexadecimal digits.
    pub signature: String,
}

impl Approval {
    /// Signs `proposal` for `site` with somebody's key.
    pub fn sign(person: &str, key: &PersonKey, site: &Digest, proposal: &Digest, at: When) -> Self {
        let signature = key.sign(&Self::message(person, site, proposal, &at));
        Self { person: person.to_owned(), at, signature }
    }

    /// The bytes that are signed: plain text, so that any Ed25519 tool can make and check a signature.
    pub fn message(person: &str, site: &Digest, proposal: &Digest, at: &When) -> Vec<u8> {
        format!("placard/1/approval\nsite {site}\nproposal {proposal}\nby {person}\nat {at}\n").into_bytes()
    }
}

/// The beginning: whom the register believes, by the word of the site's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founding {
    pub site: Digest,
    pub mode: Mode,
    pub people: Vec<Person>,
    pub signature: String,
}

impl Founding {
    /// What the site's key signs: where in which file, and everything but the signature.
    pub(super) fn message(&self, seq: u64, before: &Digest) -> Vec<u8> {
        let unsigned = Self { signature: String::new(), ..self.clone() };
        let mut message = format!("placard/1/founding\nseq {seq}\nbefore {before}\n").into_bytes();
        message.extend(json(&unsigned));
        message
    }
}

/// That a proposal will never be in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    pub proposal: Digest,
    pub by: String,
    pub why: String,
    /// Of somebody in office, under [`message`](Self::message).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

impl Rejection {
    /// The bytes that are signed.
    pub fn message(&self, site: &Digest, at: &When) -> Vec<u8> {
        let by = self.approval.as_ref().map_or("", |a| &a.person);
        Self::message_of(by, site, &self.proposal, at)
    }
    fn message_of(person: &str, site: &Digest, proposal: &Digest, at: &When) -> Vec<u8> {
        format!("placard/1/rejection\nsite {site}\nproposal {proposal}\nby {person}\nat {at}\n").into_bytes()
    }
    /// Somebody's signature for rejecting `proposal`.
    pub fn sign(person: &str, key: &PersonKey, site: &Digest, proposal: &Digest, at: When) -> Approval {
        let signature = key.sign(&Self::message_of(person, site, proposal, &at));
        Approval { person: person.to_owned(), at, signature }
    }
}

/// What was judged of a change when it was recorded: nothing that a later program may judge otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// Of the rules that it was judged by ([`JUDGEMENT`](super::JUDGEMENT)).
    pub version: u32,
    /// Whether what it takes away, and is no stop, may have kept something else dark.
    pub opens: bool,
    /// Streams that it pauses, because its stops could have lit something there.
    pub held: Vec<String>,
    /// The site's, under [`message`](Self::message): whoever can merely write the file does not say what a stop lights.
    pub signature: String,
}

impl Judgement {
    /// What the site's key signs: of which change in which file, and everything but the signature.
    pub(super) fn message(&self, seq: u64, before: &Digest, proposal: &Digest) -> Vec<u8> {
        let unsigned = Self { signature: String::new(), ..self.clone() };
        let mut message = format!("placard/1/judgement\nseq {seq}\nbefore {before}\nproposal {proposal}\n").into_bytes();
        message.extend(json(&unsigned));
        message
    }
}

/// What a change is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    Founded(Founding),
    Changed {
        proposal: Proposal,
        approvals: Vec<Approval>,
        /// Absent in registers of before: judged by the first rules.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        judged: Option<Judgement>,
    },
    Rejected(Rejection),
}

/// One entry of the register's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// From 0, without gaps.
    pub seq: u64,
    /// The digest of the change before; zeros in the first.
    pub before: Digest,
    pub recorded_at: When,
    pub event: Event,
}

impl Change {
    pub(super) fn bytes(&self) -> Vec<u8> {
        json(self)
    }
    /// Of a change as the file has it.
    pub(super) fn digest_of(bytes: &[u8]) -> Digest {
        Digest::of(CHANGE, bytes)
    }
}

/// A proposal that not enough people have signed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    pub proposal: Proposal,
    pub approvals: Vec<Approval>,
}

pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    // Structs of strings, numbers and lists, which JSON can always write; nothing verifies against, or is, an empty text.
    serde_json::to_vec(value).unwrap_or_default()
}
