//! Registers for tests: signed by the stand-ins as a demonstration's are, and tampered with as nobody should.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::Path;

use placard::clock::{Stamp, Utc};
use placard::policy::facts::Register;
use placard::policy::store::{Approval, Change, Digest, Edit, Event, PersonKey, Present, Proposal, Table, difference, put_as_stand_ins};
use placard::policy::when::When;
use placard::state::StateDirectory;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

const CHANGES: TableDefinition<u64, &[u8]> = TableDefinition::new("changes-1");
const PRESENT: TableDefinition<&str, &[u8]> = TableDefinition::new("present-1");

/// Makes the register at `path` say what `text` says; founds it where there is none.
pub fn put(path: &Path, text: &str, at: Stamp<Utc>) {
    let register: Register = toml::from_str(text).expect("a register's tables");
    put_as_stand_ins(path, &register, at).expect("stored");
}

/// The file as nobody else has it: a policy thread that is just reading it lets go of it soon.
fn database(path: &Path) -> Database {
    loop {
        match Database::open(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) => std::thread::yield_now(),
            opened => return opened.expect("opens"),
        }
    }
}

/// The changes as the file has them.
pub fn changes(path: &Path) -> Vec<Vec<u8>> {
    let database = database(path);
    let read = database.begin_read().expect("reads");
    let table = read.open_table(CHANGES).expect("there");
    table.iter().expect("rows").map(|row| row.expect("a row").1.value().to_vec()).collect()
}

/// Puts `changes` in the place of those that the file has, with the digest of the last beside them.
pub fn replace_changes(path: &Path, changes: &[Vec<u8>]) {
    let database = database(path);
    let write = database.begin_write().expect("writes");
    {
        let mut table = write.open_table(CHANGES).expect("there");
        table.retain(|_, _| false).expect("emptied");
        for (seq, change) in (0..).zip(changes) {
            table.insert(seq, &**change).expect("put");
        }
        let head = changes.last().map_or(Digest::default(), |c| change_digest(c));
        write.open_table(PRESENT).expect("there").insert("head", &head.0[..]).expect("put");
    }
    write.commit().expect("written");
}

pub fn change_digest(bytes: &[u8]) -> Digest {
    Digest::of("placard/1/change", bytes)
}

/// Both stand-ins' signatures.
pub fn stand_in_approvals(path: &Path, proposal: &Proposal, at: &When) -> Vec<Approval> {
    let state = StateDirectory::new(path.parent().expect("a directory"));
    let site = Present::load(path).expect("readable").chain().site();
    let one = |number: u8| {
        let key = PersonKey::load(&state.stand_in_key(number)).expect("a key");
        Approval::sign(&format!("stand-in-{number}"), &key, &site, &proposal.digest(), at.clone())
    };
    [1, 2].into_iter().map(one).collect()
}

/// Appends a change that is signed as it should be, whatever its facts are, as a faulty program might.
pub fn append_blindly(path: &Path, edits: Vec<Edit>, at: &When) {
    let proposal = Proposal::new(edits, "test", "blindly", at.clone()).expect("random bytes");
    let approvals = stand_in_approvals(path, &proposal, at);
    let mut all = changes(path);
    let before = change_digest(all.last().expect("founded"));
    let change =
        Change { seq: all.len() as u64, before, recorded_at: at.clone(), event: Event::Changed { proposal, approvals, judged: None } };
    all.push(serde_json::to_vec(&change).expect("JSON"));
    replace_changes(path, &all);
}

/// Everything goes, and the tables of `text` come, well-formed or not.
pub fn put_blindly(path: &Path, text: &str, at: &When) {
    let Ok(tables) = text.parse::<toml::Table>() else {
        std::fs::write(path, text).expect("written");
        return;
    };
    let present = Present::load(path).expect("readable").register().clone();
    let mut edits = difference(&present, &Register { people: present.people.clone(), rules: present.rules.clone(), ..Register::default() });
    for (name, entries) in tables {
        let table: Table = serde_json::from_value(name.into()).expect("a table's name");
        match entries {
            toml::Value::Array(entries) => edits.extend(entries.iter().map(|entry| Edit::put(table, entry))),
            rules => {
                let whole = Edit::replace(table, &present.rules, &rules);
                edits.push(whole);
            }
        }
    }
    append_blindly(path, edits, at);
}
