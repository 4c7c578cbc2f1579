/* The host forks, in every way that there is, while its other threads are inside the library. */

#define _GNU_SOURCE
#include "guest.h"
#include <stdatomic.h>

#define DEADLINE_SECONDS 60

static atomic_int stop, calls;
static mtasts_context *shared;
static struct descriptors before;

/* Always on its way to DNS and a policy host. */
static void *refresh_for_ever(void *domain)
{
    while (!stop) {
        check_mode(shared, domain, MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
        calls++;
    }
    return NULL;
}

/* The same, with a context that is new each time: the roots are loaded, the database is opened and closed. */
static void *begin_for_ever(void *domain)
{
    while (!stop) {
        mtasts_context *context = NULL;
        if (mtasts_context_new(config_path, &context) != MTASTS_OK) {
            CHECK(!"there is a context");
            return NULL;
        }
        check_mode(context, domain, MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
        mtasts_context_free(context);
        calls++;
    }
    return NULL;
}

static void *ask_for_ever(void *argument)
{
    static __thread char patterns[MTASTS_PATTERNS_SIZE];
    (void)argument;
    while (!stop) {
        check_mode(shared, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
        if (mtasts_lookup("testing.test", patterns, sizeof patterns) != MTASTS_MODE_TESTING) {
            CHECK(!"the default context has the policy");
        }
        calls++;
    }
    return NULL;
}

static pthread_t threads[4];

static void begin(void)
{
    static char patterns[MTASTS_PATTERNS_SIZE];
    before = descriptors();
    shared = new_context();
    check_mode(shared, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
    CHECK_NUMBER(mtasts_lookup("testing.test", patterns, sizeof patterns), MTASTS_MODE_TESTING);
    CHECK_NUMBER(pthread_create(&threads[0], NULL, refresh_for_ever, "good.test"), 0);
    CHECK_NUMBER(pthread_create(&threads[1], NULL, begin_for_ever, "fresh.test"), 0);
    CHECK_NUMBER(pthread_create(&threads[2], NULL, ask_for_ever, NULL), 0);
    CHECK_NUMBER(pthread_create(&threads[3], NULL, ask_for_ever, NULL), 0);
}

static void end(void)
{
    stop = 1;
    for (size_t i = 0; i < COUNT(threads); i++) {
        CHECK_NUMBER(pthread_join(threads[i], NULL), 0);
    }
    CHECK(calls > 4);
    mtasts_context_free(shared);
    mtasts_cleanup();
    check_descriptors(before, 0, __LINE__);
    CHECK_NUMBER(thread_count(), 1);
}

static void live_as_a_child(void)
{
    static char patterns[MTASTS_PATTERNS_SIZE];
    alarm(DEADLINE_SECONDS);
    faults = 0;
    check_no_network(before, __LINE__);
    check_mode(shared, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
    check_mode(shared, "testing.test", MTASTS_REFRESH, MTASTS_MODE_TESTING, __LINE__);
    CHECK_NUMBER(mtasts_lookup("testing.test", patterns, sizeof patterns), MTASTS_MODE_TESTING);
    check_no_network(before, __LINE__);
    CHECK_NUMBER(thread_count(), 1);
}

static void finish(void)
{
    fflush(stdout);
    _exit(faults != 0);
}

static void check_child(pid_t child)
{
    int status = -1;
    CHECK(child > 0);
    CHECK_NUMBER(waitpid(child, &status, 0), child);
    CHECK_NUMBER(status, 0);
}

/* extra: how many children. Two live at once. */
static void children_of_busy_threads_go_on(void)
{
    pid_t last = 0;
    begin();
    for (int i = atoi(extra[0]); i > 0; i--) {
        pid_t child = fork();
        if (child == 0) {
            live_as_a_child();
            finish();
        }
        if (last != 0) {
            check_child(last);
        }
        last = child;
    }
    check_child(last);
    end();
}

static int compare(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

/* extra: how long, in seconds, and a file for what was measured. Another program holds the database locked. */
static void fork_does_not_wait_for_a_lock(void)
{
    static double took[100000];
    size_t count = 0;
    shared = new_context();
    CHECK_NUMBER(mtasts_context_set(shared, "memory_entries", "0"), MTASTS_OK);
    CHECK_NUMBER(pthread_create(&threads[0], NULL, ask_for_ever, NULL), 0);
    CHECK_NUMBER(pthread_create(&threads[1], NULL, ask_for_ever, NULL), 0);
    for (double until = seconds() + atof(extra[0]); seconds() < until && count < COUNT(took); count++) {
        double began = seconds();
        pid_t child = fork();
        if (child == 0) {
            _exit(0);
        }
        took[count] = seconds() - began;
        check_child(child);
        usleep(1000);
    }
    stop = 1;
    CHECK_NUMBER(pthread_join(threads[0], NULL), 0);
    CHECK_NUMBER(pthread_join(threads[1], NULL), 0);
    mtasts_context_free(shared);
    mtasts_cleanup();
    qsort(took, count, sizeof took[0], compare);
    FILE *file = fopen(extra[1], "w");
    fprintf(file, "%zu forks: median %.2f ms, 99 of 100 below %.2f ms, longest %.2f ms", count, took[count / 2] * 1e3,
            took[count * 99 / 100] * 1e3, took[count - 1] * 1e3);
    fclose(file);
    /* A machine that has other work may hold up single ones. */
    CHECK(count > 20 && took[count / 2] < 0.050);
}

/* The program that a child executes. extra: so many descriptors its host had at first. It finds what was learnt. */
static void an_executed_program(void)
{
    struct descriptors now = descriptors();
    CHECK_NUMBER(count_descriptors(now), atoi(extra[0]));
    mtasts_context *context = new_context();
    check_mode(context, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
    mtasts_context_free(context);
}

static void execute(const char *count)
{
    execl("/proc/self/exe", "program", config_path, "an-executed-program", count, (char *)NULL);
    _exit(99);
}

static void children_execute_and_fork_again(void)
{
    char count[20];
    begin();
    snprintf(count, sizeof count, "%d", count_descriptors(before));
    for (int i = atoi(extra[0]); i > 0; i--) {
        pid_t child = fork();
        if (child == 0) {
            execute(count);
        }
        check_child(child);
        child = vfork();
        if (child == 0) {
            execute(count);
        }
        check_child(child);
        child = fork();
        if (child == 0) {
            live_as_a_child();
            pid_t grandchild = fork();
            if (grandchild == 0) {
                live_as_a_child();
                finish();
            }
            check_mode(shared, "none.test", MTASTS_REFRESH, MTASTS_MODE_NONE, __LINE__);
            check_child(grandchild);
            finish();
        }
        check_child(child);
    }
    end();
}

static int lines;

/* Forks; the child returns into the library and out of it, as its parent does. */
static void fork_and_go_on(void *child, int level, const char *line)
{
    (void)level;
    (void)line;
    if (lines++ == 0) {
        *(pid_t *)child = fork();
        if (*(pid_t *)child == 0) {
            live_as_a_child();
        }
    }
}

static void a_log_function_may_fork(void)
{
    for (int i = atoi(extra[0]); i > 0; i--) {
        pid_t child = -1;
        mtasts_policy *policy = NULL;
        stop = lines = 0;
        begin();
        CHECK_NUMBER(mtasts_context_set_log(shared, fork_and_go_on, &child), MTASTS_OK);
        CHECK_NUMBER(mtasts_query(shared, "servfail.test", 0, 0, &policy), MTASTS_OK);
        CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_DNS_FAILED);
        mtasts_policy_free(policy);
        CHECK(lines > 0);
        if (child == 0) {
            live_as_a_child();
            finish();
        }
        check_child(child);
        end();
    }
}

MAIN({"children-of-busy-threads-go-on", children_of_busy_threads_go_on},
     {"fork-does-not-wait-for-a-lock", fork_does_not_wait_for_a_lock},
     {"an-executed-program", an_executed_program},
     {"children-execute-and-fork-again", children_execute_and_fork_again},
     {"a-log-function-may-fork", a_log_function_may_fork})
