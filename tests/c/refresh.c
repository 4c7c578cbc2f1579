/* The cached policies in time: healed before they refuse every host, and fetched anew when that is due. */

#include "check.h"

static void forget(mtasts_policy *policy)
{
    mtasts_policy_free(policy);
}

/* Fills the cache for the other situations. */
static void the_cache_is_filled(void)
{
    mtasts_context *context = new_context();
    for (char **domain = extra; *domain != NULL; domain++) {
        forget(ask(context, *domain));
    }
    mtasts_context_free(context);
}

static mtasts_policy *ask_for(mtasts_context *context, const char *const *hosts, size_t count, unsigned flags)
{
    mtasts_policy *policy = NULL;
    if (!CHECK_NUMBER(mtasts_query_for(context, "good.test", hosts, count, flags, 0, &policy), MTASTS_OK)) {
        exit(1);
    }
    return policy;
}

/* The host has moved to mx.new.test, and its policy with it, under the old id. */
static void a_policy_that_lists_no_host_is_fetched_anew(void)
{
    static const char *const listed[] = {"mx.elsewhere.test", "MX.good.test."}, *const moved[] = {"mx.new.test"},
                             *const strange[] = {"mx.evil.test", "not a host"};
    mtasts_context *context = new_context();
    mtasts_policy *policy = ask_for(context, listed, 2, 0);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_CACHED);
    forget(policy);
    policy = ask_for(context, NULL, 0, 0);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_CACHED);
    forget(policy);
    policy = ask_for(context, moved, 1, MTASTS_CACHE_ONLY);
    CHECK_NUMBER(mtasts_policy_allows_mx(policy, "mx.new.test"), 0);
    forget(policy);

    policy = ask_for(context, moved, 1, 0);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_HEALED);
    CHECK_TEXT(mtasts_policy_source(policy), "https");
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_ENFORCE);
    CHECK(mtasts_policy_allows_mx(policy, "mx.new.test") == 1);
    forget(policy);

    /* Not with every message. */
    policy = ask_for(context, strange, 2, 0);
    CHECK_TEXT(mtasts_policy_source(policy), "cache");
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_ENFORCE);
    forget(policy);
    mtasts_context_free(context);
}

static void what_is_due_is_fetched_anew(void)
{
    unsigned done = 77, failed = 77;
    mtasts_context *context = new_context();
    CHECK_NUMBER(mtasts_refresh(context, 1, 0, &done, &failed), MTASTS_OK);
    CHECK_NUMBER(done, 1);
    CHECK_NUMBER(failed, 0);
    mtasts_policy *policy = NULL;
    CHECK_NUMBER(mtasts_query(context, extra[0], MTASTS_CACHE_ONLY, 0, &policy), MTASTS_OK);
    CHECK(mtasts_policy_allows_mx(policy, "mx.new.test") == 1);
    forget(policy);

    /* The policy host of the second domain is broken. */
    CHECK_NUMBER(mtasts_refresh(context, 0, 20000, &done, &failed), MTASTS_OK);
    CHECK_NUMBER(done, 1);
    CHECK_NUMBER(failed, 1);
    CHECK_NUMBER(mtasts_refresh(context, 0, 0, NULL, NULL), MTASTS_OK);
    CHECK_NUMBER(mtasts_refresh(context, 0, 0, &done, &failed), MTASTS_OK);
    CHECK_NUMBER(done, 0);
    CHECK_NUMBER(failed, 0);
    CHECK_NUMBER(mtasts_query(context, extra[1], MTASTS_CACHE_ONLY, 0, &policy), MTASTS_OK);
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_TESTING);
    forget(policy);

    CHECK_NUMBER(mtasts_context_set(context, "cache", "/nonexistent/cache.db"), MTASTS_OK);
    done = failed = 77;
    CHECK_NUMBER(mtasts_refresh(context, 0, 0, &done, &failed), MTASTS_CACHE_UNAVAILABLE);
    CHECK(strstr(mtasts_last_error(), "/nonexistent") != NULL);
    CHECK_NUMBER(done, 0);
    CHECK_NUMBER(failed, 0);
    mtasts_context_free(context);
}

/* What Exim is told about a domain with these MX records. */
static int exim(const char *domain, const char *mx_list, const char **told)
{
    static char domain_copy[256], mx_copy[256];
    unsigned char *yield = NULL, *arguments[] = {(unsigned char *)domain_copy, (unsigned char *)mx_copy};
    snprintf(domain_copy, sizeof domain_copy, "%s", domain);
    snprintf(mx_copy, sizeof mx_copy, "%s", mx_list);
    int status = mtasts_exim(&yield, 2, arguments);
    *told = (const char *)yield;
    return status;
}

static void exim_gets_a_healed_policy(void)
{
    const char *told = NULL;
    CHECK_NUMBER(exim("good.test", "10 mx.new.test", &told), 0);
    CHECK_TEXT(told, "mx.new.test");
    CHECK_NUMBER(exim("good.test", "10 mx.good.test", &told), 2);
    CHECK(strstr(told, "no MX of good.test is listed") != NULL);
}

static void exim_follows_the_configuration(void)
{
    const char *told = NULL;
    CHECK_NUMBER(exim("good.test", "10 mx.evil.test", &told), 0);
    CHECK_TEXT(told, "");
    CHECK_NUMBER(exim("absent.test", "10 mx.evil.test", &told), 2);
    CHECK(strstr(told, "policy stands in the configuration") != NULL);
    CHECK_NUMBER(exim("absent.test", "10 mx.evil.test,20 mx.absent.test", &told), 0);
    CHECK_TEXT(told, "mx.absent.test");
}

static void exim_only_observes(void)
{
    const char *told = NULL;
    CHECK_NUMBER(exim("good.test", "10 mx.evil.test", &told), 0);
    CHECK_TEXT(told, "");
}

static char logged[2000];

static void keep_line(void *user, int level, const char *line)
{
    (void)user;
    CHECK_NUMBER(level, 4);
    snprintf(logged, sizeof logged, "%s", line);
}

/* Decides about a host and, if tls is not 0, again after its handshake; returns whether that was logged as a refusal. */
static int is_told(const mtasts_policy *policy, const char *host, int dane, int tls)
{
    mtasts_decision *decision = NULL, *after = NULL;
    logged[0] = '\0';
    CHECK_NUMBER(mtasts_policy_decide(policy, host, dane, &decision), MTASTS_OK);
    if (tls != 0) {
        CHECK_NUMBER(mtasts_decision_tls(decision, tls, &after), MTASTS_OK);
    }
    mtasts_decision_free(decision);
    mtasts_decision_free(after);
    return strstr(logged, "would be refused, but is only observed: ") != NULL && strstr(logged, host) != NULL;
}

static void what_is_only_observed_is_logged(void)
{
    mtasts_context *context = new_context();
    CHECK_NUMBER(mtasts_context_set(context, "observe", "true"), MTASTS_OK);
    CHECK_NUMBER(mtasts_context_set_log(context, keep_line, NULL), MTASTS_OK);
    mtasts_policy *policy = ask(context, "good.test"), *testing = ask(context, "testing.test");
    CHECK_NUMBER(is_told(policy, "mx.good.test", MTASTS_DANE_ABSENT, 0), 0);
    CHECK_NUMBER(is_told(policy, "mx.good.test", MTASTS_DANE_ABSENT, MTASTS_TLS_OK), 0);
    CHECK_NUMBER(is_told(policy, "mx.evil.test", MTASTS_DANE_ABSENT, 0), 1);
    CHECK_NUMBER(is_told(policy, "dane.evil.test", MTASTS_DANE_USABLE, 0), 1);
    CHECK_NUMBER(is_told(policy, "mx.good.test", MTASTS_DANE_ABSENT, MTASTS_TLS_NO_STARTTLS), 1);
    CHECK_NUMBER(is_told(policy, "mx.good.test", MTASTS_DANE_ABSENT, MTASTS_TLS_HOST_MISMATCH), 1);
    /* A failure of DANE is refused, and a policy in testing refuses nobody. */
    CHECK_NUMBER(is_told(policy, "a.backup.test", MTASTS_DANE_FAILED, 0), 0);
    CHECK_NUMBER(is_told(testing, "mx.evil.test", MTASTS_DANE_ABSENT, 0), 0);
    mtasts_context_free(context);
    CHECK_NUMBER(is_told(policy, "b.evil.test", MTASTS_DANE_ABSENT, 0), 0);
    mtasts_policy_free(policy);
    mtasts_policy_free(testing);
}

static void single_domains_have_their_own_rules(void)
{
    mtasts_context *context = new_context();
    CHECK_NUMBER(mtasts_context_set(context, "domain.\"good.test\"",
                                    "{ mode = \"none\", until = 2999-12-31, why = \"a test\" }"), MTASTS_OK);
    CHECK_NUMBER(mtasts_context_set(context, "domain.absent.test", "{ mode = \"enforce\", mx = [\"*.absent.test\"] }"),
                 MTASTS_OK);
    mtasts_policy *policy = ask(context, "Good.test.");
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_EXEMPTED);
    CHECK(strstr(mtasts_policy_reason_text(policy), "a test") != NULL);
    forget(policy);
    policy = ask(context, "absent.test");
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_ENFORCE);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_PINNED);
    CHECK_TEXT(mtasts_policy_source(policy), "configuration");
    CHECK_TEXT(mtasts_policy_mx(policy, 0), "*.absent.test");
    mtasts_decision *decision = NULL;
    CHECK_NUMBER(mtasts_policy_decide(policy, "mx.evil.test", MTASTS_DANE_ABSENT, &decision), MTASTS_OK);
    CHECK_NUMBER(mtasts_decision_action(decision), MTASTS_ACTION_SKIP_HOST);
    mtasts_decision_free(decision);
    forget(policy);

    CHECK_NUMBER(mtasts_context_set(context, "observe", "true"), MTASTS_OK);
    policy = ask(context, "absent.test");
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_TESTING);
    CHECK_NUMBER(mtasts_policy_decide(policy, "mx.evil.test", MTASTS_DANE_ABSENT, &decision), MTASTS_OK);
    CHECK_NUMBER(mtasts_decision_action(decision), MTASTS_ACTION_DELIVER_REPORT);
    CHECK_NUMBER(mtasts_decision_result_type(decision), MTASTS_RESULT_TYPE_VALIDATION_FAILURE);
    CHECK(strstr(mtasts_decision_reason_text(decision), "only observed") != NULL);
    mtasts_decision_free(decision);
    forget(policy);
    CHECK_NUMBER(mtasts_context_set(context, "domain.absent.test", "{ mode = \"enforce\" }"), MTASTS_INVALID_CONFIG);
    CHECK(strstr(mtasts_last_error(), "absent.test") != NULL);
    mtasts_context_free(context);
}

MAIN(
    {"the-cache-is-filled", the_cache_is_filled},
    {"a-policy-that-lists-no-host-is-fetched-anew", a_policy_that_lists_no_host_is_fetched_anew},
    {"what-is-due-is-fetched-anew", what_is_due_is_fetched_anew},
    {"exim-gets-a-healed-policy", exim_gets_a_healed_policy},
    {"exim-follows-the-configuration", exim_follows_the_configuration},
    {"exim-only-observes", exim_only_observes},
    {"what-is-only-observed-is-logged", what_is_only_observed_is_logged},
    {"single-domains-have-their-own-rules", single_domains_have_their_own_rules},
)
