//! Who is in a vault: to be enrolled, as it is listed, as it is loaded, and what is left of somebody.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::super::record::{Channel, Header};
use super::super::zones::{Shared, Zones};
use super::super::{SubjectId, TemplateModel};
use crate::clock::{Stamp, Utc};
use crate::embedding::Embedding;
use crate::policy::enrolment::eligible::{Enrolment, Standing};
use crate::purpose::Purpose;

/// A subject to enrol for one purpose.
pub struct NewSubject<'a> {
    pub subject: SubjectId,
    pub purpose: &'a Purpose,
    pub model: &'a TemplateModel,
    /// 1 to [`MAX_TEMPLATES`].
    pub templates: Vec<&'a Embedding>,
    pub channel: Channel,
    /// Id of the consent that it rests on.
    pub consent: Option<&'a str>,
    /// Where a template file came from.
    pub source: Option<&'a str>,
    /// Zones that it may be searched for in; none: at desks alone.
    pub zones: &'a [&'a str],
    pub enrolled_at: Stamp<Utc>,
    pub expires_at: Stamp<Utc>,
}

/// A subject as the vault has it for one purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct Enrolled {
    pub subject: SubjectId,
    pub purpose: Purpose,
    pub templates: usize,
    pub model: String,
    pub channel: Channel,
    pub consent: Option<String>,
    /// Unset: a record of format 1, to be searched for wherever its purpose is granted.
    pub zones: Option<Vec<String>>,
    pub enrolled_at: Stamp<Utc>,
    pub expires_at: Stamp<Utc>,
}

impl Enrolled {
    pub fn enrolment(&self) -> Enrolment<'_> {
        Enrolment { subject: &self.subject.0, consent: self.consent.as_deref(), at: self.enrolled_at }
    }
}

/// An opened template. Wiped on drop.
pub struct Template {
    pub subject: SubjectId,
    pub enrolled_at: Stamp<Utc>,
    pub expires_at: Stamp<Utc>,
    /// Id of the consent that it rests on, if it rests on one.
    pub consent: Option<Box<str>>,
    pub(crate) zones: Zones,
    /// Not for other crates: nobody is compared with but by a search under a permit.
    pub(crate) values: Zeroizing<Vec<f32>>,
}

impl Template {
    pub(in crate::gallery) fn opened(header: Header, values: Zeroizing<Vec<f32>>, zones: &mut Shared) -> Self {
        let (enrolled_at, expires_at) = (Stamp::from_ns(header.enrolled_at_ns), Stamp::from_ns(header.expires_at_ns));
        let zones = zones.of(header.zones);
        Self { subject: header.subject, enrolled_at, expires_at, consent: header.consent.map(Into::into), zones, values }
    }
}

/// What may be searched for one purpose, and what was left out.
#[derive(Default)]
pub struct PurposeTemplates {
    pub version: u64,
    /// In the order of zones and then of subjects' ids, a subject's templates side by side.
    pub templates: Vec<Template>,
    /// Left out: past their end.
    pub expired: usize,
    /// Left out: the consent or order that they rest on is over, or is not in the register.
    pub unfounded: usize,
    /// Left out: made with another model.
    pub other_model: usize,
    /// Left out: rows that do not open. Altered, moved, or written under another site key: an alarm.
    pub damaged: Vec<SubjectId>,
}

impl PurposeTemplates {
    /// Leaves out whatever does not stand.
    pub fn keep_standing(&mut self, standing: &dyn Fn(Enrolment<'_>) -> Standing) {
        let before = self.templates.len();
        self.templates.retain(|t| {
            standing(Enrolment { subject: &t.subject.0, consent: t.consent.as_deref(), at: t.enrolled_at }) == Standing::Stands
        });
        self.unfounded += before - self.templates.len();
    }
}

/// What there is of one subject, whether or not it opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    pub key: bool,
    /// Purpose, as the row has it, and how many rows.
    pub rows: BTreeMap<String, usize>,
}

impl Traces {
    pub fn any(&self) -> bool {
        self.key || !self.rows.is_empty()
    }
}

/// One of a subject's own templates, and what may be compared with it.
pub(crate) struct OwnTemplate {
    pub purpose: Purpose,
    pub model: TemplateModel,
    pub embedding: Embedding,
}
