//! One asker at a time for each domain, among the threads and processes that share a cache.
//!
//! A byte of a file beside the database stands for a domain. Who has it locked asks DNS and the policy host; the kernel
//! gives it free when its holder ends, however that comes about.

use crate::syntax::PolicyDomain;
use crate::sys::files;
use crate::sys::lock::ByteLock;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The lock file of one cache.
#[derive(Debug)]
pub struct Turns {
    path: PathBuf,
}

/// A place in the queue for one domain. Dropping it ends the turn.
#[derive(Debug)]
pub struct Turn {
    lock: ByteLock,
    is_mine: bool,
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
        Some(Turn { lock: ByteLock::open(&self.path, byte_of(domain)).ok()?, is_mine: false })
    }
}

impl Turn {
    /// Whether it is this asker's turn now, and from now on. Where the kernel cannot say, it is.
    pub fn has_come(&mut self) -> bool {
        self.is_mine = self.is_mine || self.lock.try_lock().unwrap_or(true);
        self.is_mine
    }
}

/// Two domains that share a byte wait for each other now and then, which is all that comes of it.
fn byte_of(domain: &PolicyDomain) -> u32 {
    let mut hasher = DefaultHasher::new();
    domain.hash(&mut hasher);
    let [.., a, b, c, d] = hasher.finish().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
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
        let (mut first, mut second) = (queue("a.test"), queue("a.test"));
        assert!(first.has_come() && first.has_come() && !second.has_come());
        assert!(queue("b.test").has_come());
        drop(first);
        assert!(second.has_come());
        assert!(directory.path().join("cache.lock").exists());
    }

    #[test]
    fn no_lock_file_has_the_name_of_its_database_and_none_is_made_where_it_is_not_safe() {
        assert_eq!(Turns::new(Path::new("/x/c.lock")).path, Path::new("/x/c.lock.lock"));
        assert_eq!(Turns::new(Path::new("/x/c")).path, Path::new("/x/c.lock"));
        assert!(Turns::new(Path::new("/nonexistent/c.db")).queue(&PolicyDomain::parse(b"a.test").unwrap()).is_none());
    }
}
