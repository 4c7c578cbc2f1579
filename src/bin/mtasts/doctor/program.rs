//! Other programs, which may hang: each has a deadline and is ended at it.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// What no program that is asked here has to say is not read.
const MOST_BYTES: u64 = 8 * 1024 * 1024;
const PAUSE: Duration = Duration::from_millis(5);
/// Where programs of the system are found; the caller's PATH is not root's to follow.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a program has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub is_success: bool,
    pub out: String,
    pub error: String,
}

/// Runs a program without input and without the caller's environment. The error says why it did not end by itself.
pub fn run(program: &Path, arguments: &[&str], limit: Duration) -> Result<Said, String> {
    let shown = program.display();
    let deadline = Instant::now() + limit;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{shown} cannot be started: {error}"))?;
    let out = child.stdout.take().map(read);
    let error = child.stderr.take().map(read);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() >= deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{shown} did not answer within {} seconds and was ended", limit.as_secs()));
            }
            Ok(None) => std::thread::sleep(PAUSE),
            Err(error) => return Err(format!("{shown} cannot be waited for: {error}")),
        }
    };
    let text = |reader: Option<Receiver<Vec<u8>>>| {
        let left = deadline.saturating_duration_since(Instant::now());
        // A program may leave a child behind that keeps the pipe open.
        let bytes = reader.and_then(|reader| reader.recv_timeout(left).ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Said { is_success: status.success(), out: text(out), error: text(error) })
}

/// Reads beside the caller, so that neither pipe fills up while the other is read.
fn read(pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.take(MOST_BYTES).read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Said, String> {
        run(Path::new("/bin/sh"), &["-c", script], limit)
    }

    #[test]
    fn what_a_program_says_is_taken_with_its_success() {
        let said = shell("echo out; echo error >&2; env | grep -c HOME; exit 3", Duration::from_secs(30)).unwrap();
        assert_eq!(said, Said { is_success: false, out: "out\n0\n".into(), error: "error\n".into() });
        let much = shell("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2", Duration::from_secs(30)).unwrap();
        assert_eq!((much.is_success, much.out.len(), much.error.len()), (true, 300_000, 300_000));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let began = Instant::now();
        let problem = shell("exec sleep 600", Duration::from_secs(1)).unwrap_err();
        assert!(problem.contains("/bin/sh did not answer within 1 seconds"), "{problem}");
        let lingering = shell("sleep 5 & exit 0", Duration::from_secs(1)).unwrap();
        assert!(lingering.is_success && lingering.out.is_empty(), "{lingering:?}");
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let problem = run(Path::new("/nonexistent/exim"), &[], Duration::from_secs(1)).unwrap_err();
        assert!(problem.starts_with("/nonexistent/exim cannot be started: "), "{problem}");
    }
}
