//! Another user, and becoming that user for good.
//!
//! Names come from `/etc/passwd` and `/etc/group` alone: the user that delivers mail is a local one, and the name service
//! of the C library may ask the network, take locks and leave descriptors behind.

use crate::sys::privilege;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A list of accounts is small; what lies behind so many bytes is not read.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// The number of nobody, and of its group, where the lists have none.
const NOBODY: u32 = 65_534;

/// In a directory with this right everybody can put a file.
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// The first number of people's own accounts.
const FIRST_PERSON: u32 = 1000;

static IS_IN_PLACE_OF_ROOT: AtomicBool = AtomicBool::new(false);

/// The user and the group of this process for people, if it is one that delivers mail: one that works in place of root,
/// or one of the system's own. A person who only asks is none.
pub fn mail_user() -> Option<(String, String)> {
    let (uid, gid) = (privilege::user(), privilege::group());
    let is_in_place_of_root = is_in_place_of_root() && uid != Identity::nobody().uid;
    let is_mail_user = is_in_place_of_root || (1..FIRST_PERSON).contains(&uid);
    is_mail_user.then(|| (user_name(uid), Accounts::read("/etc/group").shown(gid)))
}

/// Whether this process was root's and has become another user for good.
pub fn is_in_place_of_root() -> bool {
    IS_IN_PLACE_OF_ROOT.load(Ordering::Relaxed)
}

/// A user and a group, neither of them root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: u32,
    gid: u32,
}

impl Identity {
    /// The user with this name or number. The error says what is wrong with it and what would be right.
    pub fn of_user(user: &str) -> Result<Self, String> {
        let passwd = Accounts::read("/etc/passwd");
        let by_name = passwd.named(user);
        let by_number = || user.parse().ok().map(|uid| (uid, passwd.group_of(uid).unwrap_or(NOBODY)));
        match by_name.or_else(by_number) {
            Some((0, _)) => Err(format!("{user} is root, want the user that delivers mail")),
            // The system reads this number as "leave it as it is".
            Some((u32::MAX, _)) => Err(format!("{user} is no user, want the user that delivers mail")),
            Some((uid, gid)) => Ok(Self::new(uid, gid)),
            None => Err(format!("{user} is not in /etc/passwd, want a name from there or a number")),
        }
    }

    /// The owner of a directory; none where there is no directory, where it is root's, or where a third user has a
    /// hand in what lies at that path.
    pub fn of_owner(directory: &Path) -> Option<Self> {
        Self::of_place(directory, Metadata::is_dir)
    }

    /// The owner of a file; none where there is no regular file, where it is root's, or where a third user has a hand
    /// in what lies at that path.
    pub fn of_file_owner(file: &Path) -> Option<Self> {
        let is_link = !fs::symlink_metadata(file).is_ok_and(|found| found.is_file());
        let is_open_to_others = fs::metadata(file.parent()?).ok()?.mode() & WRITABLE_BY_OTHERS != 0;
        if is_link || is_open_to_others { None } else { Self::of_place(file, Metadata::is_file) }
    }

    fn of_place(path: &Path, is_wanted: fn(&Metadata) -> bool) -> Option<Self> {
        let resolved = fs::canonicalize(path).ok()?;
        let found = fs::metadata(&resolved).ok().filter(|found| is_wanted(found) && found.uid() != 0)?;
        let is_root_or_owner =
            |path: &Path| fs::metadata(path).is_ok_and(|is| is.uid() == 0 || is.uid() == found.uid());
        // The links on the way and what they lead to.
        if !path.ancestors().filter(|path| path.is_absolute()).chain(resolved.ancestors()).all(is_root_or_owner) {
            return None;
        }
        let of_root = found.gid() == 0;
        let gid = if of_root { Accounts::read("/etc/passwd").group_of(found.uid()) } else { Some(found.gid()) };
        Some(Self::new(found.uid(), gid.unwrap_or(NOBODY)))
    }

    /// The number of the user.
    pub fn user(self) -> u32 {
        self.uid
    }

    /// The user that owns nothing.
    pub fn nobody() -> Self {
        Self::of_user("nobody").unwrap_or(Self { uid: NOBODY, gid: NOBODY })
    }

    fn new(uid: u32, gid: u32) -> Self {
        Self { uid, gid: if gid == 0 { NOBODY } else { gid } }
    }

    /// Makes the whole process this user, in this group and no other, and sees to it that there is no way back.
    pub fn assume(self) -> io::Result<()> {
        let Self { uid, gid } = self;
        // SAFETY: no group is read from the null pointer; the others take numbers.
        let has_failed = unsafe {
            keep_no_capabilities() != 0
                || libc::setgroups(0, std::ptr::null()) != 0
                || libc::setresgid(gid, gid, gid) != 0
                || libc::setresuid(uid, uid, uid) != 0
        };
        if has_failed {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: take numbers. Each of them is a way back.
        let is_root_again =
            unsafe { libc::setuid(0) == 0 || libc::seteuid(0) == 0 || libc::setgid(0) == 0 || libc::setegid(0) == 0 };
        if is_root_again || !self.is_complete() {
            return Err(io::Error::other("the change of user can be taken back"));
        }
        IS_IN_PLACE_OF_ROOT.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the process is this user by its real, effective and saved ids, and in no other group.
    fn is_complete(self) -> bool {
        let (mut users, mut groups, mut further) = ([0; 3], [0; 3], [self.gid]);
        let ([real_user, effective_user, saved_user], [real_group, effective_group, saved_group]) =
            (&mut users, &mut groups);
        // SAFETY: each call writes as many numbers as it is told to places that live here.
        let is_known = unsafe {
            libc::getresuid(real_user, effective_user, saved_user) == 0
                && libc::getresgid(real_group, effective_group, saved_group) == 0
                // Some systems count the effective group among the further ones.
                && (0..=1).contains(&libc::getgroups(1, further.as_mut_ptr()))
        };
        is_known && users == [self.uid; 3] && groups == [self.gid; 3] && further == [self.gid]
    }
}

/// A host may have asked the kernel to leave it the rights of root when it becomes another user.
#[cfg(target_os = "linux")]
unsafe fn keep_no_capabilities() -> i32 {
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 0) }
}

#[cfg(not(target_os = "linux"))]
unsafe fn keep_no_capabilities() -> i32 {
    0
}

/// A user for people: its name, or its number if it has none.
pub fn user_name(uid: u32) -> String {
    Accounts::read("/etc/passwd").shown(uid)
}

/// A group for people: its name, or its number if it has none.
pub fn group_name(gid: u32) -> String {
    Accounts::read("/etc/group").shown(gid)
}

/// The numbers of a user and of the user's group, by the name in `/etc/passwd` or by number; none for one that there is
/// not.
pub fn user_and_group(user: &str) -> Option<(u32, u32)> {
    let passwd = Accounts::read("/etc/passwd");
    let by_number = || user.parse().ok().map(|uid| (uid, passwd.group_of(uid).unwrap_or(NOBODY)));
    passwd.named(user).or_else(by_number)
}

/// The text of `/etc/passwd` or `/etc/group`: `NAME:x:NUMBER:...` in each line, in passwd followed by the group.
struct Accounts(String);

impl Accounts {
    fn read(path: &str) -> Self {
        let mut bytes = Vec::new();
        // What cannot be read names nobody.
        let _ = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
        Self(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Name, number and what stands behind it.
    fn lines(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.0.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?, fields.next()?);
            Some((name, fields.next()?.parse().ok()?, fields.next().unwrap_or_default()))
        })
    }

    fn named(&self, wanted: &str) -> Option<(u32, u32)> {
        let (_, uid, group) = self.lines().find(|(name, ..)| *name == wanted)?;
        Some((uid, group.parse().unwrap_or(NOBODY)))
    }

    fn group_of(&self, wanted: u32) -> Option<u32> {
        self.lines().find(|(_, uid, _)| *uid == wanted).and_then(|(.., group)| group.parse().ok())
    }

    fn shown(&self, wanted: u32) -> String {
        let name = self.lines().find(|(_, number, _)| *number == wanted).map(|(name, ..)| name.to_owned());
        name.unwrap_or_else(|| wanted.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number_and_root_is_none_of_them() {
        let accounts = Accounts("root:x:0:0::/:\nmail:x:8:12:m:/:\nbroken\nexim:x:101:0:/:\n".to_owned());
        assert_eq!(accounts.named("mail"), Some((8, 12)));
        assert_eq!(accounts.named("mai"), None);
        assert_eq!(accounts.group_of(101), Some(0));
        assert_eq!(accounts.shown(8), "mail");
        assert_eq!(Identity::new(101, 0), Identity { uid: 101, gid: NOBODY }, "never the group of root");
        for user in ["root", "0", "00"] {
            assert!(Identity::of_user(user).unwrap_err().contains("is root"), "{user}");
        }
        for user in ["no-such-user", "", "-1", "4294967296"] {
            assert!(Identity::of_user(user).unwrap_err().contains("/etc/passwd"), "{user}");
        }
        assert!(Identity::of_user("4294967295").unwrap_err().contains("is no user"));
        assert_eq!(Identity::of_user("54321").unwrap(), Identity { uid: 54_321, gid: NOBODY });
        assert_eq!(Identity::of_owner(Path::new("/")), None, "root's");
        assert_eq!(Identity::of_owner(Path::new("/nonexistent")), None);
        assert_eq!(user_name(4_000_000_000), "4000000000");
    }
}
