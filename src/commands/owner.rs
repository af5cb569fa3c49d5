//! Whose files a command of root's leaves in the state directory: the service's, which must read and replace them.
//!
//! Run by root, a command gives what root owns there to the directory's owner or, where that is root too, to the user `placard` if there
//! is one (`systemd/placard.sysusers` makes it). Run by anybody else it changes nothing.
//!
//! The service's user can write in that directory, so names in it are not trusted: every step goes through the descriptor of a directory
//! that was opened without following links, and a file with a second name is left alone. Otherwise root could be led to give away a
//! file that lies elsewhere.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{Gid, Uid, User, fchownat, geteuid};

use crate::state::StateDirectory;

/// The user of `systemd/placard.service`.
const SERVICE_USER: &str = "placard";
/// The state directory is three levels deep; more is not ours.
const MAX_DEPTH: u32 = 6;

/// To whom the state belongs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The user's name, or its number if it has none.
    pub name: String,
    /// Files and directories that were root's.
    pub given: u32,
}

/// Gives root's files in the state directory to the service's user. `None`: they stay whose they are.
pub(super) fn hand_over(state: &StateDirectory) -> anyhow::Result<Option<Owner>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let directory = match std::fs::metadata(state.root()) {
        // A command that left nothing: a bundled model was looked at.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let (uid, gid, name) = if directory.uid() != 0 {
        let uid = Uid::from_raw(directory.uid());
        (uid, Gid::from_raw(directory.gid()), User::from_uid(uid)?.map_or_else(|| uid.to_string(), |u| u.name))
    } else if let Some(user) = User::from_name(SERVICE_USER)? {
        (user.uid, user.gid, user.name)
    } else {
        return Ok(None);
    };
    let given = give(state.root(), uid, gid)
        .map_err(|e| anyhow::anyhow!("{}: cannot be given to user `{name}`: {e}: `chown -R {name}:` it", state.root().display()))?;
    Ok(Some(Owner { name, given }))
}

/// Gives `root` and what lies in it to a user and group, as far as it is root's.
fn give(root: &Path, uid: Uid, gid: Gid) -> std::io::Result<u32> {
    // The state directory itself may be reached through a link: who gave its name chose it.
    let directory = openat(AT_FDCWD, root, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut given = give_below(&directory, uid, gid, 0)?;
    if nix::sys::stat::fstat(&directory)?.st_uid == 0 {
        nix::unistd::fchown(&directory, Some(uid), Some(gid))?;
        given += 1;
    }
    Ok(given)
}

fn give_below(directory: &OwnedFd, uid: Uid, gid: Gid, depth: u32) -> std::io::Result<u32> {
    let mut given = 0;
    // The link leads to the directory that is open, whatever its name leads to by now.
    for entry in std::fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))? {
        let name = entry?.file_name();
        let found = match fstatat(directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            // A temporary file of the service's.
            Err(Errno::ENOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
        if kind == SFlag::S_IFDIR && depth < MAX_DEPTH {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let below = openat(directory, name.as_os_str(), flags, Mode::empty())?;
            given += give_below(&below, uid, gid, depth + 1)?;
            if nix::sys::stat::fstat(&below)?.st_uid == 0 {
                nix::unistd::fchown(&below, Some(uid), Some(gid))?;
                given += 1;
            }
        } else if kind == SFlag::S_IFREG && found.st_uid == 0 && found.st_nlink == 1 {
            fchownat(directory, name.as_os_str(), Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            given += 1;
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `nobody`, by number: not every system has the name.
    const NOBODY: u32 = 65_534;

    #[test]
    fn what_root_left_becomes_the_owners_and_nothing_beyond() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().expect("temporary directory");
        let (elsewhere, root) = (directory.path().join("elsewhere"), directory.path().join("state"));
        std::fs::create_dir_all(root.join("keys")).expect("directories");
        std::fs::create_dir(&elsewhere).expect("directory");
        for file in [root.join("site.toml"), root.join("keys/site.key"), elsewhere.join("shadow"), elsewhere.join("passwd")] {
            std::fs::write(file, "x").expect("written");
        }
        // Traps: a link to a directory, a link to a file, a second name of a file.
        std::os::unix::fs::symlink(&elsewhere, root.join("models")).expect("link");
        std::os::unix::fs::symlink(elsewhere.join("shadow"), root.join("register.redb")).expect("link");
        std::fs::hard_link(elsewhere.join("passwd"), root.join("passwd")).expect("name");

        let owner = |path: &Path| std::fs::symlink_metadata(path).map(|m| (m.uid(), m.gid())).expect("there");
        let state = StateDirectory::new(&root);
        std::os::unix::fs::chown(&root, Some(NOBODY), Some(NOBODY)).expect("chown");
        assert_eq!(hand_over(&state).expect("works").map(|o| o.given), Some(3));
        for path in [root.clone(), root.join("keys"), root.join("keys/site.key"), root.join("site.toml")] {
            assert_eq!(owner(&path), (NOBODY, NOBODY), "{}", path.display());
        }
        for path in [elsewhere.clone(), elsewhere.join("shadow"), elsewhere.join("passwd"), root.join("models"), root.join("register.redb")]
        {
            assert_eq!(owner(&path), (0, 0), "{}", path.display());
        }
        assert_eq!(hand_over(&state).expect("works").map(|o| o.given), Some(0), "the second time there is nothing left to give");
    }
}
