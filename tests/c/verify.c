/* Certificate chains, judged through the C functions. The test hands over a directory with a directory for each chain,
 * which holds 0.der, 1.der and so on. good.test lists mx.good.test under enforce, testing.test is in testing. */

#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_CERTIFICATES 128

struct chain {
    size_t count;
    const uint8_t *der[MOST_CERTIFICATES];
    size_t len[MOST_CERTIFICATES];
};

static uint8_t *contents(FILE *file, size_t *len)
{
    uint8_t *bytes = malloc(1 << 16);
    *len = fread(bytes, 1, 1 << 16, file);
    /* Just the right size, so that valgrind sees who reads beyond the end. */
    return realloc(bytes, *len > 0 ? *len : 1);
}

static void read_chain(struct chain *chain, const char *name)
{
    for (chain->count = 0; chain->count < MOST_CERTIFICATES; chain->count++) {
        char path[1000];
        snprintf(path, sizeof path, "%s/%s/%zu.der", extra[0], name, chain->count);
        FILE *file = fopen(path, "rb");
        if (file == NULL) {
            break;
        }
        chain->der[chain->count] = contents(file, &chain->len[chain->count]);
        fclose(file);
    }
    CHECK(chain->count > 0 || strcmp(name, "empty") == 0);
}

static void free_chain(struct chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        free((void *)chain->der[i]);
    }
}

static int verify(const mtasts_decision *decision, const struct chain *chain, int *result_type)
{
    return mtasts_decision_verify(decision, chain->der, chain->len, chain->count, result_type);
}

static mtasts_decision *decide(const mtasts_policy *policy, const char *mx_host, int dane)
{
    mtasts_decision *decision = NULL;
    if (!CHECK_NUMBER(mtasts_policy_decide(policy, mx_host, dane, &decision), MTASTS_OK)) {
        exit(1);
    }
    return decision;
}

/* A decision that has outlived the policy and the context that it was made with. */
static mtasts_decision *orphan(const char *domain, const char *mx_host, int dane)
{
    mtasts_context *context = new_context();
    mtasts_policy *policy = ask(context, domain);
    mtasts_decision *decision = decide(policy, mx_host, dane);
    mtasts_policy_free(policy);
    mtasts_context_free(context);
    return decision;
}

#define EXPIRED MTASTS_RESULT_TYPE_CERTIFICATE_EXPIRED
#define NOT_TRUSTED MTASTS_RESULT_TYPE_CERTIFICATE_NOT_TRUSTED
#define HOST_MISMATCH MTASTS_RESULT_TYPE_CERTIFICATE_HOST_MISMATCH
#define INVALID MTASTS_RESULT_TYPE_VALIDATION_FAILURE

/* What follows from the chain; result type 0: it verifies. */
static const struct row {
    const char *chain;
    int result_type;
    const char *error;
} rows[] = {
    {"good", 0, NULL},
    {"wildcard", 0, NULL},
    {"no-eku", 0, NULL},
    {"with-strangers", 0, NULL},
    {"wrong-name", HOST_MISMATCH, "elsewhere.test"},
    {"cn-only", HOST_MISMATCH, "it has no subjectAltName"},
    {"no-dns-id", HOST_MISMATCH, "is for another name"},
    {"two-level-wildcard", HOST_MISMATCH, "is for another name"},
    {"partial-wildcard", HOST_MISMATCH, "is for another name"},
    {"for-an-address", HOST_MISMATCH, "is for another name"},
    {"expired", EXPIRED, "certificate 1 of 2 of mx.good.test has expired"},
    {"expired-intermediate", EXPIRED, "certificate 2 of 2 of mx.good.test has expired"},
    {"not-yet-valid", EXPIRED, "is not valid yet"},
    {"self-signed", NOT_TRUSTED, "the certificate of mx.good.test does not lead to a trusted root"},
    {"self-signed-ca", NOT_TRUSTED, "does not lead to a trusted root"},
    {"unknown-ca", NOT_TRUSTED, "does not lead to a trusted root"},
    {"wrong-signature", NOT_TRUSTED, "does not lead to a trusted root"},
    {"signed-by-server", NOT_TRUSTED, "does not lead to a trusted root"},
    {"no-intermediate", NOT_TRUSTED, "does not lead to a trusted root"},
    {"reversed", NOT_TRUSTED, "does not lead to a trusted root"},
    {"hundred", NOT_TRUSTED, "(100 certificates, of which 16 count)"},
    {"client-only-eku", INVALID, "is not acceptable"},
    {"critical-extension", INVALID, "is not acceptable"},
    {"garbage", INVALID, "the certificate of mx.good.test is not acceptable: it is malformed"},
    {"no-bytes", INVALID, "certificate 1 of 2 of mx.good.test is not acceptable: it is malformed"},
    {"truncated", INVALID, "certificate 1 of 2 of mx.good.test is not acceptable: it is malformed"},
    {"truncated-intermediate", INVALID, "certificate 2 of 2 of mx.good.test is not acceptable: it is malformed"},
    {"empty", INVALID, "mx.good.test showed no certificate"},
};

/* The state for mtasts_decision_tls, as the header has it. */
static int tls_state(int result_type)
{
    switch (result_type) {
    case 0:
        return MTASTS_TLS_OK;
    case EXPIRED:
        return MTASTS_TLS_EXPIRED;
    case NOT_TRUSTED:
        return MTASTS_TLS_NOT_TRUSTED;
    case HOST_MISMATCH:
        return MTASTS_TLS_HOST_MISMATCH;
    default:
        return MTASTS_TLS_CERTIFICATE_INVALID;
    }
}

/* As Exim's ${base64:...} has it. */
static unsigned char *base64(const uint8_t *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char *text = malloc(len / 3 * 4 + 5), *end = text;
    for (size_t i = 0; i < len; i += 3) {
        unsigned long bits = (unsigned long)bytes[i] << 16;
        bits |= i + 1 < len ? (unsigned long)bytes[i + 1] << 8 : 0;
        bits |= i + 2 < len ? bytes[i + 2] : 0;
        *end++ = digits[bits >> 18];
        *end++ = digits[bits >> 12 & 63];
        *end++ = i + 1 < len ? digits[bits >> 6 & 63] : '=';
        *end++ = i + 2 < len ? digits[bits & 63] : '=';
    }
    *end = '\0';
    return text;
}

/* Exim is told about the names and nothing else, by a child if this runs as root. Of all chains, those with no fault or
 * one that is Exim's to find are confirmed. */
static void exim_confirms_the_name_alone(void)
{
    static const char confirmed[] = " good wildcard no-eku with-strangers hundred truncated-intermediate expired"
        " expired-intermediate not-yet-valid self-signed self-signed-ca unknown-ca wrong-signature signed-by-server"
        " no-intermediate client-only-eku ";
    unsigned char host[] = "mx.good.test";
    size_t played = 0, fine = 0;
    for (char **name = extra + 1; *name != NULL; name++, played++) {
        struct chain chain;
        read_chain(&chain, *name);
        const uint8_t none = 0;
        unsigned char *told = NULL, *arguments[] = {host, NULL};
        arguments[1] = chain.count > 0 ? base64(chain.der[0], chain.len[0]) : base64(&none, 0);
        char word[100];
        snprintf(word, sizeof word, " %s ", *name);
        int is_fine = strstr(confirmed, word) != NULL;
        CHECK_NUMBER(mtasts_exim_certificate(&told, 2, arguments), 0);
        if (told == NULL || (told[0] == '\0') != is_fine) {
            printf("%s: \"%s\"\n", *name, (char *)told);
            faults++;
        }
        fine += is_fine;
        free(arguments[1]);
        free_chain(&chain);
    }
    CHECK_NUMBER(fine, 16);
    CHECK(played > fine);
}

/* What follows the directory: the names of the chains in it, all of which are played. */
static void chains_have_their_verdict(void)
{
    mtasts_decision *decision = orphan("good.test", "Mx.Good.Test.", MTASTS_DANE_ABSENT);
    size_t played = 0;
    for (char **name = extra + 1; *name != NULL; name++, played++) {
        size_t at = 0;
        while (at < COUNT(rows) && strcmp(rows[at].chain, *name) != 0) {
            at++;
        }
        if (at == COUNT(rows)) {
            printf("no row for the chain %s\n", *name);
            faults++;
            continue;
        }
        const struct row *row = &rows[at];
        struct chain chain;
        read_chain(&chain, row->chain);
        int type = 4711;
        int is_good = CHECK_NUMBER(verify(decision, &chain, &type),
                                   row->result_type == 0 ? MTASTS_OK : MTASTS_NOT_VERIFIED);
        is_good &= CHECK_NUMBER(type, row->result_type);
        if (row->error != NULL) {
            is_good &= CHECK(strstr(mtasts_last_error(), row->error) != NULL);
            is_good &= CHECK(strchr(mtasts_last_error(), '\n') == NULL);
            is_good &= CHECK_NUMBER(verify(decision, &chain, NULL), MTASTS_NOT_VERIFIED);
        }
        mtasts_decision *after = NULL;
        is_good &= CHECK_NUMBER(mtasts_decision_tls(decision, tls_state(type), &after), MTASTS_OK);
        is_good &= CHECK_NUMBER(mtasts_decision_action(after),
                                row->result_type == 0 ? MTASTS_ACTION_DELIVER : MTASTS_ACTION_SKIP_HOST);
        is_good &= CHECK_NUMBER(mtasts_decision_result_type(after), row->result_type);
        mtasts_decision_free(after);
        if (!is_good) {
            printf("... for the chain %s\n", row->chain);
        }
        free_chain(&chain);
    }
    CHECK_NUMBER(played, COUNT(rows));
    mtasts_decision_free(decision);
}

static void the_chain_alone_counts_or_nothing_does(void)
{
    static const struct {
        const char *domain, *mx_host;
        int dane, action, result_type;
    } hosts[] = {
        {"testing.test", "mx.good.test", MTASTS_DANE_ABSENT, MTASTS_ACTION_DELIVER_REPORT, -1},
        {"none.test", "mx.good.test", MTASTS_DANE_ABSENT, MTASTS_ACTION_DELIVER, -1},
        {"absent.test", "mx.good.test", MTASTS_DANE_UNUSABLE, MTASTS_ACTION_REQUIRE_ENCRYPTION, -1},
        {"good.test", "mx.good.test", MTASTS_DANE_USABLE, MTASTS_ACTION_REQUIRE_ENCRYPTION, -1},
        {"good.test", "mx.evil.test", MTASTS_DANE_ABSENT, MTASTS_ACTION_SKIP_HOST, INVALID},
        {"good.test", "mx.good.test", MTASTS_DANE_FAILED, MTASTS_ACTION_SKIP_HOST, INVALID},
        {"good.test", "192.0.2.1", MTASTS_DANE_ABSENT, MTASTS_ACTION_SKIP_HOST, INVALID},
        {"none.test", "192.0.2.1", MTASTS_DANE_ABSENT, MTASTS_ACTION_DELIVER, INVALID},
    };
    struct chain good, expired;
    read_chain(&good, "good");
    read_chain(&expired, "expired");
    for (size_t i = 0; i < COUNT(hosts); i++) {
        mtasts_decision *decision = orphan(hosts[i].domain, hosts[i].mx_host, hosts[i].dane);
        int type = 4711, is_judged = hosts[i].result_type < 0;
        int is_good = CHECK_NUMBER(mtasts_decision_action(decision), hosts[i].action);
        is_good &= CHECK_NUMBER(verify(decision, &good, &type), is_judged ? MTASTS_OK : MTASTS_NOT_VERIFIED);
        is_good &= CHECK_NUMBER(type, is_judged ? 0 : hosts[i].result_type);
        is_good &= CHECK(is_judged || strstr(mtasts_last_error(), hosts[i].mx_host) != NULL);
        is_good &= CHECK_NUMBER(verify(decision, &expired, &type), MTASTS_NOT_VERIFIED);
        is_good &= CHECK_NUMBER(type, is_judged ? EXPIRED : hosts[i].result_type);
        if (!is_good) {
            printf("... for %s of %s\n", hosts[i].mx_host, hosts[i].domain);
        }
        mtasts_decision_free(decision);
    }
    /* A careless caller must not take 0 for "deliver" while the policy is unknown. */
    mtasts_context *context = new_context();
    CHECK_NUMBER(mtasts_context_set(context, "on_dns_error", "defer"), MTASTS_OK);
    mtasts_policy *policy = ask(context, "servfail.test");
    mtasts_decision *decision = decide(policy, "mx.good.test", MTASTS_DANE_ABSENT);
    int type = 4711;
    CHECK_NUMBER(mtasts_decision_action(decision), MTASTS_ACTION_DEFER);
    CHECK_NUMBER(verify(decision, &good, &type), MTASTS_NOT_VERIFIED);
    CHECK_NUMBER(type, mtasts_decision_result_type(decision));
    mtasts_decision_free(decision);
    mtasts_policy_free(policy);
    mtasts_context_free(context);
    free_chain(&good);
    free_chain(&expired);
}

static mtasts_policy *parsed(void)
{
    static const char body[] = "version: STSv1\nmode: enforce\nmx: *.good.test\nmax_age: 86400\n";
    mtasts_policy *policy = NULL;
    if (!CHECK_NUMBER(mtasts_policy_parse((const uint8_t *)body, sizeof body - 1, &policy), MTASTS_OK)) {
        exit(1);
    }
    return policy;
}

static void a_setting_of_roots_acts_on_later_questions(void)
{
    struct chain good;
    read_chain(&good, "good");
    mtasts_context *context = new_context();
    mtasts_policy *policy = ask(context, "good.test");
    mtasts_decision *before = decide(policy, "mx.good.test", MTASTS_DANE_ABSENT);
    CHECK_NUMBER(mtasts_context_set(context, "ca_file", "/nowhere/ca.pem"), MTASTS_OK);
    mtasts_policy *later = ask(context, "good.test");
    mtasts_decision *after = decide(later, "mx.good.test", MTASTS_DANE_ABSENT), *next = NULL;
    int type = 4711;
    CHECK_NUMBER(verify(before, &good, &type), MTASTS_OK);
    CHECK_NUMBER(verify(after, &good, &type), MTASTS_NOT_VERIFIED);
    CHECK_NUMBER(type, 0);
    CHECK(strstr(mtasts_last_error(), "ca_file /nowhere/ca.pem") != NULL);
    /* The next decision trusts whom the one before trusts. */
    CHECK_NUMBER(mtasts_decision_tls(before, MTASTS_TLS_OK, &next), MTASTS_OK);
    mtasts_decision_free(before);
    CHECK_NUMBER(verify(next, &good, &type), MTASTS_OK);
    mtasts_decision_free(next);
    mtasts_decision_free(after);
    mtasts_policy_free(policy);
    mtasts_policy_free(later);
    mtasts_context_free(context);
    free_chain(&good);
}

/* What follows the directory: the trusted roots. */
static void a_parsed_policy_trusts_the_system(void)
{
    struct chain good;
    read_chain(&good, "good");
    mtasts_policy *policy = parsed();
    mtasts_decision *decision = decide(policy, "mx.good.test", MTASTS_DANE_ABSENT);
    mtasts_policy_free(policy);
    int type = 4711;
    CHECK_NUMBER(setenv("SSL_CERT_FILE", "/nowhere/ca.pem", 1), 0);
    CHECK_NUMBER(verify(decision, &good, &type), MTASTS_NOT_VERIFIED);
    CHECK_NUMBER(type, 0);
    CHECK(strstr(mtasts_last_error(), "install the package ca-certificates or set ca_file") != NULL);
    CHECK_NUMBER(setenv("SSL_CERT_FILE", extra[1], 1), 0);
    CHECK_NUMBER(verify(decision, &good, &type), MTASTS_OK);
    mtasts_decision_free(decision);
    free_chain(&good);
}

#define THREADS 8
#define ROUNDS 20

struct shared {
    mtasts_decision *decision;
    struct chain good, expired;
};

static void *verify_often(void *argument)
{
    struct shared *shared = argument;
    intptr_t wrong = 0;
    for (int i = 0; i < ROUNDS; i++) {
        int good = 4711, expired = 4711;
        wrong += verify(shared->decision, &shared->good, &good) != MTASTS_OK || good != 0;
        wrong += verify(shared->decision, &shared->expired, &expired) != MTASTS_NOT_VERIFIED || expired != EXPIRED;
        wrong += strstr(mtasts_last_error(), "has expired") == NULL;
    }
    return (void *)wrong;
}

static void run_threads(struct shared *shared)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        CHECK_NUMBER(pthread_create(&threads[i], NULL, verify_often, shared), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *wrong = NULL;
        CHECK_NUMBER(pthread_join(threads[i], &wrong), 0);
        CHECK_NUMBER((intptr_t)wrong, 0);
    }
}

static void threads_verify_at_once(void)
{
    struct shared shared = {orphan("good.test", "mx.good.test", MTASTS_DANE_ABSENT), {0}, {0}};
    read_chain(&shared.good, "good");
    read_chain(&shared.expired, "expired");
    run_threads(&shared);
    mtasts_decision_free(shared.decision);
    free_chain(&shared.good);
    free_chain(&shared.expired);
}

static void *fork_often(void *argument)
{
    struct shared *shared = argument;
    intptr_t wrong = 0;
    for (int i = 0; i < ROUNDS; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            int good = 4711;
            _exit(verify(shared->decision, &shared->good, &good) != MTASTS_OK || good != 0);
        }
        int status = -1;
        wrong += child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    return (void *)wrong;
}

static void children_verify_while_threads_do(void)
{
    struct shared shared = {orphan("good.test", "mx.good.test", MTASTS_DANE_ABSENT), {0}, {0}};
    read_chain(&shared.good, "good");
    read_chain(&shared.expired, "expired");
    pthread_t forker;
    void *wrong = NULL;
    CHECK_NUMBER(pthread_create(&forker, NULL, fork_often, &shared), 0);
    run_threads(&shared);
    CHECK_NUMBER(pthread_join(forker, &wrong), 0);
    CHECK_NUMBER((intptr_t)wrong, 0);
    mtasts_decision_free(shared.decision);
    free_chain(&shared.good);
    free_chain(&shared.expired);
}

MAIN({"chains-have-their-verdict", chains_have_their_verdict},
     {"exim-confirms-the-name-alone", exim_confirms_the_name_alone},
     {"the-chain-alone-counts-or-nothing-does", the_chain_alone_counts_or_nothing_does},
     {"a-setting-of-roots-acts-on-later-questions", a_setting_of_roots_acts_on_later_questions},
     {"a-parsed-policy-trusts-the-system", a_parsed_policy_trusts_the_system},
     {"threads-verify-at-once", threads_verify_at_once},
     {"children-verify-while-threads-do", children_verify_while_threads_do})
