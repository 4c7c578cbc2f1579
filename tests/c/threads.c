/* Many threads at once: on one context, on one each, on the default one; and threads that are cancelled. */

#define _GNU_SOURCE
#include "guest.h"
#include <errno.h>
#include <stdatomic.h>

#define THREADS 16

static atomic_int failures;
static int rounds;
static mtasts_context *shared;

struct worker {
    pthread_t thread;
    unsigned number;
    int has_own_context;
};

/* Notes what went wrong in a thread: the faults of check.h are counted by the main thread only. */
#define WANT(claim)                                                                                        \
    do {                                                                                                   \
        if (!(claim)) {                                                                                    \
            printf("%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #claim, mtasts_last_error()); \
            failures++;                                                                                    \
        }                                                                                                  \
    } while (0)

static void count_line(void *user, int level, const char *line)
{
    (void)level;
    WANT(user != NULL && line != NULL);
    (*(atomic_int *)user)++;
}

static void want_mode(mtasts_context *context, const char *domain, unsigned flags, int mode)
{
    mtasts_policy *policy = NULL;
    mtasts_decision *decision = NULL;
    WANT(mtasts_query(context, domain, flags, 0, &policy) == MTASTS_OK);
    if (mtasts_policy_mode(policy) != mode) {
        printf("%s: mode %d, want %d: %s\n", domain, mtasts_policy_mode(policy), mode, mtasts_policy_reason_text(policy));
        failures++;
    }
    WANT(mtasts_policy_decide(policy, "mx.good.test", MTASTS_DANE_ABSENT, &decision) == MTASTS_OK);
    mtasts_policy_free(policy);
    WANT(mtasts_decision_reason_text(decision) != NULL);
    mtasts_decision_free(decision);
}

static void *work(void *argument)
{
    static atomic_int lines;
    struct worker *worker = argument;
    mtasts_context *context = shared;
    char *patterns = malloc(MTASTS_PATTERNS_SIZE);
    unsigned seed = worker->number;
    if (worker->has_own_context) {
        WANT(mtasts_context_new(config_path, &context) == MTASTS_OK);
    }
    for (int i = 0; i < rounds; i++) {
        errno = ENOTTY;
        int status;
        switch (rand_r(&seed) % 10) {
        case 0:
            want_mode(context, "fresh.test", MTASTS_REFRESH, MTASTS_MODE_ENFORCE);
            break;
        case 1:
            WANT(mtasts_context_set(context, "dane_wins", i % 2 ? "true" : "false") == MTASTS_OK);
            break;
        case 2:
            /* Sixteen writers may keep one from the database for longer than it waits. */
            status = mtasts_refresh(context, 1, 0, NULL, NULL);
            WANT(status == MTASTS_OK || status == MTASTS_CACHE_UNAVAILABLE);
            break;
        case 3:
            WANT(mtasts_lookup("testing.test", patterns, MTASTS_PATTERNS_SIZE) == MTASTS_MODE_TESTING);
            WANT(strcmp(patterns, "mx.testing.test") == 0);
            break;
        case 4:
            WANT(mtasts_context_set(context, "no-such-key", "1") == MTASTS_INVALID_CONFIG);
            WANT(strstr(mtasts_last_error(), "no-such-key") != NULL);
            break;
        case 5:
            WANT(mtasts_context_set_log(context, count_line, &lines) == MTASTS_OK);
            want_mode(context, "absent.test", 0, MTASTS_MODE_NONE);
            break;
        case 6:
            WANT(mtasts_context_set(context, "memory_entries", i % 3 ? "100" : "0") == MTASTS_OK);
            break;
        case 7:
            if (rand_r(&seed) % 4 == 0) {
                mtasts_cleanup();
            }
            break;
        default:
            want_mode(context, "good.test", 0, MTASTS_MODE_ENFORCE);
            break;
        }
        WANT(errno == ENOTTY);
    }
    if (worker->has_own_context) {
        mtasts_context_free(context);
    }
    free(patterns);
    return NULL;
}

static void run(int every_nth_has_its_own)
{
    static struct worker workers[THREADS];
    struct descriptors before = descriptors();
    rounds = atoi(extra[0]);
    shared = new_context();
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].number = i;
        workers[i].has_own_context = every_nth_has_its_own != 0 && i % (unsigned)every_nth_has_its_own == 0;
        CHECK_NUMBER(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_NUMBER(pthread_join(workers[i].thread, NULL), 0);
    }
    CHECK_NUMBER(failures, 0);
    mtasts_context_free(shared);
    mtasts_cleanup();
    check_descriptors(before, 0, __LINE__);
    CHECK_NUMBER(thread_count(), 1);
}

static void sixteen_threads_share_a_context(void)
{
    run(0);
}

static void sixteen_threads_have_a_context_each(void)
{
    run(1);
}

static void sixteen_threads_have_some_contexts(void)
{
    run(2);
}

static atomic_int returned;

static void *ask_and_be_cancelled(void *domain)
{
    for (;;) {
        int state = -1;
        mtasts_policy *policy = NULL;
        if (mtasts_query(shared, domain, MTASTS_REFRESH, 0, &policy) != MTASTS_OK ||
            mtasts_policy_mode(policy) != MTASTS_MODE_ENFORCE) {
            failures++;
        }
        mtasts_policy_free(policy);
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
        if (state != PTHREAD_CANCEL_ENABLE) {
            failures++;
        }
        returned++;
        pthread_testcancel();
    }
    return NULL;
}

/* At moments that are spread over all of a call. extra: how often. */
static void threads_are_cancelled_at_any_moment(void)
{
    struct descriptors before = descriptors();
    shared = new_context();
    for (int i = 0; i < atoi(extra[0]); i++) {
        pthread_t threads[2];
        void *result[2] = {NULL, NULL};
        CHECK_NUMBER(pthread_create(&threads[0], NULL, ask_and_be_cancelled, "good.test"), 0);
        CHECK_NUMBER(pthread_create(&threads[1], NULL, ask_and_be_cancelled, "fresh.test"), 0);
        usleep((useconds_t)(i * 977 % 30000));
        pthread_cancel(threads[0]);
        pthread_cancel(threads[1]);
        pthread_join(threads[0], &result[0]);
        pthread_join(threads[1], &result[1]);
        CHECK(result[0] == PTHREAD_CANCELED && result[1] == PTHREAD_CANCELED);
    }
    CHECK(returned > 0);
    CHECK_NUMBER(failures, 0);
    check_mode(shared, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
    mtasts_context_free(shared);
    check_descriptors(before, 0, __LINE__);
    CHECK_NUMBER(thread_count(), 1);
}

MAIN({"sixteen-threads-share-a-context", sixteen_threads_share_a_context},
     {"sixteen-threads-have-a-context-each", sixteen_threads_have_a_context_each},
     {"sixteen-threads-have-some-contexts", sixteen_threads_have_some_contexts},
     {"threads-are-cancelled-at-any-moment", threads_are_cancelled_at_any_moment})
