//! The user that delivers mail, and what this user may do with a file.

use mtasts::config::{Settings, group_name, user_and_group, user_name};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub const READ: u32 = 4;
pub const WRITE: u32 = 2;
pub const ENTER: u32 = 1;

const WRITABLE_BY_OTHERS: u32 = 0o002;
/// In such a directory others can add files, and not replace those of somebody else.
const STICKY: u32 = 0o1000;

/// Who works in place of root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailUser {
    /// Its numbers, if it is known.
    pub ids: Option<(u32, u32)>,
    /// Exim's user, if that is another one.
    pub exim: Option<(u32, u32)>,
}

impl MailUser {
    /// The configured `user`, else the owner of the cache directory, else Exim's user; never root.
    pub fn of(settings: &Settings, exim_user: Option<&str>) -> Self {
        let configured = || settings.user.as_deref().and_then(user_and_group);
        let owner = || {
            let found = fs::metadata(settings.cache.parent()?).ok()?;
            Some((found.uid(), found.gid()))
        };
        let is_other = |ids: &(u32, u32)| ids.0 != 0;
        let exim = exim_user.and_then(user_and_group);
        let ids = [configured(), owner(), exim].into_iter().flatten().find(is_other);
        let is_another = |(uid, _): &(u32, u32)| ids.is_some_and(|ids| ids.0 != *uid);
        Self { ids, exim: exim.filter(is_other).filter(is_another) }
    }

    /// Exim's user, if that is another one.
    pub fn exim(&self) -> Option<Self> {
        self.exim.map(|ids| Self { ids: Some(ids), exim: None })
    }

    /// The name for people and for commands.
    pub fn name(&self) -> String {
        self.ids.map_or_else(|| "USER".to_owned(), |(uid, _)| user_name(uid))
    }

    /// The name of the group.
    pub fn group(&self) -> String {
        self.ids.map_or_else(|| "GROUP".to_owned(), |(_, gid)| group_name(gid))
    }

    /// Whether the user has a right to a file with these facts; also if nobody knows who it is.
    pub fn may(&self, right: u32, found: &Metadata) -> bool {
        let Some((uid, gid)) = self.ids else { return true };
        let rights = match (found.uid() == uid, found.gid() == gid) {
            (true, _) => found.mode() >> 6,
            (_, true) => found.mode() >> 3,
            _ => found.mode(),
        };
        rights & right == right
    }

    /// The first directory above a file that the user cannot enter.
    pub fn is_kept_out_by<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        above.into_iter().find(|path| fs::metadata(path).is_ok_and(|found| !self.may(ENTER, &found)))
    }
}

/// Who besides root and `owner` has a hand in what lies at `path`, and where; links on the way are followed.
pub fn stranger(path: &Path, owner: u32) -> Option<(PathBuf, Hand)> {
    let resolved = fs::canonicalize(path).ok()?;
    let places = path.ancestors().filter(|path| path.is_absolute()).chain(resolved.ancestors());
    let mut found = places.filter_map(|place| {
        let facts = fs::metadata(place).ok()?;
        if facts.uid() != 0 && facts.uid() != owner {
            return Some((place.to_owned(), Hand::Owner(facts.uid())));
        }
        let is_open = facts.mode() & WRITABLE_BY_OTHERS != 0 && !(facts.is_dir() && facts.mode() & STICKY != 0);
        is_open.then(|| (place.to_owned(), Hand::Everybody))
    });
    found.next()
}

/// Who can change a file or put another one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    Owner(u32),
    Everybody,
}

impl Hand {
    /// Goes on from the name of the file.
    pub fn describe(self) -> String {
        match self {
            Self::Owner(uid) => format!("belongs to {}", user_name(uid)),
            Self::Everybody => "may be written by everybody".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn rights_are_those_of_owner_group_or_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        let found = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            fs::metadata(&path).unwrap()
        };
        let (uid, gid) = (found(0o600).uid(), found(0o600).gid());
        let user = |uid, gid| MailUser { ids: Some((uid, gid)), exim: None };
        assert!(user(uid, gid).may(READ | WRITE, &found(0o600)));
        assert!(!user(uid, gid).may(WRITE, &found(0o066)), "the owner has the owner's rights only");
        assert!(user(uid + 1, gid).may(READ, &found(0o640)));
        assert!(!user(uid + 1, gid).may(WRITE, &found(0o642)));
        assert!(!user(uid + 1, gid + 1).may(READ, &found(0o640)));
        assert!(MailUser { ids: None, exim: None }.may(WRITE, &found(0o000)));
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(user(uid + 1, gid + 1).is_kept_out_by(&path), Some(directory.path()));
        assert_eq!(user(uid, gid).is_kept_out_by(&path), None);
    }

    #[test]
    fn a_directory_that_everybody_may_write_to_is_a_strangers_unless_it_is_sticky() {
        let directory = tempfile::tempdir().unwrap();
        let owner = fs::metadata(directory.path()).unwrap().uid();
        let open = directory.path().join("open");
        let path = open.join("cache");
        fs::create_dir_all(&path).unwrap();
        let with_mode = |mode| {
            fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
            stranger(&path, owner)
        };
        assert_eq!(with_mode(0o755), None);
        assert_eq!(with_mode(0o1777), None);
        assert_eq!(with_mode(0o777), Some((open.clone(), Hand::Everybody)));
    }
}
