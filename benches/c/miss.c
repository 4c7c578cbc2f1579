/* Measures a host that asks about domains which nobody has asked about before: CONFIG THREADS DOMAIN... The first domain
 * is asked before the measurement. Prints what `benches/host/fetch.rs` prints for other clients. */
#define _XOPEN_SOURCE 700
#include "bench.h"
#include <mtasts.h>
#include <pthread.h>
#include <sys/resource.h>

enum { MOST_THREADS = 64 };

static char **domains;
static size_t count;
static double *each;
static mtasts_context *context;

static void ask(const char *domain)
{
    mtasts_policy *policy;
    REQUIRE(mtasts_query(context, domain, 0, 30000, &policy) == MTASTS_OK);
    REQUIRE(mtasts_policy_mode(policy) == MTASTS_MODE_ENFORCE);
    mtasts_policy_free(policy);
}

static size_t threads;

static void *ask_share(void *first)
{
    for (size_t at = (size_t)(uintptr_t)first; at < count; at += threads) {
        uint64_t began = nanoseconds();
        ask(domains[at]);
        each[at] = (double)(nanoseconds() - began);
    }
    return NULL;
}

static double processor_nanoseconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return ((double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec) * 1e9 +
           ((double)used.ru_utime.tv_usec + (double)used.ru_stime.tv_usec) * 1e3;
}

int main(int argc, char **argv)
{
    pthread_t handles[MOST_THREADS];
    REQUIRE(argc > 4);
    threads = strtoul(argv[2], NULL, 10);
    REQUIRE(threads >= 1 && threads <= MOST_THREADS);
    domains = argv + 4;
    count = (size_t)argc - 4;
    each = calloc(count, sizeof *each);
    REQUIRE(mtasts_context_new(argv[1], &context) == MTASTS_OK);

    uint64_t began = nanoseconds();
    ask(argv[3]);
    double first = (double)(nanoseconds() - began);

    double used = processor_nanoseconds();
    began = nanoseconds();
    for (size_t n = 0; n < threads; n++)
        REQUIRE(pthread_create(&handles[n], NULL, ask_share, (void *)(uintptr_t)n) == 0);
    for (size_t n = 0; n < threads; n++)
        pthread_join(handles[n], NULL);
    double all = (double)(nanoseconds() - began);
    used = processor_nanoseconds() - used;
    printf("%.0f %.0f %.0f %.0f\n", first, median(each, count), all / (double)count, used / (double)count);
    mtasts_context_free(context);
    return 0;
}
