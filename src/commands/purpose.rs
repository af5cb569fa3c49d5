//! `placard purpose`: what recognition is for, and where. Its legal basis is `placard basis`.

use super::fact::{self, Action, Flags, needed};
use super::{Context, Failed, Outcome};
use crate::policy::facts::{PurposeFact, Register};
use crate::policy::when::When;
use crate::purpose::Purpose;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action<PurposeFlags>,
}

#[derive(clap::Args, Debug)]
struct PurposeFlags {
    /// crime-prevention:CASE, missing-person:CASE, access-verification, emergency:ORDER or mask-check.
    purpose: Option<Purpose>,
    /// Where; may be given again.
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<String>,
    /// The impact assessment's number.
    #[arg(long, value_name = "NUMBER")]
    assessment: Option<String>,
    /// The day from which the assessment no longer counts.
    #[arg(long, value_name = "DATE")]
    review_on: Option<When>,
    /// No more subjects than this.
    #[arg(long, value_name = "COUNT")]
    gallery_cap: Option<u32>,
    /// No larger share of a picture than this, 0 to 1.
    #[arg(long, value_name = "SHARE")]
    area_cap: Option<f64>,
}

impl Flags for PurposeFlags {
    type Fact = PurposeFact;
    /// What is not said stays as it is.
    fn fact(self, register: &Register) -> Result<PurposeFact, Failed> {
        let purpose = needed(self.purpose, "the purpose")?;
        let old = register.purposes.iter().find(|p| p.purpose == purpose).cloned();
        let new =
            PurposeFact { purpose, zones: Vec::new(), basis: None, assessment: None, review_on: None, gallery_cap: None, area_cap: None };
        let mut fact = old.unwrap_or(new);
        if !self.zones.is_empty() {
            fact.zones = self.zones;
        }
        fact.assessment = self.assessment.or(fact.assessment);
        fact.review_on = self.review_on.or(fact.review_on);
        fact.gallery_cap = self.gallery_cap.or(fact.gallery_cap);
        fact.area_cap = self.area_cap.or(fact.area_cap);
        Ok(fact)
    }
    fn line(fact: &PurposeFact) -> String {
        let basis = fact.basis.as_ref().map_or("no basis".to_owned(), |b| match &b.until {
            Some(until) => format!("{} ({}) until {until}", b.statute, b.authority),
            None => format!("{} ({}) without an end: grants nothing", b.statute, b.authority),
        });
        let assessed = fact.assessment.as_deref().unwrap_or("none");
        let review = fact.review_on.as_ref().map_or("never".to_owned(), ToString::to_string);
        format!("{}; {basis}; assessment {assessed}, review {review}", fact.zones.join(", "))
    }
}

pub fn run(context: &Context, args: Args) -> Outcome {
    fact::run(context, args.action)
}
