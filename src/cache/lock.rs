//! One asker at a time for each domain, among the threads and processes that share a cache.
//!
//! A lock in a file beside the database stands for a domain. Who has it asks DNS and the policy host; the kernel gives it
//! free when its holder ends, however that comes about.

use crate::syntax::PolicyDomain;
use crate::sys::files;
use crate::sys::lock::{FileLock, Try};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who holds a turn for longer hangs, and is neither waited for nor left to do the work.
const LONGEST_TURN: Duration = Duration::from_secs(300);

/// The lock file of one cache.
#[derive(Debug)]
pub struct Turns {
    path: PathBuf,
}

/// A place in the queue for one domain. Dropping it ends the turn.
#[derive(Debug)]
pub struct Turn {
    lock: FileLock,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This asker's, from now on.
    Mine,
    /// Another asker's, who has had it for so long.
    Others(Duration),
    /// Another asker's, who hangs; or nobody can tell.
    Stuck,
}

impl Turns {
    /// For `cache.db` the file is `cache.lock`.
    pub fn new(database: &Path) -> Self {
        let mut path = database.with_extension("lock");
        if path == database {
            path.as_mut_os_string().push(".lock");
        }
        Self { path }
    }

    /// Queues up for a domain without waiting. `None` where there can be no lock file: nobody is kept waiting then.
    pub fn queue(&self, domain: &PolicyDomain) -> Option<Turn> {
        files::prepare(&self.path).ok()?;
        // The inode keeps strangers from finding domains that share a lock with another one.
        let number = |inode| {
            let mut hasher = DefaultHasher::new();
            (inode, domain).hash(&mut hasher);
            hasher.finish()
        };
        Some(Turn { lock: FileLock::open(&self.path, number).ok()? })
    }
}

impl Turn {
    /// Takes the turn unless it is another's.
    pub fn take(&self) -> Whose {
        match self.lock.try_lock() {
            Ok(Try::Taken) => Whose::Mine,
            Ok(Try::Held(age)) if age <= LONGEST_TURN => Whose::Others(age),
            Ok(Try::Held(_)) | Err(_) => Whose::Stuck,
        }
    }

    /// Takes the turn as one who hangs.
    #[cfg(test)]
    pub fn take_and_hang(&self) {
        assert_eq!(self.lock.try_lock_as_of(LONGEST_TURN + Duration::from_secs(1)).unwrap(), Try::Taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_comes_when_the_one_before_has_ended_and_domains_do_not_mix() {
        let directory = tempfile::tempdir().unwrap();
        let turns = Turns::new(&directory.path().join("cache.db"));
        let domain = |name: &str| PolicyDomain::parse(name.as_bytes()).unwrap();
        let queue = |name: &str| turns.queue(&domain(name)).unwrap();
        let (first, second) = (queue("a.test"), queue("a.test"));
        assert_eq!((first.take(), first.take()), (Whose::Mine, Whose::Mine));
        assert!(matches!(second.take(), Whose::Others(_)));
        assert_eq!(queue("b.test").take(), Whose::Mine);
        drop(first);
        assert_eq!(second.take(), Whose::Mine);
        drop(second);
        let hanging = queue("a.test");
        hanging.take_and_hang();
        assert_eq!(queue("a.test").take(), Whose::Stuck);
        assert!(directory.path().join("cache.lock").exists());
    }

    #[test]
    fn no_lock_file_has_the_name_of_its_database_and_none_is_made_where_it_is_not_safe() {
        assert_eq!(Turns::new(Path::new("/x/c.lock")).path, Path::new("/x/c.lock.lock"));
        assert_eq!(Turns::new(Path::new("/x/c")).path, Path::new("/x/c.lock"));
        assert!(Turns::new(Path::new("/nonexistent/c.db")).queue(&PolicyDomain::parse(b"a.test").unwrap()).is_none());
    }
}
