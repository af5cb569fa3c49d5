//! Which exit status a fault deserves: the same for every command that meets it.
//!
//! | status | fault |
//! |---|---|
//! | 2 | an argument makes no sense, or names something that does not exist in the site (a sign) |
//! | 3 | the site itself: pipeline file, site file, register, manifest or site key is not there, not readable or not valid |
//! | 4 | the law, a quality gate or the model check refused |
//! | 6 | something that is needed is not there, or is damaged: a model of the store, a file named on the command line, a library |

use std::io::ErrorKind;
use std::path::Path;

use super::{Exit, Failed};
use crate::appliance::StartError;
use crate::engine::EngineError;
use crate::engine::store::StoreError;
use crate::gallery::seal::SealError;

fn of_engine(error: &EngineError) -> Exit {
    if matches!(error, EngineError::LibraryMissing { .. }) { Exit::Missing } else { Exit::Failure }
}

pub(super) fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::NotFound { .. } | StoreError::Damaged { .. } => Exit::Missing,
        StoreError::File { error, .. } if error.kind() == ErrorKind::NotFound => Exit::Missing,
        StoreError::Manifest { .. } => Exit::Config,
        StoreError::Name(_) | StoreError::NameReserved { .. } | StoreError::IsBundled { .. } => Exit::Usage,
        StoreError::Refused { .. }
        | StoreError::Unknown { .. }
        | StoreError::Relabelled { .. }
        | StoreError::Trial { .. }
        | StoreError::WrongTask { .. } => Exit::Refused,
        StoreError::Engine(error) => of_engine(error),
        StoreError::File { .. } | StoreError::NameTaken { .. } | StoreError::Bundled { .. } => Exit::Failure,
    }
}

fn of_key(error: &SealError) -> Exit {
    match error {
        SealError::Read { .. } | SealError::Exposed { .. } | SealError::Malformed { .. } | SealError::GalleryKey { .. } => Exit::Config,
        _ => Exit::Failure,
    }
}

pub(super) fn store_failed(error: StoreError) -> Failed {
    Failed::new(of_store(&error), error)
}

pub(super) fn key_failed(error: SealError) -> Failed {
    Failed::new(of_key(&error), error)
}

/// A file that the command line names.
pub(super) fn present(path: &Path) -> Result<(), Failed> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failed::new(Exit::Missing, anyhow::anyhow!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Of a pipeline that does not start.
pub(super) fn start_failed(error: StartError) -> Failed {
    let exit = match &error {
        StartError::Config(_) | StartError::NoSite { .. } | StartError::NotAFile { .. } => Exit::Config,
        StartError::Key(error) => of_key(error),
        StartError::Models(error) => of_store(error),
        StartError::Engine(error) => of_engine(error),
        StartError::NotIntended(_) => Exit::Refused,
        _ => Exit::Failure,
    };
    Failed::new(exit, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_one_status_wherever_it_is_met() {
        let path = || std::path::PathBuf::from("/x");
        let file = |kind: ErrorKind| StoreError::File { path: path(), error: kind.into() };
        let cases: Vec<(fn() -> StoreError, Exit)> = vec![
            (|| StoreError::NotFound { name: "a".into(), path: "/x".into(), have: vec![] }, Exit::Missing),
            (|| StoreError::Damaged { name: "a".into(), path: "/x".into(), got: "1".into(), want: "2".into() }, Exit::Missing),
            (|| StoreError::Unknown { path: "/x".into(), sha256: "1".into() }, Exit::Refused),
            (|| StoreError::NameTaken { name: "a".into(), path: "/x".into() }, Exit::Failure),
            (|| StoreError::Engine(EngineError::LibraryMissing { path: "/x".into(), reason: "gone".into() }), Exit::Missing),
        ];
        for (make, exit) in cases {
            assert_eq!(store_failed(make()).exit, exit, "{}", make());
            assert_eq!(start_failed(StartError::Models(make())).exit, exit, "{}", make());
        }
        assert_eq!(store_failed(file(ErrorKind::NotFound)).exit, Exit::Missing);
        assert_eq!(store_failed(file(ErrorKind::PermissionDenied)).exit, Exit::Failure);
        let keys: [fn() -> SealError; 3] = [
            || SealError::Read { path: "/x".into(), error: ErrorKind::NotFound.into() },
            || SealError::Exposed { path: "/x".into(), mode: 0o644 },
            || SealError::Malformed { path: "/x".into(), found: 3 },
        ];
        for make in keys {
            assert_eq!((key_failed(make()).exit, start_failed(StartError::Key(make())).exit), (Exit::Config, Exit::Config));
        }
    }
}
