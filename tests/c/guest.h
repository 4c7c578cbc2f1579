/* What the tests of a good guest share: which threads and descriptors there are, servers that do not answer, children. */

#ifndef GUEST_H
#define GUEST_H

#include "check.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static inline int thread_count(void)
{
    DIR *directory = opendir("/proc/self/task");
    int count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
#ifdef __SANITIZE_THREAD__
    /* ThreadSanitizer has a thread of its own, but not in a child. */
    count -= count > 1;
#endif
    return count;
}

#define MOST_DESCRIPTORS 1024

/* Which descriptors are open. */
struct descriptors {
    char is_open[MOST_DESCRIPTORS];
};

static inline struct descriptors descriptors(void)
{
    struct descriptors now = {{0}};
    DIR *directory = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd != dirfd(directory) && fd < MOST_DESCRIPTORS) {
            now.is_open[fd] = 1;
        }
    }
    closedir(directory);
    return now;
}

static inline int count_descriptors(struct descriptors of)
{
    int count = 0;
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        count += of.is_open[fd];
    }
    return count;
}

static inline int ends_with(const char *text, const char *end)
{
    return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

/* Nothing is open that was not open before, but the database if it may be. */
static inline void check_descriptors(struct descriptors before, int may_have_database, int line)
{
    struct descriptors now = descriptors();
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        char link[64], target[1000] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (now.is_open[fd] && readlink(link, target, sizeof target - 1) < 0) {
            target[0] = '\0';
        }
        int is_database = ends_with(target, "/cache.db") || ends_with(target, "/cache.db-journal");
        if (now.is_open[fd] && !before.is_open[fd] && !(may_have_database && is_database)) {
            printf("%s:%d: descriptor %d is open: %s\n", __FILE__, line, fd, target);
            faults++;
        }
        if (before.is_open[fd] && !now.is_open[fd]) {
            printf("%s:%d: descriptor %d of the host was closed\n", __FILE__, line, fd);
            faults++;
        }
    }
}

/* No socket and nothing that waits for one is open that was not open before. */
static inline void check_no_network(struct descriptors before, int line)
{
    struct descriptors now = descriptors();
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        char link[64], target[1000] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (now.is_open[fd] && !before.is_open[fd] && readlink(link, target, sizeof target - 1) > 0 &&
            (strncmp(target, "socket:", 7) == 0 || strncmp(target, "anon_inode:", 11) == 0)) {
            printf("%s:%d: descriptor %d is inherited: %s\n", __FILE__, line, fd, target);
            faults++;
        }
    }
}

/* The answer of a call that must not fail. */
static inline void check_mode(mtasts_context *context, const char *domain, unsigned flags, int mode, int line)
{
    mtasts_policy *policy = NULL;
    int status = mtasts_query(context, domain, flags, 0, &policy);
    if (status != MTASTS_OK || mtasts_policy_mode(policy) != mode) {
        printf("%s:%d: %s: status %d, mode %d, want %d: %s\n", __FILE__, line, domain, status,
               mtasts_policy_mode(policy), mode, status ? mtasts_last_error() : mtasts_policy_reason_text(policy));
        faults++;
    }
    mtasts_policy_free(policy);
}

static inline double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A socket on a free port of 127.0.0.1, which `address` takes. */
static inline int loopback_socket(int type, struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int server = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_NUMBER(bind(server, (struct sockaddr *)address, sizeof *address), 0);
    CHECK_NUMBER(getsockname(server, (struct sockaddr *)address, &length), 0);
    return server;
}

/* A name server that hears a question and does not answer: whoever asks it is inside a call that blocks. */
static inline int silent_server(mtasts_context *context)
{
    struct sockaddr_in address;
    char name[100];
    int server = loopback_socket(SOCK_DGRAM, &address);
    snprintf(name, sizeof name, "127.0.0.1:%d", ntohs(address.sin_port));
    CHECK_NUMBER(mtasts_context_set(context, "nameservers", name), MTASTS_OK);
    return server;
}

static inline void wait_for_question(int server)
{
    char question[1000];
    CHECK(recv(server, question, sizeof question, 0) > 0);
}

/* Forks; the child runs and says how it went by its exit status. */
static inline void in_child(void (*work)(mtasts_context *), mtasts_context *context)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        faults = 0;
        alarm(60);
        work(context);
        fflush(stdout);
        _exit(faults != 0);
    }
    int status = -1;
    CHECK_NUMBER(waitpid(child, &status, 0), child);
    CHECK_NUMBER(status, 0);
}

#endif
