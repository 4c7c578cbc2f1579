/* Texts that cannot be the name of a domain: an answer with the reason, no failed call. The test sees that DNS is not
 * asked. */

#include "check.h"

#define A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *domain;
    int reason;
} bad[] = {
    {"192.0.2.1", MTASTS_REASON_ADDRESS_LITERAL},
    {"[192.0.2.1]", MTASTS_REASON_ADDRESS_LITERAL},
    {"2001:db8::1", MTASTS_REASON_ADDRESS_LITERAL},
    {"[2001:db8::1]", MTASTS_REASON_ADDRESS_LITERAL},
    {"[IPv6:2001:db8::1]", MTASTS_REASON_ADDRESS_LITERAL},
    {"", MTASTS_REASON_INVALID_DOMAIN},
    {".", MTASTS_REASON_INVALID_DOMAIN},
    {"..", MTASTS_REASON_INVALID_DOMAIN},
    {".good.test", MTASTS_REASON_INVALID_DOMAIN},
    {"good..test", MTASTS_REASON_INVALID_DOMAIN},
    {"good.test..", MTASTS_REASON_INVALID_DOMAIN},
    {"good test", MTASTS_REASON_INVALID_DOMAIN},
    {" good.test", MTASTS_REASON_INVALID_DOMAIN},
    {"good.test\n", MTASTS_REASON_INVALID_DOMAIN},
    {"good.test/x", MTASTS_REASON_INVALID_DOMAIN},
    {"good.test:25", MTASTS_REASON_INVALID_DOMAIN},
    {"good.test#", MTASTS_REASON_INVALID_DOMAIN},
    {"*.good.test", MTASTS_REASON_INVALID_DOMAIN},
    {"user@good.test", MTASTS_REASON_INVALID_DOMAIN},
    {"-good.test", MTASTS_REASON_INVALID_DOMAIN},
    {"good.123", MTASTS_REASON_INVALID_DOMAIN},
    {"good\\.test", MTASTS_REASON_INVALID_DOMAIN},
    {A63 "a.test", MTASTS_REASON_INVALID_DOMAIN},
    {A63 "." A63 "." A63 "." A63, MTASTS_REASON_INVALID_DOMAIN},
    {A63 "." A63 "." A63 "." A63 "." A63, MTASTS_REASON_INVALID_DOMAIN},
    {"\xff\xfe.test", MTASTS_REASON_INVALID_DOMAIN},
    {"good\xc3.test", MTASTS_REASON_INVALID_DOMAIN},
    {"good\xe2\x80\xae.test", MTASTS_REASON_INVALID_DOMAIN},
};

static void have_no_policy(void)
{
    mtasts_context *context = new_context();
    for (size_t i = 0; i < COUNT(bad); i++) {
        mtasts_policy *policy = ask(context, bad[i].domain);
        char patterns[8] = "before";
        int is_good = CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
        is_good &= CHECK_NUMBER(mtasts_policy_reason(policy), bad[i].reason);
        is_good &= CHECK_TEXT(mtasts_policy_domain(policy), "");
        is_good &= CHECK_TEXT(mtasts_policy_source(policy), "none");
        is_good &= CHECK(mtasts_policy_reason_text(policy)[0] != '\0');
        is_good &= CHECK_NUMBER(mtasts_lookup(bad[i].domain, patterns, sizeof patterns), MTASTS_MODE_NONE);
        is_good &= CHECK_TEXT(patterns, "");
        if (!is_good) {
            printf("... for \"%s\"\n", bad[i].domain);
        }
        mtasts_policy_free(policy);
    }
    mtasts_context_free(context);
    mtasts_cleanup();
}

MAIN({"have-no-policy", have_no_policy})
