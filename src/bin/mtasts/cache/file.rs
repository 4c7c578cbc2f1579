//! A file that appears as a whole or not at all: readers never see half of it.

use crate::Stop;
use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A draft of a file beside its place, removed unless it is put there.
pub struct Draft {
    out: BufWriter<File>,
    /// The draft and its place; none for a device or a pipe, which is written to directly.
    paths: Option<(PathBuf, PathBuf)>,
    shown: String,
}

impl Draft {
    /// Begins a file that is to lie at `path`, with these permissions.
    pub fn begin(path: &Path, mode: u32) -> Result<Self, Stop> {
        let shown = path.display().to_string();
        let begin = || -> io::Result<(File, Option<(PathBuf, PathBuf)>)> {
            if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
                return Ok((OpenOptions::new().write(true).open(path)?, None));
            }
            // Where a link leads, not in its place.
            let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let mut draft = place.as_os_str().to_owned();
            // One that a killed process has left is in nobody's way.
            draft.push(format!(".{:016x}.draft", RandomState::new().build_hasher().finish()));
            let draft = PathBuf::from(draft);
            let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
            // Whatever umask the caller has: who is to read the file can.
            file.set_permissions(Permissions::from_mode(mode)).inspect_err(|_| drop(fs::remove_file(&draft)))?;
            Ok((file, Some((draft, place))))
        };
        let (file, paths) = begin().map_err(|error| fault(&shown, &error))?;
        Ok(Self { out: BufWriter::new(file), paths, shown })
    }

    /// Where to write.
    pub fn out(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// Puts the file in its place, once it is on the disk.
    pub fn finish(mut self) -> Result<(), Stop> {
        let outcome = self.out.flush().and_then(|()| match self.paths.take() {
            None => Ok(()),
            Some((draft, place)) => {
                let moved = self.out.get_ref().sync_all().and_then(|()| fs::rename(&draft, &place));
                moved.inspect_err(|_| drop(fs::remove_file(&draft)))
            }
        });
        outcome.map_err(|error| fault(&self.shown, &error))
    }

    /// What a failure to write is to the command.
    pub fn fault(&self, error: &io::Error) -> Stop {
        fault(&self.shown, error)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some((draft, _)) = &self.paths {
            let _ = fs::remove_file(draft);
        }
    }
}

fn fault(shown: &str, error: &io::Error) -> Stop {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Stop::Closed,
        io::ErrorKind::PermissionDenied => Stop::Fault(format!(
            "{shown}: {error}; root works as the owner of the cache, who must be able to write there: else let the \
             shell write what goes to standard output"
        )),
        _ => Stop::Fault(format!("{shown}: {error}")),
    }
}
