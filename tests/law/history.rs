//! A site that lives through a history: its register, its policy thread, and what was so when, against which the oracle judges.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placard::clock::{Clock, Monotonic, SimulatedClock, Stamp};
use placard::frame::MayRead as _;
use placard::policy::cedar::CedarPlane;
use placard::policy::facts::{Mode, PurposeFact, Register, ZoneKind};
use placard::policy::lease::{Detect, Embed, LeaseTable, MAX_LEASE, StreamState};
use placard::policy::observed::{At, Attested};
use placard::policy::oracle::{Oracle, cells};
use placard::policy::profile::Library;
use placard::policy::store::{Chain, Present, Store, put_as_stand_ins, stand_ins_of};
use placard::policy::when::When;
use placard::policy::worker::{PolicyHandle, PolicyThread};

use crate::{NORTH, SOUTH, at, register_text};

pub const NAMES: [&str; 2] = ["north", "south"];

/// What was so from an instant on, until the next. `None`: the register could not be believed.
pub struct Truth {
    from_ns: i64,
    utc_less_monotonic_ns: i64,
    register: Option<Arc<Register>>,
    heard: Arc<Heard>,
    seen: Arc<Seen>,
    word: Word,
}

/// What the file of the profile [`PROFILE`](crate::regime::PROFILE) is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Word {
    /// The bundled one, or a signed one without an end.
    #[default]
    Holds,
    /// Until then, UTC in nanoseconds.
    HoldsUntil(i64),
    /// Altered, or signed by a stranger: who is under it is in the dark.
    IsNone,
}

/// When each way in was last heard, and what each camera last said of its sign: as it was told, whether or not a policy thread kept it.
pub type Heard = BTreeMap<Arc<str>, Stamp<Monotonic>>;
pub type Seen = BTreeMap<Arc<str>, At<Attested>>;

pub struct History {
    _directory: tempfile::TempDir,
    pub path: PathBuf,
    pub clock: Arc<SimulatedClock>,
    /// `None`: it was stopped, or it broke down.
    pub policy: Option<PolicyHandle>,
    pub table: LeaseTable,
    pub frozen: bool,
    pub truths: Vec<Truth>,
    heard: Arc<Heard>,
    seen: Arc<Seen>,
    pub word: Word,
    pub tally: Tally,
}

#[derive(Default)]
pub struct Tally {
    pub events: BTreeMap<&'static str, u64>,
    pub looks: u64,
    pub embeddings: u64,
    pub dark: u64,
    /// Embeddings that hung on a way in that was heard, on a sign that was read, on a cap.
    pub by_heartbeat: u64,
    pub by_sign: u64,
    pub by_cap: u64,
}

impl History {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("register.redb");
        let clock = SimulatedClock::starting_at(at("2026-11-21T12:00:00Z"));
        crate::register::put(&path, &register_text(), clock.utc());
        let (policy, table) = Self::start(&path, &clock);
        let mut history = Self {
            _directory: directory,
            path,
            clock,
            policy: Some(policy),
            table,
            frozen: false,
            truths: Vec::new(),
            heard: Arc::default(),
            seen: Arc::default(),
            word: Word::default(),
            tally: Tally::default(),
        };
        history.learn();
        history
    }

    fn start(path: &Path, clock: &Arc<SimulatedClock>) -> (PolicyHandle, LeaseTable) {
        let streams: Vec<Arc<str>> = NAMES.map(Arc::from).to_vec();
        let plane = CedarPlane::new(Library::with_directory(path.with_file_name("profiles"), vec![crate::regime::trusted()]));
        PolicyThread::start(path.to_owned(), &streams, Arc::clone(clock) as _, Box::new(plane), None).expect("starts")
    }

    /// From now on it is so as the file has it.
    pub fn learn(&mut self) {
        let register = Register::load(&self.path).ok().map(Arc::new);
        self.learn_as(register);
    }

    pub fn learn_as(&mut self, register: Option<Arc<Register>>) {
        let now = self.clock.now();
        let utc_less_monotonic_ns = now.utc.ns() - now.monotonic.ns();
        let (heard, seen) = (Arc::clone(&self.heard), Arc::clone(&self.seen));
        self.truths.push(Truth { from_ns: now.monotonic.ns(), utc_less_monotonic_ns, register, heard, seen, word: self.word });
    }

    /// A way in sends a heartbeat.
    pub fn beat(&mut self, alternative: &str, at: Stamp<Monotonic>) {
        let Some(policy) = &self.policy else { return };
        policy.observations().heartbeat(alternative, at);
        Arc::make_mut(&mut self.heard).insert(alternative.into(), at);
        let register = self.known().map(Arc::new);
        self.learn_as(register);
    }

    /// A camera says what it saw of its sign, if it is to look for one.
    pub fn attest(&mut self, stream: &str, what: Attested, at: Stamp<Monotonic>) {
        let Some(policy) = &self.policy else { return };
        let Some(watched) = policy.observations().watched(stream) else { return };
        policy.observations().attested(&stream.into(), &watched, what, at);
        Arc::make_mut(&mut self.seen).insert(stream.into(), At { what, at });
        let register = self.known().map(Arc::new);
        self.learn_as(register);
    }

    pub fn known(&self) -> Option<Register> {
        self.truths.last().and_then(|t| t.register.as_deref().cloned())
    }

    /// Changes what the register says, where it can be believed.
    pub fn edit(&mut self, change: impl FnOnce(&mut Register, &History)) {
        let Some(mut register) = self.known() else { return };
        change(&mut register, self);
        // What makes no register is refused; then everything stays as it was.
        let _refused = put_as_stand_ins(&self.path, &register, self.clock.utc());
        self.learn();
    }

    /// Where somebody signed while the clock was ahead nothing widens any more: a site that is not operational is founded anew.
    pub fn found_anew_if_ahead(&mut self) {
        let ahead = |chain: &Chain| chain.signed_at().is_some_and(|signed| signed > self.clock.utc());
        if Present::load(&self.path).is_ok_and(|present| ahead(present.chain())) {
            let mut store = Store::open(&self.path).expect("believed");
            store.found_again(Mode::Demo, stand_ins_of(&self.path).expect("there"), self.clock.utc()).expect("founded anew");
            drop(store);
            self.learn();
        }
    }

    pub fn when(&self, offset_ns: i64) -> When {
        When::from_stamp(Stamp::from_ns(self.clock.utc().ns().saturating_add(offset_ns)))
    }

    pub fn restart(&mut self) {
        let (policy, table) = Self::start(&self.path, &self.clock);
        (self.policy, self.table, self.frozen) = (Some(policy), table, false);
    }

    /// The thread, if there is one that answers.
    pub fn answering(&self) -> Option<&PolicyHandle> {
        self.policy.as_ref().filter(|_| !self.frozen)
    }

    pub fn reload(&self) {
        self.answering().map_or(Ok(()), PolicyHandle::reload).expect("the policy thread answers");
    }

    /// Whether the oracle permits `purpose` to recognise on `stream`, in all of these cells of the picture, at some instant of the last lease's
    /// length.
    fn was_permitted(&self, stream: &str, purpose: &str, shown: u128, now_ns: i64) -> bool {
        let lease_ns = i64::try_from(MAX_LEASE.as_nanos()).expect("small");
        let ends = self.truths.iter().skip(1).map(|t| t.from_ns).chain([now_ns]);
        self.truths.iter().zip(ends).filter(|(_, end)| *end >= now_ns - lease_ns).any(|(truth, end)| {
            let Some(register) = &truth.register else { return false };
            [truth.from_ns.max(now_ns - lease_ns), end].into_iter().any(|instant| {
                let utc_ns = instant + truth.utc_less_monotonic_ns;
                let under_it = register.rules.profiles.iter().any(|name| name == crate::regime::PROFILE);
                let word_holds = match truth.word {
                    Word::Holds => true,
                    Word::HoldsUntil(end) => utc_ns < end,
                    Word::IsNone => false,
                };
                if under_it && !word_holds {
                    return false;
                }
                let verdict = Oracle { register, utc_ns, monotonic_ns: instant, heard: &truth.heard, seen: &truth.seen }.permits(stream);
                verdict.state == StreamState::Recognise && verdict.purposes.contains(purpose) && shown & !verdict.cells == 0
            })
        })
    }

    /// What a worker could do now, held against the oracle.
    pub fn look(&mut self) -> Result<(), String> {
        self.tally.looks += 1;
        let now = self.clock.monotonic();
        for (stream, name) in [NORTH, SOUTH].into_iter().zip(NAMES) {
            let Ok(embed) = self.table.permit::<Embed>(stream, now) else {
                self.tally.dark += 1;
                continue;
            };
            if !embed.stands() || self.table.permit::<Detect>(stream, now).is_err() {
                continue;
            }
            // Ended between the two questions: then nothing is searched.
            let purposes = self.table.match_permits(stream, now).unwrap_or_default();
            if purposes.is_empty() && embed.stands() && self.table.permit::<Embed>(stream, now).is_ok_and(|p| p.epoch() == embed.epoch()) {
                return Err(format!("`{name}` embeds, and searches for nothing: what for?"));
            }
            let shown = embed.area().polygons().iter().fold(0, |all, polygon| all | cells(polygon));
            if shown == 0 {
                return Err(format!("`{name}` embeds, and shows no area"));
            }
            self.tally.embeddings += 1;
            if let Some(register) = self.known() {
                let zones: Vec<&str> = register.areas.iter().filter(|a| a.stream == name).map(|a| a.zone.as_str()).collect();
                let access = |z: &&str| register.zone(z).is_some_and(|zone| zone.kind == ZoneKind::Access);
                self.tally.by_heartbeat += u64::from(zones.iter().any(access));
                self.tally.by_sign += u64::from(register.views.iter().any(|v| v.stream == name));
                let capped = |p: &PurposeFact| p.area_cap.is_some() && p.zones.iter().any(|z| zones.contains(&z.as_str()));
                self.tally.by_cap += u64::from(register.purposes.iter().any(capped));
            }
            for purpose in purposes.iter().map(|p| p.purpose().to_string()) {
                if !self.was_permitted(name, &purpose, shown, now.ns()) {
                    let said = self.truths.last().map(|t| format!("{:#?}", t.register));
                    return Err(format!(
                        "`{name}` recognises for {purpose} in cells {shown:025x}, and the oracle did not permit it: {}",
                        said.unwrap_or_default()
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if let Some(policy) = self.policy.as_ref().filter(|_| self.frozen) {
            policy.thaw();
        }
    }
}
