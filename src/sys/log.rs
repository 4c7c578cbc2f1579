//! One line to the system log, by a datagram of our own to `/dev/log`.
//!
//! Never openlog, syslog or closelog: they overwrite the host's identity and can take over a descriptor that SQLite
//! is about to use. The socket does not block and is closed before the function returns. A line that the log does not
//! take is lost: mail matters more.

use super::fork::ClosedInChild;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// How grave a line is; the numbers are those of syslog (RFC 5424 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Protection is lost or mail is at risk: somebody must act.
    Error = 3,
    /// Something does not work as it should, and the answer came all the same.
    Warning = 4,
    /// Worth knowing: a policy was learnt, changed or refused.
    Notice = 5,
    /// What a reader needs to follow single answers.
    Debug = 7,
}

/// Takes log lines. The caller holds no lock and is in no guarded state when it hands one over.
pub trait Sink {
    /// Takes one line without a line end.
    fn line(&self, level: Level, line: &str);
}

/// LOG_MAIL, as RFC 5424 section 6.2.1 numbers facilities.
const FACILITY_MAIL: i32 = 2 << 3;

/// Longer lines are cut.
const MAX_LINE_CHARACTERS: usize = 1000;

/// Sends one line to the system log.
pub fn syslog(level: Level, line: &str) {
    send(Path::new("/dev/log"), level, line);
}

fn send(socket_path: &Path, level: Level, line: &str) {
    let Ok(socket) = ClosedInChild::open(UnixDatagram::unbound) else { return };
    let Some(socket) = socket.get() else { return };
    if socket.set_nonblocking(true).is_err() {
        return;
    }
    // What a server on the other side says may stand in a line; it gives no orders to the terminal of its reader.
    let printable = |character: char| if character.is_control() { '?' } else { character };
    let line: String = line.chars().map(printable).take(MAX_LINE_CHARACTERS).collect();
    let priority = FACILITY_MAIL | level as i32;
    let datagram = format!("<{priority}>libmtasts[{}]: {line}", std::process::id());
    let _ = socket.send_to(datagram.as_bytes(), socket_path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_arrives_with_facility_mail_and_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let receiver = UnixDatagram::bind(&path).unwrap();
        send(&path, Level::Warning, "cache directory /x: not there");
        let mut buffer = [0; 4000];
        let length = receiver.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..length]);
        assert!(line.starts_with("<20>libmtasts["), "{line}");
        assert!(line.ends_with("]: cache directory /x: not there"), "{line}");
        send(&path, Level::Warning, &format!("\x1b[2J\r\n\0{}", "x".repeat(5000)));
        let length = receiver.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..length]);
        assert!(line.contains("]: ?[2J???x") && line.len() < 1100, "{line}");
    }

    #[test]
    fn a_missing_or_full_log_does_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        send(&path, Level::Error, "nobody listens");
        let _receiver = UnixDatagram::bind(&path).unwrap();
        for _ in 0..10_000 {
            send(&path, Level::Error, "nobody reads");
        }
    }
}
