//! The cache's directory and file: checked before use, created with an explicit mode and owner.
//!
//! An existing database is looked at by name only: opening and closing it beside SQLite in one process would drop
//! SQLite's locks (POSIX record locks belong to the process, not to the descriptor).

use crate::sys::{identity, privilege};
use std::ffi::{CString, OsStr};
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The mode of every file of the cache, whatever the host's umask is.
const FILE_MODE: u32 = 0o640;
const WRITABLE_BY_OTHERS: u32 = 0o002;
/// What SQLite adds to the name of the file for a write-ahead log and for its index.
const WRITE_AHEAD_LOG: &str = "-wal";
const SHARED_MEMORY: &str = "-shm";

/// Sees to it that a usable file lies at `path`: checks the directory and the file, creates an empty file if there is
/// none. The error is a sentence for the log that says what would be right.
pub fn prepare(path: &Path) -> Result<(), String> {
    match check(path)? {
        (_, true) => Ok(()),
        (owner, false) => create(path, &owner).map_err(|error| describe(path, &format!("cannot be created: {error}"))),
    }
}

/// Whether a file lies at `path`, after the same checks, without creating one.
pub fn is_there(path: &Path) -> Result<bool, String> {
    check(path).map(|(_, is_there)| is_there)
}

/// How many bytes the file at `path` has.
pub fn size(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.len())
}

/// The owner of the directory of `path` by name, if this process is neither that one nor root's. A process of root's that
/// has become another user has nobody to turn to.
pub fn other_owner(path: &Path) -> Option<String> {
    let owner = fs::metadata(path.parent()?).ok()?.uid();
    let is_roots = privilege::is_root() || identity::is_in_place_of_root();
    (owner != privilege::user() && !is_roots).then(|| identity::user_name(owner))
}

/// Checks the directory and what lies at `path`; returns what the directory is like, and whether there is a file.
fn check(path: &Path) -> Result<(Metadata, bool), String> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(format!("cache {}: not the name of a file", path.display())),
    };
    let owner = check_directory(directory, path)?;
    // SQLite opens these beside the file without a look at what they are.
    for suffix in ["-journal", WRITE_AHEAD_LOG, SHARED_MEMORY] {
        let beside = with_suffix(path, suffix);
        if let Ok(found) = fs::symlink_metadata(&beside) {
            check_file(&beside, &found, &owner)?;
        }
    }
    match fs::symlink_metadata(path) {
        Ok(found) => check_file(path, &found, &owner).map(|()| (owner, true)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((owner, false)),
        Err(error) => Err(describe(path, &error.to_string())),
    }
}

/// A problem with the file as a sentence, with its cause and its cure if that is the directory.
pub fn describe(path: &Path, problem: &str) -> String {
    let cause = path.parent().and_then(|directory| missing_access(directory, path));
    match cause {
        Some(cause) => format!("cache {}: {problem}; {cause}", path.display()),
        None => format!("cache {}: {problem}", path.display()),
    }
}

/// Which file lies at a path. The time of its birth, where the system tells it, sets it apart from one that has got the
/// inode of a file that was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
    birth: Option<SystemTime>,
}

impl Identity {
    /// A number for it, never 0.
    pub fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish().max(1)
    }
}

/// The file that lies at `path` now.
pub fn identity(path: &Path) -> Option<Identity> {
    let found = fs::symlink_metadata(path).ok()?;
    Some(Identity { device: found.dev(), inode: found.ino(), birth: found.created().ok() })
}

/// Whether the file has a write-ahead log, which is not of our making.
pub fn has_write_ahead_log(path: &Path) -> bool {
    fs::symlink_metadata(with_suffix(path, WRITE_AHEAD_LOG)).is_ok()
}

/// What a file system has left for users other than root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that may still be written.
    pub bytes: u64,
    /// Files that may still be made; none where the file system does not count them.
    pub files: Option<u64>,
}

/// What is left on the file system of `path`.
#[allow(clippy::useless_conversion, reason = "some systems have other types of numbers")]
pub fn space(path: &Path) -> io::Result<Space> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a text that lives here, and a structure that the call writes to.
    if unsafe { libc::statvfs(name.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was made of zeros, which are numbers.
    let found = unsafe { found.assume_init() };
    let bytes = u64::from(found.f_bavail).saturating_mul(u64::from(found.f_frsize));
    Ok(Space { bytes, files: (found.f_files > 0).then(|| u64::from(found.f_favail)) })
}

/// Whether this process can open a file at all: it or the system may have run out of descriptors or memory.
pub fn can_open() -> bool {
    let error = File::open("/").err().and_then(|error| error.raw_os_error());
    !error.is_some_and(is_starvation)
}

/// Whether an errno says that there was no descriptor or no memory.
pub fn is_starvation(errno: i32) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::ENOMEM].contains(&errno)
}

/// Moves a damaged file out of the way under a new name beside it, which is returned. Nothing is deleted. `None` if
/// another process was faster: what lies at `path` now is not the damaged file. `WouldBlock` while one is at it.
pub fn move_aside(path: &Path, damaged: Identity, stamp: i64) -> io::Result<Option<PathBuf>> {
    // The lock keeps a second process from moving away the file that the first one begins. It belongs to the open
    // directory and ends with it.
    let directory = File::open(path.parent().unwrap_or(Path::new("/")))?;
    match directory.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => return Err(error),
        Ok(()) => {}
    }
    if identity(path) != Some(damaged) {
        return Ok(None);
    }
    let aside = with_suffix(path, &format!(".damaged-{stamp}-{}", damaged.inode));
    // The journal goes first: left beside a new file it would be played back into that.
    match fs::rename(with_suffix(path, "-journal"), with_suffix(&aside, "-journal")) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(path, &aside)?;
    Ok(Some(aside))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn check_directory(directory: &Path, path: &Path) -> Result<Metadata, String> {
    let shown = directory.display();
    let found = match fs::metadata(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(format!("cache directory {shown}: does not exist; create it with {}", install(directory)));
        }
        Err(error) => return Err(format!("cache directory {shown}: {error}")),
    };
    if !found.is_dir() {
        return Err(format!("cache directory {shown}: is not a directory"));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        let mode = found.mode() & 0o7777;
        let cure = cure(directory, path);
        return Err(format!("cache directory {shown}: mode {mode:04o} lets others write, want 0750; {cure}"));
    }
    Ok(found)
}

/// Why this process cannot write to a directory, and what helps; none if it can, or if there is no directory.
fn missing_access(directory: &Path, path: &Path) -> Option<String> {
    let owner = fs::metadata(directory).ok()?.uid();
    let name = CString::new(directory.as_os_str().as_bytes()).ok()?;
    // SAFETY: a text that lives here, and numbers.
    if unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), libc::W_OK | libc::X_OK, libc::AT_EACCESS) } == 0 {
        return None;
    }
    let (shown, user) = (directory.display(), identity::user_name(privilege::user()));
    if owner == 0 {
        let cure = cure(directory, path);
        return Some(format!("its directory {shown} belongs to root and {user} cannot write there; {cure}"));
    }
    let owner = identity::user_name(owner);
    Some(format!("its directory {shown} belongs to {owner} and {user} cannot write there"))
}

/// The command that makes a directory usable, or other advice where it would take the directory from others.
fn cure(directory: &Path, path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().as_bytes();
    let is_ours = |name: &OsStr| name.as_bytes().starts_with(stem);
    let is_shared =
        fs::read_dir(directory).is_ok_and(|entries| entries.flatten().any(|entry| !is_ours(&entry.file_name())));
    if is_shared {
        return "others have files there too: let `cache` name a file in a directory of its own".to_owned();
    }
    format!("mend it with {}", install(directory))
}

/// The command that creates a directory for the user who delivers mail, or hands it over.
fn install(directory: &Path) -> String {
    let shown = directory.display();
    match identity::mail_user() {
        Some((user, group)) => format!("`install -d -m 0750 -o {user} -g {group} {shown}`"),
        None => format!("`install -d -m 0750 -o USER -g GROUP {shown}` for the user that delivers mail"),
    }
}

fn check_file(path: &Path, found: &Metadata, directory: &Metadata) -> Result<(), String> {
    let shown = path.display();
    let kind = found.file_type();
    if kind.is_file() {
        if found.mode() & WRITABLE_BY_OTHERS != 0 {
            let mode = found.mode() & 0o7777;
            return Err(format!("cache {shown}: mode {mode:04o} lets others write; mend it with `chmod 0640 {shown}`"));
        }
        let (owner, expected) = (found.uid(), directory.uid());
        if owner != expected && owner != 0 && owner != privilege::user() {
            return Err(format!(
                "cache {shown}: belongs to uid {owner}, want the owner of its directory; mend it with `chown {expected} {shown}`"
            ));
        }
        return Ok(());
    }
    let is = if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else {
        "a special file"
    };
    Err(format!("cache {shown}: is {is}, want a regular file"))
}

/// Creates the file under another name and closes it before it gets its own, so that no descriptor of it is ever
/// closed beside SQLite. Nobody can tell the other name beforehand: not an enemy, and not a process of the same number
/// that was killed while it was here, as happens in containers.
fn create(path: &Path, directory: &Metadata) -> io::Result<()> {
    let draft = with_suffix(path, &format!(".new-{:016x}", unforeseen()));
    let outcome = write_empty(&draft, directory).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()), // another process was faster
        linked => linked,
    });
    let removed = fs::remove_file(&draft);
    outcome.and(removed)
}

/// A number that differs from call to call, from thread to thread and from parent to child, and that no other program
/// can foresee.
fn unforeseen() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // Its keys come from the system's source of random numbers.
    RandomState::new().hash_one((std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)))
}

fn write_empty(path: &Path, directory: &Metadata) -> io::Result<()> {
    let file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    if privilege::is_root() && directory.uid() != 0 {
        // A host that runs as root must not leave a file that the mail user cannot write.
        std::os::unix::fs::fchown(&file, Some(directory.uid()), Some(directory.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance: S10-5.
    #[test]
    fn a_new_file_has_mode_0640_whatever_the_umask() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        prepare(&path).unwrap();
        prepare(&path).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_draft_that_a_killed_process_left_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        // A container gives its processes the same numbers at every start.
        for number in 0..100 {
            fs::write(with_suffix(&path, &format!(".new-{}-{number}", std::process::id())), "").unwrap();
        }
        prepare(&path).unwrap();
        let names: Vec<u64> = (0..1000).map(|_| unforeseen()).collect();
        assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len());
        assert!(names.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 1 << 16), "no one tells the next");
    }

    #[test]
    fn a_place_that_is_not_safe_or_not_there_is_refused_with_a_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("open")).unwrap();
        fs::set_permissions(at("open"), Permissions::from_mode(0o777)).unwrap();
        fs::create_dir_all(at("shared/by others")).unwrap();
        fs::set_permissions(at("shared"), Permissions::from_mode(0o1777)).unwrap();
        fs::create_dir(at("sub")).unwrap();
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        fs::create_dir_all(at("db-journal")).unwrap();
        std::os::unix::fs::symlink(at("target"), at("logged-wal")).unwrap();
        fs::create_dir_all(at("mapped-shm")).unwrap();
        fs::write(at("file"), "").unwrap();
        for (path, want) in [
            (at("missing/cache.db"), "install -d -m 0750"),
            (at("open/cache.db"), "mend it with `install -d -m 0750"),
            (at("shared/cache.db"), "a directory of its own"),
            (at("sub"), "is a directory"),
            (at("link"), "is a symbolic link"),
            (at("db"), "db-journal: is a directory"),
            (at("logged"), "logged-wal: is a symbolic link"),
            (at("mapped"), "mapped-shm: is a directory"),
            (at("file/cache.db"), "not a directory"),
        ] {
            let error = prepare(&path).unwrap_err();
            assert!(error.to_lowercase().contains(want), "{error}");
        }
        std::os::unix::fs::symlink(at("sub"), at("parent")).unwrap();
        prepare(&at("parent/cache.db")).unwrap();
    }

    #[test]
    fn the_space_of_a_disk_is_told_and_that_of_nothing_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let left = space(directory.path()).unwrap();
        let df = std::process::Command::new("df").args(["-P", "-B1"]).arg(directory.path()).output().unwrap();
        let df = String::from_utf8(df.stdout).unwrap();
        let told: u64 = df.lines().nth(1).unwrap().split_whitespace().nth(3).unwrap().parse().unwrap();
        // Others write meanwhile.
        assert!(left.bytes.abs_diff(told) < 1 << 30, "{left:?} {told}");
        assert_eq!(space(Path::new("/nonexistent")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(space(Path::new("/a\0b")).is_err());
    }

    #[test]
    fn a_damaged_file_keeps_its_content_under_another_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache.db");
        fs::write(&path, "garbage").unwrap();
        fs::write(directory.path().join("cache.db-journal"), "old").unwrap();
        let aside = move_aside(&path, identity(&path).unwrap(), 17).unwrap().unwrap();
        assert_eq!(fs::read(&aside).unwrap(), b"garbage");
        fs::write(&path, "new").unwrap();
        assert_eq!(move_aside(&path, identity(&aside).unwrap(), 17).unwrap(), None, "another one is there already");
        fs::remove_file(&path).unwrap();
        assert!(!path.exists() && !directory.path().join("cache.db-journal").exists());
    }
}
