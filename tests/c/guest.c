/* A guest leaves its host as it was: threads, descriptors, signals, cancellation, forks. */

#define _GNU_SOURCE
#include "guest.h"

static char patterns[MTASTS_PATTERNS_SIZE];

static void no_thread_and_no_socket_stays(void)
{
    struct descriptors before = descriptors();
    int threads = thread_count();
    mtasts_context *context = new_context();
    check_descriptors(before, 0, __LINE__);
    mtasts_policy *policy = ask(context, "good.test");
    CHECK_TEXT(mtasts_policy_source(policy), "https");
    mtasts_policy_free(policy);
    CHECK_NUMBER(thread_count(), threads);
    check_descriptors(before, 1, __LINE__);
    /* Failures leave no more than successes. */
    static const char *const trouble[] = {"malformed.test", "wrong-certificate.test", "silent.test", "mute.test"};
    for (size_t i = 0; i < COUNT(trouble); i++) {
        CHECK_NUMBER(mtasts_query(context, trouble[i], 0, 300, &policy), MTASTS_OK);
        CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
        mtasts_policy_free(policy);
        CHECK_NUMBER(thread_count(), threads);
        check_descriptors(before, 1, __LINE__);
    }
    CHECK_NUMBER(mtasts_lookup("testing.test", patterns, sizeof patterns), MTASTS_MODE_TESTING);
    CHECK_NUMBER(thread_count(), threads);
    check_descriptors(before, 1, __LINE__);
    mtasts_cleanup();
    mtasts_context_free(context);
    CHECK_NUMBER(thread_count(), threads);
    check_descriptors(before, 0, __LINE__);
}

struct asker {
    mtasts_context *context;
    int status, reason;
    volatile int has_returned, has_gone_on;
};

static void *ask_in_vain(void *argument)
{
    struct asker *asker = argument;
    mtasts_policy *policy = NULL;
    int state = -1, type = -1;
    asker->status = mtasts_query(asker->context, "fresh.test", 0, 1000, &policy);
    asker->reason = mtasts_policy_reason(policy);
    mtasts_policy_free(policy);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    asker->has_returned = state == PTHREAD_CANCEL_ENABLE && type == PTHREAD_CANCEL_DEFERRED;
    pthread_testcancel();
    asker->has_gone_on = 1;
    return NULL;
}

static void cancellation_waits_for_the_call(void)
{
    struct asker asker = {new_context(), -1, -1, 0, 0};
    int server = silent_server(asker.context);
    pthread_t thread;
    void *result = NULL;
    CHECK_NUMBER(pthread_create(&thread, NULL, ask_in_vain, &asker), 0);
    wait_for_question(server);
    CHECK_NUMBER(pthread_cancel(thread), 0);
    CHECK_NUMBER(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    CHECK_NUMBER(asker.status, MTASTS_OK);
    CHECK_NUMBER(asker.reason, MTASTS_REASON_DNS_FAILED);
    CHECK(asker.has_returned && !asker.has_gone_on);
    close(server);
    /* Nothing was left locked. */
    CHECK_NUMBER(mtasts_context_set(asker.context, "nameservers", extra[0]), MTASTS_OK);
    mtasts_policy *policy = ask(asker.context, "good.test");
    CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_ENFORCE);
    mtasts_policy_free(policy);
    mtasts_context_free(asker.context);
}

static void use(mtasts_context *context, const char *domain, int mode, const char *source)
{
    mtasts_policy *policy = ask(context, domain);
    CHECK_NUMBER(mtasts_policy_mode(policy), mode);
    CHECK_TEXT(mtasts_policy_source(policy), source);
    mtasts_policy_free(policy);
}

static void use_and_free(mtasts_context *context)
{
    struct descriptors before = descriptors();
    use(context, "good.test", MTASTS_MODE_ENFORCE, "cache");
    use(context, "testing.test", MTASTS_MODE_TESTING, "https");
    CHECK_NUMBER(mtasts_lookup("good.test", patterns, sizeof patterns), MTASTS_MODE_ENFORCE);
    CHECK_NUMBER(thread_count(), 1);
    check_descriptors(before, 1, __LINE__);
    mtasts_context_free(context);
    mtasts_cleanup();
}

static void children_use_the_same_context(void)
{
    mtasts_context *context = new_context();
    use(context, "good.test", MTASTS_MODE_ENFORCE, "https");
    CHECK_NUMBER(mtasts_lookup("good.test", patterns, sizeof patterns), MTASTS_MODE_ENFORCE);
    in_child(use_and_free, context);
    /* What the child did is no harm to its parent, and what it learnt is known here. */
    use(context, "testing.test", MTASTS_MODE_TESTING, "cache");
    use(context, "none.test", MTASTS_MODE_NONE, "https");
    CHECK_NUMBER(mtasts_lookup("none.test", patterns, sizeof patterns), MTASTS_MODE_NONE);
    mtasts_context_free(context);
    mtasts_cleanup();
}

static void use_with_the_true_server(mtasts_context *context)
{
    CHECK_NUMBER(mtasts_context_set(context, "nameservers", extra[0]), MTASTS_OK);
    use_and_free(context);
}

/* The fork comes while another thread waits for DNS. */
static void a_fork_amid_a_call_does_no_harm(void)
{
    struct asker asker = {new_context(), -1, -1, 0, 0};
    use(asker.context, "good.test", MTASTS_MODE_ENFORCE, "https");
    int server = silent_server(asker.context);
    pthread_t thread;
    CHECK_NUMBER(pthread_create(&thread, NULL, ask_in_vain, &asker), 0);
    wait_for_question(server);
    in_child(use_with_the_true_server, asker.context);
    CHECK_NUMBER(pthread_join(thread, NULL), 0);
    CHECK_NUMBER(asker.status, MTASTS_OK);
    CHECK_NUMBER(asker.reason, MTASTS_REASON_DNS_FAILED);
    CHECK(asker.has_returned && asker.has_gone_on);
    close(server);
    CHECK_NUMBER(mtasts_context_set(asker.context, "nameservers", extra[0]), MTASTS_OK);
    use(asker.context, "fresh.test", MTASTS_MODE_ENFORCE, "https");
    mtasts_context_free(asker.context);
}

/* A host that starts another program takes nothing of ours along. */
static void nothing_survives_exec(void)
{
    struct descriptors before = descriptors(), now;
    struct asker asker = {new_context(), -1, -1, 0, 0};
    use(asker.context, "good.test", MTASTS_MODE_ENFORCE, "https");
    int server = silent_server(asker.context), count = 0;
    pthread_t thread;
    CHECK_NUMBER(pthread_create(&thread, NULL, ask_in_vain, &asker), 0);
    wait_for_question(server);
    now = descriptors();
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        if (now.is_open[fd] && !before.is_open[fd]) {
            CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
            count++;
        }
    }
    CHECK(count > 2); /* the database, a socket to ask with, and that of the server above */
    CHECK_NUMBER(pthread_join(thread, NULL), 0);
    close(server);
    mtasts_context_free(asker.context);
}

static void ask_briefly(mtasts_context *context)
{
    mtasts_policy *policy = NULL;
    CHECK_NUMBER(mtasts_query(context, "fresh.test", 0, 100, &policy), MTASTS_OK);
    mtasts_policy_free(policy);
}

/* The id of the first query that waits at the server, and the port that it came from; the others are thrown away. */
static unsigned long query_identity(int server)
{
    unsigned char query[512];
    struct sockaddr_in from = {0};
    socklen_t length = sizeof from;
    CHECK(recvfrom(server, query, sizeof query, MSG_DONTWAIT, (struct sockaddr *)&from, &length) > 2);
    while (recv(server, query + 2, sizeof query - 2, MSG_DONTWAIT) > 0) {
    }
    return ((unsigned long)ntohs(from.sin_port) << 16) + ((unsigned long)query[0] << 8) + query[1];
}

/* Siblings that asked with the same ids and ports could be lied to by whoever has seen one of them. */
static void children_draw_ids_of_their_own(void)
{
    mtasts_context *context = new_context();
    int server = silent_server(context);
    unsigned long seen[3];
    ask_briefly(context);
    query_identity(server);
    for (int i = 0; i < 3; i++) {
        in_child(ask_briefly, context);
        seen[i] = query_identity(server);
        for (int k = 0; k < i; k++) {
            CHECK(seen[i] != seen[k]);
        }
    }
    close(server);
    mtasts_context_free(context);
}

MAIN({"no-thread-and-no-socket-stays", no_thread_and_no_socket_stays},
     {"cancellation-waits-for-the-call", cancellation_waits_for_the_call},
     {"children-use-the-same-context", children_use_the_same_context},
     {"a-fork-amid-a-call-does-no-harm", a_fork_amid_a_call_does_no_harm},
     {"nothing-survives-exec", nothing_survives_exec},
     {"children-draw-ids-of-their-own", children_draw_ids_of_their_own})
