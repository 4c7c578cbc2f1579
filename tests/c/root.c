/* An Exim that runs as root: a forked child answers that is another user, and the host is left as it was. */

#define _GNU_SOURCE
#include "check.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What Exim is told about a domain with these MX records; the status. */
static int exim(const char *domain, const char *mx_list, const char **told)
{
    char domain_copy[256], mx_copy[256];
    unsigned char *yield = NULL, *arguments[] = {(unsigned char *)domain_copy, (unsigned char *)mx_copy};
    snprintf(domain_copy, sizeof domain_copy, "%s", domain);
    snprintf(mx_copy, sizeof mx_copy, "%s", mx_list);
    int status = mtasts_exim(&yield, 2, arguments);
    *told = (const char *)yield;
    return status;
}

static int descriptor_count(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

/* A child of one thread of a process; 0 if it has none. */
static pid_t child_of(pid_t process, pid_t thread)
{
    char path[100];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)process, (int)thread);
    FILE *file = fopen(path, "r");
    int child = 0;
    if (file == NULL || fscanf(file, "%d", &child) != 1) {
        child = 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return (pid_t)child;
}

static void pause_a_little(void)
{
    struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
}

/* The value of one line of /proc/PROCESS/status; 0 if there is none. */
static int status_of(pid_t process, const char *line, char *value)
{
    char path[100], text[4096] = "";
    snprintf(path, sizeof path, "/proc/%d/status", (int)process);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    const char *at = strstr(text, line);
    return at != NULL && sscanf(at + strlen(line), "%19s", value) == 1;
}

static int is_another_user(pid_t process)
{
    char value[20] = "";
    return status_of(process, "NoNewPrivs:", value) && strcmp(value, "1") == 0;
}

/* Where nobody reaps orphans it stays as a zombie. */
static int has_ended(pid_t process)
{
    char value[20] = "";
    return !status_of(process, "State:", value) || strcmp(value, "Z") == 0;
}

static void wait_until(int (*is_so)(pid_t), pid_t process)
{
    int so = 0;
    for (int i = 0; i < 10000 && !so; i++) {
        so = is_so(process);
        pause_a_little();
    }
    CHECK(so);
}

static void has_no_child(void)
{
    CHECK_NUMBER(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_NUMBER(errno, ECHILD);
}

static void two_hundred_recipients_are_answered(void)
{
    const char *told = NULL;
    umask(0);
    pid_t own = fork();
    if (own == 0) {
        _exit(7);
    }
    int before = descriptor_count();
    errno = EDOM;
    for (int i = 0; i < 200; i++) {
        /* DNS gives the records of a set in any order. */
        const char *mx_list = i % 2 ? "20 a.backup.test,10 mx.good.test" : "10 MX.good.test,20 a.backup.test";
        CHECK_NUMBER(exim(i % 3 ? "good.test" : "GOOD.test", mx_list, &told), 0);
        CHECK_TEXT(told, "mx.good.test:+:a.backup.test");
    }
    CHECK_NUMBER(errno, EDOM);
    CHECK_NUMBER(descriptor_count(), before);
    CHECK_NUMBER(geteuid(), 0);
    /* Nobody else waited for the child that the host has. */
    int status = 0;
    CHECK_NUMBER(waitpid(own, &status, 0), own);
    CHECK_NUMBER(WEXITSTATUS(status), 7);
    has_no_child();
    CHECK_NUMBER(exim("good.test", "10 mx.evil.test", &told), 2);
    CHECK(strstr(told, "no MX of good.test is listed") != NULL);
    has_no_child();
}

static void a_policy_is_answered_with(void)
{
    const char *told = NULL;
    CHECK_NUMBER(exim("good.test", "10 mx.good.test,20 mx.evil.test", &told), 0);
    CHECK_TEXT(told, extra[0]);
}

static void reap_all(int signal)
{
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

static void a_host_that_reaps_every_child_is_answered(void)
{
    const char *told = NULL;
    signal(SIGCHLD, SIG_IGN);
    CHECK_NUMBER(exim("good.test", "10 mx.good.test", &told), 0);
    CHECK_TEXT(told, "mx.good.test");
    signal(SIGCHLD, reap_all);
    CHECK_NUMBER(exim("fresh.test", "10 mx.fresh.test", &told), 0);
    CHECK_TEXT(told, "mx.fresh.test");
    has_no_child();
}

static pid_t asking_thread, stopped;

static void *stop_the_child(void *unused)
{
    (void)unused;
    for (int i = 0; i < 10000 && stopped == 0; i++) {
        stopped = child_of(getpid(), asking_thread);
        pause_a_little();
    }
    kill(stopped, SIGSTOP);
    return NULL;
}

static void a_child_that_hangs_is_ended_in_time(void)
{
    const char *told = NULL;
    pthread_t thread;
    asking_thread = gettid();
    pthread_create(&thread, NULL, stop_the_child, NULL);
    time_t began = time(NULL);
    CHECK_NUMBER(exim("mute.test", "10 mx.mute.test", &told), 2);
    CHECK(strstr(told, "in time") != NULL);
    CHECK(time(NULL) - began < 20);
    pthread_join(thread, NULL);
    CHECK(stopped > 0);
    CHECK(kill(stopped, 0) != 0);
    has_no_child();
    /* The next recipient of the same domain does not wait again. */
    began = time(NULL);
    CHECK_NUMBER(exim("mute.test", "10 mx.mute.test", &told), 2);
    CHECK(time(NULL) - began < 2);
}

static void a_child_ends_with_its_host(void)
{
    pid_t host = fork();
    if (host == 0) {
        const char *told = NULL;
        exim("mute.test", "10 mx.mute.test", &told);
        _exit(0);
    }
    pid_t child = 0;
    for (int i = 0; i < 10000 && child == 0; i++) {
        child = child_of(host, host);
        pause_a_little();
    }
    CHECK(child > 0);
    /* It is tied to its host once it is another user. */
    wait_until(is_another_user, child);
    CHECK_NUMBER(kill(host, SIGKILL), 0);
    CHECK_NUMBER(waitpid(host, NULL, 0), host);
    wait_until(has_ended, child);
}

/* What a host has open as 3 is its own, however few descriptors are left for a pipe and what follows. */
static void a_host_with_few_descriptors_keeps_its_files(void)
{
    char path[] = "/tmp/mtasts-descriptors-XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 3);
    unlink(path);
    for (int round = 0; round < 60; round++) {
        pid_t host = fork();
        if (host == 0) {
            const char *told = NULL;
            struct rlimit limit = {64, 64};
            int last = dup2(file, 3), next;
            setrlimit(RLIMIT_NOFILE, &limit);
            while ((next = dup(3)) >= 0) {
                last = next;
            }
            for (int left = round % 4; left > 0; left--) {
                close(last--);
            }
            int status = exim("[192.0.2.1]", "", &told);
            _exit((round % 4 < 2 ? status == 2 : status == 0 && told[0] == 0) ? 0 : 1);
        }
        int status = -1;
        CHECK_NUMBER(waitpid(host, &status, 0), host);
        CHECK_NUMBER(status, 0);
    }
    CHECK_NUMBER(lseek(file, 0, SEEK_END), 0);
    close(file);
}

static void *ask_of(void *domain)
{
    const char *told = NULL;
    char mx_list[100];
    snprintf(mx_list, sizeof mx_list, "10 mx.%s", (const char *)domain);
    CHECK_NUMBER(exim(domain, mx_list, &told), 0);
    CHECK_TEXT(told, mx_list + 3);
    return NULL;
}

static void threads_are_answered_side_by_side(void)
{
    static char domains[][20] = {"good.test", "fresh.test"};
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        pthread_create(&threads[i], NULL, ask_of, domains[i % 2]);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    has_no_child();
}

MAIN(
    {"two-hundred-recipients-are-answered", two_hundred_recipients_are_answered},
    {"a-policy-is-answered-with", a_policy_is_answered_with},
    {"a-host-that-reaps-every-child-is-answered", a_host_that_reaps_every_child_is_answered},
    {"a-child-that-hangs-is-ended-in-time", a_child_that_hangs_is_ended_in_time},
    {"a-child-ends-with-its-host", a_child_ends_with_its_host},
    {"a-host-with-few-descriptors-keeps-its-files", a_host_with_few_descriptors_keeps_its_files},
    {"threads-are-answered-side-by-side", threads_are_answered_side_by_side},
)
