//! Whose templates they are: the list beside an `.npy` file, a line for each of its rows.
//!
//! ```text
//! NAME [tab] AGE [tab] CONSENT [tab] GUARDIAN'S CONSENT        AGE: a date of birth, or `adult`; `-` or nothing: not declared
//! ```
//!
//! Lines of one name that follow each other are templates of one subject, five at most. `#` begins a comment line, which stands for no row.

use std::path::{Path, PathBuf};

use crate::gallery::vault::MAX_TEMPLATES;
use crate::policy::enrolment::eligible::Declared;

/// One subject to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub declared: Declared,
    /// How many rows are its.
    pub rows: usize,
    /// Of its first row in the list.
    pub line: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    #[error("{}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{}:{line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
    #[error("{} is of {people} templates, the .npy file has {rows} rows: one line for each", path.display())]
    Count { path: PathBuf, people: usize, rows: u64 },
}

/// `adult`: all of whom nothing else is declared are of full age.
pub fn read(path: &Path, rows: u64, adult: bool) -> Result<Vec<Person>, PeopleError> {
    let text = std::fs::read_to_string(path).map_err(|error| PeopleError::Read { path: path.to_owned(), error })?;
    let people = parse(&text, adult).map_err(|(line, problem)| PeopleError::Line { path: path.to_owned(), line, problem })?;
    let count = people.iter().map(|p| p.rows).sum::<usize>();
    if count as u64 != rows {
        return Err(PeopleError::Count { path: path.to_owned(), people: count, rows });
    }
    Ok(people)
}

/// The error: line and what is wrong with it.
pub fn parse(text: &str, adult: bool) -> Result<Vec<Person>, (usize, String)> {
    let mut people: Vec<Person> = Vec::new();
    for (line, fields) in (1..).zip(text.lines()).filter(|(_, fields)| !fields.trim().is_empty() && !fields.starts_with('#')) {
        let mut fields = fields.split('\t').map(str::trim);
        let name = fields.next().filter(|name| !name.is_empty()).ok_or((line, "begins with no name".to_owned()))?;
        let mut next = || fields.next().filter(|field| !field.is_empty() && *field != "-").map(str::to_owned);
        let (age, consent, guardian_consent) = (next(), next(), next());
        if let Some(more) = fields.next() {
            return Err((line, format!("`{more}` is one column too many: name, age, consent, guardian's consent")));
        }
        let (mut birth_date, mut of_age) = (None, false);
        match age.as_deref() {
            None => of_age = adult,
            Some("adult") => of_age = true,
            Some(date) => birth_date = Some(date.parse().map_err(|e| (line, format!("`{date}` is neither `adult` nor a date: {e}")))?),
        }
        let declared = Declared { birth_date, adult: of_age, consent, guardian_consent };
        match people.last_mut().filter(|last| last.name == name) {
            Some(last) if last.declared != declared => {
                return Err((line, format!("declares other things of `{name}` than the line before")));
            }
            Some(last) if last.rows == MAX_TEMPLATES => {
                return Err((line, format!("is template {} of `{name}`: keep the best {MAX_TEMPLATES}", MAX_TEMPLATES + 1)));
            }
            Some(last) => last.rows += 1,
            None => people.push(Person { name: name.to_owned(), declared, rows: 1, line }),
        }
    }
    Ok(people)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_name_are_one_subject_and_faults_name_their_line() {
        let people = parse("# who\nA\tadult\nB\t2001-05-06\tc-1\nB\t2001-05-06\tc-1\nC\n", false).expect("reads");
        let short: Vec<_> = people.iter().map(|p| (&*p.name, p.rows, p.line, p.declared.adult, p.declared.birth_date.is_some())).collect();
        assert_eq!(short, [("A", 1, 2, true, false), ("B", 2, 3, false, true), ("C", 1, 5, false, false)]);
        assert_eq!(people[1].declared.consent.as_deref(), Some("c-1"));
        assert!(parse("C\n", true).expect("reads")[0].declared.adult);
        assert!(!parse("C\t2020-01-01\n", true).expect("reads")[0].declared.adult);
        let bad = ["\tadult", "A\tgrown", "A\tadult\t-\t-\tx", "A\tadult\nA", "A\nA\nA\nA\nA\nA"];
        for (text, line) in bad.into_iter().zip([1, 1, 1, 2, 6]) {
            assert_eq!(parse(text, false).expect_err(text).0, line, "{text}");
        }
    }
}
