/* Every function of the header with every argument that it cannot use: the promised status, out-pointers NULL, buffers
 * empty, and a last error that names the argument. */

#include "check.h"
#include <limits.h>

/* Something that may not be left in an out-pointer. */
static char rubbish;
#define RUBBISH ((void *)&rubbish)

#define OTHER_ERROR "no TXT record begins with `v=STSv1;`"

/* Makes the last error one that no call under test gives. */
static void fail_otherwise(void)
{
    char id[MTASTS_ID_SIZE];
    CHECK_NUMBER(mtasts_record_select(NULL, NULL, 0, id, sizeof id), MTASTS_NO_RECORD);
    CHECK_TEXT(mtasts_last_error(), OTHER_ERROR);
}

#define REFUSED(call, status, argument) (fail_otherwise(), refused((call), (status), (argument), __LINE__, #call))

static void refused(int found, int status, const char *argument, int line, const char *call)
{
    check_number(found, status, __FILE__, line, call);
    if (strstr(mtasts_last_error(), argument) == NULL) {
        printf("%s:%d: %s: last error is \"%s\", want \"%s\" in it\n", __FILE__, line, call,
               mtasts_last_error(), argument);
        faults++;
    }
}

/* The same for a call that has an out-pointer. */
#define REFUSED_OUT(out, call, status, argument) \
    do {                                         \
        (out) = RUBBISH;                         \
        REFUSED(call, status, argument);         \
        CHECK((out) == NULL);                    \
    } while (0)

#define CONTEXT "`context`"
#define POLICY "`policy`"
#define DOMAIN "`domain`"

static mtasts_policy *parsed(const char *body)
{
    mtasts_policy *policy = NULL;
    if (!CHECK_NUMBER(mtasts_policy_parse((const uint8_t *)body, strlen(body), &policy), MTASTS_OK)) {
        exit(1);
    }
    return policy;
}

static void log_nothing(void *user, int level, const char *line)
{
    (void)user, (void)level, (void)line;
}

static void are_refused(void)
{
    mtasts_context *context = new_context(), *made;
    mtasts_policy *policy = parsed("version: STSv1\nmode: enforce\nmx: mx.good.test\nmax_age: 86400\n"), *answer;
    mtasts_decision *decision = NULL, *decided;
    CHECK_NUMBER(mtasts_policy_decide(policy, "mx.good.test", MTASTS_DANE_ABSENT, &decision), MTASTS_OK);
    const char *hosts[] = {"mx.good.test", NULL};
    const uint8_t *records[] = {(const uint8_t *)"v=STSv1; id=1;", NULL};
    size_t lengths[] = {14, 14}, no_length[] = {0}, impossible[] = {SIZE_MAX};
    char buffer[MTASTS_ID_SIZE];

    /* status and version */
    CHECK_TEXT(mtasts_status_text(MTASTS_OK), "success");
    CHECK_TEXT(mtasts_status_text(-MTASTS_NULL_ARGUMENT), mtasts_status_text(MTASTS_NULL_ARGUMENT));
    CHECK_TEXT(mtasts_status_text(INT_MIN), mtasts_status_text(4711));
    CHECK_TEXT(mtasts_version(), "0.1.0");

    /* lookup and matching */
    REFUSED(mtasts_lookup("good.test", NULL, sizeof buffer), -MTASTS_NULL_ARGUMENT, "`buf`");
    REFUSED(mtasts_lookup("good.test", NULL, 0), -MTASTS_NULL_ARGUMENT, "`buf`");
    REFUSED(mtasts_lookup(NULL, NULL, 0), -MTASTS_NULL_ARGUMENT, "`");
    strcpy(buffer, "before");
    REFUSED(mtasts_lookup(NULL, buffer, sizeof buffer), -MTASTS_NULL_ARGUMENT, DOMAIN);
    CHECK_TEXT(buffer, "");
    REFUSED(mtasts_match_mx(NULL, "mx.good.test"), -MTASTS_NULL_ARGUMENT, "`patterns`");
    REFUSED(mtasts_match_mx("mx.good.test", NULL), -MTASTS_NULL_ARGUMENT, "`mx_host`");
    REFUSED(mtasts_match_mx(NULL, NULL), -MTASTS_NULL_ARGUMENT, "`");

    /* context */
    REFUSED(mtasts_context_new(config_path, NULL), MTASTS_NULL_ARGUMENT, CONTEXT);
    REFUSED_OUT(made, mtasts_context_new("", &made), MTASTS_INVALID_CONFIG, "");
    REFUSED_OUT(made, mtasts_context_new("/nowhere/mtasts.toml", &made), MTASTS_INVALID_CONFIG, "/nowhere/mtasts.toml");
    REFUSED(mtasts_context_set(NULL, "syslog", "true"), MTASTS_NULL_ARGUMENT, CONTEXT);
    REFUSED(mtasts_context_set(context, NULL, "true"), MTASTS_NULL_ARGUMENT, "`key`");
    REFUSED(mtasts_context_set(context, "syslog", NULL), MTASTS_NULL_ARGUMENT, "`value`");
    REFUSED(mtasts_context_set_log(NULL, log_nothing, NULL), MTASTS_NULL_ARGUMENT, CONTEXT);
    CHECK_NUMBER(mtasts_context_set_log(context, NULL, NULL), MTASTS_OK);
    CHECK_NUMBER(mtasts_context_set_log(context, log_nothing, NULL), MTASTS_OK);

    /* query */
    REFUSED(mtasts_query(context, "good.test", 0, 0, NULL), MTASTS_NULL_ARGUMENT, POLICY);
    REFUSED_OUT(answer, mtasts_query(NULL, "good.test", 0, 0, &answer), MTASTS_NULL_ARGUMENT, CONTEXT);
    REFUSED_OUT(answer, mtasts_query(context, NULL, 0, 0, &answer), MTASTS_NULL_ARGUMENT, DOMAIN);
    REFUSED_OUT(answer, mtasts_query(NULL, NULL, UINT_MAX, -1, &answer), MTASTS_NULL_ARGUMENT, "`");
    REFUSED_OUT(answer, mtasts_query(context, "good.test", 4, 0, &answer), MTASTS_INVALID_ARGUMENT, "`flags`");
    REFUSED_OUT(answer, mtasts_query(context, "good.test", UINT_MAX, 0, &answer), MTASTS_INVALID_ARGUMENT, "`flags`");
    REFUSED_OUT(answer, mtasts_query(context, "good.test", MTASTS_CACHE_ONLY | MTASTS_REFRESH, 0, &answer),
                MTASTS_INVALID_ARGUMENT, "`flags`");
    REFUSED_OUT(answer, mtasts_query(context, "good.test", 0, -1, &answer), MTASTS_INVALID_ARGUMENT, "`timeout_ms`");
    REFUSED_OUT(answer, mtasts_query(context, "good.test", 0, INT_MIN, &answer),
                MTASTS_INVALID_ARGUMENT, "`timeout_ms`");
    REFUSED_OUT(answer, mtasts_query(context, "", 4, 0, &answer), MTASTS_INVALID_ARGUMENT, "`flags`");

    /* query_for */
    REFUSED(mtasts_query_for(context, "good.test", hosts, 1, 0, 0, NULL), MTASTS_NULL_ARGUMENT, POLICY);
    REFUSED_OUT(answer, mtasts_query_for(NULL, "good.test", hosts, 1, 0, 0, &answer), MTASTS_NULL_ARGUMENT, CONTEXT);
    REFUSED_OUT(answer, mtasts_query_for(context, NULL, hosts, 1, 0, 0, &answer), MTASTS_NULL_ARGUMENT, DOMAIN);
    REFUSED_OUT(answer, mtasts_query_for(context, "good.test", NULL, 1, 0, 0, &answer),
                MTASTS_NULL_ARGUMENT, "`mx_hosts`");
    REFUSED_OUT(answer, mtasts_query_for(context, "good.test", hosts, 2, 0, 0, &answer),
                MTASTS_NULL_ARGUMENT, "`mx_hosts[");
    REFUSED_OUT(answer, mtasts_query_for(context, "good.test", hosts, SIZE_MAX, 0, 0, &answer), MTASTS_INVALID_ARGUMENT,
                "`mx_hosts`");
    REFUSED_OUT(answer, mtasts_query_for(context, "good.test", hosts, 1, 4, 0, &answer),
                MTASTS_INVALID_ARGUMENT, "`flags`");
    REFUSED_OUT(answer, mtasts_query_for(context, "good.test", NULL, 0, 3, 0, &answer),
                MTASTS_INVALID_ARGUMENT, "`flags`");
    REFUSED_OUT(answer, mtasts_query_for(context, "good.test", hosts, 1, 0, -1, &answer), MTASTS_INVALID_ARGUMENT,
                "`timeout_ms`");

    /* refresh */
    unsigned done = 7, failed = 7;
    REFUSED(mtasts_refresh(NULL, 0, 0, &done, &failed), MTASTS_NULL_ARGUMENT, CONTEXT);
    CHECK(done == 0 && failed == 0);
    REFUSED(mtasts_refresh(context, 0, -1, NULL, NULL), MTASTS_INVALID_ARGUMENT, "`timeout_ms`");

    /* policy */
    REFUSED(mtasts_policy_parse(records[0], 14, NULL), MTASTS_NULL_ARGUMENT, POLICY);
    REFUSED_OUT(answer, mtasts_policy_parse(NULL, 1, &answer), MTASTS_NULL_ARGUMENT, "`body`");
    REFUSED_OUT(answer, mtasts_policy_parse(NULL, 0, &answer), MTASTS_NULL_ARGUMENT, "`body`");
    REFUSED_OUT(answer, mtasts_policy_parse(records[0], SIZE_MAX, &answer), MTASTS_INVALID_ARGUMENT, "`body`");
    REFUSED_OUT(answer, mtasts_policy_parse((const uint8_t *)"", 0, &answer), MTASTS_INVALID_POLICY, "");
    REFUSED_OUT(answer, mtasts_policy_parse((const uint8_t *)"version: STSv1\nmode: strict\nmax_age: 1\n", 39, &answer),
                MTASTS_INVALID_POLICY, "line 2");
    REFUSED(mtasts_policy_allows_mx(NULL, "mx.good.test"), -MTASTS_NULL_ARGUMENT, POLICY);
    REFUSED(mtasts_policy_allows_mx(policy, NULL), -MTASTS_NULL_ARGUMENT, "`mx_host`");

    /* socketmap: what is refused leaves no text that a mail server could take for a reply */
    const uint8_t *request = (const uint8_t *)"sts good.test";
#define UNTOLD(call, status, argument) (strcpy(buffer, "before"), REFUSED(call, status, argument), CHECK_TEXT(buffer, ""))
    REFUSED(mtasts_policy_format(policy, MTASTS_DIALECT_POSTFIX, NULL, 1), MTASTS_NULL_ARGUMENT, "`buf`");
    UNTOLD(mtasts_policy_format(NULL, MTASTS_DIALECT_POSTFIX, buffer, sizeof buffer), MTASTS_NULL_ARGUMENT, POLICY);
    UNTOLD(mtasts_policy_format(policy, 0, buffer, sizeof buffer), MTASTS_INVALID_ARGUMENT, "`dialect`");
    UNTOLD(mtasts_policy_format(policy, 4, buffer, sizeof buffer), MTASTS_INVALID_ARGUMENT, "`dialect`");
    UNTOLD(mtasts_policy_format(policy, INT_MIN, buffer, sizeof buffer), MTASTS_INVALID_ARGUMENT, "`dialect`");
    REFUSED(mtasts_socketmap(context, request, 13, 0, NULL, 1), MTASTS_NULL_ARGUMENT, "`reply`");
    UNTOLD(mtasts_socketmap(NULL, request, 13, 0, buffer, sizeof buffer), MTASTS_NULL_ARGUMENT, CONTEXT);
    UNTOLD(mtasts_socketmap(context, NULL, 13, 0, buffer, sizeof buffer), MTASTS_NULL_ARGUMENT, "`request`");
    UNTOLD(mtasts_socketmap(context, request, SIZE_MAX, 0, buffer, sizeof buffer), MTASTS_INVALID_ARGUMENT,
           "`request`");
    UNTOLD(mtasts_socketmap(context, request, 13, -1, buffer, sizeof buffer), MTASTS_INVALID_ARGUMENT, "`timeout_ms`");

    /* decision */
    REFUSED(mtasts_policy_decide(policy, "mx.good.test", MTASTS_DANE_ABSENT, NULL), MTASTS_NULL_ARGUMENT, "`decision`");
    REFUSED_OUT(decided, mtasts_policy_decide(NULL, "mx.good.test", 0, &decided), MTASTS_NULL_ARGUMENT, POLICY);
    REFUSED_OUT(decided, mtasts_policy_decide(policy, NULL, 0, &decided), MTASTS_NULL_ARGUMENT, "`mx_host`");
    REFUSED_OUT(decided, mtasts_policy_decide(policy, "mx.good.test", 5, &decided), MTASTS_INVALID_ARGUMENT, "`dane`");
    REFUSED_OUT(decided, mtasts_policy_decide(policy, "mx.good.test", -1, &decided), MTASTS_INVALID_ARGUMENT, "`dane`");
    REFUSED(mtasts_decision_tls(decision, MTASTS_TLS_OK, NULL), MTASTS_NULL_ARGUMENT, "`after`");
    REFUSED_OUT(decided, mtasts_decision_tls(NULL, MTASTS_TLS_OK, &decided), MTASTS_NULL_ARGUMENT, "`before`");
    REFUSED_OUT(decided, mtasts_decision_tls(decision, 0, &decided), MTASTS_INVALID_ARGUMENT, "`tls_state`");
    REFUSED_OUT(decided, mtasts_decision_tls(decision, 8, &decided), MTASTS_INVALID_ARGUMENT, "`tls_state`");
    REFUSED_OUT(decided, mtasts_decision_tls(decision, INT_MIN, &decided), MTASTS_INVALID_ARGUMENT, "`tls_state`");

    /* verify: every refusal says that nothing is to be reported */
#define UNVERIFIED(call, status, argument) (type = 4711, REFUSED(call, status, argument), CHECK_NUMBER(type, 0))
    int type;
    UNVERIFIED(mtasts_decision_verify(NULL, records, lengths, 1, &type), MTASTS_NULL_ARGUMENT, "`decision`");
    UNVERIFIED(mtasts_decision_verify(decision, NULL, lengths, 1, &type), MTASTS_NULL_ARGUMENT, "`der`");
    UNVERIFIED(mtasts_decision_verify(decision, records, NULL, 1, &type), MTASTS_NULL_ARGUMENT, "`len`");
    UNVERIFIED(mtasts_decision_verify(decision, records, lengths, 2, &type), MTASTS_NULL_ARGUMENT, "`der[");
    UNVERIFIED(mtasts_decision_verify(decision, records + 1, no_length, 1, &type), MTASTS_NULL_ARGUMENT, "`der[");
    UNVERIFIED(mtasts_decision_verify(decision, records, lengths, SIZE_MAX, &type), MTASTS_INVALID_ARGUMENT, "`der`");
    UNVERIFIED(mtasts_decision_verify(decision, records, impossible, 1, &type), MTASTS_INVALID_ARGUMENT, "`der[");
    UNVERIFIED(mtasts_decision_verify(NULL, NULL, NULL, SIZE_MAX, &type), MTASTS_NULL_ARGUMENT, "`decision`");
    REFUSED(mtasts_decision_verify(NULL, NULL, NULL, 1, NULL), MTASTS_NULL_ARGUMENT, "`decision`");
    REFUSED(mtasts_decision_verify(decision, NULL, NULL, 1, NULL), MTASTS_NULL_ARGUMENT, "`der`");

    /* record */
    REFUSED(mtasts_record_select(records, lengths, 1, NULL, MTASTS_ID_SIZE), MTASTS_NULL_ARGUMENT, "`id`");
    strcpy(buffer, "before");
    REFUSED(mtasts_record_select(NULL, lengths, 1, buffer, sizeof buffer), MTASTS_NULL_ARGUMENT, "`txt`");
    CHECK_TEXT(buffer, "");
    strcpy(buffer, "before");
    REFUSED(mtasts_record_select(records, NULL, 1, buffer, sizeof buffer), MTASTS_NULL_ARGUMENT, "`len`");
    CHECK_TEXT(buffer, "");
    strcpy(buffer, "before");
    REFUSED(mtasts_record_select(records, lengths, 2, buffer, sizeof buffer), MTASTS_NULL_ARGUMENT, "`txt[");
    CHECK_TEXT(buffer, "");
    strcpy(buffer, "before");
    REFUSED(mtasts_record_select(records, lengths, SIZE_MAX, buffer, sizeof buffer), MTASTS_INVALID_ARGUMENT, "`txt`");
    CHECK_TEXT(buffer, "");
    lengths[0] = SIZE_MAX;
    REFUSED(mtasts_record_select(records, lengths, 1, buffer, sizeof buffer), MTASTS_INVALID_ARGUMENT, "`txt[");
    CHECK_TEXT(buffer, "");

    mtasts_decision_free(decision);
    mtasts_policy_free(policy);
    mtasts_context_free(context);
}

/* A call that is not Exim's holds the message: 2 is Exim's FAIL, and the text says why. */
static void exim_is_told_to_hold(void)
{
    unsigned char *text = RUBBISH, *arguments[] = {NULL, NULL};
    CHECK_NUMBER(mtasts_exim(NULL, 0, NULL), 2);
    CHECK_NUMBER(mtasts_exim_mode(NULL, 0, NULL), 2);
#define HELD(call)                                                                                \
    do {                                                                                          \
        text = RUBBISH;                                                                           \
        CHECK_NUMBER(call, 2);                                                                    \
        CHECK(text != NULL && text != RUBBISH && strncmp((const char *)text, "MTA-STS: ", 9) == 0); \
    } while (0)
    HELD(mtasts_exim(&text, 0, NULL));
    HELD(mtasts_exim(&text, 2, NULL));
    HELD(mtasts_exim(&text, -1, arguments));
    HELD(mtasts_exim(&text, 2, arguments));
    HELD(mtasts_exim_mode(&text, 0, NULL));
    HELD(mtasts_exim_mode(&text, -1, NULL));
    HELD(mtasts_exim_mode(&text, 1, NULL));
    HELD(mtasts_exim_mode(&text, 1, arguments));
    HELD(mtasts_exim_mode(&text, 2, arguments));
}

/* In an event Exim goes on after a failure: 0 is Exim's OK, and only a text refuses the certificate. */
static void exim_is_told_to_refuse_a_certificate(void)
{
    unsigned char *text = RUBBISH, *none[] = {NULL, NULL, NULL};
    unsigned char host[] = "mx.good.test", empty[] = "", garbage[] = "\xff$\n", der[] = "MAA=";
    unsigned char *half[] = {host, NULL}, *blank[] = {empty, empty}, *nameless[] = {empty, der}, *bare[] = {host, empty};
    unsigned char *wild[] = {garbage, garbage}, *short_of[] = {host, der}, *many[] = {host, der, der};
    CHECK_NUMBER(mtasts_exim_certificate(NULL, 0, NULL), 2);
#define UNCONFIRMED(argc, argv)                                                                       \
    do {                                                                                              \
        text = RUBBISH;                                                                               \
        CHECK_NUMBER(mtasts_exim_certificate(&text, argc, argv), 0);                                  \
        CHECK(text != NULL && text != RUBBISH && strncmp((const char *)text, "MTA-STS: ", 9) == 0);   \
        CHECK(strlen((const char *)text) > 9 && strpbrk((const char *)text, "\n\r\t\xff") == NULL);    \
    } while (0)
    UNCONFIRMED(0, NULL);
    UNCONFIRMED(2, NULL);
    UNCONFIRMED(-1, none);
    UNCONFIRMED(INT_MIN, short_of);
    UNCONFIRMED(1, none);
    UNCONFIRMED(2, none);
    UNCONFIRMED(1, short_of);
    UNCONFIRMED(2, half);
    UNCONFIRMED(2, blank);
    UNCONFIRMED(2, nameless);
    UNCONFIRMED(2, bare);
    UNCONFIRMED(2, wild);
    UNCONFIRMED(2, short_of);
    UNCONFIRMED(3, many);
}

/* Getters of nothing: nothing, or a negative number where 0 would mean something. They leave the last error alone. */
static void nothing_has_nothing(void)
{
    size_t len = 4711;
    fail_otherwise();
    CHECK_NUMBER(mtasts_policy_mode(NULL), -MTASTS_NULL_ARGUMENT);
    CHECK_NUMBER(mtasts_policy_reason(NULL), -MTASTS_NULL_ARGUMENT);
    CHECK_NUMBER(mtasts_policy_result_type(NULL), -MTASTS_NULL_ARGUMENT);
    CHECK(mtasts_policy_domain(NULL) == NULL);
    CHECK(mtasts_policy_id(NULL) == NULL);
    CHECK(mtasts_policy_source(NULL) == NULL);
    CHECK(mtasts_policy_reason_text(NULL) == NULL);
    CHECK(mtasts_policy_max_age(NULL) == 0);
    CHECK(mtasts_policy_fetched_at(NULL) == 0);
    CHECK(mtasts_policy_expires_at(NULL) == 0);
    CHECK(mtasts_policy_mx_count(NULL) == 0);
    CHECK(mtasts_policy_mx(NULL, 0) == NULL);
    CHECK(mtasts_policy_body(NULL, NULL) == NULL);
    CHECK(mtasts_policy_body(NULL, &len) == NULL && len == 0);
    CHECK(mtasts_policy_lint_count(NULL) == 0);
    CHECK(mtasts_policy_lint(NULL, 0) == NULL);
    CHECK_NUMBER(mtasts_decision_action(NULL), -MTASTS_NULL_ARGUMENT);
    CHECK_NUMBER(mtasts_decision_reason(NULL), -MTASTS_NULL_ARGUMENT);
    CHECK_NUMBER(mtasts_decision_result_type(NULL), -MTASTS_NULL_ARGUMENT);
    CHECK(mtasts_decision_reason_text(NULL) == NULL);
    CHECK(mtasts_decision_sni(NULL) == NULL);
    CHECK(mtasts_decision_enhanced_status(NULL) == NULL);

    mtasts_policy *policy = parsed("version: STSv1\nmode: none\nmx: a.test\nmax_age: 86400\n");
    CHECK(mtasts_policy_body(policy, NULL) != NULL);
    CHECK_NUMBER(mtasts_policy_mx_count(policy), 1);
    CHECK(mtasts_policy_mx(policy, 1) == NULL && mtasts_policy_mx(policy, SIZE_MAX) == NULL);
    CHECK_NUMBER(mtasts_policy_lint_count(policy), 0);
    CHECK(mtasts_policy_lint(policy, 0) == NULL && mtasts_policy_lint(policy, SIZE_MAX) == NULL);
    mtasts_policy_free(policy);

    mtasts_context_free(NULL);
    mtasts_policy_free(NULL);
    mtasts_decision_free(NULL);
    mtasts_cleanup();
    mtasts_cleanup();
    CHECK_TEXT(mtasts_last_error(), OTHER_ERROR);
}

/* Fills a buffer with a mark, so that every byte that is written can be told. */
static void mark(char *buffer, size_t size)
{
    memset(buffer, '#', size);
}

static int is_marked(const char *buffer, size_t size)
{
    while (size > 0 && *buffer == '#') {
        buffer++, size--;
    }
    return size == 0;
}

/* The whole text with its NUL, or an empty one and an error; never a byte beyond. */
static void hold_all_or_nothing(void)
{
    static const char patterns[] = "mx.good.test:*.backup.test";
    static const char id[] = "20260101";
    const uint8_t *record = (const uint8_t *)"v=STSv1; id=20260101;";
    size_t length = 21;
    char buffer[64];

    for (size_t size = 0; size <= sizeof patterns + 1; size++) {
        mark(buffer, sizeof buffer);
        if (size < sizeof patterns) {
            REFUSED(mtasts_lookup("good.test", buffer, size), -MTASTS_BUFFER_TOO_SMALL, "27");
            CHECK(size == 0 || buffer[0] == '\0');
        } else {
            CHECK_NUMBER(mtasts_lookup("good.test", buffer, size), MTASTS_MODE_ENFORCE);
            CHECK_TEXT(buffer, patterns);
        }
        CHECK(is_marked(buffer + size, sizeof buffer - size));
    }
    for (size_t size = 0; size <= sizeof id + 1; size++) {
        mark(buffer, sizeof buffer);
        if (size < sizeof id) {
            REFUSED(mtasts_record_select(&record, &length, 1, buffer, size), MTASTS_BUFFER_TOO_SMALL, "9");
            CHECK(size == 0 || buffer[0] == '\0');
        } else {
            CHECK_NUMBER(mtasts_record_select(&record, &length, 1, buffer, size), MTASTS_OK);
            CHECK_TEXT(buffer, id);
        }
        CHECK(is_marked(buffer + size, sizeof buffer - size));
    }
    static const char told[] = "OK secure match=mx.good.test servername=hostname";
    mtasts_context *context = new_context();
    mtasts_policy *policy = parsed("version: STSv1\nmode: enforce\nmx: mx.good.test\nmax_age: 86400\n");
    for (size_t size = 0; size <= sizeof told + 1; size++) {
        mark(buffer, sizeof buffer);
        if (size < sizeof told) {
            REFUSED(mtasts_policy_format(policy, MTASTS_DIALECT_SENDMAIL, buffer, size), MTASTS_BUFFER_TOO_SMALL, "49");
            CHECK(size == 0 || buffer[0] == '\0');
            mark(buffer, sizeof buffer);
            REFUSED(mtasts_socketmap(context, (const uint8_t *)"QUERY x", 7, 0, buffer, size), MTASTS_BUFFER_TOO_SMALL, "54");
            CHECK(size == 0 || buffer[0] == '\0');
        } else {
            CHECK_NUMBER(mtasts_policy_format(policy, MTASTS_DIALECT_SENDMAIL, buffer, size), MTASTS_OK);
            CHECK_TEXT(buffer, told);
        }
        CHECK(is_marked(buffer + size, sizeof buffer - size));
    }
    mtasts_policy_free(policy);
    mtasts_context_free(context);
    mtasts_cleanup();
}

MAIN({"are-refused", are_refused}, {"exim-is-told-to-hold", exim_is_told_to_hold},
     {"exim-is-told-to-refuse-a-certificate", exim_is_told_to_refuse_a_certificate},
     {"nothing-has-nothing", nothing_has_nothing}, {"buffers-hold-all-or-nothing", hold_all_or_nothing})
