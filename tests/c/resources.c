/* A host that runs for long, and one that has almost nothing left: descriptors, memory, standard streams. */

#define _GNU_SOURCE
#include "guest.h"
#include <dlfcn.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static char patterns[MTASTS_PATTERNS_SIZE];

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* One in a thousand goes to the network, one in ten reads the database, the others come from memory. */
static void look_up(mtasts_context *context, mtasts_context *without_memory, int i)
{
    static const char *const domains[] = {"good.test", "fresh.test", "testing.test", "absent.test", "none.test"};
    static const int modes[] = {MTASTS_MODE_ENFORCE, MTASTS_MODE_ENFORCE, MTASTS_MODE_TESTING, MTASTS_MODE_NONE,
                                MTASTS_MODE_NONE};
    size_t at = (size_t)i / 10 % COUNT(domains);
    if (i % 1000 == 0) {
        check_mode(context, domains[at], MTASTS_REFRESH, modes[at], __LINE__);
    } else if (i % 10 == 0) {
        check_mode(without_memory, domains[at], 0, modes[at], __LINE__);
    } else if (i % 10 == 1) {
        CHECK_NUMBER(mtasts_lookup(domains[at], patterns, sizeof patterns), modes[at]);
    } else {
        check_mode(context, domains[at], 0, modes[at], __LINE__);
    }
}

/* extra: how many lookups, and a file for what was measured. The first quarter warms up. */
static void many_lookups_keep_their_level(void)
{
    int count = atoi(extra[0]);
    long warm = 0;
    struct descriptors before = descriptors();
    mtasts_context *context = new_context(), *without_memory = new_context();
    CHECK_NUMBER(mtasts_context_set(without_memory, "memory_entries", "0"), MTASTS_OK);
    for (int i = 0; i < count; i++) {
        if (i == count / 4) {
            warm = resident_kib();
            before = descriptors();
        }
        look_up(context, without_memory, i);
    }
    long end = resident_kib();
    check_descriptors(before, 0, __LINE__);
    CHECK_NUMBER(thread_count(), 1);
    FILE *file = fopen(extra[1], "w");
    fprintf(file, "%d lookups: resident %ld KiB after a quarter, %ld KiB at the end, %d descriptors, 1 thread", count,
            warm, end, count_descriptors(descriptors()) - 1);
    fclose(file);
    /* A byte that each lookup of the last three quarters lost would show, were there enough of them. */
    if (end > warm + 512) {
        printf("resident memory grows from %ld to %ld KiB\n", warm, end);
        faults++;
    }
    mtasts_context_free(context);
    mtasts_context_free(without_memory);
    mtasts_cleanup();
}

/* Leaves so many descriptors to be opened. */
static void leave_descriptors(int count)
{
    struct descriptors now = descriptors();
    int highest = 0;
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        highest = now.is_open[fd] ? fd : highest;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = (rlim_t)(highest + 1 + count);
    CHECK_NUMBER(setrlimit(RLIMIT_NOFILE, &limit), 0);
    /* No gap below them counts. */
    for (int fd = 0; fd < highest; fd++) {
        if (!now.is_open[fd]) {
            CHECK(dup2(highest, fd) == fd);
        }
    }
}

/* extra: domain, how many descriptors are free, the modes that will do. */
static void few_descriptors_are_free(void)
{
    mtasts_context *context = new_context();
    mtasts_policy *policy = NULL;
    leave_descriptors(atoi(extra[1]));
    CHECK_NUMBER(mtasts_query(context, extra[0], 0, 0, &policy), MTASTS_OK);
    int mode = mtasts_policy_mode(policy);
    if (strchr(extra[2], '0' + mode) == NULL) {
        printf("%s with %s descriptors: mode %d, want one of %s: %s\n", extra[0], extra[1], mode, extra[2],
               mtasts_policy_reason_text(policy));
        faults++;
    }
    mtasts_policy_free(policy);
    mtasts_context_free(context);
}

/* Descriptors 0, 1 and 2 were closed before the library was used; what the host writes to them harms nothing. */
static void standard_streams_are_closed(void)
{
    int out = fcntl(1, F_DUPFD_CLOEXEC, 10);
    for (int fd = 0; fd < 3; fd++) {
        close(fd);
    }
    mtasts_context *context = new_context();
    for (int i = 0; i < 5; i++) {
        check_mode(context, "good.test", MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
        for (int fd = 0; fd < 3; fd++) {
            ssize_t written = write(fd, "a line of the host\n", 19);
            (void)written;
        }
    }
    check_mode(context, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
    mtasts_context_free(context);
    for (int fd = 0; fd < 3; fd++) {
        dup2(out, fd);
    }
}

/* extra: how much memory is left, in KiB, and what may become of it. */
static void little_memory_is_left(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(fscanf(file, "%ld", &pages) == 1);
    fclose(file);
    mtasts_context *context = new_context();
    struct rlimit limit = {0, 0}, core = {0, 0};
    setrlimit(RLIMIT_CORE, &core);
    limit.rlim_cur = limit.rlim_max = (rlim_t)(pages * sysconf(_SC_PAGESIZE) + atol(extra[0]) * 1024);
    CHECK_NUMBER(setrlimit(RLIMIT_AS, &limit), 0);
    mtasts_policy *policy = NULL;
    int status = mtasts_query(context, "good.test", 0, 0, &policy);
    CHECK(status == MTASTS_OK || status == MTASTS_INTERNAL);
    if (status == MTASTS_OK) {
        CHECK(strchr(extra[1], '0' + mtasts_policy_mode(policy)) != NULL);
    }
    mtasts_policy_free(policy);
    mtasts_context_free(context);
}

static int questions;

/* One question, cached, asked in a child whose allocation of this number fails; returns how the child ended. */
static int ask_short_of_memory(long which, int goes_on)
{
    void (*fail_malloc)(long, int) = NULL;
    *(void **)&fail_malloc = dlsym(RTLD_DEFAULT, "fail_malloc");
    if (fail_malloc == NULL) {
        printf("the failing malloc is not loaded\n");
        exit(1);
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        mtasts_context *context = NULL;
        mtasts_policy *policy = NULL;
        struct rlimit core = {0, 0};
        int null = open("/dev/null", O_WRONLY);
        setrlimit(RLIMIT_CORE, &core);
        dup2(null, 2); /* Rust says there why it gives up */
        alarm(60);
        fail_malloc(which, goes_on);
        int status = mtasts_context_new(config_path, &context);
        if (status == MTASTS_OK) {
            status = mtasts_query(context, "good.test", 0, 0, &policy);
        }
        int mode = mtasts_policy_mode(policy);
        mtasts_policy_free(policy);
        mtasts_context_free(context);
        fail_malloc(0, 0);
        _exit(status != MTASTS_OK ? 100 : mode);
    }
    int status = -1;
    CHECK_NUMBER(waitpid(child, &status, 0), child);
    questions++;
    return status;
}

/* extra: every how many-th allocation is made to fail, and a file for what was found. Rust ends a process that gets no
   memory; SQLite and the C library report it. Nothing hangs, crashes or answers that there is no policy. */
static void each_malloc_fails_once(void)
{
    int answers = 0, unknown = 0, errors = 0, aborts = 0, step = atoi(extra[0]);
    for (long which = 1;; which += step) {
        int is_over = 0;
        for (int goes_on = 0; goes_on < 2; goes_on++) {
            int status = ask_short_of_memory(which, goes_on);
            if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) {
                aborts++;
            } else if (WIFEXITED(status) && WEXITSTATUS(status) == MTASTS_MODE_ENFORCE) {
                answers++;
            } else if (WIFEXITED(status) && WEXITSTATUS(status) == MTASTS_MODE_UNKNOWN) {
                unknown++;
            } else if (WIFEXITED(status) && WEXITSTATUS(status) == 100) {
                errors++;
            } else {
                printf("malloc %ld fails%s: status %#x\n", which, goes_on ? " and all that follow" : "", (unsigned)status);
                faults++;
            }
            is_over = which > 3000;
        }
        if (is_over) {
            break;
        }
    }
    FILE *file = fopen(extra[1], "w");
    fprintf(file, "%d questions: %d answered right, %d unknown, %d errors, %d ended by Rust (SIGABRT)", questions, answers,
            unknown, errors, aborts);
    fclose(file);
    CHECK(answers > 0);
}

/* A kernel that ends the process at its first system call but read, write and exit watches remembered answers. */
static void warm_answers_need_no_system_call(void)
{
    static const char *const domains[] = {"good.test", "testing.test", "absent.test"};
    static const int modes[] = {MTASTS_MODE_ENFORCE, MTASTS_MODE_TESTING, MTASTS_MODE_NONE};
    mtasts_context *context = new_context();
    for (int i = 0; i < 300; i++) {
        check_mode(context, domains[i % 3], 0, modes[i % 3], __LINE__);
        CHECK_NUMBER(mtasts_lookup(domains[i % 3], patterns, sizeof patterns), modes[i % 3]);
    }
    pid_t child = fork();
    if (child == 0) {
        int wrong = 0;
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        for (int i = 0; i < 3000; i++) {
            mtasts_policy *policy = NULL;
            wrong += mtasts_query(context, domains[i % 3], 0, 0, &policy) != MTASTS_OK;
            wrong += mtasts_policy_mode(policy) != modes[i % 3];
            mtasts_policy_free(policy);
            wrong += mtasts_lookup(domains[i % 3], patterns, sizeof patterns) != modes[i % 3];
        }
        /* The C library's own _exit makes another system call first. */
        syscall(SYS_exit, wrong != 0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_NUMBER(status, 0);
    /* The child would have been ended by a system call. */
    child = fork();
    if (child == 0) {
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        syscall(SYS_exit, getppid() == 0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    mtasts_context_free(context);
}

MAIN({"each-malloc-fails-once", each_malloc_fails_once},
     {"many-lookups-keep-their-level", many_lookups_keep_their_level},
     {"warm-answers-need-no-system-call", warm_answers_need_no_system_call},
     {"few-descriptors-are-free", few_descriptors_are_free},
     {"standard-streams-are-closed", standard_streams_are_closed},
     {"little-memory-is-left", little_memory_is_left})
