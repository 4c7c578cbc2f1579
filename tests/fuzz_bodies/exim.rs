//! The arguments that Exim hands over: a domain and the MX list that DNS gave it.

use super::Input;
use super::responder::Responder;
use mtasts::capi::mtasts_match_mx;
use mtasts::exim::{mtasts_exim, mtasts_exim_mode};
use std::ffi::{CStr, CString, c_int, c_uchar};
use std::os::unix::fs::{PermissionsExt, chown};
use std::sync::LazyLock;

const PATTERNS: &CStr = c"*.pinned.test:mx.other.test";
/// A user that the machine does not know.
const SOMEBODY: u32 = 54_321;

/// Under root a child answers that has become the owner of the cache.
static CONFIGURATION: LazyLock<Responder> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let resolver = Responder::start();
    let cache = directory.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o750)).unwrap();
    // Who is not root stays the owner.
    let _ = chown(&cache, Some(SOMEBODY), Some(SOMEBODY));
    let path = directory.path().join("mtasts.toml");
    let text = format!(
        "cache = \"{}/cache.db\"\nnameservers = [\"{}\"]\nsyslog = false\ndeadline_seconds = 5\ncache_entries = 1000\n\
         [domain.\"pinned.test\"]\nmode = \"enforce\"\nmx = [\"*.pinned.test\", \"mx.other.test\"]\n",
        cache.display(),
        resolver.address
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    // SAFETY: every target of this process begins here, before anything reads the environment.
    unsafe { std::env::set_var("MTASTS_CONFIG", path) };
    super::keep_until_exit(directory);
    resolver
});

/// Sees to it that the context of the process works by a configuration of ours.
pub fn configure() {
    LazyLock::force(&CONFIGURATION);
}

pub type Function = unsafe extern "C" fn(*mut *mut c_uchar, c_int, *mut *mut c_uchar) -> c_int;

/// Calls as Exim does.
pub fn call(function: Function, arguments: &[&CStr]) -> (c_int, Vec<u8>) {
    let mut pointers: Vec<*mut c_uchar> =
        arguments.iter().map(|argument| argument.as_ptr().cast_mut().cast::<c_uchar>()).collect();
    let count = c_int::try_from(pointers.len()).unwrap();
    let mut answer = std::ptr::null_mut();
    let _alone = super::alone_with_sqlite();
    // SAFETY: as many texts as told, and a place for a pointer, which afterwards leads to a text.
    unsafe {
        let status = function(&raw mut answer, count, pointers.as_mut_ptr());
        (status, CStr::from_ptr(answer.cast_const().cast()).to_bytes().to_vec())
    }
}

pub fn run(bytes: &[u8]) {
    configure();
    let mut input = Input(bytes);
    let choice = input.byte();
    let given = CString::new(input.text()).unwrap();
    let (domain, list) = match choice % 4 {
        0 => (given, CString::new(input.text()).unwrap()),
        _ => (c"pinned.test".to_owned(), given),
    };
    if choice % 4 == 1 {
        let (status, mode) = call(mtasts_exim_mode, &[&list]);
        let known = ["none", "testing", "enforce", "unknown"].map(str::as_bytes);
        assert!(status == 0 && known.contains(&&*mode), "{status} {}", mode.escape_ascii());
    }
    let (status, text) = call(mtasts_exim, &[&domain, &list]);
    if status != 0 {
        assert_eq!(status, 2);
        assert!(text.starts_with(b"MTA-STS: ") && text.len() <= 410, "{}", text.escape_ascii());
        assert!(text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '), "{}", text.escape_ascii());
        return;
    }
    let is_pinned = domain.as_bytes() == b"pinned.test";
    assert!(!(is_pinned && text.is_empty()), "an enforced policy and no constraint: {list:?}");
    if text.is_empty() || text == b"." {
        return;
    }
    // What Exim expands again has nothing but names in it, each of them listed and asked about.
    let is_plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b':' | b'+');
    assert!(text.iter().all(is_plain), "{}", text.escape_ascii());
    let asked = list.as_bytes().to_ascii_lowercase();
    for host in text.split(|&byte| byte == b':').filter(|host| *host != b"+") {
        assert!(!host.is_empty() && !host.contains(&b'+'), "{}", text.escape_ascii());
        let name = CString::new(host).unwrap();
        // SAFETY: both texts live during the call.
        assert_eq!(unsafe { mtasts_match_mx(PATTERNS.as_ptr(), name.as_ptr()) }, 1, "{name:?} of {list:?}");
        let is_asked = asked.windows(host.len()).any(|part| part == host) || host == domain.as_bytes();
        assert!(is_asked, "{name:?} of {list:?}");
    }
}
