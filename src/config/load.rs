//! Reading a configuration file: which one, whose it must be, and which line sets which key.

use super::value::Value;
use super::{ConfigError, DEFAULT_PATH, Lines, Settings, domain};
use crate::sys::privilege;
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::de::DeTable;

/// A configuration is small; what is larger is some other file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What a configuration file says, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What is good in it; the defaults for the rest.
    pub settings: Settings,
    /// What is wrong with it, by its lines.
    pub faults: Vec<ConfigError>,
    /// The file; none if no file is named and there is none at [`DEFAULT_PATH`].
    pub path: Option<PathBuf>,
    /// The line of each plain key that the file sets. A table of a domain knows its own.
    pub lines: BTreeMap<String, usize>,
}

impl Loaded {
    /// Reads a file; without a path the one that `MTASTS_CONFIG` names, else [`DEFAULT_PATH`] if it exists.
    pub fn from_file(path: Option<&Path>) -> Self {
        let from_environment = || privilege::trusted_env("MTASTS_CONFIG").map(PathBuf::from);
        let named = path.map(Path::to_owned).or_else(from_environment);
        let may_be_absent = named.is_none();
        let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
        match read_file(&path) {
            Ok(text) => Self::from_text(&text, &path),
            Err(ReadFault::NotFound(_)) if may_be_absent => Self::default(),
            Err(ReadFault::NotFound(problem) | ReadFault::Other(problem)) => {
                let faults = vec![ConfigError { path: Some(path.clone()), line: None, problem }];
                Self { faults, path: Some(path), ..Self::default() }
            }
        }
    }

    /// Reads the text of a file; `path` is for messages only.
    pub fn from_text(text: &str, path: &Path) -> Self {
        let mut settings = Settings::default();
        let mut faults = Vec::new();
        let mut set_in = BTreeMap::new();
        let lines = Lines::of(text);
        let mut add_fault = |at: Option<usize>, problem: String| {
            let line = at.map(|at| lines.number(at));
            faults.push(ConfigError { path: Some(path.to_owned()), line, problem });
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            add_fault(error.span().map(|span| span.start), format!("not TOML: {}", error.message()));
        }
        let (domains, domain_faults) = domain::read_file(table.get_ref(), &errors, &lines);
        settings.domains = Arc::new(domains);
        for fault in domain_faults {
            add_fault(Some(fault.at), fault.problem);
        }
        for (key, value) in table.get_ref().iter().filter(|(key, _)| key.get_ref() != "domain") {
            let at = key.span().start;
            match settings.apply(key.get_ref(), &Value::from_toml(value.get_ref())) {
                Ok(()) => {
                    set_in.insert(key.get_ref().clone().into_owned(), lines.number(at));
                }
                Err(problem) => add_fault(Some(at), problem),
            }
        }
        faults.sort_by_key(|fault| fault.line);
        Self { settings, faults, path: Some(path.to_owned()), lines: set_in }
    }
}

enum ReadFault {
    NotFound(String),
    Other(String),
}

fn read_file(path: &Path) -> Result<String, ReadFault> {
    let trouble = |error: std::io::Error| {
        let problem = format!("cannot be read: {error}");
        if error.kind() == ErrorKind::NotFound { ReadFault::NotFound(problem) } else { ReadFault::Other(problem) }
    };
    // A FIFO would block a plain open; its kind is checked on the open file, so that nothing can be swapped between.
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.read(true).open(path).map_err(trouble)?;
    let facts = file.metadata().map_err(trouble)?;
    if !facts.is_file() {
        return Err(ReadFault::Other("is not a regular file".to_owned()));
    }
    if facts.len() > MAX_FILE_BYTES {
        return Err(ReadFault::Other(format!("has {} bytes, want at most {MAX_FILE_BYTES}", facts.len())));
    }
    // Exim reads this as root: nobody else may have a hand in what root then does.
    if privilege::is_root() && (facts.uid() != 0 || facts.mode() & 0o022 != 0) {
        return Err(ReadFault::Other(format!(
            "belongs to uid {} with mode {:04o}; read by root it must belong to root and be writable by its owner only",
            facts.uid(),
            facts.mode() & 0o7777
        )));
    }
    // One more, so that the end is seen without room being made for what does not come.
    let mut text = String::with_capacity(usize::try_from(facts.len()).unwrap_or(0).saturating_add(1));
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(trouble)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_and_where_is_known_of_each_key_that_takes_effect() {
        let text = "observe = true\n\n  refresh = false\nsyslog = 3\n[domain.\"a.test\"]\nmode = \"x\"\n";
        let loaded = Loaded::from_text(text, Path::new("/x/mtasts.toml"));
        let lines: Vec<(&str, usize)> = loaded.lines.iter().map(|(key, line)| (key.as_str(), *line)).collect();
        assert_eq!(lines, [("observe", 1), ("refresh", 3)]);
        assert_eq!(loaded.path.as_deref(), Some(Path::new("/x/mtasts.toml")));
        assert_eq!(loaded.faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [Some(4), Some(6)]);
    }

    #[test]
    fn a_file_that_is_missing_only_matters_when_it_was_named() {
        let (_, faults) = Settings::load(Some(Path::new("/nonexistent/mtasts.toml")));
        assert!(faults[0].to_string().starts_with("/nonexistent/mtasts.toml: cannot be read"), "{faults:?}");
        let (_, faults) = Settings::load(Some(Path::new("/dev/zero")));
        assert!(faults[0].to_string().ends_with("is not a regular file"), "{faults:?}");
    }

    #[test]
    fn root_reads_no_configuration_that_another_user_has_a_hand_in() {
        if !privilege::is_root() {
            println!("SKIPPED: not root");
            assert_ne!(std::env::var("MTASTS_NO_SKIP").as_deref(), Ok("1"), "skipped, and MTASTS_NO_SKIP=1 forbids it");
            return;
        }
        use std::os::unix::fs::{PermissionsExt, chown};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mtasts.toml");
        fs::write(&path, "observe = true\n").unwrap();
        for (owner, mode, is_read) in
            [(0, 0o644, true), (0, 0o600, true), (0, 0o664, false), (0, 0o646, false), (54_321, 0o644, false)]
        {
            chown(&path, Some(owner), None).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let (settings, faults) = Settings::load(Some(&path));
            assert_eq!(settings.observe, is_read, "uid {owner}, mode {mode:o}: {faults:?}");
            assert_eq!(faults.is_empty(), is_read);
            assert!(is_read || faults[0].problem.contains("must belong to root"), "{faults:?}");
        }
    }

    #[test]
    fn what_is_no_small_regular_file_is_no_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mtasts.toml");
        let fault = |path: &Path| Settings::load(Some(path)).1.remove(0).problem;
        assert_eq!(fault(directory.path()), "is not a regular file");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(fault(&path), "is not a regular file", "and nobody waits for a writer");
        fs::remove_file(&path).unwrap();
        fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
        assert_eq!(fault(&path), "has 1048577 bytes, want at most 1048576");
    }
}
