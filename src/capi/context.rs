//! `mtasts_context`.

use super::guard::{bytes, guarded, object, out, slice};
use super::policy::mtasts_policy;
use super::status::{
    Failure, MTASTS_CACHE_UNAVAILABLE, MTASTS_INVALID_ARGUMENT, MTASTS_INVALID_CONFIG, MTASTS_OK, c_text,
};
use crate::context::{Context, Level, Refreshed};
use crate::discovery::Effort;
use std::ffi::{OsStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Use the cache only: no DNS, no HTTPS.
pub const MTASTS_CACHE_ONLY: c_uint = 1;
/// Ask DNS and fetch the policy now, even if nothing is due. What is cached stays in force when that fails.
pub const MTASTS_REFRESH: c_uint = 2;

/// One configured instance. Any thread may use it, several at once, and so may forked children.
pub struct mtasts_context {
    pub(super) context: Context,
}

/// A function that takes log lines: `user` as it was given, `level` as syslog numbers it (3 error, 4 warning,
/// 5 notice, 7 debug), `line` NUL-terminated without a line end, valid during the call. It is called from the thread
/// whose call it concerns, without any lock held. It may call the library; it must return normally (no exception, no
/// longjmp) and must not free the context.
pub type mtasts_log_function = Option<unsafe extern "C" fn(user: *mut c_void, level: c_int, line: *const c_char)>;

/// Makes a context. Opens no file but the configuration, and asks nobody.
///
/// config_path: path of the configuration, NUL-terminated. NULL: the file that the environment variable MTASTS_CONFIG
/// names (not in a setuid process), else `/etc/mtasts.toml` if it exists, else the defaults.
/// context: takes the new context, which `mtasts_context_free` frees; set to NULL on failure. Not NULL.
///
/// Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_CONFIG (`mtasts_last_error` names file, line and key) or
/// MTASTS_INTERNAL. Any thread; reads one small file.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_new(config_path: *const c_char, context: *mut *mut mtasts_context) -> c_int {
    guarded(|| {
        let context = out(context, "context")?;
        let path = if config_path.is_null() { None } else { Some(bytes(config_path, "config_path")?) };
        let made = Context::new(path.map(|path| Path::new(OsStr::from_bytes(path))))
            .map_err(|fault| Failure::new(MTASTS_INVALID_CONFIG, fault.to_string()))?;
        *context = Box::into_raw(Box::new(mtasts_context { context: made }));
        Ok(MTASTS_OK)
    })
}

/// Frees a context and closes what it holds. Policies and decisions made with it stay valid, and log nothing any more.
///
/// context: a context that no thread uses any more, also not by deciding with one of its policies, or NULL. Any thread; may wait for milliseconds.
///
/// # Safety
/// The pointer must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_free(context: *mut mtasts_context) {
    guarded(|| {
        if !context.is_null() {
            // SAFETY: made by `mtasts_context_new`, and nobody else has it any more, as the caller promises.
            drop(unsafe { Box::from_raw(context) });
        }
        Ok(MTASTS_OK)
    });
}

/// Sets one key of the configuration; it acts on later calls.
///
/// context: not NULL.
/// key: the name of a key as in `mtasts.toml`, NUL-terminated. A table for one domain is the key `domain."example.com"`.
/// value: its value as text, NUL-terminated: numbers in decimal, `true` or `false`, lists with commas between. The value
/// of a table is `{ mode = "enforce", mx = ["mx.example.com"] }` or alike, empty to remove it.
///
/// Meant for the time before the first query: each change keeps the former settings until the context is freed, and a
/// change of the cache forgets what is in memory only. Many tables of domains belong into the file.
///
/// Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_CONFIG (unknown key or impossible value; nothing has
/// changed) or MTASTS_INTERNAL. Any thread; does not block.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_set(
    context: *mut mtasts_context,
    key: *const c_char,
    value: *const c_char,
) -> c_int {
    guarded(|| {
        let context = object(context.cast_const(), "context")?;
        let (key, value) = (text(key, "key")?, text(value, "value")?);
        context.context.set(key, value).map_err(|fault| Failure::new(MTASTS_INVALID_CONFIG, fault.to_string()))?;
        Ok(MTASTS_OK)
    })
}

/// Sends the log lines of a context to a function. Without one a context is silent.
///
/// context: not NULL.
/// function: takes the lines; see `mtasts_log_function`. NULL: silence again.
/// user: handed to the function unchanged; may be NULL; must be valid until the function is replaced and no call is
/// under way, or the context is freed. Threads that use the context call the function at the same time.
///
/// Returns MTASTS_OK, MTASTS_NULL_ARGUMENT or MTASTS_INTERNAL. Any thread; does not block.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_context_set_log(
    context: *mut mtasts_context,
    function: mtasts_log_function,
    user: *mut c_void,
) -> c_int {
    guarded(|| {
        let context = object(context.cast_const(), "context")?;
        let user = HostPointer(user);
        context.context.set_log(function.map(|function| -> crate::context::LogFunction {
            Box::new(move |level: Level, line: &str| {
                let line = c_text(line);
                // SAFETY: the caller promises a function of this type and a pointer that suits it.
                unsafe { function(user.get(), level as c_int, line.as_ptr()) }
            })
        }));
        Ok(MTASTS_OK)
    })
}

/// A pointer that only the host's function looks behind.
struct HostPointer(*mut c_void);
// SAFETY: the library never dereferences it; the header tells that any thread may hand it to the host's function.
unsafe impl Send for HostPointer {}
// SAFETY: as above.
unsafe impl Sync for HostPointer {}

impl HostPointer {
    fn get(&self) -> *mut c_void {
        self.0
    }
}

/// Finds the policy that applies to a domain now (RFC 8461 sections 3 and 5.1).
///
/// context: not NULL.
/// domain: the recipient's domain or that of the next hop, NUL-terminated, in any case, A-labels or UTF-8 U-labels,
/// with or without a final dot. A text that cannot be a domain, an IP address included, has no policy; the reason
/// says so.
/// flags: 0, MTASTS_CACHE_ONLY or MTASTS_REFRESH. With MTASTS_CACHE_ONLY a domain that is not cached has mode none and
/// the reason MTASTS_REASON_NOT_CACHED; or mode unknown, if the configuration says `on_dns_error = "defer"`.
/// timeout_ms: the longest that the call may take, in milliseconds, whatever it waits for; 0: `deadline_seconds` of
/// the configuration.
/// policy: takes a policy object on MTASTS_OK, also when there is no policy (mode none) or nothing is known (mode
/// unknown); `mtasts_policy_free` frees it. Set to NULL on failure. Not NULL.
///
/// Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (unknown flag, both flags, negative timeout) or
/// MTASTS_INTERNAL. Network trouble is no failure but a reason in the policy object. Any thread. May block until the
/// deadline. Where nothing is due, the answer comes from memory at once, or from the database, which is waited for if
/// another program holds it locked. Of several callers with a valid policy one at most waits for the network.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_query(
    context: *mut mtasts_context,
    domain: *const c_char,
    flags: c_uint,
    timeout_ms: c_int,
    policy: *mut *mut mtasts_policy,
) -> c_int {
    guarded(|| {
        let policy = out(policy, "policy")?;
        let context = &object(context.cast_const(), "context")?.context;
        let domain = bytes(domain, "domain")?;
        let answer = context.query(domain, effort(flags)?, timeout(timeout_ms)?);
        *policy = mtasts_policy::of(context, answer);
        Ok(MTASTS_OK)
    })
}

/// Does what `mtasts_query` does, for a message whose MX hosts are known.
///
/// Before an enforced policy of the cache refuses every one of them it is fetched anew, even if its id is unchanged,
/// and the answer is what came of that (RFC 8461 section 5); at most every five minutes for each domain, and not with
/// flags other than 0.
///
/// context, domain, flags, timeout_ms, policy, threads, blocking: as for `mtasts_query`.
/// mx_hosts: the names from the MX records, each NUL-terminated; without an MX record the domain itself. May be NULL if
/// count is 0.
/// count: their number; 0: nothing is known of them.
///
/// Returns what `mtasts_query` returns, and MTASTS_INVALID_ARGUMENT for an impossible count.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_query_for(
    context: *mut mtasts_context,
    domain: *const c_char,
    mx_hosts: *const *const c_char,
    count: usize,
    flags: c_uint,
    timeout_ms: c_int,
    policy: *mut *mut mtasts_policy,
) -> c_int {
    guarded(|| {
        let policy = out(policy, "policy")?;
        let context = &object(context.cast_const(), "context")?.context;
        let domain = bytes(domain, "domain")?;
        let hosts: Result<Vec<&[u8]>, Failure> =
            slice(mx_hosts, count, "mx_hosts")?.iter().map(|host| bytes(*host, "mx_hosts[i]")).collect();
        let answer = context.query_for(domain, &hosts?, effort(flags)?, timeout(timeout_ms)?);
        *policy = mtasts_policy::of(context, answer);
        Ok(MTASTS_OK)
    })
}

/// Fetches the cached policies anew for which that is due, the least recently tried first (RFC 8461 sections 3.3 and
/// 10.2). Queries do the same for the domain that they are about; a pass now and then, hourly say, does it for domains
/// that get no mail, also with `refresh = false`. What is in force stays so when a fetch fails; that is logged, the graver the nearer the end is.
///
/// context: not NULL.
/// max_domains: fetch at most so many policies; 0: all.
/// timeout_ms: the longest that the pass may take, in milliseconds; 0: `deadline_seconds` of the configuration. What is
/// left over is due in the next pass. No single domain takes longer than `deadline_seconds`.
/// done: takes the number of policies that were fetched; may be NULL.
/// failed: takes the number of policies that could not be fetched; may be NULL. Both are 0 on failure.
///
/// Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (negative timeout), MTASTS_CACHE_UNAVAILABLE or
/// MTASTS_INTERNAL. Any thread, and any number of processes at once: each domain is fetched by one of them. Blocks until
/// the end of the pass.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_refresh(
    context: *mut mtasts_context,
    max_domains: c_uint,
    timeout_ms: c_int,
    done: *mut c_uint,
    failed: *mut c_uint,
) -> c_int {
    let tell = |refreshed: Refreshed| {
        for (out, number) in [(done, refreshed.done), (failed, refreshed.failed)] {
            if !out.is_null() {
                // SAFETY: not NULL; that it may be written to is the caller's promise.
                unsafe { out.write(number) };
            }
        }
    };
    tell(Refreshed::default());
    guarded(|| {
        let context = &object(context.cast_const(), "context")?.context;
        let most = usize::try_from(max_domains).unwrap_or(usize::MAX);
        let refreshed = context
            .refresh(most, timeout(timeout_ms)?)
            .map_err(|problem| Failure::new(MTASTS_CACHE_UNAVAILABLE, problem))?;
        tell(refreshed);
        Ok(MTASTS_OK)
    })
}

/// A text argument that must be UTF-8: silently changed it would be another path.
fn text<'a>(argument: *const c_char, name: &str) -> Result<&'a str, Failure> {
    std::str::from_utf8(bytes(argument, name)?)
        .map_err(|_| Failure::new(MTASTS_INVALID_CONFIG, format!("argument `{name}` is not UTF-8")))
}

fn effort(flags: c_uint) -> Result<Effort, Failure> {
    match flags {
        0 => Ok(Effort::default()),
        MTASTS_CACHE_ONLY => Ok(Effort::CacheOnly),
        MTASTS_REFRESH => Ok(Effort::Refresh),
        other => Err(Failure::new(
            MTASTS_INVALID_ARGUMENT,
            format!("argument `flags` is {other:#x}, want 0, MTASTS_CACHE_ONLY or MTASTS_REFRESH"),
        )),
    }
}

pub(super) fn timeout(milliseconds: c_int) -> Result<Option<Duration>, Failure> {
    match u64::try_from(milliseconds) {
        Ok(0) => Ok(None),
        Ok(milliseconds) => Ok(Some(Duration::from_millis(milliseconds))),
        Err(_) => Err(Failure::new(
            MTASTS_INVALID_ARGUMENT,
            format!("argument `timeout_ms` is {milliseconds}, want 0 or a positive number"),
        )),
    }
}
