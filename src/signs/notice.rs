//! What one sign says: the regime's words, the purposes of its zone, who is responsible and where to turn to.
//!
//! A [`Notice`] is data; `sheet.rs` draws it. Its [`text`](Notice::text) is the words in reading order: the very text that the register
//! must hold for the sign, and that the code's digest is made from. So what hangs on the wall, what the register says and what the
//! camera attests are one text.

use crate::policy::facts::{Announcement, Register, Sign, Site};
use crate::purpose::PurposeKind;

use super::wording::{Language, Regime, Said, Unworded, Wording, purpose, said, wording};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNotice {
    #[error(transparent)]
    Unworded(#[from] Unworded),
    #[error("zone `{0}` has no purpose: a sign that names none says nothing; record a purpose first")]
    NoPurpose(String),
    #[error("a sign needs a language: `--language zh,en`")]
    NoLanguage,
}

/// One language's part.
#[derive(Clone, Debug)]
pub struct Part {
    pub language: Language,
    pub wording: &'static Wording,
    pub said: Said,
    /// Under the code.
    pub code: &'static str,
    pub purposes: Vec<&'static str>,
}

/// Everything a sign says.
#[derive(Clone, Debug)]
pub struct Notice {
    pub sign: String,
    pub zone: String,
    pub regime: Regime,
    /// What is announced, in the order of each part's purposes.
    pub kinds: Vec<PurposeKind>,
    pub site: String,
    pub controller: String,
    pub contact: String,
    /// Where the public status page is, if the site says so.
    pub status_page: Option<String>,
    /// First language first; at least one.
    pub parts: Vec<Part>,
}

impl Notice {
    /// For `sign`, in `languages` (its own, if none are given), under `regime` (the register's first profile, or `cn-pipl`).
    pub fn compose(
        register: &Register,
        site: &Site,
        sign: &Sign,
        languages: Option<&[Language]>,
        regime: Option<Regime>,
    ) -> Result<Self, NoNotice> {
        let own = || sign.languages.iter().map(|l| l.parse()).collect::<Result<Vec<Language>, Unworded>>();
        let languages = languages.map_or_else(own, |l| Ok(l.to_vec()))?;
        let regime = match (regime, register.rules.profile_names().next()) {
            (Some(regime), _) => regime,
            (None, Some(profile)) => profile.parse()?,
            (None, None) => Regime::CnPipl,
        };
        let here = |kind: &PurposeKind| register.purposes.iter().any(|p| p.purpose.kind() == *kind && p.zones.contains(&sign.zone));
        let kinds: Vec<PurposeKind> = PurposeKind::ALL.into_iter().filter(here).collect();
        if kinds.is_empty() {
            return Err(NoNotice::NoPurpose(sign.zone.clone()));
        }
        let is_read = register.views.iter().any(|view| view.sign == sign.id);
        let part = |language: Language| {
            let wording = wording(regime, language);
            Part {
                language,
                wording,
                said: said(regime, language, &kinds),
                code: if is_read { wording.attested } else { wording.genuine },
                purposes: kinds.iter().map(|k| purpose(*k, language)).collect(),
            }
        };
        if languages.is_empty() {
            return Err(NoNotice::NoLanguage);
        }
        Ok(Self {
            sign: sign.id.clone(),
            zone: sign.zone.clone(),
            regime,
            site: site.name.clone(),
            controller: site.controller.clone(),
            contact: site.contact.clone(),
            status_page: site.status_page.clone(),
            parts: languages.into_iter().map(part).collect(),
            kinds,
        })
    }

    /// With the words for a code that a camera reads.
    pub fn watched(mut self) -> Self {
        self.parts.iter_mut().for_each(|part| part.code = part.wording.attested);
        self
    }

    /// By which of its words it announces what: as the register has it.
    pub fn announcements(&self) -> Vec<Announcement> {
        let of_part = |part: &Part| {
            let language = part.language.to_string();
            let kinds = self.kinds.iter().zip(&part.purposes);
            kinds
                .map(move |(kind, words)| Announcement { purpose: *kind, language: language.clone(), words: (*words).to_owned() })
                .collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of_part).collect()
    }

    /// Enters into `sign` what this notice says, in which languages, and what it announces by that.
    pub fn enter(&self, sign: &mut Sign) {
        sign.text = self.text();
        sign.languages = self.parts.iter().map(|p| p.language.to_string()).collect();
        sign.controller = Some(self.controller.clone());
        sign.contact = Some(self.contact.clone());
        sign.announces = self.announcements();
    }

    /// Whether the register's `sign` says what this notice says.
    pub fn is_entered(&self, sign: &Sign) -> bool {
        let mut entered = sign.clone();
        self.enter(&mut entered);
        entered == *sign
    }

    pub fn has(&self, language: Language) -> bool {
        self.parts.iter().any(|p| p.language == language)
    }

    /// The words in reading order, one statement a line.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for part in &self.parts {
            let w = part.wording;
            let ends = if part.language == Language::Chinese { "：" } else { ": " };
            lines.push(part.said.heading.to_owned());
            lines.push(part.said.lead.to_owned());
            lines.extend(part.purposes.iter().map(|p| format!("{}{ends}{p}", w.purpose_label)));
            lines.push(format!("{}{ends}{}", w.basis_label, part.said.basis));
            lines.push(format!("{}{ends}{}", w.controller_label, self.controller));
            lines.push(format!("{}{ends}{}", w.contact_label, self.contact));
            lines.extend(self.status_page.iter().map(|page| format!("{}{ends}{page}", w.status_label)));
            lines.extend(w.rights.iter().map(|r| format!("{}{ends}{r}", w.rights_label)));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::policy::facts::Mode;
    use crate::policy::facts::testing::good;

    pub(crate) fn site() -> Site {
        Site {
            name: "east-station".to_owned(),
            mode: Mode::Operational,
            controller: "East Station Transit Police".to_owned(),
            contact: "police desk, hall 1 · +86 10 5555 0110".to_owned(),
            status_page: None,
        }
    }

    pub(crate) fn notice(languages: &[Language], regime: Regime) -> Notice {
        let register = good();
        Notice::compose(&register, &site(), &register.signs[0], Some(languages), Some(regime)).expect("a notice")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::site;
    use super::*;
    use crate::policy::facts::testing::good;

    #[test]
    fn a_notice_names_purposes_controller_contact_and_rights_and_no_case() {
        let register = good();
        let notice = Notice::compose(&register, &site(), &register.signs[0], None, None).expect("a notice");
        let text = notice.text();
        for said in ["Face recognition area", "Purpose: To find people who are reported missing", "East Station", "5555 0110", "Object"] {
            assert!(text.contains(said), "{text}");
        }
        assert!(!text.contains("mp-7") && !text.contains("criminal"), "{text}");
        assert!(!text.contains("What is done now"), "a page that there is not is not named: {text}");
        let site = Site { status_page: Some("https://station.example/cameras".to_owned()), ..site() };
        let text = Notice::compose(&register, &site, &register.signs[0], None, None).expect("a notice").text();
        assert!(text.contains("What is done now: https://station.example/cameras"), "{text}");
    }

    #[test]
    fn a_gate_s_sign_speaks_of_a_gate_and_no_camera_is_said_to_read_a_code_that_none_reads() {
        let mut register = good();
        let compose = |register: &Register| {
            Notice::compose(register, &site(), &register.signs[0], Some(&[Language::English]), None).expect("a notice")
        };
        let watched = |notice: &Notice| notice.parts[0].code.contains("Cameras");
        register.views = Vec::new();
        assert!(!watched(&compose(&register)) && watched(&compose(&register).watched()));
        let [stream, sign] = [&register.areas[0].stream, &register.signs[0].id];
        let view = format!(
            "stream = '{stream}'\nsign = '{sign}'\ncode = [[0.4, 0.4], [0.5, 0.4], [0.5, 0.5], [0.4, 0.5]]\ntolerance = 0.02\nattest_every_s = 5"
        );
        register.views = vec![toml::from_str(&view).expect("a view")];
        assert!(watched(&compose(&register)));
        register.purposes.truncate(1);
        register.purposes[0].purpose = crate::purpose::Purpose::access_verification();
        let text = compose(&register).text();
        assert!(text.starts_with("Face verification gate") && text.contains("another way in") && !text.contains("public safety"), "{text}");
    }

    #[test]
    fn languages_and_regime_are_the_register_s_unless_told_and_a_zone_without_a_purpose_gets_no_sign() {
        let mut register = good();
        register.signs[0].languages = vec!["zh".to_owned(), "en".to_owned()];
        register.rules.profiles = vec!["uk-ico".to_owned(), "cn-pipl".to_owned()];
        let compose = |register: &Register, regime| Notice::compose(register, &site(), &register.signs[0], None, regime);
        let text = compose(&register, None).expect("a notice").text();
        assert!(text.starts_with("实时人脸识别区域") && text.contains("ICO"), "{text}");
        assert_ne!(compose(&register, Some(Regime::UsBipa)).expect("a notice").text(), text);
        register.signs[0].languages = vec!["fr".to_owned()];
        assert!(matches!(compose(&register, None), Err(NoNotice::Unworded(Unworded::Language(_)))));
        register.signs[0].languages.clear();
        assert_eq!(compose(&register, None).expect_err("none"), NoNotice::NoLanguage);
        register.purposes.clear();
        register.signs[0].languages = vec!["en".to_owned()];
        assert!(matches!(compose(&register, None), Err(NoNotice::NoPurpose(_))));
    }
}
