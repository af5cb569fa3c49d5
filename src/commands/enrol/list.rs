//! Whom to enrol: from the command line, a tab-separated list, or a directory.
//!
//! ```text
//! list       name<TAB>image[<TAB>image…]     one subject a line; `#` begins a comment line; paths start at the list's directory
//! directory  NAME/*.jpg …                    a folder per subject, or
//!            NAME.jpg …                      a file per subject
//! ```

use std::path::{Path, PathBuf};

use crate::gallery::vault::MAX_TEMPLATES;

/// One subject to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Option<String>,
    /// 1 to [`MAX_TEMPLATES`].
    pub images: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("{}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{}:{line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
    #[error("{}: {problem}", path.display())]
    Entry { path: PathBuf, problem: String },
}

/// Reads a list file or a directory; never empty.
pub fn read(path: &Path) -> Result<Vec<Entry>, ListError> {
    let entries = if path.is_dir() { read_directory(path)? } else { read_list(path)? };
    if entries.is_empty() {
        return Err(ListError::Entry { path: path.to_owned(), problem: "names nobody".to_owned() });
    }
    Ok(entries)
}

/// What is wrong with a number of images, if anything.
pub fn count_problem(images: usize) -> Option<String> {
    match images {
        0 => Some("names no image".to_owned()),
        1..=MAX_TEMPLATES => None,
        more => Some(format!("{more} images for one subject: keep the best {MAX_TEMPLATES}")),
    }
}

fn read_list(path: &Path) -> Result<Vec<Entry>, ListError> {
    let text = std::fs::read_to_string(path).map_err(|error| ListError::Read { path: path.to_owned(), error })?;
    let base = path.parent().unwrap_or(Path::new("."));
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |problem: String| ListError::Line { path: path.to_owned(), line: index + 1, problem };
        let mut fields = line.split('\t').map(str::trim);
        let name = fields.next().filter(|n| !n.is_empty()).ok_or_else(|| at("begins with no name".to_owned()))?;
        let images: Vec<PathBuf> = fields.filter(|f| !f.is_empty()).map(|f| base.join(f)).collect();
        if let Some(problem) = count_problem(images.len()) {
            return Err(at(format!("`{name}` {problem} (name, tab, image)")));
        }
        entries.push(Entry { name: Some(name.to_owned()), images });
    }
    Ok(entries)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    path.is_file() && extension.is_some_and(|e| ["jpg", "jpeg", "png"].contains(&&*e))
}

fn sorted(directory: &Path) -> Result<Vec<PathBuf>, ListError> {
    let error = |error| ListError::Read { path: directory.to_owned(), error };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(error)? {
        paths.push(entry.map_err(error)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn read_directory(directory: &Path) -> Result<Vec<Entry>, ListError> {
    let text = |s: Option<&std::ffi::OsStr>| s.map(|s| s.to_string_lossy().into_owned());
    let mut entries = Vec::new();
    for path in sorted(directory)? {
        if path.is_dir() {
            let images: Vec<PathBuf> = sorted(&path)?.into_iter().filter(|p| is_image(p)).collect();
            if let Some(problem) = count_problem(images.len()) {
                return Err(ListError::Entry { path, problem });
            }
            entries.push(Entry { name: text(path.file_name()), images });
        } else if is_image(&path) {
            entries.push(Entry { name: text(path.file_stem()), images: vec![path] });
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_names_and_paths_and_errors_give_the_line() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("list.tsv");
        let read_text = |text: &str| {
            std::fs::write(&path, text).expect("write");
            read(&path)
        };
        let entries = read_text("# who\nZhang San\ta.jpg\tsub/b.png\n\nLi Si\t/c.jpg\n").expect("reads");
        assert_eq!(entries[0].images, [directory.path().join("a.jpg"), directory.path().join("sub/b.png")]);
        assert_eq!((entries[1].name.as_deref(), entries[1].images[0].to_str()), (Some("Li Si"), Some("/c.jpg")));
        for (text, line) in [("a\tb.jpg\nc d.jpg\n", ":2:"), ("\tb.jpg\n", ":1:"), ("a\t1\t2\t3\t4\t5\t6\n", ":1:")] {
            let error = read_text(text).expect_err(text).to_string();
            assert!(error.contains(line), "{error}");
        }
        assert!(read_text("# nobody\n").is_err());
        assert!(read(&directory.path().join("nothing")).is_err());
    }

    #[test]
    fn a_directory_holds_a_folder_or_a_file_per_subject() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = |name: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            std::fs::write(path, "").expect("write");
        };
        ["b/2.png", "b/1.JPG", "b/notes.txt", "a.jpeg", "readme.md"].into_iter().for_each(file);
        let entries = read(directory.path()).expect("reads");
        let names: Vec<_> = entries.iter().map(|e| (e.name.as_deref().expect("named"), e.images.len())).collect();
        assert_eq!(names, [("a", 1), ("b", 2)]);
        assert!(entries[1].images[0].ends_with("b/1.JPG"));
        std::fs::create_dir(directory.path().join("empty")).expect("mkdir");
        assert!(read(directory.path()).expect_err("empty folder").to_string().contains("names no image"));
    }
}
