//! The library that Exim's router calls: whether it is there, who can change it, whether it works, and whether it is of
//! the same version as this command.

use super::super::finding::{Finding, excerpt, word};
use super::super::owner::{Hand, stranger};
use super::super::program;
use super::{Exim, Expanded, MACRO_FILES, Reload};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);
const LDCONFIG: &[&str] = &["/sbin/ldconfig", "/usr/sbin/ldconfig"];
/// Where `make install` and distributions put it.
const PLACES: &[&str] = &["/usr/local/lib/libmtasts.so.0", "/usr/lib/libmtasts.so.0", "/usr/lib64/libmtasts.so.0"];
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// `library`: as the configuration names it.
pub fn check(exim: &Exim, library: &str, reload: Reload) -> Vec<Finding> {
    let path = match place(library) {
        Ok(path) => path,
        Err(finding) => return vec![finding.mend(reload.command())],
    };
    if let Some(path) = &path {
        if let Some((place, hand)) = stranger(path, 0) {
            let text = format!(
                "{} {}, and Exim loads {} as root; it was not tried",
                place.display(),
                hand.describe(),
                path.display()
            );
            let mend = match hand {
                Hand::Owner(_) => format!("chown root:root {}", word(&place)),
                Hand::Everybody => format!("chmod o-w {}", word(&place)),
            };
            return vec![Finding::fault(text).mend(mend)];
        }
        if !is_shared_object(path) {
            let text = format!("{} is no shared library: all mail that the router takes waits", path.display());
            return vec![Finding::fault(text).mend("make && make install")];
        }
    }
    // A question without arguments: the library says what it would take, and asks nobody.
    let answer = exim.expand(&format!("${{dlfunc{{{library}}}{{mtasts_exim_certificate}}}}"));
    let mut findings = vec![judge(library, &answer)];
    if matches!(answer, Expanded::Value(_)) {
        findings.extend(ask(exim, library));
    }
    findings
}

/// Where the library lies; none if only the dynamic linker knows. Exim is not asked to load what is not there: that would
/// go to its panic log.
fn place(library: &str) -> Result<Option<PathBuf>, Finding> {
    if library.contains('/') {
        let path = PathBuf::from(library);
        if path.is_file() {
            return Ok(Some(path));
        }
        let better = installed().unwrap_or_else(|| PathBuf::from("libmtasts.so.0"));
        let text = format!("{library}, which Exim is to load, is not there: all mail that the router takes waits");
        let line = format!("LIBMTASTS = {}   # in {MACRO_FILES}, or where the macro is set", better.display());
        return Err(Finding::fault(text).mend(line));
    }
    match linked(library) {
        Some(Some(path)) => Ok(Some(path)),
        None => Ok(None),
        Some(None) => {
            let text = format!("the dynamic linker does not know {library}: all mail that the router takes waits");
            Err(Finding::fault(text).mend("make install && ldconfig"))
        }
    }
}

/// Whether a file begins as one does; also if it cannot be read.
fn is_shared_object(path: &Path) -> bool {
    let mut beginning = [0; 4];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut beginning))
        .is_err_and(|error| error.kind() != ErrorKind::UnexpectedEof)
        || beginning == *b"\x7fELF"
}

fn installed() -> Option<PathBuf> {
    linked("libmtasts.so.0").flatten().or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.is_file()))
}

/// Where the dynamic linker finds a library; none inside if it does not, none at all if it cannot be asked.
fn linked(library: &str) -> Option<Option<PathBuf>> {
    let ldconfig = LDCONFIG.iter().map(Path::new).find(|path| path.exists())?;
    let said = program::run(ldconfig, &["-p"], LIMIT).ok().filter(|said| said.is_success)?;
    Some(linked_in(&said.out, library))
}

fn linked_in(printed: &str, library: &str) -> Option<PathBuf> {
    let mut lines = printed.lines().filter_map(|line| {
        let (name, path) = line.trim().split_once(" => ")?;
        (name.split(' ').next() == Some(library)).then(|| PathBuf::from(path))
    });
    lines.find(|path| path.is_file())
}

fn judge(library: &str, answer: &Expanded) -> Finding {
    let mend = "make && make install   # the library and the command of one version";
    let text = match answer {
        Expanded::Value(text) => text,
        Expanded::Failed(problem) => {
            return Finding::fault(format!("Exim cannot load {library}: {}", excerpt(problem))).mend(mend);
        }
        Expanded::NotTried(problem) => {
            return Finding::unknown(format!("whether Exim can load {library} is not known: {}", excerpt(problem)));
        }
    };
    match text.split_once("of libmtasts ").and_then(|(_, rest)| rest.split(' ').next()) {
        Some(OWN_VERSION) => Finding::ok(format!("Exim loads {library}, version {OWN_VERSION} as this command")),
        other => {
            let is = other.map_or_else(|| "an older version".to_owned(), |other| format!("version {}", excerpt(other)));
            Finding::warning(format!("Exim loads {library}, {is}; this command is {OWN_VERSION}")).mend(mend)
        }
    }
}

/// What the router would be answered about an address literal, which needs neither DNS nor the cache.
fn ask(exim: &Exim, library: &str) -> Option<Finding> {
    let problem = match exim.expand(&format!("${{dlfunc{{{library}}}{{mtasts_exim}}{{[192.0.2.1]}}{{}}}}")) {
        Expanded::Value(answer) if answer.is_empty() => return None,
        Expanded::Value(answer) => format!("`{answer}`, which is no answer about an address"),
        Expanded::Failed(problem) => problem,
        Expanded::NotTried(_) => return None,
    };
    let text = format!("the library answers Exim with a failure, and mail waits: {}", excerpt(&problem));
    Some(Finding::fault(text).mend("mtasts config   # tells what is in force, and each fault of the configuration"))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Level;
    use super::*;

    #[test]
    fn the_version_is_taken_from_what_the_library_says() {
        let judged = |text: &str| judge("x.so", &Expanded::Value(text.to_owned()));
        let own = format!("MTA-STS: mtasts_exim_certificate of libmtasts {OWN_VERSION} takes an MX host");
        assert_eq!(judged(&own).level, Level::Ok);
        let other = judged("MTA-STS: mtasts_exim_certificate of libmtasts 99.0.0 takes an MX host");
        assert!(other.level == Level::Warning && other.text.contains("99.0.0"), "{other:?}");
        assert!(judged("MTA-STS: mtasts_exim_certificate takes").text.contains("older"));
        assert_eq!(judge("x.so", &Expanded::Failed("dlopen".into())).level, Level::Fault);
        assert_eq!(judge("x.so", &Expanded::NotTried("no user".into())).level, Level::Unknown);
    }

    #[test]
    fn the_linker_is_believed_only_about_what_is_there() {
        let printed = "2 libs found\n\tlibmtasts.so.0 (libc6,x86-64) => /nonexistent/libmtasts.so.0\n\
                       \tlibmtasts.so.01 (libc6) => /etc/group\n\tlibmtasts.so.0 (libc6) => /etc/passwd\n";
        assert_eq!(linked_in(printed, "libmtasts.so.0"), Some(PathBuf::from("/etc/passwd")));
        assert_eq!(linked_in(printed, "libmtasts.so.1"), None);
    }

    #[test]
    fn a_library_that_is_not_there_is_a_fault_with_the_line_to_write() {
        let finding = place("/nonexistent/libmtasts.so.0").unwrap_err();
        assert!(finding.level == Level::Fault && finding.mend[0].starts_with("LIBMTASTS = "), "{finding:?}");
    }
}
