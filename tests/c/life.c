/* The life of contexts, policies and decisions in a program that does all as the header says. */

#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <errno.h>
#include <time.h>

static const char good_body[] =
    "version: STSv1\r\nmode: enforce\r\nmx: mx.good.test\r\nmx: *.backup.test\r\nmax_age: 86400\r\n";

static void check_good(const mtasts_policy *policy, const char *source, int reason, time_t since)
{
    size_t len = 0;
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_ENFORCE);
    CHECK_TEXT(mtasts_policy_domain(policy), "good.test");
    CHECK_TEXT(mtasts_policy_id(policy), "20260101");
    CHECK_TEXT(mtasts_policy_source(policy), source);
    CHECK_NUMBER(mtasts_policy_reason(policy), reason);
    CHECK_NUMBER(mtasts_policy_result_type(policy), 0);
    CHECK(strstr(mtasts_policy_reason_text(policy), "good.test") != NULL);
    CHECK_NUMBER(mtasts_policy_max_age(policy), 86400);
    /* time(2) may be some milliseconds behind the clock. */
    CHECK(mtasts_policy_fetched_at(policy) >= since && mtasts_policy_fetched_at(policy) <= time(NULL) + 1);
    CHECK_NUMBER(mtasts_policy_expires_at(policy) - mtasts_policy_fetched_at(policy), 86400);
    CHECK_NUMBER(mtasts_policy_mx_count(policy), 2);
    CHECK_TEXT(mtasts_policy_mx(policy, 0), "mx.good.test");
    CHECK_TEXT(mtasts_policy_mx(policy, 1), "*.backup.test");
    CHECK(mtasts_policy_mx(policy, 2) == NULL);
    const uint8_t *body = mtasts_policy_body(policy, &len);
    CHECK(len == sizeof good_body - 1 && memcmp(body, good_body, len) == 0);
    CHECK_NUMBER(mtasts_policy_lint_count(policy), 0);
    CHECK(mtasts_policy_allows_mx(policy, "MX.good.test.") == 1);
    CHECK(mtasts_policy_allows_mx(policy, "a.backup.test") == 1);
    CHECK(mtasts_policy_allows_mx(policy, "a.b.backup.test") == 0);
    CHECK(mtasts_policy_allows_mx(policy, "not a host") == 0);
}

static void policies_outlive_their_context(void)
{
    time_t since = time(NULL);
    mtasts_context *context = new_context();
    mtasts_policy *fetched = ask(context, "GOOD.test."), *cached = ask(context, "good.test"), *refreshed = NULL;
    mtasts_decision *decision = NULL, *after = NULL;
    CHECK_NUMBER(mtasts_query(context, "good.test", MTASTS_REFRESH, 0, &refreshed), MTASTS_OK);
    mtasts_context_free(context);

    check_good(fetched, "https", MTASTS_REASON_FETCHED, since);
    check_good(cached, "cache", MTASTS_REASON_CACHED, since);
    check_good(refreshed, "https", MTASTS_REASON_FETCHED, since);

    CHECK_NUMBER(mtasts_policy_decide(fetched, "mx.good.test", MTASTS_DANE_ABSENT, &decision), MTASTS_OK);
    mtasts_policy_free(fetched);
    CHECK_NUMBER(mtasts_decision_tls(decision, MTASTS_TLS_OK, &after), MTASTS_OK);
    CHECK_NUMBER(mtasts_decision_action(decision), MTASTS_ACTION_REQUIRE_TLS);
    CHECK_TEXT(mtasts_decision_sni(decision), "mx.good.test");
    mtasts_decision_free(decision);
    CHECK_NUMBER(mtasts_decision_action(after), MTASTS_ACTION_DELIVER);
    mtasts_decision_free(after);
    mtasts_policy_free(cached);
    mtasts_policy_free(refreshed);
}

static void no_policy_is_an_answer(void)
{
    mtasts_context *context = new_context();
    mtasts_policy *policy = ask(context, "Absent.test");
    size_t len = 4711;
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_NO_RECORD);
    CHECK_NUMBER(mtasts_policy_result_type(policy), 0);
    CHECK_TEXT(mtasts_policy_domain(policy), "absent.test");
    CHECK_TEXT(mtasts_policy_source(policy), "none");
    CHECK_TEXT(mtasts_policy_id(policy), "");
    CHECK(mtasts_policy_body(policy, &len) == NULL && len == 0);
    CHECK_NUMBER(mtasts_policy_mx_count(policy), 0);
    CHECK(mtasts_policy_mx(policy, 0) == NULL);
    CHECK(mtasts_policy_max_age(policy) == 0);
    CHECK(mtasts_policy_fetched_at(policy) == 0 && mtasts_policy_expires_at(policy) == 0);
    CHECK(mtasts_policy_allows_mx(policy, "mx.absent.test") == 0);
    mtasts_policy_free(policy);

    policy = ask(context, "wrong-certificate.test");
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_POLICY_HOST_CERTIFICATE_HOST_MISMATCH);
    CHECK_NUMBER(mtasts_policy_result_type(policy), MTASTS_RESULT_TYPE_STS_WEBPKI_INVALID);
    mtasts_policy_free(policy);
    policy = ask(context, "malformed.test");
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_POLICY_INVALID);
    mtasts_policy_free(policy);
    /* A second question for the same id is not a second fetch; REFRESH insists. */
    policy = ask(context, "malformed.test");
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_BACKING_OFF);
    CHECK_NUMBER(mtasts_policy_result_type(policy), MTASTS_RESULT_TYPE_STS_POLICY_INVALID);
    mtasts_policy_free(policy);
    CHECK_NUMBER(mtasts_query(context, "malformed.test", MTASTS_REFRESH, 0, &policy), MTASTS_OK);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_POLICY_INVALID);
    mtasts_policy_free(policy);
    mtasts_context_free(context);
}

static void the_cache_alone_is_asked(void)
{
    mtasts_context *context = new_context();
    mtasts_policy *policy = NULL;
    CHECK_NUMBER(mtasts_query(context, "good.test", MTASTS_CACHE_ONLY, 0, &policy), MTASTS_OK);
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_NOT_CACHED);
    CHECK_TEXT(mtasts_policy_domain(policy), "good.test");
    mtasts_policy_free(policy);
    mtasts_context_free(context);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* silent.test: DNS never answers. mute.test: the policy host never answers. */
static void a_call_ends_at_its_timeout(void)
{
    static const struct {
        const char *domain;
        int reason;
    } rows[] = {
        {"silent.test", MTASTS_REASON_DNS_FAILED},
        {"mute.test", MTASTS_REASON_POLICY_HOST_TIMED_OUT},
    };
    mtasts_context *context = new_context();
    for (size_t i = 0; i < COUNT(rows); i++) {
        mtasts_policy *policy = NULL;
        double began = seconds();
        CHECK_NUMBER(mtasts_query(context, rows[i].domain, 0, 500, &policy), MTASTS_OK);
        CHECK(seconds() - began < 3);
        CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
        CHECK_NUMBER(mtasts_policy_reason(policy), rows[i].reason);
        mtasts_policy_free(policy);
    }
    mtasts_context_free(context);
}

static void what_is_odd_is_told(void)
{
    static const char odd[] = "version: STSv1\nmode: testing\nmode: enforce\nmx: mx.odd.test\nmax_age: 60\n\n";
    mtasts_policy *policy = NULL;
    size_t len = 0;
    time_t since = time(NULL);
    CHECK_NUMBER(mtasts_policy_parse((const uint8_t *)odd, sizeof odd - 1, &policy), MTASTS_OK);
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_TESTING);
    CHECK_NUMBER(mtasts_policy_lint_count(policy), 3);
    for (size_t i = 0; i < mtasts_policy_lint_count(policy); i++) {
        CHECK(mtasts_policy_lint(policy, i)[0] != '\0' && strchr(mtasts_policy_lint(policy, i), '\n') == NULL);
    }
    CHECK(mtasts_policy_lint(policy, 3) == NULL);
    CHECK_TEXT(mtasts_policy_source(policy), "caller");
    CHECK_TEXT(mtasts_policy_domain(policy), "");
    CHECK_TEXT(mtasts_policy_id(policy), "");
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_PARSED);
    CHECK(mtasts_policy_fetched_at(policy) >= since);
    CHECK(memcmp(mtasts_policy_body(policy, &len), odd, sizeof odd - 1) == 0 && len == sizeof odd - 1);
    mtasts_policy_free(policy);
}

static void decisions_follow_the_policy(void)
{
    static const struct {
        const char *domain, *mx_host;
        int dane, action, reason, result_type;
        const char *sni, *enhanced_status;
        int tls, final, final_result_type;
    } rows[] = {
        {"good.test", "Mx.Good.test.", MTASTS_DANE_NOT_CHECKED, MTASTS_ACTION_REQUIRE_TLS, MTASTS_REASON_MX_LISTED, 0,
         "mx.good.test", "", MTASTS_TLS_OK, MTASTS_ACTION_DELIVER, 0},
        {"good.test", "mx.good.test", MTASTS_DANE_ABSENT, MTASTS_ACTION_REQUIRE_TLS, MTASTS_REASON_MX_LISTED, 0,
         "mx.good.test", "", MTASTS_TLS_NO_STARTTLS, MTASTS_ACTION_SKIP_HOST,
         MTASTS_RESULT_TYPE_STARTTLS_NOT_SUPPORTED},
        {"good.test", "mx.evil.test", MTASTS_DANE_ABSENT, MTASTS_ACTION_SKIP_HOST, MTASTS_REASON_MX_NOT_LISTED,
         MTASTS_RESULT_TYPE_VALIDATION_FAILURE, "mx.evil.test", "4.7.0", MTASTS_TLS_OK, MTASTS_ACTION_SKIP_HOST,
         MTASTS_RESULT_TYPE_VALIDATION_FAILURE},
        {"good.test", "no host", MTASTS_DANE_ABSENT, MTASTS_ACTION_SKIP_HOST, MTASTS_REASON_MX_NOT_LISTED,
         MTASTS_RESULT_TYPE_VALIDATION_FAILURE, NULL, "4.7.0", MTASTS_TLS_OK, MTASTS_ACTION_SKIP_HOST,
         MTASTS_RESULT_TYPE_VALIDATION_FAILURE},
        {"testing.test", "mx.testing.test", MTASTS_DANE_ABSENT, MTASTS_ACTION_DELIVER_REPORT, MTASTS_REASON_TESTING, 0,
         "mx.testing.test", "", MTASTS_TLS_EXPIRED, MTASTS_ACTION_DELIVER_REPORT,
         MTASTS_RESULT_TYPE_CERTIFICATE_EXPIRED},
        {"none.test", "mx.none.test", MTASTS_DANE_ABSENT, MTASTS_ACTION_DELIVER, MTASTS_REASON_MODE_NONE, 0,
         "mx.none.test", "", MTASTS_TLS_FAILED, MTASTS_ACTION_DELIVER, 0},
        {"absent.test", "mx.absent.test", MTASTS_DANE_ABSENT, MTASTS_ACTION_DELIVER, MTASTS_REASON_NO_POLICY, 0,
         "mx.absent.test", "", MTASTS_TLS_FAILED, MTASTS_ACTION_DELIVER, 0},
        {"absent.test", "mx.absent.test", MTASTS_DANE_FAILED, MTASTS_ACTION_SKIP_HOST, MTASTS_REASON_DANE_FAILED,
         MTASTS_RESULT_TYPE_VALIDATION_FAILURE, "mx.absent.test", "4.7.5", MTASTS_TLS_OK, MTASTS_ACTION_SKIP_HOST,
         MTASTS_RESULT_TYPE_VALIDATION_FAILURE},
        {"absent.test", "mx.absent.test", MTASTS_DANE_UNUSABLE, MTASTS_ACTION_REQUIRE_ENCRYPTION,
         MTASTS_REASON_DANE_UNUSABLE, 0, "mx.absent.test", "", MTASTS_TLS_NOT_TRUSTED, MTASTS_ACTION_DELIVER, 0},
        {"good.test", "mx.good.test", MTASTS_DANE_USABLE, MTASTS_ACTION_REQUIRE_ENCRYPTION,
         MTASTS_REASON_DANE_GOVERNS, 0, "mx.good.test", "", MTASTS_TLS_FAILED, MTASTS_ACTION_SKIP_HOST,
         MTASTS_RESULT_TYPE_VALIDATION_FAILURE},
    };
    mtasts_context *context = new_context();
    for (size_t i = 0; i < COUNT(rows); i++) {
        mtasts_policy *policy = ask(context, rows[i].domain);
        mtasts_decision *before = NULL, *after = NULL;
        int is_good = CHECK_NUMBER(mtasts_policy_decide(policy, rows[i].mx_host, rows[i].dane, &before), MTASTS_OK);
        is_good &= CHECK_NUMBER(mtasts_decision_action(before), rows[i].action);
        is_good &= CHECK_NUMBER(mtasts_decision_reason(before), rows[i].reason);
        is_good &= CHECK_NUMBER(mtasts_decision_result_type(before), rows[i].result_type);
        is_good &= CHECK_TEXT(mtasts_decision_enhanced_status(before), rows[i].enhanced_status);
        is_good &= CHECK(mtasts_decision_reason_text(before)[0] != '\0');
        is_good &= rows[i].sni == NULL ? CHECK(mtasts_decision_sni(before) == NULL)
                                       : CHECK_TEXT(mtasts_decision_sni(before), rows[i].sni);
        is_good &= CHECK_NUMBER(mtasts_decision_tls(before, rows[i].tls, &after), MTASTS_OK);
        is_good &= CHECK_NUMBER(mtasts_decision_action(after), rows[i].final);
        is_good &= CHECK_NUMBER(mtasts_decision_result_type(after), rows[i].final_result_type);
        if (!is_good) {
            printf("... in row %zu: %s, %s\n", i, rows[i].domain, rows[i].mx_host);
        }
        mtasts_decision_free(before);
        mtasts_decision_free(after);
        mtasts_policy_free(policy);
    }
    mtasts_context_free(context);
}

/* An errno that no call sets. */
#define HOST_ERRNO 4711
#define KEEPS_ERRNO(call)                   \
    do {                                    \
        errno = HOST_ERRNO;                 \
        (void)(call);                       \
        int now = errno;                    \
        check_number(now, HOST_ERRNO, __FILE__, __LINE__, "errno after " #call); \
    } while (0)

static void errno_is_left_alone(void)
{
    static char patterns[MTASTS_PATTERNS_SIZE];
    mtasts_context *context = NULL, *other = NULL;
    mtasts_policy *policy = NULL, *none = NULL;
    mtasts_decision *decision = NULL, *after = NULL;
    size_t len;
    KEEPS_ERRNO(mtasts_context_new(config_path, &context));
    KEEPS_ERRNO(mtasts_context_new("/nowhere/mtasts.toml", &other));
    KEEPS_ERRNO(mtasts_context_set(context, "memory_entries", "0"));
    KEEPS_ERRNO(mtasts_context_set(context, "unknown", "0"));
    KEEPS_ERRNO(mtasts_query(context, "good.test", 0, 0, &policy));
    KEEPS_ERRNO(mtasts_query(context, "absent.test", 0, 0, &none));
    mtasts_policy_free(none);
    KEEPS_ERRNO(mtasts_query(context, "silent.test", 0, 300, &none));
    mtasts_policy_free(none);
    KEEPS_ERRNO(mtasts_query(context, "good.test", 0, 0, &none));
    mtasts_policy_free(none);
    KEEPS_ERRNO(mtasts_context_set(context, "cache", "/nowhere/cache.db"));
    KEEPS_ERRNO(mtasts_query(context, "good.test", 0, 0, &none));
    KEEPS_ERRNO(mtasts_lookup("good.test", patterns, sizeof patterns));
    KEEPS_ERRNO(mtasts_lookup("good.test", patterns, 1));
    KEEPS_ERRNO(mtasts_match_mx(patterns, "mx.good.test"));
    KEEPS_ERRNO(mtasts_policy_reason_text(policy));
    KEEPS_ERRNO(mtasts_policy_result_type(policy));
    KEEPS_ERRNO(mtasts_policy_body(policy, &len));
    KEEPS_ERRNO(mtasts_policy_allows_mx(policy, "mx.good.test"));
    KEEPS_ERRNO(mtasts_policy_decide(policy, "mx.good.test", MTASTS_DANE_ABSENT, &decision));
    KEEPS_ERRNO(mtasts_decision_tls(decision, MTASTS_TLS_EXPIRED, &after));
    KEEPS_ERRNO(mtasts_decision_action(after));
    KEEPS_ERRNO(mtasts_decision_verify(decision, NULL, NULL, 0, NULL));
    KEEPS_ERRNO(mtasts_decision_verify(NULL, NULL, NULL, 0, NULL));
    KEEPS_ERRNO(mtasts_last_error());
    KEEPS_ERRNO(mtasts_decision_free(decision));
    KEEPS_ERRNO(mtasts_decision_free(after));
    KEEPS_ERRNO(mtasts_policy_free(policy));
    KEEPS_ERRNO(mtasts_policy_free(none));
    KEEPS_ERRNO(mtasts_context_free(context));
    KEEPS_ERRNO(mtasts_cleanup());
}

struct seen {
    int count, gravest;
    char first[1000];
};

static void see(void *user, int level, const char *line)
{
    struct seen *seen = user;
    if (seen->count++ == 0) {
        snprintf(seen->first, sizeof seen->first, "%s", line);
    }
    if (seen->gravest == 0 || level < seen->gravest) {
        seen->gravest = level;
    }
    CHECK(strchr(line, '\n') == NULL);
}

/* What follows the situation's name: caches that cannot be used. */
static void trouble_with_the_cache_is_logged(void)
{
    CHECK(extra[0] != NULL);
    for (char **cache = extra; *cache != NULL; cache++) {
        mtasts_context *context = new_context();
        struct seen seen = {0, 0, ""};
        char directory[1000];
        snprintf(directory, sizeof directory, "%s", *cache);
        *strrchr(directory, '/') = '\0';
        CHECK_NUMBER(mtasts_context_set(context, "cache", *cache), MTASTS_OK);
        CHECK_NUMBER(mtasts_context_set_log(context, see, &seen), MTASTS_OK);
        mtasts_policy *policy = ask(context, "good.test");
        CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_ENFORCE);
        mtasts_policy_free(policy);
        CHECK(seen.count > 0);
        CHECK_NUMBER(seen.gravest, 3);
        if (strstr(seen.first, directory) == NULL) {
            CHECK_TEXT(seen.first, directory);
        }
        /* Memory stands in for the file. */
        policy = ask(context, "good.test");
        CHECK_TEXT(mtasts_policy_source(policy), "cache");
        CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_ENFORCE);
        mtasts_policy_free(policy);
        /* Without a function there is silence again. */
        CHECK_NUMBER(mtasts_context_set_log(context, NULL, NULL), MTASTS_OK);
        int count = seen.count;
        policy = ask(context, "testing.test");
        CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_TESTING);
        mtasts_policy_free(policy);
        CHECK_NUMBER(seen.count, count);
        mtasts_context_free(context);
    }
}

/* A log function may do what it likes with the context. */
struct caller {
    mtasts_context *context;
    int calls, mode;
};

static void ask_again(void *user, int level, const char *line)
{
    struct caller *caller = user;
    (void)level, (void)line;
    if (caller->calls++ == 0) {
        CHECK_NUMBER(mtasts_context_set_log(caller->context, NULL, NULL), MTASTS_OK);
        mtasts_policy *policy = ask(caller->context, "good.test");
        caller->mode = mtasts_policy_mode(policy);
        mtasts_policy_free(policy);
        CHECK_NUMBER(mtasts_context_set(caller->context, "memory_entries", "7"), MTASTS_OK);
    }
}

static void a_log_function_may_ask_again(void)
{
    struct caller caller = {new_context(), 0, -1};
    CHECK_NUMBER(mtasts_context_set(caller.context, "cache", "/nowhere/cache.db"), MTASTS_OK);
    CHECK_NUMBER(mtasts_context_set_log(caller.context, ask_again, &caller), MTASTS_OK);
    mtasts_policy_free(ask(caller.context, "testing.test"));
    CHECK_NUMBER(caller.calls, 1);
    CHECK_NUMBER(caller.mode, MTASTS_MODE_ENFORCE);
    mtasts_context_free(caller.context);
}

static void a_setting_acts_on_later_calls(void)
{
    static const struct {
        const char *key, *value;
    } wrong[] = {
        {"nonsense", "1"},        {"", ""},
        {"deadline_seconds", ""}, {"deadline_seconds", "0"},
        {"https_port", "65536"},  {"https_port", "-1"},
        {"on_dns_error", "wait"}, {"dane_wins", "yes"},
        {"nameservers", "dns"},   {"cache", "relative.db"},
        {"cache", "/"},           {"cache_entries", "99999999999999999999"},
    };
    mtasts_context *context = new_context();
    for (size_t i = 0; i < COUNT(wrong); i++) {
        int is_good = CHECK_NUMBER(mtasts_context_set(context, wrong[i].key, wrong[i].value), MTASTS_INVALID_CONFIG);
        char named[100];
        snprintf(named, sizeof named, "key `%s`", wrong[i].key);
        is_good &= CHECK(strstr(mtasts_last_error(), named) != NULL);
        is_good &= CHECK(strstr(mtasts_last_error(), "want ") != NULL);
        if (!is_good) {
            printf("... for %s = %s\n", wrong[i].key, wrong[i].value);
        }
    }
    mtasts_policy *policy = ask(context, "servfail.test");
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_DNS_FAILED);
    mtasts_policy_free(policy);
    CHECK_NUMBER(mtasts_context_set(context, "on_dns_error", "defer"), MTASTS_OK);
    policy = ask(context, "servfail.test");
    mtasts_decision *decision = NULL, *after = NULL;
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_UNKNOWN);
    CHECK_NUMBER(mtasts_policy_decide(policy, "mx.servfail.test", MTASTS_DANE_ABSENT, &decision), MTASTS_OK);
    CHECK_NUMBER(mtasts_decision_action(decision), MTASTS_ACTION_DEFER);
    CHECK_NUMBER(mtasts_decision_tls(decision, MTASTS_TLS_OK, &after), MTASTS_OK);
    CHECK_NUMBER(mtasts_decision_action(after), MTASTS_ACTION_DEFER);
    mtasts_decision_free(decision);
    mtasts_decision_free(after);
    mtasts_policy_free(policy);

    CHECK_NUMBER(mtasts_context_set(context, "dane_wins", "true"), MTASTS_OK);
    policy = ask(context, "good.test");
    CHECK_NUMBER(mtasts_policy_decide(policy, "mx.other.test", MTASTS_DANE_USABLE, &decision), MTASTS_OK);
    CHECK_NUMBER(mtasts_decision_action(decision), MTASTS_ACTION_REQUIRE_ENCRYPTION);
    mtasts_decision_free(decision);
    mtasts_policy_free(policy);
    mtasts_context_free(context);
}

/* What follows the situation's name: a file that the test may write. */
static void a_broken_configuration_is_named(void)
{
    static const struct {
        const char *text, *line, *problem;
    } rows[] = {
        {"dane_wins = true\nnonsense = 1\n", "line 2: ", "key `nonsense`"},
        {"\n\ndeadline_seconds = \"soon\"\n", "line 3: ", "key `deadline_seconds`"},
        {"nameservers = [1]\n", "line 1: ", "key `nameservers`"},
        {"syslog = 1\n", "line 1: ", "key `syslog`"},
        {"cache = \"cache.db\"\n", "line 1: ", "key `cache`"},
        {"syslog = true\nsyslog = false\n", "line 2: ", "not TOML"},
        {"syslog = true\nthis is not TOML\n", "line 2: ", "not TOML"},
        {"cache = \"\n", "line 1: ", "not TOML"},
        {"syslog = true\n\xff\n", "", ""},
    };
    const char *path = extra[0];
    mtasts_context *context;
    for (size_t i = 0; i < COUNT(rows); i++) {
        FILE *file = fopen(path, "w");
        if (!CHECK(file != NULL && fputs(rows[i].text, file) >= 0 && fclose(file) == 0)) {
            exit(1);
        }
        context = (mtasts_context *)&faults;
        int is_good = CHECK_NUMBER(mtasts_context_new(path, &context), MTASTS_INVALID_CONFIG);
        is_good &= CHECK(context == NULL);
        is_good &= CHECK(strstr(mtasts_last_error(), path) != NULL);
        is_good &= CHECK(strstr(mtasts_last_error(), rows[i].line) != NULL);
        is_good &= CHECK(strstr(mtasts_last_error(), rows[i].problem) != NULL);
        is_good &= CHECK(strchr(mtasts_last_error(), '\n') == NULL);
        if (!is_good) {
            printf("... for %s\n", rows[i].text);
        }
    }
    /* The default context: the same fault at each call, until the file is mended. */
    char patterns[100] = "before";
    CHECK_NUMBER(setenv("MTASTS_CONFIG", path, 1), 0);
    CHECK_NUMBER(mtasts_lookup("good.test", patterns, sizeof patterns), -MTASTS_INVALID_CONFIG);
    CHECK_TEXT(patterns, "");
    CHECK_NUMBER(mtasts_lookup("good.test", patterns, sizeof patterns), -MTASTS_INVALID_CONFIG);
    CHECK(strstr(mtasts_last_error(), path) != NULL);
    CHECK_NUMBER(setenv("MTASTS_CONFIG", config_path, 1), 0);
    CHECK_NUMBER(mtasts_lookup("good.test", patterns, sizeof patterns), MTASTS_MODE_ENFORCE);
    CHECK_TEXT(patterns, "mx.good.test:*.backup.test");
    mtasts_cleanup();
    /* The environment names the configuration of a context without a path, too. */
    if (CHECK_NUMBER(mtasts_context_new(NULL, &context), MTASTS_OK)) {
        mtasts_policy *policy = ask(context, "good.test");
        CHECK_TEXT(mtasts_policy_source(policy), "cache");
        mtasts_policy_free(policy);
        mtasts_context_free(context);
    }
}

MAIN({"policies-outlive-their-context", policies_outlive_their_context},
     {"no-policy-is-an-answer", no_policy_is_an_answer},
     {"the-cache-alone-is-asked", the_cache_alone_is_asked},
     {"a-call-ends-at-its-timeout", a_call_ends_at_its_timeout},
     {"what-is-odd-is-told", what_is_odd_is_told},
     {"decisions-follow-the-policy", decisions_follow_the_policy},
     {"errno-is-left-alone", errno_is_left_alone},
     {"trouble-with-the-cache-is-logged", trouble_with_the_cache_is_logged},
     {"a-log-function-may-ask-again", a_log_function_may_ask_again},
     {"a-setting-acts-on-later-calls", a_setting_acts_on_later_calls},
     {"a-broken-configuration-is-named", a_broken_configuration_is_named})
