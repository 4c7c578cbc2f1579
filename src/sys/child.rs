//! Work that is done in a forked child under another user, so that a host that runs as root does not do it as root.
//!
//! The child keeps nothing of its parent's: no descriptor but the pipe, no signal handler, no privilege. It ends by
//! `_exit` whatever happens, and it dies with its parent. The parent waits for this child only, until a deadline.

use crate::sys::identity::Identity;
use crate::sys::panic;
use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The last byte of a whole answer.
const END: u8 = 0;
/// What a child says that has not become another user, before it says why.
const NO_WORK: &str = "!";
/// An answer may not be longer.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// How long a child may take to vanish once it has answered, or once it has been killed.
const LONGEST_FAREWELL: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_micros(100);
/// So many descriptors are looked for where the system does not list them.
const MOST_DESCRIPTORS: RawFd = 65_536;
/// The child's end of the pipe, after the three that every program expects.
const PIPE: RawFd = 3;

/// No system has more signals.
const LAST_SIGNAL: i32 = 128;

/// What a child has said.
#[derive(Debug)]
pub struct Said {
    /// Without any byte 0.
    pub bytes: Vec<u8>,
    /// Why this is not all, and what became of the child instead.
    pub fault: Option<String>,
}

impl Said {
    fn nothing(why: &str, error: &io::Error) -> Self {
        Self { bytes: Vec::new(), fault: Some(format!("{why}: {error}")) }
    }
}

/// Runs `work` in a forked child that has become `identity`, and returns what it wrote to its pipe.
pub fn answer_as(identity: Identity, deadline: Instant, work: impl FnOnce(&Arc<File>)) -> Said {
    let (reader, writer) = match io::pipe() {
        Ok(ends) => ends,
        Err(error) => return Said::nothing("no pipe to a process that could answer", &error),
    };
    // SAFETY: takes nothing, cannot fail.
    let parent = unsafe { libc::getpid() };
    // No handler of the host may run in the child, not even before its handlers are gone.
    let signals = SignalsBlocked::enter();
    // SAFETY: the child goes on in this thread alone, in `live`, from which nothing returns. The handlers of
    // `sys::fork` see to our own locks; the C library sees to its own.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        live(identity, parent, writer.into_raw_fd(), work);
    }
    let error = io::Error::last_os_error();
    drop(signals);
    drop(writer);
    if pid < 0 {
        return Said::nothing("no process that could answer", &error);
    }
    let said = hear(reader, deadline);
    reap(pid, said.fault.is_none());
    said
}

/// All that the child ever does.
fn live(identity: Identity, parent: libc::pid_t, pipe: RawFd, work: impl FnOnce(&Arc<File>)) -> ! {
    let _ = panic::catch(|| {
        reset_signals();
        // SAFETY: takes nothing. Away from the host's terminal: whoever can write there, types into it.
        unsafe { libc::setsid() };
        let Ok(pipe) = keep_only(pipe) else { return };
        // SAFETY: the number is that of a pipe which nobody else in this process uses.
        let pipe = Arc::new(unsafe { File::from_raw_fd(pipe) });
        match identity.assume().and_then(|()| die_with(parent)) {
            Ok(()) => {
                work(&pipe);
                let _ = (&*pipe).write_all(&[END]);
            }
            Err(error) => {
                let _ = write!(&*pipe, "{NO_WORK}{error}\0");
            }
        }
    });
    // SAFETY: ends the process without the host's atexit handlers and buffers.
    unsafe { libc::_exit(0) }
}

/// Leaves no descriptor open but the pipe, which moves to [`PIPE`], and `/dev/null` in the three places before it. It
/// works without a free descriptor.
fn keep_only(pipe: RawFd) -> io::Result<RawFd> {
    // SAFETY: numbers and a constant text; what is closed here belongs to the parent's side, and the caller does not
    // go on to use it.
    unsafe {
        if libc::dup2(pipe, PIPE) < 0 {
            return Err(io::Error::last_os_error());
        }
        close_from(PIPE + 1);
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        for place in 0..PIPE {
            if null < 0 || libc::dup2(null, place) < 0 {
                libc::close(place);
            }
        }
        if null > PIPE {
            libc::close(null);
        }
    }
    Ok(PIPE)
}

#[cfg(target_os = "linux")]
unsafe fn close_from(first: RawFd) {
    // SAFETY: numbers; the call is in Linux since 5.9, its wrapper only in newer C libraries.
    let is_done = unsafe { libc::syscall(libc::SYS_close_range, first, RawFd::MAX, 0) } == 0;
    if !is_done {
        // SAFETY: as the caller promises.
        unsafe { close_each_from(first) };
    }
}

#[cfg(not(target_os = "linux"))]
unsafe fn close_from(first: RawFd) {
    // SAFETY: as the caller promises.
    unsafe { close_each_from(first) };
}

unsafe fn close_each_from(first: RawFd) {
    // A list of what is open, where the system has one; it is complete before anything is closed.
    let listed: Option<Vec<RawFd>> = std::fs::read_dir("/proc/self/fd").ok().map(|entries| {
        let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        entries.filter_map(number).collect()
    });
    let open = listed.unwrap_or_else(|| (first..MOST_DESCRIPTORS).collect());
    for descriptor in open.into_iter().filter(|descriptor| *descriptor >= first) {
        // SAFETY: as the caller promises; a number that is not open does no harm.
        unsafe { libc::close(descriptor) };
    }
}

/// Gives every signal its default action, but for SIGPIPE, and lets them in.
fn reset_signals() {
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: a number and a constant; those that cannot be changed stay as they are.
        unsafe { libc::signal(signal, if signal == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL }) };
    }
    let mut none = std::mem::MaybeUninit::uninit();
    // SAFETY: fills a set that lives here, then reads it; no old set is wanted.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Ends with the parent. It comes after the change of user, which would undo it.
#[cfg(target_os = "linux")]
fn die_with(parent: libc::pid_t) -> io::Result<()> {
    // SAFETY: take numbers; but for the first one they only take rights away, from this process and from those of the
    // same user who would look into it.
    let is_tied = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
            && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_DUMPABLE, 0) == 0
    };
    if !is_tied {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes nothing, cannot fail.
    if unsafe { libc::getppid() } != parent {
        return Err(io::Error::other("the process that asked is gone"));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with(_parent: libc::pid_t) -> io::Result<()> {
    Ok(())
}

/// Reads until the answer is whole.
fn hear(mut reader: PipeReader, deadline: Instant) -> Said {
    let mut bytes = Vec::new();
    let fault = loop {
        if let Err(fault) = wait_for(&reader, deadline) {
            break Some(fault);
        }
        let mut buffer = [0; 4096];
        match reader.read(&mut buffer) {
            Ok(0) => break Some("the process that was to answer ended before it did".to_owned()),
            Ok(length) => bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break Some(format!("the answer cannot be read: {error}")),
        }
        if let Some(end) = bytes.iter().position(|&byte| byte == END) {
            bytes.truncate(end);
            break None;
        }
        if bytes.len() > MAX_ANSWER_BYTES {
            break Some(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes"));
        }
    };
    // A child that could not even begin says so in place of its work.
    match String::from_utf8_lossy(&bytes).strip_prefix(NO_WORK) {
        Some(why) => Said { bytes: Vec::new(), fault: Some(format!("cannot work as another user than root: {why}")) },
        None => Said { bytes, fault },
    }
}

/// What is there is taken even if the deadline has passed: the machine may have stood still.
fn wait_for(reader: &PipeReader, deadline: Instant) -> Result<(), String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that the last millisecond is not spent in a busy loop.
        let milliseconds = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let mut poll = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure that lives here.
        let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        if ready > 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if ready < 0 && error.kind() != ErrorKind::Interrupted {
            return Err(format!("the answer cannot be awaited: {error}"));
        }
        if left.is_zero() {
            return Err("the process that was to answer did not do so in time, and was ended".to_owned());
        }
    }
}

/// Waits for this child and no other. One that has answered is about to end on its own; what does not end is killed.
fn reap(pid: libc::pid_t, has_answered: bool) {
    if has_answered && is_reaped_within(pid, LONGEST_FAREWELL) || is_reaped(pid) {
        return;
    }
    // SAFETY: numbers. The child was found alive just now; where the host waits for it too, its number is free for
    // others at most since then.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // One that the kernel cannot end, as on a dead network disk, is left to it.
    is_reaped_within(pid, LONGEST_FAREWELL);
}

fn is_reaped_within(pid: libc::pid_t, limit: Duration) -> bool {
    let began = Instant::now();
    loop {
        if is_reaped(pid) {
            return true;
        }
        if began.elapsed() > limit {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether the child is gone. A host that ignores SIGCHLD, or waits for every child, has reaped it already.
fn is_reaped(pid: libc::pid_t) -> bool {
    // SAFETY: no status is wanted.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) != 0 }
}

/// Keeps signals from the calling thread while it lives.
struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    fn enter() -> Self {
        let mut all = std::mem::MaybeUninit::uninit();
        let mut before = std::mem::MaybeUninit::uninit();
        // SAFETY: fills a set that lives here, then hands it over; the old one is written whole, since no argument
        // can be wrong.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set is whole; no old one is wanted.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::privilege;
    use std::fs;

    /// What a child of the user with this number says; none, told aloud, without the right to become it.
    fn said(limit: Duration, work: impl FnOnce(&Arc<File>)) -> Option<Said> {
        if !privilege::is_root() {
            println!("SKIPPED: not root");
            assert_ne!(
                std::env::var("MTASTS_NO_SKIP").as_deref(),
                Ok("1"),
                "skipped, and MTASTS_NO_SKIP=1 forbids that"
            );
            return None;
        }
        let identity = Identity::of_user("54321").unwrap();
        Some(answer_as(identity, Instant::now() + limit, work))
    }

    const LONG: Duration = Duration::from_secs(30);

    fn is_there(pid: i32) -> bool {
        unsafe { libc::kill(pid, 0) == 0 }
    }

    #[test]
    fn the_child_is_another_user_for_good_and_has_nothing_of_its_parents() {
        let _kept_open = (File::open("/etc/passwd").unwrap(), io::pipe().unwrap());
        let before = unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        let work = |pipe: &Arc<File>| {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let open: Vec<_> = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path()).collect();
            let places: Vec<_> = open.iter().filter_map(|path| fs::read_link(path).ok()).collect();
            let shadow = File::open("/etc/shadow").is_ok();
            writeln!(&**pipe, "{status}places {places:?}\nshadow {shadow}").unwrap();
        };
        let Some(said) = said(LONG, work) else { return };
        unsafe { libc::signal(libc::SIGUSR2, before) };
        assert_eq!(said.fault, None);
        let text = String::from_utf8(said.bytes).unwrap();
        let line = |name: &str| {
            let found =
                text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
            found.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("Uid:"), "54321 54321 54321 54321");
        assert_eq!(line("Gid:"), "65534 65534 65534 65534");
        assert_eq!(line("Groups:"), "");
        for capabilities in ["CapPrm:", "CapEff:"] {
            assert_eq!(line(capabilities), "0000000000000000");
        }
        assert_eq!(line("NoNewPrivs:"), "1");
        assert_eq!(line("NSsid:"), line("Pid:"), "it has a session of its own, and so no terminal");
        // Above these are the signals that the C library keeps for itself.
        let signals = |name: &str| u64::from_str_radix(&line(name), 16).unwrap() & 0x7fff_ffff;
        assert_eq!([signals("SigBlk:"), signals("SigCgt:")], [0, 0], "{text}");
        assert_eq!(signals("SigIgn:"), 1 << (libc::SIGPIPE - 1));
        assert_eq!(line("shadow"), "false");
        let places = line("places");
        assert_eq!(places.matches("/dev/null").count(), 3, "{places}");
        assert_eq!(places.matches("pipe:").count(), 1, "{places}");
        assert_eq!(places.matches('"').count(), 2 * 4, "and the directory itself is closed by now: {places}");
    }

    #[test]
    fn an_answer_that_is_there_counts_though_the_deadline_has_passed() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"late\0").unwrap();
        let said = hear(reader, Instant::now());
        assert_eq!((said.bytes.as_slice(), said.fault), (&b"late"[..], None));
    }

    #[test]
    fn a_child_that_overruns_is_ended_and_what_it_has_said_is_kept() {
        let work = |pipe: &Arc<File>| {
            write!(&**pipe, "{}", std::process::id()).unwrap();
            std::thread::sleep(LONG);
        };
        let Some(said) = said(Duration::from_millis(300), work) else { return };
        assert!(said.fault.unwrap().contains("not do so in time"));
        let pid: i32 = String::from_utf8(said.bytes).unwrap().parse().unwrap();
        assert!(!is_there(pid), "neither running nor unreaped");
    }

    #[test]
    fn a_child_that_stays_after_its_answer_is_ended_too() {
        let work = |pipe: &Arc<File>| {
            write!(&**pipe, "{}\0", std::process::id()).unwrap();
            std::thread::sleep(LONG);
        };
        let Some(said) = said(LONG, work) else { return };
        assert_eq!(said.fault, None);
        let pid: i32 = String::from_utf8(said.bytes).unwrap().parse().unwrap();
        assert!(!is_there(pid));
    }

    #[test]
    fn a_child_that_crashes_or_panics_or_talks_without_end_is_a_fault() {
        let crash = |_: &Arc<File>| unsafe { libc::abort() };
        let Some(crashed) = said(LONG, crash) else { return };
        assert!(crashed.fault.unwrap().contains("ended before it did"));
        let panicked = said(LONG, |_| panic!("on purpose")).unwrap();
        assert!(panicked.fault.unwrap().contains("ended before it did"));
        let endless = |pipe: &Arc<File>| while (&**pipe).write_all(&[b'a'; 4096]).is_ok() {};
        let talkative = said(LONG, endless).unwrap();
        assert!(talkative.fault.unwrap().contains("longer than"));
        assert!(talkative.bytes.len() <= MAX_ANSWER_BYTES + 4096);
    }
}
