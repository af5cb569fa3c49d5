//! What a model may be used for in a site.
//!
//! A commissioning model was trained on people that Placard draws, or says so itself: nobody knows how often it takes one real person for
//! another. So it runs only where no real person's fate hangs on it: in a site whose mode is `commissioning` or `demo`. That holds for every
//! task, at every start, and while it runs: the policy thread goes on looking at the site's description ([`SiteGuard`]), and a site that
//! became operational, or whose description cannot be read any more, goes dark. Unknown counts as operational.
//!
//! Owning thread: any; a guard belongs to the policy thread.

use std::path::PathBuf;

use super::facts::{Mode, Site};
use super::file::FileStamp;
use super::rules::{Reason, Rule};
use crate::engine::manifest::{IntendedUse, Manifest};

const ADVICE: &str = "import an operational model (`placard model known` lists published ones, `placard model add FILE` takes one) and name it in \
                      the pipeline file, or with --detector and --embedder";

/// A commissioning model in a site that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "model `{model}` is for commissioning and demonstration, and {site}: the rule is that such a model neither looks for, enrols nor \
     recognises anybody in an operational site [{}]; {ADVICE}",
    Rule::ModelIntended.name()
)]
pub struct NotIntended {
    pub model: String,
    site: String,
}

/// Whether `site` may use the model. `None`: there is no site that can be read.
pub fn check(manifest: &Manifest, site: Option<&Site>) -> Result<(), NotIntended> {
    let site = match (manifest.intended_use, site) {
        (IntendedUse::Operational, _) => return Ok(()),
        (IntendedUse::Commissioning, Some(Site { mode: Mode::Commissioning | Mode::Demo, .. })) => return Ok(()),
        (IntendedUse::Commissioning, Some(site)) => format!("the mode of site `{}` is {}", site.name, site.mode.name()),
        (IntendedUse::Commissioning, None) => "there is no site whose mode can be read, which counts as operational".to_owned(),
    };
    Err(NotIntended { model: manifest.name.clone(), site })
}

/// Looks at a site's description as long as commissioning models run there.
pub struct SiteGuard {
    path: PathBuf,
    model: Manifest,
    /// Of the file as last read; `None`: read it again.
    seen: Option<FileStamp>,
    found: Result<(), Reason>,
}

impl SiteGuard {
    /// `None`: none of `models` needs one. One refusal is enough, so the first that does speaks for all.
    pub fn over<'a>(path: PathBuf, models: impl IntoIterator<Item = &'a Manifest>) -> Option<Self> {
        let model = models.into_iter().find(|m| m.intended_use == IntendedUse::Commissioning)?.clone();
        let unread = Reason::new(Rule::ModelIntended, "the site's description has not been read yet", "");
        Some(Self { path, model, seen: None, found: Err(unread) })
    }

    /// Reads the file again if it changed. The stamp is taken first: a change in between is seen next time.
    pub(in crate::policy) fn check(&mut self) -> Result<(), Reason> {
        let stamp = FileStamp::of(&self.path).ok();
        if stamp.is_none() || stamp != self.seen {
            self.found = match Site::load(&self.path) {
                Ok(site) => check(&self.model, Some(&site)).map_err(|refused| (refused.site, ADVICE.to_owned())),
                Err(error) => {
                    Err((format!("the site's mode cannot be read ({error})"), "mend the file; it is read again when it changes".into()))
                }
            }
            .map_err(|(site, remedy)| {
                let fact = format!("model `{}` is for commissioning and demonstration, and {site}", self.model.name);
                Reason::new(Rule::ModelIntended, fact, remedy)
            });
            self.seen = stamp;
        }
        self.found.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::known;

    fn model(intended_use: IntendedUse) -> Manifest {
        Manifest { intended_use, ..known::by_name("mobileface-v2").expect("known") }
    }

    fn site(mode: Mode) -> Site {
        Site { name: "east".into(), mode, controller: "c".into(), contact: "c".into(), status_page: None }
    }

    #[test]
    fn a_commissioning_model_is_refused_wherever_the_site_is_not_known_to_be_no_real_one() {
        let commissioning = model(IntendedUse::Commissioning);
        assert_eq!(check(&commissioning, Some(&site(Mode::Commissioning))), Ok(()));
        assert_eq!(check(&commissioning, Some(&site(Mode::Demo))), Ok(()));
        assert_eq!(check(&model(IntendedUse::Operational), None), Ok(()));
        let refused = check(&commissioning, Some(&site(Mode::Operational))).expect_err("refused").to_string();
        for said in ["model-intended", "`mobileface-v2`", "`east` is operational", "placard model known", "placard model add"] {
            assert!(refused.contains(said), "{said}: {refused}");
        }
        assert!(check(&commissioning, None).expect_err("refused").to_string().contains("counts as operational"));
    }

    #[test]
    fn a_guard_reads_the_site_again_when_it_changes_and_takes_the_unreadable_for_operational() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("site.toml");
        assert!(SiteGuard::over(path.clone(), [&model(IntendedUse::Operational)]).is_none(), "nothing to guard");
        let (operational, commissioning) = (model(IntendedUse::Operational), model(IntendedUse::Commissioning));
        let mut guard = SiteGuard::over(path.clone(), [&operational, &commissioning]).expect("one to guard");
        assert!(guard.check().is_err_and(|r| r.fact.contains("cannot be read")), "no file");
        for (mode, lit) in [(Mode::Demo, true), (Mode::Operational, false), (Mode::Commissioning, true), (Mode::Operational, false)] {
            site(mode).store(&path).expect("written");
            assert_eq!(guard.check().is_ok(), lit, "{mode:?}");
            assert_eq!(guard.check().is_ok(), lit, "unchanged");
        }
        assert_eq!(guard.check().expect_err("operational").rule, Rule::ModelIntended);
        std::fs::write(&path, "[site]\nname = 1").expect("written");
        assert!(guard.check().is_err());
        std::fs::remove_file(&path).expect("removed");
        assert!(guard.check().is_err());
    }
}
