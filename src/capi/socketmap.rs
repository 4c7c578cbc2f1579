//! Replies for Sendmail and Postfix, which ask a socketmap server.

use super::context::{mtasts_context, timeout};
use super::guard::{guarded, object, slice};
use super::lookup::TextBuffer;
use super::policy::mtasts_policy;
use super::status::{Failure, MTASTS_INVALID_ARGUMENT, MTASTS_OK};
use crate::socketmap::{self, Dialect, Question};
use std::borrow::Cow;
use std::ffi::{c_char, c_int};

/// Sendmail since 8.16, with FEATURE(`sts'); the map `sts`.
pub const MTASTS_DIALECT_SENDMAIL: c_int = 1;
/// Postfix, `smtp_tls_policy_maps`; the map `postfix`.
pub const MTASTS_DIALECT_POSTFIX: c_int = 2;
/// Postfix since 3.10.5, which also checks the name of the MX host and writes TLS reports; the map `postfix-tlsrpt`.
pub const MTASTS_DIALECT_POSTFIX_TLSRPT: c_int = 3;

/// A buffer of this size takes any reply and its final NUL.
pub const MTASTS_REPLY_SIZE: usize = 100_001;

/// Writes a policy as a socketmap server tells it to a mail server (RFC 8461 section 5), for servers that do not leave
/// everything to mtasts_socketmap. Pure.
///
/// policy: not NULL.
/// dialect: one of MTASTS_DIALECT_*. Sendmail and older Postfix hold all mail that is answered in the dialect of newer ones.
/// A policy of mtasts_policy_parse belongs to no domain, so that newer Postfix is told no more than older.
/// buf: takes the reply, NUL-terminated, to be sent as the payload of a netstring: "OK " and what is demanded, for a
/// policy that is enforced; "NOTFOUND " for one that is not and where there is none; "TEMP " and why, in one line, where
/// nothing is known or the policy cannot be told to this mail server. Never an empty text, never "OK" alone and never
/// "PERM", by which Sendmail delivers unchecked. Sendmail reads 255 bytes of names: of more it is told those that fit, and
/// refuses the other hosts. Empty on failure if len is not 0. Not NULL.
/// len: size of buf in bytes; MTASTS_REPLY_SIZE is always enough.
///
/// Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (unknown dialect), MTASTS_BUFFER_TOO_SMALL or
/// MTASTS_INTERNAL; after a failure reply "TEMP " and a word. Any thread; does not block.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_policy_format(
    policy: *const mtasts_policy,
    dialect: c_int,
    buf: *mut c_char,
    len: usize,
) -> c_int {
    guarded(|| {
        let mut buffer = TextBuffer::new(buf, len, "buf")?;
        let policy = object(policy, "policy")?;
        let dialect = match dialect {
            MTASTS_DIALECT_SENDMAIL => Dialect::Sendmail,
            MTASTS_DIALECT_POSTFIX => Dialect::Postfix,
            MTASTS_DIALECT_POSTFIX_TLSRPT => Dialect::PostfixTlsRpt,
            other => {
                let problem = format!("argument `dialect` is {other}, want one of MTASTS_DIALECT_*");
                return Err(Failure::new(MTASTS_INVALID_ARGUMENT, problem));
            }
        };
        buffer.put(&socketmap::reply(&policy.answer, dialect)).map(|()| MTASTS_OK)
    })
}

/// Answers one request of Sendmail or Postfix to a socketmap server, as mtasts_query and mtasts_policy_format do.
///
/// The caller reads netstrings from its clients and writes netstrings to them; what stands inside is the matter of this
/// function.
///
/// context: not NULL.
/// request: the payload of a netstring: the name of a map, a blank and the domain, not NUL-terminated; any bytes. The map
/// says who asks: "sts" Sendmail, "postfix" Postfix, "postfix-tlsrpt" Postfix since 3.10.5. An address, a name in
/// brackets or with a port or with a dot before it, and whatever else is no domain is "NOTFOUND " without a look;
/// another map and a request that is not of this shape are "TEMP " and why. May be NULL if len is 0.
/// len: its length in bytes.
/// timeout_ms: the longest that the call may take, in milliseconds, whatever it waits for; 0: `deadline_seconds` of
/// the configuration. Sendmail waits for 5 seconds and then for the next try of the message: 4500 is right for a server
/// that goes on looking in another thread.
/// reply: takes the reply as mtasts_policy_format writes it; empty on failure if reply_len is not 0. Not NULL.
/// reply_len: size of reply in bytes; MTASTS_REPLY_SIZE is always enough.
///
/// Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (negative timeout, an impossible length),
/// MTASTS_BUFFER_TOO_SMALL or MTASTS_INTERNAL; after a failure reply "TEMP " and a word. Any thread. Blocks as
/// mtasts_query does.
///
/// # Safety
/// The pointers must be as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_socketmap(
    context: *mut mtasts_context,
    request: *const u8,
    len: usize,
    timeout_ms: c_int,
    reply: *mut c_char,
    reply_len: usize,
) -> c_int {
    guarded(|| {
        // The request is read before the buffer is cleared, in case the caller lets one array be both.
        let question = slice(request, len, "request").map(Question::read);
        let mut buffer = TextBuffer::new(reply, reply_len, "reply")?;
        let context = &object(context.cast_const(), "context")?.context;
        let timeout = timeout(timeout_ms)?;
        let text = match question? {
            Ok(question) => Cow::Owned(question.reply(&question.ask(context, timeout))),
            Err(reply) => Cow::Borrowed(reply),
        };
        buffer.put(&text).map(|()| MTASTS_OK)
    })
}
