/* The host forks, ends a thread or ends itself while the library is caught at a bad moment. */

#define _GNU_SOURCE
#include "guest.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* A function of the loaded shim. */
static void call(const char *name, long argument)
{
    void (*function)(long) = NULL;
    *(void **)&function = dlsym(RTLD_DEFAULT, name);
    if (function == NULL) {
        printf("the shim is not loaded\n");
        exit(1);
    }
    function(argument);
}

static int ask_shim(const char *name)
{
    int (*function)(void) = NULL;
    *(void **)&function = dlsym(RTLD_DEFAULT, name);
    return function();
}

static int mode_of(mtasts_context *context, const char *domain, unsigned flags, unsigned milliseconds)
{
    mtasts_policy *policy = NULL;
    CHECK_NUMBER(mtasts_query(context, domain, flags, milliseconds, &policy), MTASTS_OK);
    int mode = mtasts_policy_mode(policy);
    mtasts_policy_free(policy);
    return mode;
}

static mtasts_context *shared;

static void *refresh(void *domain)
{
    check_mode(shared, domain, MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
    return NULL;
}

/* The policy of good.test is on the disk only. */
static void ask_for_what_is_on_disk(mtasts_context *context)
{
    call("slow_sync", 0);
    int server = silent_server(context);
    int mode = mode_of(context, "good.test", 0, 1000);
    if (mode != MTASTS_MODE_ENFORCE && mode != MTASTS_MODE_UNKNOWN) {
        printf("an enforced policy is on the disk, DNS does not answer, and the child says mode %d\n", mode);
        faults++;
    }
    mode = mode_of(context, "good.test", MTASTS_CACHE_ONLY, 1000);
    if (mode != MTASTS_MODE_ENFORCE && mode != MTASTS_MODE_UNKNOWN) {
        printf("an enforced policy is on the disk, and the child says of its cache alone mode %d\n", mode);
        faults++;
    }
    close(server);
}

static void fork_amid_a_commit(void (*work)(mtasts_context *))
{
    pthread_t thread;
    shared = new_context();
    call("slow_sync", 400);
    CHECK_NUMBER(pthread_create(&thread, NULL, refresh, "fresh.test"), 0);
    while (!ask_shim("is_syncing")) {
        usleep(100);
    }
    in_child(work, shared);
    CHECK_NUMBER(pthread_join(thread, NULL), 0);
    call("slow_sync", 0);
    check_mode(shared, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
    mtasts_context_free(shared);
}

static void a_child_of_a_slow_commit_loses_no_policy(void)
{
    fork_amid_a_commit(ask_for_what_is_on_disk);
}

static void begin_anew(mtasts_context *context)
{
    (void)context;
    call("slow_sync", 0);
    mtasts_context *own = new_context();
    double began = seconds();
    check_mode(own, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
    double cached = seconds();
    check_mode(own, "testing.test", MTASTS_REFRESH, MTASTS_MODE_TESTING, __LINE__);
    double fetched = seconds();
    if (fetched - began > 1.4) {
        printf("the child's own context took %.1f s for what is cached, %.1f s for a fetch\n", cached - began,
               fetched - cached);
        faults++;
    }
    mtasts_context_free(own);
    sleep(1); /* its parent's commit has ended long ago */
    own = new_context();
    began = seconds();
    check_mode(own, "none.test", MTASTS_REFRESH, MTASTS_MODE_NONE, __LINE__);
    if (seconds() - began > 1.4) {
        printf("later it took %.1f s for a fetch\n", seconds() - began);
        faults++;
    }
    mtasts_context_free(own);
}

static void a_child_of_a_slow_commit_may_begin_anew(void)
{
    fork_amid_a_commit(begin_anew);
}

static void *fork_when_cancelled(void *result)
{
    pthread_cancel(pthread_self());
    pid_t child = fork();
    if (child == 0) {
        _exit(0);
    }
    *(pid_t *)result = child;
    return NULL;
}

/* fork() is no cancellation point. */
static void a_thread_that_is_to_be_cancelled_may_fork(void)
{
    pthread_t thread, forking;
    pid_t child = -1;
    struct rlimit core = {0, 0};
    setrlimit(RLIMIT_CORE, &core);
    shared = new_context();
    call("slow_sync", 400);
    CHECK_NUMBER(pthread_create(&thread, NULL, refresh, "fresh.test"), 0);
    while (!ask_shim("is_syncing")) {
        usleep(100);
    }
    alarm(20);
    CHECK_NUMBER(pthread_create(&forking, NULL, fork_when_cancelled, &child), 0);
    CHECK_NUMBER(pthread_join(forking, NULL), 0);
    CHECK(child > 0);
    CHECK_NUMBER(pthread_join(thread, NULL), 0);
    check_mode(shared, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
    mtasts_context_free(shared);
}

static volatile sig_atomic_t is_to_fork, is_child;
static volatile pid_t forked;

static void fork_in_handler(int signal)
{
    (void)signal;
    if (is_to_fork && !is_child) {
        is_to_fork = 0;
        forked = fork();
        if (forked == 0) {
            is_child = 1;
            alarm(15);
        }
    }
}

/* extra: how often. The process has one thread. */
static void a_signal_handler_may_fork(void)
{
    struct sigaction action = {0};
    action.sa_handler = fork_in_handler;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGALRM, SIG_DFL);
    shared = new_context();
    mtasts_context_set(shared, "memory_entries", "0");
    check_mode(shared, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
    pid_t parent = getpid();
    pid_t sender = fork();
    if (sender == 0) {
        for (;;) {
            usleep(3000);
            if (kill(parent, SIGUSR1) != 0 || getppid() != parent) {
                _exit(0);
            }
        }
    }
    for (int i = atoi(extra[0]); i > 0 && faults == 0; i--) {
        forked = 0;
        is_to_fork = 1;
        for (int k = 0; (k < 300 && forked == 0) || k == 0; k++) {
            check_mode(shared, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
        }
        if (is_child) {
            check_mode(shared, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
            fflush(stdout);
            _exit(faults != 0);
        }
        int status = -1;
        while (forked > 0 && waitpid(forked, &status, 0) < 0 && errno == EINTR) {
        }
        if (forked > 0 && status != 0) {
            printf("child: status %#x\n", (unsigned)status);
            faults++;
        }
    }
    is_to_fork = 0;
    kill(sender, SIGKILL);
    waitpid(sender, NULL, 0);
    mtasts_context_free(shared);
}

static void ask_at_the_end(void)
{
    alarm(20);
    check_mode(shared, "fresh.test", MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
    if (faults) {
        fflush(stdout);
        _exit(1);
    }
}

static void a_host_may_ask_while_it_exits(void)
{
    shared = new_context();
    atexit(ask_at_the_end);
    check_mode(shared, "good.test", MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
}

static void ask_as_thread_ends(void *value)
{
    (void)value;
    check_mode(shared, "fresh.test", MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
}

static void *ask_and_end(void *key)
{
    pthread_setspecific(*(pthread_key_t *)key, key);
    check_mode(shared, "good.test", MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
    return NULL;
}

static void a_host_may_ask_while_a_thread_ends(void)
{
    pthread_key_t key;
    pthread_t thread;
    alarm(20);
    shared = new_context();
    pthread_key_create(&key, ask_as_thread_ends);
    pthread_create(&thread, NULL, ask_and_end, &key);
    pthread_join(thread, NULL);
    mtasts_context_free(shared);
}

static void *refresh_and_be_held(void *which)
{
    call("hold_malloc", *(long *)which);
    check_mode(shared, "good.test", MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
    call("hold_malloc", 0);
    __atomic_store_n((long *)which, 0, __ATOMIC_SEQ_CST);
    return NULL;
}

static void ask_as_child_of_one_who_is_held(mtasts_context *context)
{
    alarm(10);
    check_mode(context, "fresh.test", MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
}

/* Each in a process that has never used the library. Returns whether there are so many allocations. */
static int fork_at_malloc(long which)
{
    fflush(stdout);
    pid_t process = fork();
    if (process == 0) {
        pthread_t thread;
        long left = which;
        faults = 0;
        shared = new_context();
        pthread_create(&thread, NULL, refresh_and_be_held, &left);
        while (!ask_shim("is_held") && __atomic_load_n(&left, __ATOMIC_SEQ_CST) != 0) {
            usleep(200);
        }
        int is_over = !ask_shim("is_held");
        if (!is_over) {
            in_child(ask_as_child_of_one_who_is_held, shared);
        }
        call("release_malloc", 0);
        pthread_join(thread, NULL);
        if (faults) {
            printf("fork at malloc %ld\n", which);
        }
        fflush(stdout);
        _exit(is_over ? 2 : faults != 0);
    }
    int status = -1;
    waitpid(process, &status, 0);
    if (status != 0 && status != 2 << 8) {
        faults++;
    }
    return status != 2 << 8;
}

/* extra: the first, every how many-th. */
static void the_first_question_is_caught_at_each_malloc(void)
{
    long which = atol(extra[0]);
    while (fork_at_malloc(which)) {
        which += atol(extra[1]);
    }

}

/* extra: how many generations. Each child goes on in its parent's place. */
static void generations_keep_their_descriptors(void)
{
    int first = 0, last = 0, count = atoi(extra[0]);
    shared = new_context();
    for (int i = 0; i < count; i++) {
        check_mode(shared, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
        check_mode(shared, "testing.test", MTASTS_REFRESH, MTASTS_MODE_TESTING, __LINE__);
        last = count_descriptors(descriptors());
        first = i == 1 ? last : first;
        fflush(stdout);
        pid_t child = fork();
        if (child != 0) {
            int status = -1;
            waitpid(child, &status, 0);
            _exit(status != 0);
        }
        faults = 0;
    }
    if (last > first + 2) {
        printf("%d descriptors in the second generation, %d in the last of %d\n", first, last, count);
        fflush(stdout);
        _exit(1);
    }
    _exit(faults != 0);
}

/* The last descriptor is another thread's for a moment, and free again when the library looks. */
static void a_moment_without_descriptors_denies_no_policy(void)
{
    shared = new_context();
    silent_server(shared);
    call("fail_open", 1);
    int mode = mode_of(shared, "good.test", 0, 500);
    call("fail_open", 0);
    CHECK(mode == MTASTS_MODE_ENFORCE || mode == MTASTS_MODE_UNKNOWN);
}

MAIN({"a-moment-without-descriptors-denies-no-policy", a_moment_without_descriptors_denies_no_policy},
     {"a-child-of-a-slow-commit-loses-no-policy", a_child_of_a_slow_commit_loses_no_policy},
     {"a-child-of-a-slow-commit-may-begin-anew", a_child_of_a_slow_commit_may_begin_anew},
     {"a-thread-that-is-to-be-cancelled-may-fork", a_thread_that_is_to_be_cancelled_may_fork},
     {"a-signal-handler-may-fork", a_signal_handler_may_fork},
     {"a-host-may-ask-while-it-exits", a_host_may_ask_while_it_exits},
     {"a-host-may-ask-while-a-thread-ends", a_host_may_ask_while_a_thread_ends},
     {"the-first-question-is-caught-at-each-malloc", the_first_question_is_caught_at_each_malloc},
     {"generations-keep-their-descriptors", generations_keep_their_descriptors})
