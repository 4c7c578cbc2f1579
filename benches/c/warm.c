/* Measures what a host pays for an answer from this process's memory: CONFIG DOMAINS MODE. Prints one line for each
 * measurement: its name, the number of threads, nanoseconds for one call of one thread, millions of calls a second of all.
 *
 * Names are asked in random order. The baselines are the cheapest table that C can have for the same names, alone and
 * under a pthread rwlock. */
#define _POSIX_C_SOURCE 200809L
#include "bench.h"
#include <mtasts.h>
#include <pthread.h>
#include <string.h>

enum { ROUNDS = 9, MOST_THREADS = 4, ORDER = 1 << 16, NAME = 32, POLICIES = 1000 };

static const uint64_t ROUND_NANOSECONDS = 60000000;

static char (*names)[NAME];
static size_t count;
static int wanted_mode;
static uint32_t order[ORDER];
static mtasts_context *context;
/* Each thread's own, as it has asked for them. */
static _Thread_local mtasts_policy *policies[POLICIES];

/* The bare table: open addressing, FNV-1a. */
struct slot {
    uint64_t hash;
    const char *name;
    int mode;
};
static struct slot *slots;
static size_t mask;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static uint64_t hash_of(const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash;
}

static int table_find(const char *name)
{
    uint64_t hash = hash_of(name);
    for (size_t at = hash & mask; slots[at].name; at = (at + 1) & mask)
        if (slots[at].hash == hash && strcmp(slots[at].name, name) == 0)
            return slots[at].mode;
    return -1;
}

static void table_fill(void)
{
    for (mask = 1; mask < 2 * count; mask *= 2)
        ;
    slots = calloc(mask, sizeof *slots);
    mask--;
    for (size_t n = 0; n < count; n++) {
        uint64_t hash = hash_of(names[n]);
        size_t at = hash & mask;
        while (slots[at].name)
            at = (at + 1) & mask;
        slots[at] = (struct slot){hash, strdup(names[n]), wanted_mode};
    }
}

static int bare(uint32_t n)
{
    return table_find(names[n]);
}

static int under_rwlock(uint32_t n)
{
    pthread_rwlock_rdlock(&rwlock);
    int mode = table_find(names[n]);
    pthread_rwlock_unlock(&rwlock);
    return mode;
}

static int query(uint32_t n)
{
    mtasts_policy *policy;
    mtasts_query(context, names[n], 0, 0, &policy);
    int mode = mtasts_policy_mode(policy);
    mtasts_policy_free(policy);
    return mode;
}

static int lookup(uint32_t n)
{
    static _Thread_local char patterns[MTASTS_PATTERNS_SIZE];
    return mtasts_lookup(names[n], patterns, sizeof patterns);
}

static int decide(uint32_t n)
{
    mtasts_decision *decision;
    mtasts_policy_decide(policies[n % POLICIES], "mx1.example.com", MTASTS_DANE_NOT_CHECKED, &decision);
    int action = mtasts_decision_action(decision);
    mtasts_decision_free(decision);
    return action == (wanted_mode == MTASTS_MODE_ENFORCE ? MTASTS_ACTION_REQUIRE_TLS : MTASTS_ACTION_DELIVER)
               ? wanted_mode
               : -1;
}

struct run {
    int (*call)(uint32_t);
    size_t start;
    uint64_t calls;
    uint64_t nanoseconds;
    pthread_barrier_t *barrier;
};

static void *run_thread(void *argument)
{
    struct run *run = argument;
    size_t at = run->start;
    uint64_t wrong = 0;
    for (size_t n = 0; n < POLICIES; n++)
        REQUIRE(mtasts_query(context, names[n], 0, 0, &policies[n]) == MTASTS_OK);
    pthread_barrier_wait(run->barrier);
    uint64_t began = nanoseconds();
    do {
        for (int n = 0; n < 1024; n++, at = (at + 1) % ORDER)
            wrong += run->call(order[at]) != wanted_mode;
        run->calls += 1024;
        run->nanoseconds = nanoseconds() - began;
    } while (run->nanoseconds < ROUND_NANOSECONDS);
    REQUIRE(wrong == 0);
    for (size_t n = 0; n < POLICIES; n++)
        mtasts_policy_free(policies[n]);
    return NULL;
}

struct measured {
    double nanoseconds_per_call;
    double calls_per_microsecond;
};

static struct measured measure(int (*call)(uint32_t), int threads)
{
    pthread_t handles[MOST_THREADS];
    struct run runs[MOST_THREADS];
    struct measured sum = {0, 0};
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (int n = 0; n < threads; n++) {
        runs[n] = (struct run){call, (size_t)n * 7919 % ORDER, 0, 0, &barrier};
        pthread_create(&handles[n], NULL, run_thread, &runs[n]);
    }
    for (int n = 0; n < threads; n++) {
        pthread_join(handles[n], NULL);
        sum.nanoseconds_per_call += (double)runs[n].nanoseconds / (double)runs[n].calls / threads;
        sum.calls_per_microsecond += (double)runs[n].calls / (double)runs[n].nanoseconds * 1000;
    }
    pthread_barrier_destroy(&barrier);
    return sum;
}

/* All in turn, so that what changes on the machine meanwhile meets all alike. */
static void compare(int threads)
{
    static const struct {
        const char *name;
        int (*call)(uint32_t);
    } all[] = {{"table", bare}, {"rwlock", under_rwlock}, {"query", query}, {"lookup", lookup}, {"decide", decide}};
    enum { CALLS = sizeof all / sizeof *all };
    double each[CALLS][ROUNDS], together[CALLS][ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int n = 0; n < CALLS; n++) {
            struct measured measured = measure(all[n].call, threads);
            each[n][round] = measured.nanoseconds_per_call;
            together[n][round] = measured.calls_per_microsecond;
        }
    }
    for (int n = 0; n < CALLS; n++)
        printf("%s %d %.1f %.2f\n", all[n].name, threads, median(each[n], ROUNDS), median(together[n], ROUNDS));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    REQUIRE(argc == 4);
    count = (size_t)atol(argv[2]);
    wanted_mode = strcmp(argv[3], "enforce") == 0 ? MTASTS_MODE_ENFORCE : MTASTS_MODE_NONE;
    names = malloc(count * sizeof *names);
    for (size_t n = 0; n < count; n++)
        snprintf(names[n], NAME, "d%07lu.example", (unsigned long)n);
    uint64_t state = 88172645463325252u;
    for (size_t n = 0; n < ORDER; n++)
        order[n] = (uint32_t)(next_random(&state) % count);
    table_fill();
    setenv("MTASTS_CONFIG", argv[1], 1);
    REQUIRE(mtasts_context_new(argv[1], &context) == MTASTS_OK);
    /* The default context has a memory of its own. */
    for (uint32_t n = 0; n < count; n++)
        REQUIRE(query(n) == wanted_mode && lookup(n) == wanted_mode);
    for (int threads = 1; threads <= MOST_THREADS; threads *= 2)
        compare(threads);
    return 0;
}
