/* What Sendmail and Postfix are told: requests of a socketmap server and the replies to them. */

#include "check.h"

#define REPLIED(request, timeout_ms, wanted) CHECK_TEXT(replied(context, (request), sizeof(request) - 1, (timeout_ms)), wanted)

static char reply[MTASTS_REPLY_SIZE];

static const char *replied(mtasts_context *context, const char *request, size_t len, int timeout_ms)
{
    strcpy(reply, "nothing");
    CHECK_NUMBER(mtasts_socketmap(context, (const uint8_t *)request, len, timeout_ms, reply, sizeof reply), MTASTS_OK);
    return reply;
}

#define CLASSIC "OK secure match=mx.good.test:.backup.test servername=hostname"
#define ATTRIBUTES                                                                                       \
    " policy_type=sts policy_domain=good.test mx_host_pattern=mx.good.test mx_host_pattern=*.backup.test" \
    " { policy_string = version: STSv1 } { policy_string = mode: enforce } { policy_string = mx: mx.good.test }" \
    " { policy_string = mx: *.backup.test } { policy_string = max_age: 86400 }"

/* Twice, fetched and remembered. */
static void each_is_told_in_its_dialect(void)
{
    mtasts_context *context = new_context();
    for (int round = 0; round < 2; round++) {
        REPLIED("sts good.test", 0, CLASSIC);
        REPLIED("postfix good.test", 0, CLASSIC);
        REPLIED("postfix-tlsrpt GOOD.test.", 0, CLASSIC ATTRIBUTES);
        REPLIED("sts testing.test", 0, "NOTFOUND ");
        REPLIED("postfix none.test", 0, "NOTFOUND ");
        REPLIED("postfix-tlsrpt absent.test", 0, "NOTFOUND ");
        REPLIED("sts wrong-certificate.test", 0, "NOTFOUND ");
    }
    mtasts_policy *policy = ask(context, "good.test");
    CHECK_NUMBER(mtasts_policy_format(policy, MTASTS_DIALECT_POSTFIX_TLSRPT, reply, sizeof reply), MTASTS_OK);
    CHECK_TEXT(reply, CLASSIC ATTRIBUTES);
    mtasts_policy_free(policy);

    /* A policy that was handed in belongs to no domain, and Postfix wants one with the other attributes. */
    static const char body[] = "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1\n";
    CHECK_NUMBER(mtasts_policy_parse((const uint8_t *)body, sizeof body - 1, &policy), MTASTS_OK);
    CHECK_NUMBER(mtasts_policy_format(policy, MTASTS_DIALECT_POSTFIX_TLSRPT, reply, sizeof reply), MTASTS_OK);
    CHECK_TEXT(reply, "OK secure match=a.test servername=hostname");
    mtasts_policy_free(policy);
    mtasts_context_free(context);
}

/* The caller checks that DNS heard nothing. */
static void what_is_no_domain_is_not_found_without_a_look(void)
{
    mtasts_context *context = new_context();
    REPLIED("postfix .good.test", 0, "NOTFOUND ");
    REPLIED("postfix [mx.good.test]", 0, "NOTFOUND ");
    REPLIED("postfix [mx.good.test]:587", 0, "NOTFOUND ");
    REPLIED("postfix good.test:25", 0, "NOTFOUND ");
    REPLIED("sts 192.0.2.1", 0, "NOTFOUND ");
    REPLIED("sts [192.0.2.1]", 0, "NOTFOUND ");
    REPLIED("sts [IPv6:2001:db8::1]", 0, "NOTFOUND ");
    REPLIED("sts good.test\0", 0, "NOTFOUND ");
    REPLIED("sts ", 0, "NOTFOUND ");
    static const char *const unclear[] = {"", "sts", "good.test", "QUERY good.test", "Sts good.test", " good.test"};
    for (size_t i = 0; i < sizeof unclear / sizeof *unclear; i++) {
        CHECK(strncmp(replied(context, unclear[i], strlen(unclear[i]), 0), "TEMP ", 5) == 0 && strlen(reply) > 5);
    }
    /* No byte of it, and then nothing may be behind the pointer. */
    CHECK_NUMBER(mtasts_socketmap(context, NULL, 0, 0, reply, sizeof reply), MTASTS_OK);
    CHECK(strncmp(reply, "TEMP ", 5) == 0);
    mtasts_context_free(context);
}

/* One buffer for both: the request is read first. */
static void a_buffer_may_be_request_and_reply(void)
{
    mtasts_context *context = new_context();
    strcpy(reply, "sts good.test");
    CHECK_NUMBER(mtasts_socketmap(context, (const uint8_t *)reply, 13, 0, reply, sizeof reply), MTASTS_OK);
    CHECK_TEXT(reply, CLASSIC);
    mtasts_context_free(context);
}

/* The policy host is silent. Who gives it less time than the configuration does not know what it would have said. */
static void a_look_that_was_cut_short_holds_the_message(void)
{
    mtasts_context *context = new_context();
    REPLIED("sts mute.test", 500, "TEMP it is unknown whether mute.test has a policy: policy-host-timed-out");
    REPLIED("sts silent.test", 500, "TEMP it is unknown whether silent.test has a policy: dns-failed");
    REPLIED("sts servfail.test", 4000, "NOTFOUND ");
    CHECK_NUMBER(mtasts_context_set(context, "deadline_seconds", "1"), MTASTS_OK);
    REPLIED("sts mute.test", 0, "NOTFOUND ");
    CHECK_NUMBER(mtasts_context_set(context, "on_dns_error", "defer"), MTASTS_OK);
    REPLIED("postfix servfail.test", 0, "TEMP it is unknown whether servfail.test has a policy: dns-failed");
    mtasts_context_free(context);
}

static void what_is_only_observed_is_no_demand(void)
{
    mtasts_context *context = new_context();
    CHECK_NUMBER(mtasts_context_set(context, "observe", "true"), MTASTS_OK);
    REPLIED("sts good.test", 0, "NOTFOUND ");
    CHECK_NUMBER(mtasts_context_set(context, "observe", "false"), MTASTS_OK);
    REPLIED("sts good.test", 0, CLASSIC);
    CHECK_NUMBER(mtasts_context_set(context, "domain.\"good.test\"",
                                    "{ mode = \"none\", until = 2999-12-31, why = \"a test\" }"), MTASTS_OK);
    REPLIED("sts good.test", 0, "NOTFOUND ");
    CHECK_NUMBER(mtasts_context_set(context, "domain.\"pinned.test\"", "{ mode = \"enforce\", mx = [\"*.mail.test\"] }"),
                 MTASTS_OK);
    REPLIED("sts pinned.test", 0, "OK secure match=.mail.test servername=hostname");
    mtasts_context_free(context);
}

MAIN({"each-is-told-in-its-dialect", each_is_told_in_its_dialect},
     {"no-domain-is-not-found", what_is_no_domain_is_not_found_without_a_look},
     {"a-buffer-may-be-both", a_buffer_may_be_request_and_reply},
     {"a-look-was-cut-short", a_look_that_was_cut_short_holds_the_message},
     {"only-observed", what_is_only_observed_is_no_demand})
