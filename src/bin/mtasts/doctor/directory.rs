//! The directory of the cache, the files in it, and the disk below them.

use super::finding::{Finding, excerpt, word};
use super::owner::{ENTER, Hand, MailUser, READ, WRITE, stranger};
use mtasts::cache::{Examined, Space, examine, space};
use mtasts::config::user_name;
use mtasts::time::UnixTime;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an old cache that was damaged has behind its name.
const DAMAGED: &str = ".damaged-";
const WRITABLE_BY_OTHERS: u32 = 0o002;
/// The search for damage keeps others from writing for so long.
const LONGEST_SEARCH: Duration = Duration::from_secs(1);
/// What a refresh is late by before that is worth a word.
pub const LATE_SECONDS: i64 = 2 * 86_400;
const MEGABYTE: u64 = 1024 * 1024;
/// With less than this, nothing can be stored soon.
const SCARCE_BYTES: u64 = 50 * MEGABYTE;
const NO_BYTES: u64 = MEGABYTE;
/// The locks of these are slow or do not reach other machines.
const NETWORK_FILE_SYSTEMS: &[&str] = &[
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.sshfs",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
    "smbfs",
];
const FILE_SYSTEMS_IN_MEMORY: &[&str] = &["ramfs", "tmpfs"];

/// What can be told without opening the cache.
pub fn check(cache: &Path, user: &MailUser) -> Vec<Finding> {
    let Some(directory) = cache.parent().filter(|parent| parent.is_absolute()) else {
        return vec![Finding::fault(format!("the cache {} has no absolute path", cache.display()))];
    };
    let shown = directory.display();
    let found = match fs::metadata(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = format!(
                "{shown} does not exist: nothing is remembered, and who suppresses a fetch suppresses the policy"
            );
            return vec![Finding::fault(text).mend(install(directory, user))];
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return vec![Finding::unknown(format!("{shown} can be looked at by root only: {error}"))];
        }
        Err(error) => return vec![Finding::fault(format!("{shown}: {error}"))],
    };
    if !found.is_dir() {
        let text = format!("{shown} is not a directory");
        return vec![
            Finding::fault(text).mend(format!("mv {0} {0}.old", word(directory))).mend(install(directory, user)),
        ];
    }
    let mut findings = place(directory, &found, user);
    if findings.is_empty() {
        let mode = found.mode() & 0o7777;
        findings.push(Finding::ok(format!("{shown} belongs to {}, mode {mode:04o}", user_name(found.uid()))));
    }
    findings.extend(files(cache, directory, &found, user));
    findings.extend(space(directory).ok().map(|left| judge_space(directory, left)));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let resolved = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    findings.extend(mount_of(&mounts, &resolved).and_then(|mount| judge_mount(directory, &mount)));
    findings
}

/// Whose the directory is, and who else may change what lies there.
fn place(directory: &Path, found: &Metadata, user: &MailUser) -> Vec<Finding> {
    let shown = directory.display();
    let mut findings = Vec::new();
    if found.uid() == 0 {
        let text = format!("{shown} belongs to root: the user that delivers mail cannot make the cache there");
        findings.push(Finding::fault(text).mend(install(directory, user)));
    } else if !user.may(READ | WRITE | ENTER, found) {
        let text = format!(
            "{shown} belongs to {}, mode {:04o}: {} cannot write there",
            user_name(found.uid()),
            found.mode() & 0o7777,
            user.name()
        );
        findings.push(Finding::fault(text).mend(install(directory, user)));
    }
    if let Some(exim) = user.exim().filter(|exim| !exim.may(READ | WRITE | ENTER, found)) {
        let text = format!(
            "Exim receives mail as {}, who cannot write to {shown}, and asks without the cache there",
            exim.name()
        );
        findings.push(Finding::warning(text).mend(install(directory, &exim)));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        let text = format!("{shown} may be written by everybody, so that the cache is not used");
        findings.push(Finding::fault(text).mend(format!("chmod 0750 {}", word(directory))));
    } else if let Some((place, hand)) = stranger(directory, found.uid()) {
        let text = format!("{} {} and leads to the cache", place.display(), hand.describe());
        let mend = match hand {
            Hand::Owner(_) => format!("chown {} {}", user_name(found.uid()), word(&place)),
            Hand::Everybody => format!("chmod o-w {}", word(&place)),
        };
        findings.push(Finding::fault(text).mend(mend));
    }
    if let Some(closed) = user.is_kept_out_by(directory) {
        let text = format!("{} cannot enter {}, which leads to the cache", user.name(), closed.display());
        findings.push(Finding::fault(text).mend(format!("chmod o+x {}", word(closed))));
    }
    findings
}

fn install(directory: &Path, user: &MailUser) -> String {
    format!("install -d -m 0750 -o {} -g {} {}", user.name(), user.group(), word(directory))
}

/// The files that belong to the cache.
fn files(cache: &Path, directory: &Path, owner: &Metadata, user: &MailUser) -> Vec<Finding> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            return vec![Finding::unknown(format!("{}: its files are for root to see: {error}", directory.display()))];
        }
    };
    let locks = locks_of(cache);
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name() == locks.file_name() || suffix_of(path, cache).is_some_and(is_used));
    paths.sort();
    paths.iter().flat_map(|path| file(cache, path, owner, user)).collect()
}

/// What a name has behind that of the cache.
fn suffix_of<'p>(path: &'p Path, cache: &Path) -> Option<&'p str> {
    let name = path.file_name()?.as_bytes().strip_prefix(cache.file_name()?.as_bytes())?;
    std::str::from_utf8(name).ok()
}

/// Whether the library makes a file of this name; what an administrator has put aside is no concern of it.
fn is_used(suffix: &str) -> bool {
    matches!(suffix, "" | "-journal" | "-wal" | "-shm") || suffix.starts_with(DAMAGED)
}

/// The file whose bytes are locked while a policy is fetched.
fn locks_of(cache: &Path) -> PathBuf {
    let locks = cache.with_extension("lock");
    if locks == cache { beside(cache, ".lock") } else { locks }
}

fn file(cache: &Path, path: &Path, owner: &Metadata, user: &MailUser) -> Option<Finding> {
    let found = fs::symlink_metadata(path).ok()?;
    let (shown, quoted) = (path.display(), word(path));
    if !found.is_file() {
        let text = format!("{shown} is not a regular file, and is not used");
        return Some(Finding::fault(text).mend(format!("mv {quoted} {}", word(&beside(path, ".odd")))));
    }
    let suffix = suffix_of(path, cache);
    if suffix.is_some_and(|suffix| suffix.starts_with(DAMAGED)) {
        let text = format!("{shown} is an old cache that was damaged; nothing uses it");
        return Some(Finding::warning(text).mend(format!("rm {quoted}")));
    }
    if found.uid() == 0 && owner.uid() != 0 || !user.may(READ | WRITE, &found) && found.uid() != owner.uid() {
        let text = format!("{shown} belongs to {}: {} cannot use it", user_name(found.uid()), user.name());
        return Some(Finding::fault(text).mend(format!("chown {}:{} {quoted}", user.name(), user.group())));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 || found.mode() & 0o600 != 0o600 {
        let text = format!("{shown} has mode {:04o}, want 0640", found.mode() & 0o7777);
        return Some(Finding::fault(text).mend(format!("chmod 0640 {quoted}")));
    }
    if suffix == Some("-wal") {
        let text = format!(
            "{shown}: another program has given the cache a write-ahead log, which a full disk makes unreadable"
        );
        return Some(Finding::warning(text).mend(format!("sqlite3 {} 'PRAGMA journal_mode = TRUNCATE'", word(cache))));
    }
    None
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn judge_space(directory: &Path, left: Space) -> Finding {
    let shown = directory.display();
    let megabytes = left.bytes / MEGABYTE;
    let look = format!("df -h {0}; df -i {0}", word(directory));
    if left.bytes < NO_BYTES || left.files.is_some_and(|files| files < 10) {
        Finding::fault(format!("the disk of {shown} is full: what is learnt cannot be stored")).mend(look)
    } else if left.bytes < SCARCE_BYTES {
        Finding::warning(format!("the disk of {shown} has {megabytes} MiB left")).mend(look)
    } else {
        Finding::ok(format!("the disk of {shown} has {megabytes} MiB left"))
    }
}

/// What a path is mounted from.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: String,
    kind: String,
    is_read_only: bool,
}

/// The mount that a path lies on, from the text of `/proc/self/mountinfo` (proc(5)).
fn mount_of(mounts: &str, path: &Path) -> Option<Mount> {
    let mut best: Option<(usize, Mount)> = None;
    for line in mounts.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let mut words = head.split(' ').skip(4);
        let (Some(point), Some(options)) = (words.next(), words.next()) else { continue };
        let Some(kind) = tail.split(' ').next() else { continue };
        let point = point.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\134", r"\");
        let length = point.len();
        // Of two on the same place the later one hides the other.
        if path.starts_with(&point) && best.as_ref().is_none_or(|(longest, _)| length >= *longest) {
            let is_read_only = options.split(',').any(|option| option == "ro")
                || tail.rsplit(' ').next().is_some_and(|options| options.split(',').any(|option| option == "ro"));
            best = Some((length, Mount { point, kind: kind.to_owned(), is_read_only }));
        }
    }
    best.map(|(_, mount)| mount)
}

fn judge_mount(directory: &Path, mount: &Mount) -> Option<Finding> {
    let shown = directory.display();
    if mount.is_read_only {
        let text = format!("{shown} is on a file system that is mounted read-only: nothing new is remembered");
        return Some(Finding::fault(text).mend(format!("mount -o remount,rw {}", word(Path::new(&mount.point)))));
    }
    if NETWORK_FILE_SYSTEMS.contains(&&*mount.kind) {
        let text = format!("{shown} is on a network file system ({}), where locks are slow or fail", mount.kind);
        return Some(
            Finding::warning(text).mend("cache = \"/var/lib/mtasts/cache.db\"   # in mtasts.toml, on a local disk"),
        );
    }
    if FILE_SYSTEMS_IN_MEMORY.contains(&&*mount.kind) {
        let text =
            format!("{shown} is in memory ({}): policies are forgotten when the machine starts anew", mount.kind);
        return Some(Finding::warning(text).mend("cache = \"/var/lib/mtasts/cache.db\"   # in mtasts.toml, on a disk"));
    }
    None
}

/// What the cache is to a process that opens it; also what it holds, if that is known.
pub fn open(cache: &Path, now: UnixTime) -> (Vec<Finding>, Option<Examined>) {
    let shown = cache.display();
    match fs::symlink_metadata(cache) {
        Ok(found) if found.is_file() => {}
        // Told by the checks that open nothing.
        Ok(_) => return (Vec::new(), None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let is_there = cache.parent().is_some_and(Path::is_dir);
            let text = format!("{shown} is not there yet; the first lookup makes it");
            return (is_there.then(|| Finding::ok(text)).into_iter().collect(), None);
        }
        Err(error) => return (vec![Finding::unknown(format!("{shown} cannot be looked at: {error}"))], None),
    }
    if fs::File::open(cache).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
        let text = format!("{shown} cannot be read by this user; root and the user that delivers mail see more");
        return (vec![Finding::unknown(text)], None);
    }
    match examine(cache, now, UnixTime(now.0.saturating_sub(LATE_SECONDS)), LONGEST_SEARCH) {
        Err(problem) => {
            let text = format!("{shown} cannot be used: {}", excerpt(&problem));
            (vec![Finding::fault(text).mend(format!("mv {} {}", word(cache), word(&beside(cache, ".old"))))], None)
        }
        Ok(found) => (vec![judge(cache, &found, now)], Some(found)),
    }
}

fn judge(cache: &Path, found: &Examined, now: UnixTime) -> Finding {
    let shown = cache.display();
    if let Some(damage) = &found.damage {
        let text = format!("{shown} is damaged: {}", excerpt(damage));
        return Finding::fault(text).mend(format!("mv {} {}", word(cache), word(&beside(cache, ".old"))));
    }
    if found.is_read_only {
        let text = format!("{shown} can be read and not written by this user");
        return Finding::unknown(text).mend("sudo mtasts doctor   # looks as the user that delivers mail");
    }
    let policies = match found.policies {
        1 => "1 policy".to_owned(),
        count => format!("{count} policies"),
    };
    let last = match found.last_fetch {
        Some(last) if last <= now => format!(", the last one fetched {}", last.to_utc_string()),
        _ => String::new(),
    };
    let rest = if found.is_complete { "" } else { "; too large to search it for damage" };
    Finding::ok(format!("{shown} opens and has {policies}{last}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /var/lib rw,nosuid - nfs4 host:/export rw,vers=4.2
31 30 0:41 / /var/lib/mtasts\\040x ro,nosuid - xfs /dev/sdb rw
32 22 0:42 / /run rw - tmpfs tmpfs rw
";

    #[test]
    fn the_longest_mount_point_is_the_one_that_a_path_lies_on() {
        let mount = |path: &str| {
            let found = mount_of(MOUNTS, Path::new(path)).unwrap();
            (found.kind, found.is_read_only)
        };
        assert_eq!(mount("/var/mtasts"), ("ext4".into(), false));
        assert_eq!(mount("/var/library"), ("ext4".into(), false));
        assert_eq!(mount("/var/lib/mtasts"), ("nfs4".into(), false));
        assert_eq!(mount("/var/lib/mtasts x/y"), ("xfs".into(), true));
        assert_eq!(mount_of("", Path::new("/")), None);
    }

    #[test]
    fn network_and_memory_and_read_only_are_told() {
        let level = |kind: &str, is_read_only| {
            judge_mount(Path::new("/x"), &Mount { point: "/".into(), kind: kind.into(), is_read_only })
                .map(|finding| finding.level)
        };
        assert_eq!(level("ext4", false), None);
        assert_eq!(level("nfs4", false), Some(Level::Warning));
        assert_eq!(level("tmpfs", false), Some(Level::Warning));
        assert_eq!(level("ext4", true), Some(Level::Fault));
    }

    #[test]
    fn a_full_disk_is_a_fault_and_a_scarce_one_a_warning() {
        let level = |bytes, files| judge_space(Path::new("/x"), Space { bytes, files }).level;
        assert_eq!(level(100 * MEGABYTE, Some(1000)), Level::Ok);
        assert_eq!(level(100 * MEGABYTE, None), Level::Ok);
        assert_eq!(level(10 * MEGABYTE, None), Level::Warning);
        assert_eq!(level(MEGABYTE / 2, None), Level::Fault);
        assert_eq!(level(100 * MEGABYTE, Some(0)), Level::Fault);
    }

    /// A directory of somebody who is not root, so that the tests also mean something for root.
    fn seen(mode: u32, prepare: impl Fn(&Path)) -> Vec<Finding> {
        let top = tempfile::tempdir().unwrap();
        fs::set_permissions(top.path(), Permissions::from_mode(0o755)).unwrap();
        let directory = top.path().join("mtasts");
        fs::create_dir(&directory).unwrap();
        prepare(&directory);
        fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        let _ = std::os::unix::fs::chown(&directory, Some(54_321), Some(54_321));
        let found = fs::metadata(&directory).unwrap();
        let mut findings =
            check(&directory.join("cache.db"), &MailUser { ids: Some((found.uid(), found.gid())), exim: None });
        findings.retain(|finding| {
            finding.level == Level::Fault || finding.level == Level::Warning && !finding.text.contains("in memory")
        });
        findings
    }

    #[test]
    fn a_good_directory_has_no_fault() {
        assert_eq!(seen(0o750, |_| {}), []);
        // What the administrator has put beside the cache, and what a mend has put aside.
        let others = |directory: &Path| {
            fs::write(directory.join("cache.jsonl"), "").unwrap();
            fs::create_dir(directory.join("cache-backup")).unwrap();
            std::os::unix::fs::symlink("x", directory.join("cache.db.odd")).unwrap();
        };
        assert_eq!(seen(0o750, others), []);
        let locks = |directory: &Path| fs::create_dir(directory.join("cache.lock")).unwrap();
        assert!(seen(0o750, locks)[0].text.contains("cache.lock is not a regular file"));
    }

    #[test]
    fn each_fault_comes_with_the_command_that_mends_it() {
        let told = |findings: Vec<Finding>, text: &str, mend: &str| {
            let is_told = findings
                .iter()
                .any(|finding| finding.text.contains(text) && finding.mend.iter().any(|line| line.starts_with(mend)));
            assert!(is_told, "{text}: {findings:?}");
        };
        told(seen(0o777, |_| {}), "may be written by everybody", "chmod 0750 /");
        told(seen(0o550, |_| {}), "cannot write there", "install -d -m 0750 -o ");
        let old = |directory: &Path| fs::write(directory.join("cache.db.damaged-1-2"), "").unwrap();
        told(seen(0o750, old), "damaged", "rm /");
        let link = |directory: &Path| std::os::unix::fs::symlink("x", directory.join("cache.db")).unwrap();
        told(seen(0o750, link), "not a regular file", "mv /");
        let open = |directory: &Path| {
            fs::write(directory.join("cache.db"), "").unwrap();
            let _ = std::os::unix::fs::chown(directory.join("cache.db"), Some(54_321), Some(54_321));
            fs::set_permissions(directory.join("cache.db"), Permissions::from_mode(0o666)).unwrap();
        };
        told(seen(0o750, open), "mode 0666, want 0640", "chmod 0640 /");
        let user = MailUser { ids: None, exim: None };
        told(
            check(Path::new("/nonexistent/x/cache.db"), &user),
            "does not exist",
            "install -d -m 0750 -o USER -g GROUP /nonexistent/x",
        );
        told(check(Path::new("/etc/passwd/cache.db"), &user), "/etc/passwd", "");
    }
}
