//! Random states of a site, mostly nearly lawful: everything that a decision looks at, with dates on and just beside every boundary.

use std::collections::BTreeMap;
use std::sync::Arc;

use placard::clock::{Now, Stamp};
use placard::policy::facts::{
    Alternative, AlternativeKind, Announcement, AreaFact, Authorisation, Basis, BasisKind, Governance, Objection, Order, PurposeFact,
    Register, Renewal, Rules, Sign, View, Withdrawal, Zone, ZoneKind,
};
use placard::policy::observed::{At, Attested, Observed};
use placard::policy::when::When;
use placard::purpose::Purpose;

pub const STREAMS: [&str; 2] = ["north", "south"];
const ZONES: [&str; 3] = ["a", "b", "c"];
const PURPOSES: [&str; 6] =
    ["missing-person:1", "crime-prevention:2", "emergency:o-1", "emergency:o-2", "mask-check", "access-verification"];
const S: i64 = 1_000_000_000;
const H: i64 = 3_600 * S;
const D: i64 = 24 * H;

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same on every machine.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).expect("small")]
    }
}

/// Makes states around one instant, from dates that were read once.
pub struct States {
    base_ns: i64,
    dates: Vec<(i64, When)>,
}

/// One state: what there is, and when.
pub struct State {
    pub register: Register,
    pub observed: Observed,
    pub now: Now,
}

/// What facts are dated by, from now: lawful, and on or beside an edge.
const EDGES: [i64; 36] = [
    0,
    -1,
    1,
    60 * S,
    60 * S + 1,
    60 * S - 1,
    -60 * S,
    61 * S,
    H,
    -H,
    -48 * H,
    -48 * H + 1,
    -48 * H - 1,
    D,
    -D,
    -D + 1,
    -D - 1,
    -2 * D,
    -5 * D,
    5 * D,
    -30 * D,
    -30 * D + 1,
    -30 * D - 1,
    30 * D,
    -90 * D,
    -90 * D + 1,
    -90 * D - 1,
    -20 * D,
    -168 * H,
    168 * H,
    -400 * D,
    400 * D,
    25 * D,
    -6 * D,
    -25 * H,
    -25 * H + 1,
];

impl States {
    pub fn new() -> Self {
        let base = "2026-11-21T12:00:00Z".parse::<When>().expect("date").at().ns();
        let text = |offset: i64| {
            let at = base + offset;
            let whole = placard::clock::format_utc(Stamp::from_ns(at));
            let (seconds, _milliseconds) = whole.split_once('.').expect("milliseconds");
            format!("{seconds}.{:09}Z", at.rem_euclid(S))
        };
        let dates = EDGES.iter().map(|&o| (o, text(o).parse::<When>().expect("a date"))).collect();
        Self { base_ns: base, dates }
    }

    fn date(&self, offset: i64) -> When {
        self.dates.iter().find(|(o, _)| *o == offset).expect("one of the edges").1.clone()
    }
    fn any(&self, r: &mut Random) -> When {
        self.date(r.of(&EDGES))
    }
    /// One of `lawful`, or seldom any other.
    fn mostly(&self, r: &mut Random, lawful: &[i64]) -> When {
        if r.one_in(14) { self.any(r) } else { self.date(r.of(lawful)) }
    }
    fn maybe(&self, r: &mut Random, lawful: &[i64]) -> Option<When> {
        (!r.one_in(40)).then(|| self.mostly(r, lawful))
    }
    fn ended(&self, r: &mut Random, one_in: u64) -> Option<Withdrawal> {
        r.one_in(one_in).then(|| Withdrawal { at: self.any(r), by: "x".to_owned(), reason: String::new() })
    }

    /// One zone, or several; seldom none, or one that does not exist.
    fn zones(r: &mut Random) -> Vec<String> {
        let names: &[&str] = match r.below(24) {
            0 => &[],
            1 => &["nowhere"],
            2..=5 => &["a"],
            6..=7 => &["b"],
            8..=13 => &["a", "b"],
            _ => &["a", "b", "c"],
        };
        names.iter().map(|z| (*z).to_owned()).collect()
    }

    /// A sign's text, its languages, and what it announces by which words: mostly everything in both.
    fn words(r: &mut Random) -> (String, Vec<String>, Vec<Announcement>) {
        const SAID: [(&str, &str, &str); 5] = [
            ("missing-person:1", "missing people", "寻找走失人员"),
            ("crime-prevention:2", "a named crime", "侦查具名案件"),
            ("access-verification", "who you are", "核验本人身份"),
            ("emergency:o-1", "an emergency", "应对突发事件"),
            ("mask-check", "worn masks", "检查口罩佩戴"),
        ];
        let mut text = "Police, desk 1.".to_owned();
        let (mut announces, spoilt) = (Vec::new(), r.one_in(6));
        for (purpose, english, chinese) in SAID {
            let kind = purpose.parse::<Purpose>().expect("purpose").kind();
            for (language, words) in [("en", english), ("zh", chinese)] {
                if !(spoilt && r.one_in(20)) {
                    text = format!("{text} {words};");
                }
                let words = match if spoilt { r.below(30) } else { 2 } {
                    // Found in any text; in none; another purpose's.
                    0 => r.of(&["", "s; ", "an ", "nowhere on it"]),
                    1 => r.of(&["missing people", "worn", "worn masks; 检查口罩佩戴"]),
                    _ => words,
                };
                if !(spoilt && r.one_in(15)) {
                    announces.push(Announcement { purpose: kind, language: language.to_owned(), words: words.to_owned() });
                }
            }
        }
        let languages: &[&str] = match r.below(40) {
            0 => &["en"],
            1 => &["zh"],
            2 => &["fr", "en"],
            _ => &["zh", "en"],
        };
        (text, languages.iter().map(|l| (*l).to_owned()).collect(), announces)
    }

    fn sign(&self, r: &mut Random, number: usize, zone: &str) -> Sign {
        let (text, languages, announces) = Self::words(r);
        let inspected = if r.one_in(60) { "another text" } else { &text };
        let inspected_text_sha256 = (!r.one_in(90)).then(|| placard::hex::sha256(inspected.as_bytes()));
        let who =
            |r: &mut Random, name: &str| (!r.one_in(90)).then(|| if r.one_in(90) { r.of(&["", " ", "somebody"]) } else { name }.to_owned());
        let photo = if r.one_in(25) { Some("0".repeat(64)) } else { Some("5e1f".repeat(16)) };
        Sign {
            id: format!("s{number}"),
            zone: zone.to_owned(),
            text,
            languages,
            controller: who(r, "Police"),
            contact: who(r, "desk 1"),
            announces,
            inspected_text_sha256,
            position: "p".to_owned(),
            photo_sha256: photo.filter(|_| !r.one_in(50)),
            posted_on: self.maybe(r, &[-90 * D, -30 * D, -20 * D, -5 * D]),
            posted_by: None,
            inspected_at: self.maybe(r, &[-D, -H, -5 * D, -60 * S]),
            inspected_by: (!r.one_in(50)).then(|| "w".to_owned()),
            withdrawn: self.ended(r, 40),
            past_withdrawals: Vec::new(),
        }
    }

    fn purpose(&self, r: &mut Random) -> PurposeFact {
        let name = r.of(&PURPOSES);
        let fitting = match name.split(':').next().unwrap_or_default() {
            "emergency" | "mask-check" => BasisKind::Emergency,
            "access-verification" => BasisKind::SeparateConsent,
            _ => r.of(&[BasisKind::PublicSafety, BasisKind::PublicSafety, BasisKind::StatutoryDuty]),
        };
        let basis = Basis {
            kind: if r.one_in(16) { r.of(&BasisKind::ALL) } else { fitting },
            statute: "s".to_owned(),
            authority: "a".to_owned(),
            scope: if r.one_in(5) { Self::zones(r) } else { Vec::new() },
            from: self.maybe(r, &[-90 * D, -20 * D, -D]),
            until: self.maybe(r, &[5 * D, 25 * D, 400 * D]),
        };
        PurposeFact {
            purpose: name.parse().expect("purpose"),
            zones: Self::zones(r),
            basis: (!r.one_in(40)).then_some(basis),
            assessment: (!r.one_in(40)).then(|| "pia".to_owned()),
            review_on: self.maybe(r, &[25 * D, 400 * D]),
            gallery_cap: None,
            area_cap: r.one_in(4).then(|| r.of(&[0.0, 0.12, 0.25, 0.3, 0.5, 1.0])),
        }
    }

    fn order(&self, r: &mut Random, id: &str) -> Order {
        let number = |r: &mut Random, own: &str| if r.one_in(20) { id.to_owned() } else { own.to_owned() };
        let mut renewals = Vec::new();
        for (own, from, until) in [("r-1", 0, D), ("r-2", D, 5 * D), ("r-3", D, 5 * D)] {
            if r.one_in(3) {
                renewals.push(Renewal { number: number(r, own), from: self.mostly(r, &[from]), until: self.mostly(r, &[until]) });
            }
        }
        let approvers: &[&str] = match r.below(20) {
            0 => &["l"],
            1 => &["l", "l"],
            2 => &["l", " "],
            _ => &["l", "w"],
        };
        Order {
            id: id.to_owned(),
            issuer: "i".to_owned(),
            zones: Self::zones(r),
            // Some are over when the next begins, by less than a day or by more.
            from: self.mostly(r, &[-D, -2 * D, -H, -6 * D]),
            until: self.mostly(r, &[D, 5 * D, H, 0, -25 * H, -25 * H + 1, -2 * D]),
            renewals,
            approved_by: approvers.iter().map(|p| (*p).to_owned()).collect(),
            ended: self.ended(r, 20),
        }
    }

    fn governance(&self, r: &mut Random) -> Governance {
        let (votes_for, votes_total) = r.of(&[
            (None, None),
            (None, None),
            (None, None),
            (Some(51), Some(100)),
            (Some(50), Some(100)),
            (Some(1), Some(0)),
            (None, Some(9)),
            (Some(4), None),
        ]);
        Governance {
            id: "g".to_owned(),
            zones: Self::zones(r),
            document_sha256: if r.one_in(20) { String::new() } else { "ab".repeat(32) },
            decided_on: self.mostly(r, &[-400 * D, -90 * D]),
            decided_by: "board".to_owned(),
            votes_for,
            votes_total,
        }
    }

    fn authorisation(&self, r: &mut Random, purpose: &PurposeFact) -> Authorisation {
        Authorisation {
            id: "u".to_owned(),
            authority: "court".to_owned(),
            purpose: if r.one_in(8) { r.of(&PURPOSES).parse().expect("purpose") } else { purpose.purpose.clone() },
            zones: if r.one_in(8) { Self::zones(r) } else { purpose.zones.clone() },
            from: self.mostly(r, &[-20 * D, -D]),
            until: self.mostly(r, &[D, 25 * D]),
            assessment: if r.one_in(20) { " ".to_owned() } else { "fria".to_owned() },
            registration: if r.one_in(20) { String::new() } else { "eu".to_owned() },
            pending_since: r.one_in(3).then(|| self.mostly(r, &[-H, -D, -48 * H + 1, 0])),
            refused: self.ended(r, 20),
        }
    }

    fn objection(&self, r: &mut Random) -> Objection {
        let purpose = (!r.one_in(3)).then(|| r.of(&PURPOSES).parse().expect("purpose"));
        let stream = (!r.one_in(3)).then(|| r.of(&["north", "south", "west"]).to_owned());
        Objection { id: "j".to_owned(), stream, purpose, at: self.any(r), settled: self.ended(r, 2) }
    }

    /// Rectangles on a 10 × 10 grid, so that borders are often shared and overlaps frequent.
    fn area(r: &mut Random, stream: &str) -> AreaFact {
        let tenth = |n: u64| f64::from(u32::try_from(n.min(10)).expect("small")) / 10.0;
        let (x, y, w, h) = (r.below(9), r.below(9), 1 + r.below(6), 1 + r.below(6));
        let (x0, y0, x1, y1) = (tenth(x), tenth(y), tenth(x + w), tenth(y + h));
        let zone = if r.one_in(40) { "nowhere" } else { r.of(&["a", "a", "a", "b", "b", "c"]) };
        AreaFact { stream: stream.to_owned(), zone: zone.to_owned(), polygon: vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]] }
    }

    fn profiles(r: &mut Random) -> Vec<String> {
        let names: &[&str] = match r.below(40) {
            0..=11 => &[],
            12..=20 => &["cn-pipl"],
            21..=28 => &["eu-ai-act"],
            29..=33 => &["uk-ico"],
            34..=35 => &["us-bipa"],
            36 => &["baseline"],
            37 => &["cn-pipl", "eu-ai-act"],
            38 => &["uk-ico", "eu-ai-act", "cn-pipl"],
            _ => &["atlantis"],
        };
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    /// Seldom what the stream's camera is to see of a sign, and what it last saw: mostly the sign, lately.
    fn view(r: &mut Random, stream: &str, monotonic: i64, register: &mut Register, observed: &mut Observed) {
        if !r.one_in(5) {
            return;
        }
        let near = register.areas.iter().find(|a| a.stream == stream).map(|a| a.zone.clone());
        let sign = if r.one_in(6) { None } else { register.signs.iter().find(|s| Some(&s.zone) == near.as_ref()) };
        let (sign, attest_every_s) = (sign.map_or_else(|| r.of(&["s0", "s1", "s9"]).to_owned(), |s| s.id.clone()), r.of(&[1, 10, 60]));
        let code = [[0.1, 0.1], [0.2, 0.1], [0.2, 0.2], [0.1, 0.2]];
        register.views.push(View { stream: stream.to_owned(), sign, code, tolerance: 0.01, attest_every_s, fingerprint: None });
        if r.one_in(8) {
            return;
        }
        let others = [Attested::Missing, Attested::Foreign, Attested::Moved, Attested::Drifted];
        let what = if r.one_in(4) { r.of(&others) } else { Attested::Seen };
        let limit = (i64::from(attest_every_s) + 1) * S;
        let age = r.of(&[0, 0, 0, S, limit - 1, limit, limit + 1, -S, -S - 1, 1_000 * S]);
        observed.attestations.insert(stream.into(), At { what, at: Stamp::from_ns(monotonic - age) });
    }

    pub fn state(&self, r: &mut Random) -> State {
        let kind = |r: &mut Random| match r.below(16) {
            0 => ZoneKind::Private,
            1 => ZoneKind::Staff,
            2..=6 => ZoneKind::Access,
            _ => ZoneKind::Public,
        };
        let mut register =
            Register { zones: ZONES.iter().map(|z| Zone { id: (*z).to_owned(), kind: kind(r) }).collect(), ..Register::default() };
        register.rules = Rules {
            sign_inspect_max_days: r.of(&[30, 30, 30, 90, 1]),
            placeholder_photographs: r.one_in(3),
            profiles: Self::profiles(r),
            ..Rules::default()
        };
        for stream in STREAMS {
            for _ in 0..=r.below(3) {
                register.areas.push(Self::area(r, stream));
            }
        }
        let mut number = 0;
        for zone in ZONES {
            for _ in 0..(1 + u64::from(r.one_in(4)) - u64::from(r.one_in(20))) {
                register.signs.push(self.sign(r, number, zone));
                number += 1;
            }
        }
        for _ in 0..=r.below(3) {
            register.purposes.push(self.purpose(r));
        }
        for id in ["o-1", "o-2", "o-3"] {
            if !r.one_in(3) {
                register.orders.push(self.order(r, id));
            }
        }
        for _ in 0..=r.below(2) {
            register.governance.push(self.governance(r));
        }
        for i in 0..register.purposes.len() {
            if !r.one_in(4) {
                let leave = self.authorisation(r, &register.purposes[i]);
                register.authorisations.push(leave);
            }
        }
        let monotonic = 1_000 * S;
        let mut heartbeats: BTreeMap<Arc<str>, Stamp<placard::clock::Monotonic>> = BTreeMap::new();
        for (i, zone) in ["a", "a", "b", "c"].into_iter().enumerate() {
            let (id, heartbeat_s) = (format!("w{i}"), r.of(&[60, 300, 900]));
            if !r.one_in(5) {
                let kind = r.of(&[AlternativeKind::Card, AlternativeKind::Staff]);
                register.alternatives.push(Alternative { id: id.clone(), zone: zone.to_owned(), kind, heartbeat_s });
            }
            if !r.one_in(6) {
                let silent = r.of(&[0, S, 10 * S, 59 * S, 60 * S - 1, 60 * S, 60 * S + 1, 300 * S - 1, 300 * S, -S]);
                heartbeats.insert(id.into(), Stamp::from_ns(monotonic - silent));
            }
        }
        if r.one_in(6) {
            let objection = self.objection(r);
            register.objections.push(objection);
        }
        let utc = Stamp::from_ns(self.base_ns + r.of(&[0, 0, 0, 0, 1, -1, S, -S]));
        let mut observed = Observed { heartbeats, ..Observed::default() };
        register.rules.attested_signs_only = r.one_in(30);
        for stream in STREAMS {
            Self::view(r, stream, monotonic, &mut register, &mut observed);
        }
        State { register, observed, now: Now { monotonic: Stamp::from_ns(monotonic), utc } }
    }
}
