/*
 * libmtasts: MTA-STS (RFC 8461) for mail servers that have none.
 *
 * Two usage stories. One call, on the process's default context:
 *
 *     char patterns[MTASTS_PATTERNS_SIZE];
 *     int mode = mtasts_lookup("example.com", patterns, sizeof patterns);
 *     if (mode == MTASTS_MODE_ENFORCE && mtasts_match_mx(patterns, "mx1.example.com") == 1)
 *         ... deliver to mx1.example.com, over TLS with a certificate valid for that name only
 *     else if (mode == MTASTS_MODE_NONE || mode == MTASTS_MODE_TESTING)
 *         ... deliver as without a policy
 *     else
 *         ... do not use this host now (mode < 0: mtasts_last_error() says why)
 *
 * A mail server with a context of its own asks once for each message and decides for each MX host:
 *
 *     mtasts_context *context;
 *     mtasts_policy *policy;      const char *mx_hosts[] = {"mx1.example.com", ...};
 *     mtasts_decision *decision, *final;
 *     mtasts_context_new(NULL, &context);
 *     mtasts_query_for(context, "example.com", mx_hosts, mx_count, 0, 0, &policy);
 *     mtasts_policy_decide(policy, "mx1.example.com", MTASTS_DANE_NOT_CHECKED, &decision);
 *     switch (mtasts_decision_action(decision)) {
 *     case MTASTS_ACTION_REQUIRE_TLS:   connect, STARTTLS, send mtasts_decision_sni(decision), verify against it
 *     ...
 *     }
 *     mtasts_decision_tls(decision, MTASTS_TLS_OK, &final);
 *
 * Where its TLS library does not judge the host's certificates, mtasts_decision_verify() does. mtasts_refresh(), called
 * hourly or so, keeps the policies of domains alive that get no mail.
 *
 * Results. A status is MTASTS_OK (0) or a positive MTASTS_ number. A function that returns a value gives minus a
 * status when it fails. Nothing that a careless caller gets by mistake (0, NULL, an ignored error) reads as "deliver":
 * an action is never 0. Network trouble is a reason in the answer, never a failed call.
 *
 * Objects are opaque and outlive the context that made them. Text that a function returns belongs to the object that
 * was asked. Any thread may use any context. NULL never crashes; each comment says what it gives. Values of enums are
 * handed over as int, so that their size is the same for every compiler. Questions may also be asked from an atexit
 * handler or a destructor of thread-specific data; a thread that lives no longer than the call then asks DNS.
 */

#ifndef MTASTS_H
#define MTASTS_H

#include <stddef.h>
#include <stdint.h>

/* Version of this header; mtasts_version() tells that of the library. */

/** Success. */
#define MTASTS_OK 0

/** An argument that must not be NULL is NULL. */
#define MTASTS_NULL_ARGUMENT 1

/** An argument has a value that it cannot have: an unknown flag or state, a negative timeout. */
#define MTASTS_INVALID_ARGUMENT 2

/** The configuration has a fault; mtasts_last_error names file, line and key. */
#define MTASTS_INVALID_CONFIG 3

/** The buffer does not hold the whole text and its final NUL. */
#define MTASTS_BUFFER_TOO_SMALL 4

/** The policy is malformed; mtasts_last_error names the line. */
#define MTASTS_INVALID_POLICY 5

/** There is no STS record. */
#define MTASTS_NO_RECORD 6

/** There is more than one STS record, or the one is malformed. */
#define MTASTS_INVALID_RECORD 7

/** The certificate chain does not verify; mtasts_last_error says what is wrong with it. */
#define MTASTS_NOT_VERIFIED 8

/** A fault inside libmtasts. Nothing may be concluded from the call. */
#define MTASTS_INTERNAL 9

/** The cache cannot be read; mtasts_last_error says why and what would mend it. */
#define MTASTS_CACHE_UNAVAILABLE 10

/** No policy applies, or one of mode none: MTA-STS sets no constraint. */
#define MTASTS_MODE_NONE 0

/** Deliver as without a policy; failures may be reported. */
#define MTASTS_MODE_TESTING 1

/** Deliver only to listed hosts over verified TLS. */
#define MTASTS_MODE_ENFORCE 2

/**
 * It is not known whether there is a policy: keep the message. DNS did not answer and the configuration says
 * on_dns_error = "defer"; or nothing is cached and the caller asked not to go further, under the same setting; or another
 * asker's fetch was waited for, and then the time was too short; or the process has no descriptor left to read the cache
 * with, which may hold a policy.
 */
#define MTASTS_MODE_UNKNOWN 3

/** A buffer of this size takes the mx patterns of any policy. */
#define MTASTS_PATTERNS_SIZE 65537

/** Major version of the header. */
#define MTASTS_VERSION_MAJOR 0

/** Minor version of the header. */
#define MTASTS_VERSION_MINOR 1

/** Patch version of the header. */
#define MTASTS_VERSION_PATCH 0

/** Use the cache only: no DNS, no HTTPS. */
#define MTASTS_CACHE_ONLY 1

/** Ask DNS and fetch the policy now, even if nothing is due. What is cached stays in force when that fails. */
#define MTASTS_REFRESH 2

/** A buffer of this size takes any policy id and its final NUL. */
#define MTASTS_ID_SIZE 33

/** Sendmail since 8.16, with FEATURE(sts'); the map sts. */
#define MTASTS_DIALECT_SENDMAIL 1

/** Postfix, smtp_tls_policy_maps; the map postfix. */
#define MTASTS_DIALECT_POSTFIX 2

/** Postfix since 3.10.5, which also checks the name of the MX host and writes TLS reports; the map postfix-tlsrpt. */
#define MTASTS_DIALECT_POSTFIX_TLSRPT 3

/** A buffer of this size takes any reply and its final NUL. */
#define MTASTS_REPLY_SIZE 100001

/** Why an answer or a decision is what it is. */
typedef enum mtasts_reason {
    /** The cached policy is in force and its next check is not due. */
    MTASTS_REASON_CACHED = 1,
    /** DNS still shows the id of the cached policy. */
    MTASTS_REASON_CONFIRMED = 2,
    /** The policy has just been fetched. */
    MTASTS_REASON_FETCHED = 3,
    /** The caller handed in the policy body. */
    MTASTS_REASON_PARSED = 4,
    /** The cached policy is in force, and another asker looks for a newer one. */
    MTASTS_REASON_BEING_CHECKED = 5,
    /** The cached policy is in force, and the caller asked not to go further. */
    MTASTS_REASON_NOT_CHECKED = 6,
    /** The cached policy listed none of the message's MX hosts, and was fetched anew for that. */
    MTASTS_REASON_HEALED = 7,
    /** The configuration exempts the domain from its policy. */
    MTASTS_REASON_EXEMPTED = 8,
    /** The configuration has a policy for the domain. */
    MTASTS_REASON_PINNED = 9,
    /** The domain publishes no STS record. */
    MTASTS_REASON_NO_RECORD = 10,
    /** The domain publishes more than one STS record, which counts as none. */
    MTASTS_REASON_SEVERAL_RECORDS = 11,
    /** The STS record is malformed, which counts as none. */
    MTASTS_REASON_MALFORMED_RECORD = 12,
    /** DNS gave no answer about the STS record. */
    MTASTS_REASON_DNS_FAILED = 13,
    /** An IP address has no policy. */
    MTASTS_REASON_ADDRESS_LITERAL = 14,
    /** The text cannot be the name of a domain. */
    MTASTS_REASON_INVALID_DOMAIN = 15,
    /** Nothing is cached, and the caller asked not to go further. */
    MTASTS_REASON_NOT_CACHED = 16,
    /** Another asker was waited for, and then there was not enough time left to find out. */
    MTASTS_REASON_WAITED_IN_VAIN = 17,
    /** The cached policy lists none of the message's MX hosts, and was fetched too recently to be fetched again for that. */
    MTASTS_REASON_FETCHED_RECENTLY = 18,
    /** The last fetch for this id failed less than five minutes ago. */
    MTASTS_REASON_BACKING_OFF = 30,
    /** The policy host has no address. */
    MTASTS_REASON_POLICY_HOST_NOT_FOUND = 31,
    /** No address of the policy host takes a connection. */
    MTASTS_REASON_POLICY_HOST_UNREACHABLE = 32,
    /** The policy host did not answer in time. */
    MTASTS_REASON_POLICY_HOST_TIMED_OUT = 33,
    /** The policy host points into a private network. */
    MTASTS_REASON_POLICY_HOST_PRIVATE_ADDRESS = 34,
    /** The TLS handshake with the policy host failed. */
    MTASTS_REASON_POLICY_HOST_TLS_FAILED = 35,
    /** The certificate of the policy host has expired or is not valid yet. */
    MTASTS_REASON_POLICY_HOST_CERTIFICATE_EXPIRED = 36,
    /** The certificate of the policy host does not lead to a trusted root. */
    MTASTS_REASON_POLICY_HOST_CERTIFICATE_NOT_TRUSTED = 37,
    /** The certificate of the policy host is for another name. */
    MTASTS_REASON_POLICY_HOST_CERTIFICATE_HOST_MISMATCH = 38,
    /** The policy host answered with a status other than 200. */
    MTASTS_REASON_POLICY_HOST_STATUS = 39,
    /** The policy host answered with a media type other than text/plain. */
    MTASTS_REASON_POLICY_HOST_MEDIA_TYPE = 40,
    /** The policy host answered in a content coding that was not asked for. */
    MTASTS_REASON_POLICY_HOST_CONTENT_ENCODING = 41,
    /** The policy host closed the connection before the end of the policy. */
    MTASTS_REASON_POLICY_HOST_INCOMPLETE_BODY = 42,
    /** The answer of the policy host is not HTTP. */
    MTASTS_REASON_POLICY_HOST_PROTOCOL = 43,
    /** The policy is larger than 65536 bytes. */
    MTASTS_REASON_POLICY_TOO_LARGE = 44,
    /** The policy is malformed. */
    MTASTS_REASON_POLICY_INVALID = 45,
    /** This machine has no trusted root certificates to verify with. */
    MTASTS_REASON_NO_TRUSTED_ROOTS = 46,
    /** DNS gave no answer about the address of the policy host. */
    MTASTS_REASON_POLICY_HOST_DNS_FAILED = 47,
    /** No policy applies: the recipient's domain sets no constraint. */
    MTASTS_REASON_NO_POLICY = 60,
    /** The policy has mode none. */
    MTASTS_REASON_MODE_NONE = 61,
    /** The policy has mode testing: deliver, and report failures. */
    MTASTS_REASON_TESTING = 62,
    /** The enforced policy lists the MX host. */
    MTASTS_REASON_MX_LISTED = 63,
    /** The policy does not list the MX host. */
    MTASTS_REASON_MX_NOT_LISTED = 64,
    /** It is not known whether a policy applies. */
    MTASTS_REASON_POLICY_UNKNOWN = 65,
    /** A usable TLSA set governs the connection. */
    MTASTS_REASON_DANE_GOVERNS = 66,
    /** TLSA records exist but none is usable: TLS is needed, without authentication by DANE. */
    MTASTS_REASON_DANE_UNUSABLE = 67,
    /** DANE failed for the MX host, which no policy can mend. */
    MTASTS_REASON_DANE_FAILED = 68,
    /** The TLS session meets what the policy asks for. */
    MTASTS_REASON_TLS_VERIFIED = 70,
    /** The MX host offers no STARTTLS. */
    MTASTS_REASON_STARTTLS_NOT_OFFERED = 71,
    /** The TLS handshake with the MX host failed. */
    MTASTS_REASON_TLS_FAILED = 72,
    /** The certificate of the MX host is for another name. */
    MTASTS_REASON_MX_CERTIFICATE_HOST_MISMATCH = 73,
    /** The certificate of the MX host does not lead to a trusted root. */
    MTASTS_REASON_MX_CERTIFICATE_NOT_TRUSTED = 74,
    /** The certificate of the MX host has expired or is not valid yet. */
    MTASTS_REASON_MX_CERTIFICATE_EXPIRED = 75,
    /** The certificate of the MX host is malformed, missing, or not made for a server. */
    MTASTS_REASON_MX_CERTIFICATE_INVALID = 76,
} mtasts_reason;

/** Failure types of TLS reports (RFC 8460 section 4.3). 0 stands for "nothing to report". */
typedef enum mtasts_result_type {
    /** Nothing went wrong, or nothing that is to be reported. */
    MTASTS_RESULT_TYPE_NONE = 0,
    /** starttls-not-supported. */
    MTASTS_RESULT_TYPE_STARTTLS_NOT_SUPPORTED = 1,
    /** certificate-host-mismatch. */
    MTASTS_RESULT_TYPE_CERTIFICATE_HOST_MISMATCH = 2,
    /** certificate-expired. */
    MTASTS_RESULT_TYPE_CERTIFICATE_EXPIRED = 3,
    /** certificate-not-trusted. */
    MTASTS_RESULT_TYPE_CERTIFICATE_NOT_TRUSTED = 4,
    /** validation-failure. */
    MTASTS_RESULT_TYPE_VALIDATION_FAILURE = 5,
    /** tlsa-invalid. */
    MTASTS_RESULT_TYPE_TLSA_INVALID = 6,
    /** dnssec-invalid. */
    MTASTS_RESULT_TYPE_DNSSEC_INVALID = 7,
    /** dane-required. */
    MTASTS_RESULT_TYPE_DANE_REQUIRED = 8,
    /** sts-policy-fetch-error. */
    MTASTS_RESULT_TYPE_STS_POLICY_FETCH_ERROR = 9,
    /** sts-policy-invalid. */
    MTASTS_RESULT_TYPE_STS_POLICY_INVALID = 10,
    /** sts-webpki-invalid. */
    MTASTS_RESULT_TYPE_STS_WEBPKI_INVALID = 11,
} mtasts_result_type;

/** What the mail server may do. Never 0, so that no forgotten or failed call reads as permission. */
typedef enum mtasts_action {
    /** Deliver: there is no constraint, or every one is met. */
    MTASTS_ACTION_DELIVER = 1,
    /** Deliver; failures are to be reported (mode testing). */
    MTASTS_ACTION_DELIVER_REPORT = 2,
    /** Deliver only over TLS; the certificate need not be verified by PKIX. */
    MTASTS_ACTION_REQUIRE_ENCRYPTION = 3,
    /** Deliver only over TLS with a certificate that is valid for the MX host; send its name as SNI. */
    MTASTS_ACTION_REQUIRE_TLS = 4,
    /** Do not use this host; try the next one, and keep the message if there is none. */
    MTASTS_ACTION_SKIP_HOST = 5,
    /** Keep the message and try later. */
    MTASTS_ACTION_DEFER = 6,
} mtasts_action;

/** What the mail server knows from DANE about an MX host (RFC 7672 section 2.2). */
typedef enum mtasts_dane {
    /** The mail server does not do DANE. */
    MTASTS_DANE_NOT_CHECKED = 0,
    /** The answer is insecure, or there is no TLSA record. */
    MTASTS_DANE_ABSENT = 1,
    /** There is a secure TLSA set in which no record can be used. */
    MTASTS_DANE_UNUSABLE = 2,
    /**
     * A usable TLSA set governs the connection; the mail server verifies by it, in place of PKIX. What does not match
     * is Failed, before the handshake or as the outcome of it.
     */
    MTASTS_DANE_USABLE = 3,
    /** No TLSA record matches, or the lookup was bogus, failed or timed out. */
    MTASTS_DANE_FAILED = 4,
} mtasts_dane;

/**
 * How the TLS handshake with the MX host went, as the mail server's TLS library names it.
 *
 * The certificate states are the verdict of PKIX. Under a usable TLSA set PKIX has no say: a handshake whose
 * certificate matches no TLSA record is Failed, whatever else is wrong with it.
 */
typedef enum mtasts_tls {
    /** The session stands, and the certificate is valid for the MX host. */
    MTASTS_TLS_OK = 1,
    /** The host does not offer STARTTLS, or refuses it. */
    MTASTS_TLS_NO_STARTTLS = 2,
    /** The handshake failed for another reason than the certificate. */
    MTASTS_TLS_FAILED = 3,
    /** The certificate is for another name. */
    MTASTS_TLS_HOST_MISMATCH = 4,
    /** The certificate does not lead to a trusted root. */
    MTASTS_TLS_NOT_TRUSTED = 5,
    /** The certificate has expired or is not valid yet. */
    MTASTS_TLS_EXPIRED = 6,
    /** The certificate is unusable for another reason: malformed, missing, or not made for a server. */
    MTASTS_TLS_CERTIFICATE_INVALID = 7,
} mtasts_tls;

/** One configured instance. Any thread may use it, several at once, and so may forked children. */
typedef struct mtasts_context mtasts_context;

/**
 * What a mail server may do with one MX host, and why. It does not change and outlives the policy that it was made
 * from. Any number of threads may read it at once; freeing it needs exclusive ownership.
 */
typedef struct mtasts_decision mtasts_decision;

/**
 * The answer to a question about a domain: its policy, or that it has none, and why. It does not change and outlives
 * its context. Any number of threads may read it at once; freeing it needs exclusive ownership.
 */
typedef struct mtasts_policy mtasts_policy;

/**
 * A function that takes log lines: user as it was given, level as syslog numbers it (3 error, 4 warning,
 * 5 notice, 7 debug), line NUL-terminated without a line end, valid during the call. It is called from the thread
 * whose call it concerns, without any lock held. It may call the library; it must return normally (no exception, no
 * longjmp) and must not free the context.
 */
typedef void (*mtasts_log_function)(void *user, int level, const char *line);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Says what was wrong with the last call of this thread that failed, and what would be right.
 *
 * Returns one line of text, never NULL, empty before the first failure. It belongs to the library and is valid until
 * the next failing call of the same thread. Successful calls leave it as it is, so that it means something after a
 * failed call only. Any thread; does not block.
 */
const char *mtasts_last_error(void);

/**
 * Names a status in a few words.
 *
 * status: a status as mtasts_ functions return it, or its negative. Returns static text, never NULL; for an unknown
 * number text that says so. Any thread; does not block.
 */
const char *mtasts_status_text(int status);

/**
 * Tells which version of the library is loaded, as "MAJOR.MINOR.PATCH".
 *
 * Returns static text, never NULL. Any thread; does not block.
 */
const char *mtasts_version(void);

/**
 * Looks up the policy of a domain on the process's default context (RFC 8461 sections 3 and 5.1).
 *
 * Knows no MX hosts and therefore fetches nothing for their sake, as mtasts_query_for does.
 *
 * The default context is made by the first call as mtasts_context_new with NULL makes one; mtasts_cleanup closes it.
 *
 * domain: the recipient's domain or that of the next hop, NUL-terminated, in any case, A-labels or UTF-8 U-labels,
 * with or without a final dot. A text that cannot be a domain, an IP address included, has no policy.
 * buf: takes the mx patterns of the policy, joined by ":" and NUL-terminated; empty where no policy applies. Not NULL.
 * len: size of buf in bytes; MTASTS_PATTERNS_SIZE is always enough.
 *
 * Returns MTASTS_MODE_NONE, MTASTS_MODE_TESTING, MTASTS_MODE_ENFORCE or MTASTS_MODE_UNKNOWN, or a negative status:
 * -MTASTS_NULL_ARGUMENT, -MTASTS_INVALID_CONFIG, -MTASTS_BUFFER_TOO_SMALL (buf then holds "" if len is not 0), -MTASTS_INTERNAL. Take a
 * negative result as "keep the message". Network trouble is no failure: what is cached stays in force.
 *
 * Any thread. May block up to deadline_seconds of the configuration; blocks as mtasts_query does.
 */
int mtasts_lookup(const char *domain,
                  char *buf,
                  size_t len);

/**
 * Tells whether a list of mx patterns covers an MX host (RFC 8461 section 4.1).
 *
 * patterns: as mtasts_lookup gives them: patterns joined by ":", NUL-terminated, in any case. What is not a
 * pattern covers nothing.
 * mx_host: the name from the MX record, not the target of a CNAME, NUL-terminated; in any case, with or without a
 * final dot. What is not a host name is not covered.
 *
 * Returns 1 if one of the patterns covers the host, 0 if none does, or -MTASTS_NULL_ARGUMENT or -MTASTS_INTERNAL.
 * Compare with 1, so that a failure never reads as a match. Any thread; does not block.
 */
int mtasts_match_mx(const char *patterns,
                    const char *mx_host);

/**
 * Closes what the default context of mtasts_lookup holds: its database and its memory.
 *
 * A later mtasts_lookup reads the configuration again and opens anew. Any thread, also while others are looking up:
 * they end on what they have. May wait for milliseconds.
 */
void mtasts_cleanup(void);

/**
 * Makes a context. Opens no file but the configuration, and asks nobody.
 *
 * config_path: path of the configuration, NUL-terminated. NULL: the file that the environment variable MTASTS_CONFIG
 * names (not in a setuid process), else /etc/mtasts.toml if it exists, else the defaults.
 * context: takes the new context, which mtasts_context_free frees; set to NULL on failure. Not NULL.
 *
 * Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_CONFIG (mtasts_last_error names file, line and key) or
 * MTASTS_INTERNAL. Any thread; reads one small file.
 */
int mtasts_context_new(const char *config_path,
                       struct mtasts_context **context);

/**
 * Frees a context and closes what it holds. Policies and decisions made with it stay valid, and log nothing any more.
 *
 * context: a context that no thread uses any more, also not by deciding with one of its policies, or NULL. Any thread; may wait for milliseconds.
 */
void mtasts_context_free(struct mtasts_context *context);

/**
 * Sets one key of the configuration; it acts on later calls.
 *
 * context: not NULL.
 * key: the name of a key as in mtasts.toml, NUL-terminated. A table for one domain is the key domain."example.com".
 * value: its value as text, NUL-terminated: numbers in decimal, true or false, lists with commas between. The value
 * of a table is { mode = "enforce", mx = ["mx.example.com"] } or alike, empty to remove it.
 *
 * Meant for the time before the first query: each change keeps the former settings until the context is freed, and a
 * change of the cache forgets what is in memory only. Many tables of domains belong into the file.
 *
 * Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_CONFIG (unknown key or impossible value; nothing has
 * changed) or MTASTS_INTERNAL. Any thread; does not block.
 */
int mtasts_context_set(struct mtasts_context *context,
                       const char *key,
                       const char *value);

/**
 * Sends the log lines of a context to a function. Without one a context is silent.
 *
 * context: not NULL.
 * function: takes the lines; see mtasts_log_function. NULL: silence again.
 * user: handed to the function unchanged; may be NULL; must be valid until the function is replaced and no call is
 * under way, or the context is freed. Threads that use the context call the function at the same time.
 *
 * Returns MTASTS_OK, MTASTS_NULL_ARGUMENT or MTASTS_INTERNAL. Any thread; does not block.
 */
int mtasts_context_set_log(struct mtasts_context *context,
                           mtasts_log_function function,
                           void *user);

/**
 * Finds the policy that applies to a domain now (RFC 8461 sections 3 and 5.1).
 *
 * context: not NULL.
 * domain: the recipient's domain or that of the next hop, NUL-terminated, in any case, A-labels or UTF-8 U-labels,
 * with or without a final dot. A text that cannot be a domain, an IP address included, has no policy; the reason
 * says so.
 * flags: 0, MTASTS_CACHE_ONLY or MTASTS_REFRESH. With MTASTS_CACHE_ONLY a domain that is not cached has mode none and
 * the reason MTASTS_REASON_NOT_CACHED; or mode unknown, if the configuration says on_dns_error = "defer".
 * timeout_ms: the longest that the call may take, in milliseconds, whatever it waits for; 0: deadline_seconds of
 * the configuration.
 * policy: takes a policy object on MTASTS_OK, also when there is no policy (mode none) or nothing is known (mode
 * unknown); mtasts_policy_free frees it. Set to NULL on failure. Not NULL.
 *
 * Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (unknown flag, both flags, negative timeout) or
 * MTASTS_INTERNAL. Network trouble is no failure but a reason in the policy object. Any thread. May block until the
 * deadline. Where nothing is due, the answer comes from memory at once, or from the database, which is waited for if
 * another program holds it locked. Of several callers with a valid policy one at most waits for the network.
 */
int mtasts_query(struct mtasts_context *context,
                 const char *domain,
                 unsigned int flags,
                 int timeout_ms,
                 struct mtasts_policy **policy);

/**
 * Does what mtasts_query does, for a message whose MX hosts are known.
 *
 * Before an enforced policy of the cache refuses every one of them it is fetched anew, even if its id is unchanged,
 * and the answer is what came of that (RFC 8461 section 5); at most every five minutes for each domain, and not with
 * flags other than 0.
 *
 * context, domain, flags, timeout_ms, policy, threads, blocking: as for mtasts_query.
 * mx_hosts: the names from the MX records, each NUL-terminated; without an MX record the domain itself. May be NULL if
 * count is 0.
 * count: their number; 0: nothing is known of them.
 *
 * Returns what mtasts_query returns, and MTASTS_INVALID_ARGUMENT for an impossible count.
 */
int mtasts_query_for(struct mtasts_context *context,
                     const char *domain,
                     const char *const *mx_hosts,
                     size_t count,
                     unsigned int flags,
                     int timeout_ms,
                     struct mtasts_policy **policy);

/**
 * Fetches the cached policies anew for which that is due, the least recently tried first (RFC 8461 sections 3.3 and
 * 10.2). Queries do the same for the domain that they are about; a pass now and then, hourly say, does it for domains
 * that get no mail, also with refresh = false. What is in force stays so when a fetch fails; that is logged, the graver the nearer the end is.
 *
 * context: not NULL.
 * max_domains: fetch at most so many policies; 0: all.
 * timeout_ms: the longest that the pass may take, in milliseconds; 0: deadline_seconds of the configuration. What is
 * left over is due in the next pass. No single domain takes longer than deadline_seconds.
 * done: takes the number of policies that were fetched; may be NULL.
 * failed: takes the number of policies that could not be fetched; may be NULL. Both are 0 on failure.
 *
 * Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (negative timeout), MTASTS_CACHE_UNAVAILABLE or
 * MTASTS_INTERNAL. Any thread, and any number of processes at once: each domain is fetched by one of them. Blocks until
 * the end of the pass.
 */
int mtasts_refresh(struct mtasts_context *context,
                   unsigned int max_domains,
                   int timeout_ms,
                   unsigned int *done,
                   unsigned int *failed);

/**
 * Reads a policy body that the caller has (RFC 8461 section 3.2). Pure: no I/O.
 *
 * body: the body as served, not NUL-terminated; any bytes. Not NULL, also if len is 0. Not kept.
 * len: its length in bytes.
 * policy: takes a policy object on MTASTS_OK, without domain and id, fetched now, dane_wins off, trusting the
 * system's roots; mtasts_policy_free frees it. Set to NULL on failure. Not NULL.
 *
 * Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (an impossible length), MTASTS_INVALID_POLICY
 * (mtasts_last_error names the line and what is wrong with it) or MTASTS_INTERNAL. Any thread; does not block.
 */
int mtasts_policy_parse(const uint8_t *body,
                        size_t len,
                        struct mtasts_policy **policy);

/**
 * Tells what applies to the domain: MTASTS_MODE_NONE, MTASTS_MODE_TESTING, MTASTS_MODE_ENFORCE or
 * MTASTS_MODE_UNKNOWN (RFC 8461 section 5). Where the configuration says observe, an enforced policy counts as testing,
 * whatever its body says.
 *
 * policy: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
 */
int mtasts_policy_mode(const struct mtasts_policy *policy);

/**
 * Tells the policy domain as an A-label name in lower case without a final dot; empty if the question named none.
 *
 * policy: NULL gives NULL. The text belongs to the policy object. Any thread; does not block.
 */
const char *mtasts_policy_domain(const struct mtasts_policy *policy);

/**
 * Tells the id that the STS record showed when the policy was fetched (RFC 8461 section 3.1); empty without one.
 *
 * policy: NULL gives NULL. The text belongs to the policy object. Any thread; does not block.
 */
const char *mtasts_policy_id(const struct mtasts_policy *policy);

/**
 * Tells where the policy comes from: "cache", "https", "configuration", "caller" (mtasts_policy_parse) or "none".
 *
 * policy: NULL gives NULL. The text belongs to the policy object. Any thread; does not block.
 */
const char *mtasts_policy_source(const struct mtasts_policy *policy);

/**
 * Tells why the answer is what it is, in one line for a person. It is not meant to be taken apart.
 *
 * policy: NULL gives NULL. The text belongs to the policy object. Any thread; does not block.
 */
const char *mtasts_policy_reason_text(const struct mtasts_policy *policy);

/**
 * Tells why the answer is what it is, as one of MTASTS_REASON_*.
 *
 * policy: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
 */
int mtasts_policy_reason(const struct mtasts_policy *policy);

/**
 * Tells what a TLS report says of how the answer came about (RFC 8460 section 4.3), as one of MTASTS_RESULT_TYPE_*:
 * how the fetch failed, also while it is not repeated and while an older policy stays in force. 0 if nothing is to be
 * reported, as under a policy of mode none (RFC 8461 section 6).
 *
 * policy: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
 */
int mtasts_policy_result_type(const struct mtasts_policy *policy);

/**
 * Tells the lifetime of the policy in seconds, at most 31557600 (RFC 8461 section 3.2); 0 without a policy.
 *
 * policy: NULL gives 0. Any thread; does not block.
 */
uint64_t mtasts_policy_max_age(const struct mtasts_policy *policy);

/**
 * Tells when the policy was fetched, in seconds since 1970 UTC; 0 without a policy. For one of the configuration it is the
 * time of the question, and its end is that of its table or a year later.
 *
 * policy: NULL gives 0. Any thread; does not block.
 */
int64_t mtasts_policy_fetched_at(const struct mtasts_policy *policy);

/**
 * Tells the last second in which the policy applies, in seconds since 1970 UTC (RFC 8461 section 5.1); 0 without a
 * policy.
 *
 * policy: NULL gives 0. Any thread; does not block.
 */
int64_t mtasts_policy_expires_at(const struct mtasts_policy *policy);

/**
 * Tells how many mx patterns the policy has.
 *
 * policy: NULL gives 0. Any thread; does not block.
 */
size_t mtasts_policy_mx_count(const struct mtasts_policy *policy);

/**
 * Tells one mx pattern, in lower case: a host name, or "*." and a domain.
 *
 * policy: NULL gives NULL.
 * index: from 0 to mtasts_policy_mx_count - 1; beyond that the result is NULL.
 * The text belongs to the policy object. Any thread; does not block.
 */
const char *mtasts_policy_mx(const struct mtasts_policy *policy, size_t index);

/**
 * Gives the policy body as it was served (RFC 8460 section 4.4 wants it unchanged).
 *
 * policy: NULL gives NULL.
 * len: takes the length in bytes, 0 without a policy; may be NULL.
 * The bytes belong to the policy object and are not NUL-terminated; NULL without a policy. Any thread; does not block.
 */
const uint8_t *mtasts_policy_body(const struct mtasts_policy *policy,
                                  size_t *len);

/**
 * Tells how many lints the policy has: what is legal but odd in it.
 *
 * policy: NULL gives 0. Any thread; does not block.
 */
size_t mtasts_policy_lint_count(const struct mtasts_policy *policy);

/**
 * Tells one lint, a line for a person.
 *
 * policy: NULL gives NULL.
 * index: from 0 to mtasts_policy_lint_count - 1; beyond that the result is NULL.
 * The text belongs to the policy object. Any thread; does not block.
 */
const char *mtasts_policy_lint(const struct mtasts_policy *policy, size_t index);

/**
 * Tells whether the mx patterns of the policy cover an MX host (RFC 8461 section 4.1), whatever the mode.
 *
 * policy: not NULL.
 * mx_host: the name from the MX record, not the target of a CNAME, NUL-terminated; in any case, with or without a
 * final dot. What is not a host name is not covered.
 *
 * Returns 1, 0, or -MTASTS_NULL_ARGUMENT or -MTASTS_INTERNAL; without a policy 0. Compare with 1, so that a failure
 * never reads as a match. Any thread; does not block.
 */
int mtasts_policy_allows_mx(const struct mtasts_policy *policy,
                            const char *mx_host);

/**
 * Frees a policy object.
 *
 * policy: an object that no thread uses any more, or NULL. Any thread; does not block.
 */
void mtasts_policy_free(struct mtasts_policy *policy);

/**
 * Decides about one MX host before a connection is made (RFC 8461 sections 4 and 5, RFC 7672 section 2.2). No I/O.
 *
 * Where the configuration says observe, an enforced policy is decided as one in testing: what would have been refused
 * has a result type other than 0, now or after mtasts_decision_tls, and is logged by the context's log function.
 *
 * policy: not NULL.
 * mx_host: the name from the MX record, not the target of a CNAME; without an MX record the domain itself.
 * NUL-terminated, in any case, with or without a final dot.
 * dane: one of MTASTS_DANE_*: what the mail server knows from DANE about this host; MTASTS_DANE_NOT_CHECKED if it does
 * not do DANE.
 * decision: takes the decision, which mtasts_decision_free frees; set to NULL on failure. Not NULL.
 *
 * Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (unknown DANE state) or MTASTS_INTERNAL. Any thread;
 * does not block.
 */
int mtasts_policy_decide(const struct mtasts_policy *policy,
                         const char *mx_host,
                         int dane,
                         struct mtasts_decision **decision);

/**
 * Decides again after STARTTLS and the handshake (RFC 8461 sections 4.2 and 5). Pure.
 *
 * before: the decision that was acted upon; not NULL; stays valid.
 * tls_state: one of MTASTS_TLS_*: how the handshake went. The certificate is to be judged by PKIX against
 * mtasts_decision_sni, the MX host: by the mail server's TLS library, or by mtasts_decision_verify. If the decision
 * was made with MTASTS_DANE_USABLE, the mail server verifies by its TLSA records instead, and whatever that verification
 * rejects is MTASTS_TLS_FAILED, also a wrong name or date under DANE-TA (RFC 7672 section 3.1). The other states are for
 * what PKIX says, which then stops nothing.
 * after: takes the new decision, which mtasts_decision_free frees; set to NULL on failure. Not NULL. Its action is
 * MTASTS_ACTION_DELIVER, MTASTS_ACTION_DELIVER_REPORT, MTASTS_ACTION_SKIP_HOST or MTASTS_ACTION_DEFER.
 *
 * Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (unknown TLS state) or MTASTS_INTERNAL. Any thread;
 * does not block.
 */
int mtasts_decision_tls(const struct mtasts_decision *before,
                        int tls_state,
                        struct mtasts_decision **after);

/**
 * Verifies the chain of certificates that the MX host showed in its TLS session, for mail servers whose TLS library
 * does not judge it (RFC 8461 section 4.2).
 *
 * Wanted is a path to a trusted root, every certificate below the root in date, and the MX host as a DNS name among the
 * subjectAltNames of the first certificate, where * stands for the whole leftmost label; a common name never counts.
 * An extended key usage must allow servers; the plain key usage is not looked at.
 * Trusted are the roots of ca_file in the configuration that the policy came by, else those of the system. That the
 * host has the key to its certificate is for the TLS session to prove. Revocation is not checked.
 *
 * decision: not NULL; its policy and context may be freed. Where it says MTASTS_ACTION_SKIP_HOST or
 * MTASTS_ACTION_DEFER, nothing verifies; else the chain alone is judged, also in mode testing. If it was made with
 * MTASTS_DANE_USABLE, the mail server verifies by its TLSA records and goes on with MTASTS_TLS_OK or
 * MTASTS_TLS_FAILED; this function then tells what PKIX would have said, which decides nothing.
 * der: one pointer for each certificate, in DER, the host's own first. May be NULL if count is 0.
 * len: the length of each certificate in bytes. May be NULL if count is 0.
 * count: the number of certificates. An empty chain does not verify; of a longer one the first 16 count,
 * and behind the first one no more than 32 KiB.
 * result_type: takes what a TLS report says of the failure (RFC 8460 section 4.3); may be NULL. mtasts_decision_tls
 * goes on with
 *
 *   MTASTS_TLS_OK                   if the chain verifies
 *   MTASTS_TLS_EXPIRED              for MTASTS_RESULT_TYPE_CERTIFICATE_EXPIRED (also: not valid yet)
 *   MTASTS_TLS_NOT_TRUSTED          for MTASTS_RESULT_TYPE_CERTIFICATE_NOT_TRUSTED (unknown authority, self-signed)
 *   MTASTS_TLS_HOST_MISMATCH        for MTASTS_RESULT_TYPE_CERTIFICATE_HOST_MISMATCH
 *   MTASTS_TLS_CERTIFICATE_INVALID  for MTASTS_RESULT_TYPE_VALIDATION_FAILURE (malformed, none, not for servers)
 *
 * and is not called if the chain does not verify and the result type is 0: this machine has no trusted roots, the host
 * is not to blame, and what needs verified TLS has to wait. With MTASTS_ACTION_SKIP_HOST and MTASTS_ACTION_DEFER the
 * result type is that of the decision. If the call fails it is 0.
 *
 * Returns MTASTS_OK for a chain that verifies and for nothing else. MTASTS_NOT_VERIFIED: it does not;
 * mtasts_last_error says what is wrong with which certificate of which host, or which roots are missing and what to
 * install. MTASTS_NULL_ARGUMENT (also for a certificate that is NULL), MTASTS_INVALID_ARGUMENT (an impossible length)
 * or MTASTS_INTERNAL. Any thread, several at once. Asks no other machine; reads the roots at first use and when they
 * were read more than an hour ago.
 */
int mtasts_decision_verify(const struct mtasts_decision *decision,
                           const uint8_t *const *der,
                           const size_t *len,
                           size_t count,
                           int *result_type);

/**
 * Tells what the mail server may do: one of MTASTS_ACTION_*, never 0.
 *
 * decision: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
 */
int mtasts_decision_action(const struct mtasts_decision *decision);

/**
 * Tells why, as one of MTASTS_REASON_*.
 *
 * decision: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
 */
int mtasts_decision_reason(const struct mtasts_decision *decision);

/**
 * Tells what a TLS report says of the failure (RFC 8460 section 4.3), as one of MTASTS_RESULT_TYPE_*; 0 without one.
 *
 * decision: not NULL; for NULL the result is -MTASTS_NULL_ARGUMENT. Any thread; does not block.
 */
int mtasts_decision_result_type(const struct mtasts_decision *decision);

/**
 * Tells why, in one line for a person. It is not meant to be taken apart.
 *
 * decision: NULL gives NULL. The text belongs to the decision. Any thread; does not block.
 */
const char *mtasts_decision_reason_text(const struct mtasts_decision *decision);

/**
 * Tells the name to send as SNI and to verify the certificate against: the MX host (RFC 8461 section 7.1).
 *
 * decision: NULL gives NULL. The text belongs to the decision; NULL if the MX host has no usable name. Any thread; does
 * not block.
 */
const char *mtasts_decision_sni(const struct mtasts_decision *decision);

/**
 * Tells the enhanced status code for a log or a reply: "4.7.x" where the mail has to wait, else empty. It is never
 * permanent (RFC 8461 section 5).
 *
 * decision: NULL gives NULL. The text belongs to the decision. Any thread; does not block.
 */
const char *mtasts_decision_enhanced_status(const struct mtasts_decision *decision);

/**
 * Frees a decision.
 *
 * decision: an object that no thread uses any more, or NULL. Any thread; does not block.
 */
void mtasts_decision_free(struct mtasts_decision *decision);

/**
 * Picks the STS record out of the TXT records of _mta-sts.DOMAIN and tells its id (RFC 8461 section 3.1). Pure.
 *
 * txt: one pointer for each TXT record, to its character-strings joined with nothing between; not NUL-terminated, any
 * bytes. May be NULL if count is 0.
 * len: the length of each record in bytes. May be NULL if count is 0.
 * count: the number of records.
 * id: takes the id, NUL-terminated; empty on failure if id_len is not 0. Not NULL.
 * id_len: size of id in bytes; MTASTS_ID_SIZE is always enough.
 *
 * Returns MTASTS_OK, MTASTS_NO_RECORD (no record speaks of MTA-STS), MTASTS_INVALID_RECORD (several do, or the one is
 * malformed; for a sender both mean "no record"), MTASTS_BUFFER_TOO_SMALL, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (an
 * impossible length) or MTASTS_INTERNAL. Any
 * thread; does not block.
 */
int mtasts_record_select(const uint8_t *const *txt,
                         const size_t *len,
                         size_t count,
                         char *id,
                         size_t id_len);

/**
 * Writes a policy as a socketmap server tells it to a mail server (RFC 8461 section 5), for servers that do not leave
 * everything to mtasts_socketmap. Pure.
 *
 * policy: not NULL.
 * dialect: one of MTASTS_DIALECT_*. Sendmail and older Postfix hold all mail that is answered in the dialect of newer ones.
 * A policy of mtasts_policy_parse belongs to no domain, so that newer Postfix is told no more than older.
 * buf: takes the reply, NUL-terminated, to be sent as the payload of a netstring: "OK " and what is demanded, for a
 * policy that is enforced; "NOTFOUND " for one that is not and where there is none; "TEMP " and why, in one line, where
 * nothing is known or the policy cannot be told to this mail server. Never an empty text, never "OK" alone and never
 * "PERM", by which Sendmail delivers unchecked. Sendmail reads 255 bytes of names: of more it is told those that fit, and
 * refuses the other hosts. Empty on failure if len is not 0. Not NULL.
 * len: size of buf in bytes; MTASTS_REPLY_SIZE is always enough.
 *
 * Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (unknown dialect), MTASTS_BUFFER_TOO_SMALL or
 * MTASTS_INTERNAL; after a failure reply "TEMP " and a word. Any thread; does not block.
 */
int mtasts_policy_format(const struct mtasts_policy *policy,
                         int dialect,
                         char *buf,
                         size_t len);

/**
 * Answers one request of Sendmail or Postfix to a socketmap server, as mtasts_query and mtasts_policy_format do.
 *
 * The caller reads netstrings from its clients and writes netstrings to them; what stands inside is the matter of this
 * function.
 *
 * context: not NULL.
 * request: the payload of a netstring: the name of a map, a blank and the domain, not NUL-terminated; any bytes. The map
 * says who asks: "sts" Sendmail, "postfix" Postfix, "postfix-tlsrpt" Postfix since 3.10.5. An address, a name in
 * brackets or with a port or with a dot before it, and whatever else is no domain is "NOTFOUND " without a look;
 * another map and a request that is not of this shape are "TEMP " and why. May be NULL if len is 0.
 * len: its length in bytes.
 * timeout_ms: the longest that the call may take, in milliseconds, whatever it waits for; 0: deadline_seconds of
 * the configuration. Sendmail waits for 5 seconds and then for the next try of the message: 4500 is right for a server
 * that goes on looking in another thread.
 * reply: takes the reply as mtasts_policy_format writes it; empty on failure if reply_len is not 0. Not NULL.
 * reply_len: size of reply in bytes; MTASTS_REPLY_SIZE is always enough.
 *
 * Returns MTASTS_OK, MTASTS_NULL_ARGUMENT, MTASTS_INVALID_ARGUMENT (negative timeout, an impossible length),
 * MTASTS_BUFFER_TOO_SMALL or MTASTS_INTERNAL; after a failure reply "TEMP " and a word. Any thread. Blocks as
 * mtasts_query does.
 */
int mtasts_socketmap(struct mtasts_context *context,
                     const uint8_t *request,
                     size_t len,
                     int timeout_ms,
                     char *reply,
                     size_t reply_len);

/**
 * Answers ${dlfunc{LIBRARY}{mtasts_exim}{DOMAIN}{PREF HOST,PREF HOST,...}}: the hosts to which mail for the domain may
 * go, for a manualroute router (RFC 8461 sections 4.1 and 5).
 *
 * yield: takes the text; valid after the return.
 * argc, argv: the domain, and its MX records as ${lookup dnsdb{>, mx=DOMAIN}} gives them, in any order.
 *
 * Returns 0 (OK) and "": no constraint, go on with the stock router; OK and hosts in order of preference, ":" between
 * equal ones and ":+:" between different ones: only these, over verified TLS; OK and ".": the domain accepts no mail;
 * 2 (FAIL) and one line that says why: hold the message. Called by Exim only. May block up to deadline_seconds.
 */
int mtasts_exim(unsigned char **yield,
                int argc,
                unsigned char **argv);

/**
 * Answers ${dlfunc{LIBRARY}{mtasts_exim_mode}{DOMAIN}}: the mode that applies to a domain.
 *
 * yield: takes the text; valid after the return.
 * argc, argv: the domain.
 *
 * Returns 0 (OK) and "none", "testing", "enforce" or "unknown"; 2 (FAIL) and one line that says what is wrong with the
 * call. For logs and headers; routing is the matter of mtasts_exim. May block up to deadline_seconds.
 */
int mtasts_exim_mode(unsigned char **yield,
                     int argc,
                     unsigned char **argv);

/**
 * Answers ${dlfunc{LIBRARY}{mtasts_exim_certificate}{MX HOST}{${base64:$tls_out_peercert}}}: whether a certificate has
 * the MX host as a DNS name among its subjectAltNames, for event_action (RFC 8461 section 4.2).
 *
 * Exim with GnuTLS takes a certificate that has the name as its common name only. In the event tls:cert of depth 0 an
 * empty value goes on, and any other ends the session. Nothing but the names is looked at: trust and dates are Exim's.
 *
 * yield: takes the text; valid after the return.
 * argc, argv: the name from the MX record, in any case, with or without a final dot; the certificate, as base64 of its
 * DER, in which white space does not matter.
 *
 * Returns 0 (OK) whatever happens, since a failure in an event refuses nothing, and "" for a certificate with that name;
 * else one line that says what is wrong with the certificate or with the call. Only if yield is NULL, 2 (FAIL). Called
 * by Exim only. Does not block; under root it waits for a child process, up to deadline_seconds.
 */
int mtasts_exim_certificate(unsigned char **yield,
                            int argc,
                            unsigned char **argv);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MTASTS_H */
