//! The words on signs, by regime and language. The one file to give to a lawyer and a translator: nothing else says anything on a sign
//! but the site's own facts (purposes, controller, contact).
//!
//! Drafts: the sources are named, the wording is ours, and counsel of the place has the last word (`docs/controls.md`, C14).
//!
//! Sources: PIPL Art. 13, 15, 17, 23, 24, 26, 28, 30, 44 to 47, 50; Measures for face recognition (CAC, 2025) Art. 5, 13; EU AI Act Art. 5(1)(h), 26, 50; GDPR Art. 9,
//! 13, 15 to 22, 77; Directive (EU) 2016/680 Art. 13; UK GDPR, Data Protection Act 2018 Part 3, ICO Opinion 2021-06-18; 740 ILCS 14/15.

use std::fmt;
use std::str::FromStr;

use crate::purpose::PurposeKind;

/// A regime that signs are written for. Closed: words for another are added here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    CnPipl,
    EuAiAct,
    UkIco,
    UsBipa,
}

impl Regime {
    pub const ALL: [Self; 4] = [Self::CnPipl, Self::EuAiAct, Self::UkIco, Self::UsBipa];

    /// As a register's `rules.profiles` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CnPipl => "cn-pipl",
            Self::EuAiAct => "eu-ai-act",
            Self::UkIco => "uk-ico",
            Self::UsBipa => "us-bipa",
        }
    }
}

impl fmt::Display for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unworded {
    #[error("there are no words for signs under `{0}`; there are for {list}", list = Regime::ALL.map(Regime::name).join(", "))]
    Regime(String),
    #[error("there are no words for signs in language `{0}`; there are in {list}", list = Language::ALL.map(Language::name).join(", "))]
    Language(String),
}

impl FromStr for Regime {
    type Err = Unworded;
    fn from_str(text: &str) -> Result<Self, Unworded> {
        Self::ALL.into_iter().find(|r| r.name() == text).ok_or_else(|| Unworded::Regime(text.to_owned()))
    }
}

/// A language that signs are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Chinese,
    English,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::Chinese, Self::English];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Chinese => "zh",
            Self::English => "en",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Language {
    type Err = Unworded;
    fn from_str(text: &str) -> Result<Self, Unworded> {
        Self::ALL.into_iter().find(|l| l.name() == text.trim()).ok_or_else(|| Unworded::Language(text.to_owned()))
    }
}

/// Everything a sign says that is not the site's own.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    /// Where people are looked for among passers-by.
    pub search: Said,
    pub purpose_label: &'static str,
    pub basis_label: &'static str,
    pub controller_label: &'static str,
    pub contact_label: &'static str,
    /// Of the public status page's address, where there is one.
    pub status_label: &'static str,
    pub rights_label: &'static str,
    pub rights: &'static [&'static str],
    /// Under the code: where a camera reads it, and where none does.
    pub attested: &'static str,
    pub genuine: &'static str,
}

/// What is done here, and by what law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub heading: &'static str,
    /// What is done with whoever comes in view, in one sentence.
    pub lead: &'static str,
    pub basis: &'static str,
}

const ZH_LABELS: [&str; 6] = ["目的", "法律依据", "个人信息处理者", "联系方式", "您的权利", "运行状态"];
const EN_LABELS: [&str; 6] = ["Purpose", "Legal basis", "Controller", "Contact", "Your rights", "What is done now"];
const ZH_CODES: [&str; 2] = ["摄像机核对此码，标志缺失即停用", "此码证明标志由本站签发"];
const EN_CODES: [&str; 2] = ["Cameras check this code: no sign, no recognition.", "This code proves that the sign is this site's own."];

const fn zh(heading: &'static str, lead: &'static str, basis: &'static str, rights: &'static [&'static str]) -> Wording {
    worded(ZH_LABELS, ZH_CODES, [heading, lead, basis], rights)
}

const fn en(heading: &'static str, lead: &'static str, basis: &'static str, rights: &'static [&'static str]) -> Wording {
    worded(EN_LABELS, EN_CODES, [heading, lead, basis], rights)
}

const fn worded(
    [purpose_label, basis_label, controller_label, contact_label, rights_label, status_label]: [&'static str; 6],
    [attested, genuine]: [&'static str; 2],
    [heading, lead, basis]: [&'static str; 3],
    rights: &'static [&'static str],
) -> Wording {
    let search = Said { heading, lead, basis };
    Wording { search, purpose_label, basis_label, controller_label, contact_label, status_label, rights_label, rights, attested, genuine }
}

const CN_ZH: Wording = zh(
    "人脸识别区域",
    "您已进入公共安全图像采集与人脸识别区域。不保存未匹配人员的任何信息。",
    "《中华人民共和国个人信息保护法》第二十六条、第二十八条；《人脸识别技术应用安全管理办法》第十三条",
    &["知情、查阅、复制、更正、删除您的个人信息", "撤回同意，无需说明理由；请求说明处理规则", "提出异议，或向网信部门投诉、举报"],
);
const CN_EN: Wording = en(
    "Face recognition area",
    "You are entering an area where images are taken and faces are recognised for public safety. Nothing is kept of whoever is not matched.",
    "Personal Information Protection Law of the P.R.C., Art. 26 and 28; Measures for the Security Management of Face Recognition, Art. 13",
    &[
        "Know, consult, copy, correct or delete your personal information",
        "Withdraw consent without giving a reason; have the rules explained",
        "Object, or complain to the cyberspace administration",
    ],
);
const EU_ZH: Wording = zh(
    "远程生物识别区域",
    "此处依法使用实时远程生物识别系统。不保存未匹配人员的任何信息；匹配结果由人工复核。",
    "欧盟《人工智能法》(EU) 2024/1689 第五条第一款(h)项、第二十六条；指令 (EU) 2016/680；《通用数据保护条例》第九条",
    &["访问、更正、删除您的数据，限制处理", "随时反对；仅凭自动化结果不得对您作出决定", "向监管机构投诉"],
);
const EU_EN: Wording = en(
    "Biometric identification area",
    "A system for remote biometric identification is used here as authorised by law. Nothing is kept of whoever is not matched; people confirm every match.",
    "Regulation (EU) 2024/1689 (AI Act), Art. 5(1)(h) and 26; Directive (EU) 2016/680; GDPR, Art. 9",
    &[
        "Access, rectify or erase your data; restrict its processing",
        "Object at any time; no decision about you rests on a machine alone",
        "Complain to the supervisory authority",
    ],
);
const UK_ZH: Wording = zh(
    "实时人脸识别区域",
    "此处使用实时人脸识别。未匹配人员的数据立即删除；匹配结果由人工复核。",
    "《2018 年数据保护法》第三部分；英国《通用数据保护条例》第六条、第九条",
    &["访问、更正、删除您的数据，限制处理", "提出异议；要求人工复核", "向信息专员办公室 (ICO) 投诉"],
);
const UK_EN: Wording = en(
    "Live facial recognition area",
    "Live facial recognition is in use here. The data of whoever is not matched is deleted at once; people review every match.",
    "Data Protection Act 2018, Part 3; UK GDPR, Art. 6 and 9",
    &[
        "Access, rectify or erase your data; restrict its processing",
        "Object; ask for a person to review",
        "Complain to the Information Commissioner's Office (ICO)",
    ],
);
const US_ZH: Wording = zh(
    "生物特征识别区域",
    "此处仅在您事先书面同意后采集和使用人脸特征。未同意者不采集任何特征。",
    "《伊利诺伊州生物特征信息隐私法》740 ILCS 14/15",
    &["未经书面同意不被采集；可选择其他方式", "撤回同意并要求销毁，最迟三年内销毁", "索取保存与销毁政策；特征不得出售"],
);
const US_EN: Wording = en(
    "Biometric identification area",
    "Face geometry is collected and used here only after your written release. Of anybody else nothing is collected.",
    "Biometric Information Privacy Act, 740 ILCS 14/15",
    &[
        "No collection without your written release; another way is open to you",
        "Withdraw and have it destroyed, in three years at the latest",
        "Ask for the retention policy; biometrics are never sold",
    ],
);

/// The words of `regime` in `language`.
pub const fn wording(regime: Regime, language: Language) -> &'static Wording {
    match (regime, language) {
        (Regime::CnPipl, Language::Chinese) => &CN_ZH,
        (Regime::CnPipl, Language::English) => &CN_EN,
        (Regime::EuAiAct, Language::Chinese) => &EU_ZH,
        (Regime::EuAiAct, Language::English) => &EU_EN,
        (Regime::UkIco, Language::Chinese) => &UK_ZH,
        (Regime::UkIco, Language::English) => &UK_EN,
        (Regime::UsBipa, Language::Chinese) => &US_ZH,
        (Regime::UsBipa, Language::English) => &US_EN,
    }
}

const GATE_ZH: &str = "仅在您声明身份时，经您单独同意，将您的面部与您本人登记的模板比对一次。您可以选择其他进入方式。";
const GATE_EN: &str =
    "When you say who you are, and with your separate consent, your face is compared once with your own record. There is another way in.";
const MASK_ZH: &str = "摄像机检查是否佩戴口罩。不识别任何人的身份，不保存图像。";
const MASK_EN: &str = "A camera checks whether masks are worn. Nobody is identified and no picture is kept.";

/// What a sign says of a zone where `kinds` are done: the words for passers-by who are looked for, unless nobody is.
pub fn said(regime: Regime, language: Language, kinds: &[PurposeKind]) -> Said {
    let search = wording(regime, language).search;
    let english = language == Language::English;
    if kinds.iter().any(|k| k.searches()) {
        return search;
    }
    if !kinds.iter().any(|k| k.verifies()) {
        let (heading, lead) = if english { ("Mask check area", MASK_EN) } else { ("口罩检测区域", MASK_ZH) };
        return Said { heading, lead, ..search };
    }
    let (heading, lead) = if english { ("Face verification gate", GATE_EN) } else { ("人脸核验通道", GATE_ZH) };
    let basis = match (regime, language) {
        (Regime::CnPipl, Language::Chinese) => "《中华人民共和国个人信息保护法》第二十八条、第二十九条；《人脸识别技术应用安全管理办法》",
        (Regime::CnPipl, Language::English) => {
            "Personal Information Protection Law of the P.R.C., Art. 28 and 29; Measures for the Security Management of Face Recognition"
        }
        (Regime::EuAiAct, Language::Chinese) => "欧盟《通用数据保护条例》第六条第一款(a)项、第九条第二款(a)项",
        (Regime::EuAiAct, Language::English) => "GDPR, Art. 6(1)(a) and 9(2)(a)",
        (Regime::UkIco, Language::Chinese) => "英国《通用数据保护条例》第六条第一款(a)项、第九条第二款(a)项",
        (Regime::UkIco, Language::English) => "UK GDPR, Art. 6(1)(a) and 9(2)(a)",
        (Regime::UsBipa, _) => search.basis,
    };
    Said { heading, lead, basis }
}

/// What a purpose is, for whoever walks by. The case is not named: who is looked for is nobody's business but those who look.
pub const fn purpose(kind: PurposeKind, language: Language) -> &'static str {
    match (kind, language) {
        (PurposeKind::CrimePrevention, Language::Chinese) => "预防和侦查已立案的犯罪：查找特定涉案人员",
        (PurposeKind::CrimePrevention, Language::English) => "To find people sought in a named criminal case",
        (PurposeKind::MissingPerson, Language::Chinese) => "寻找已登记的走失人员",
        (PurposeKind::MissingPerson, Language::English) => "To find people who are reported missing",
        (PurposeKind::AccessVerification, Language::Chinese) => "经您单独同意，核验您本人身份；另有其他进入方式",
        (PurposeKind::AccessVerification, Language::English) => {
            "To check, with your separate consent, that you are you; there is another way in"
        }
        (PurposeKind::Emergency, Language::Chinese) => "依据应急命令处置突发公共事件",
        (PurposeKind::Emergency, Language::English) => "To respond to a public emergency, under a numbered order",
        (PurposeKind::MaskCheck, Language::Chinese) => "依据应急命令检查是否佩戴口罩，不识别身份",
        (PurposeKind::MaskCheck, Language::English) => "To check, under a numbered order, whether masks are worn; nobody is identified",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_regime_has_its_words_in_every_language() {
        for regime in Regime::ALL {
            assert_eq!(regime.name().parse(), Ok(regime));
            for language in Language::ALL {
                let w = wording(regime, language);
                let said =
                    [PurposeKind::Emergency, PurposeKind::AccessVerification, PurposeKind::MaskCheck].map(|k| said(regime, language, &[k]));
                assert!(said[0] == w.search && said[1].lead != said[0].lead && said[2].lead != said[1].lead);
                let all = said.into_iter().flat_map(|s| [s.heading, s.lead, s.basis]);
                let all =
                    all.chain([w.purpose_label, w.contact_label, w.status_label, w.attested, w.genuine]).chain(w.rights.iter().copied());
                let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..'\u{9fff}').contains(&c));
                for text in all.filter(|t| !t.starts_with("740")) {
                    assert_eq!(chinese(text), language == Language::Chinese, "{regime} {language}: {text}");
                }
                assert!(w.rights.len() >= 3);
            }
        }
        for kind in PurposeKind::ALL {
            assert_ne!(purpose(kind, Language::Chinese), purpose(kind, Language::English));
        }
        assert!("xx".parse::<Regime>().expect_err("none").to_string().contains("us-bipa"));
        assert!("fr".parse::<Language>().expect_err("none").to_string().contains("zh, en"));
    }
}
