/* Measures answers over a cache of many rows: CONFIG ROWS MODE [all]. Prints a name and a figure a line: microseconds of
 * the first answer, nanoseconds of a warm one of 1000 names and of a random one of all, kilobytes of resident memory;
 * with `all` only the latter, after every name was asked. */
#define _POSIX_C_SOURCE 200809L
#include "bench.h"
#include <mtasts.h>
#include <string.h>

/* Rounds are short, so that most of them are not interrupted. */
enum { ROUNDS = 101, WARM = 1000, WARM_CALLS = 2000, RANDOM_CALLS = 500 };

static mtasts_context *context;
static size_t count;
static int wanted_mode;

static void ask(size_t n)
{
    char name[32];
    mtasts_policy *policy;
    snprintf(name, sizeof name, "d%07lu.example", (unsigned long)n);
    REQUIRE(mtasts_query(context, name, 0, 1000, &policy) == MTASTS_OK);
    REQUIRE(mtasts_policy_mode(policy) == wanted_mode);
    mtasts_policy_free(policy);
}

static void print_memory(const char *name)
{
    char line[128];
    FILE *status = fopen("/proc/self/status", "r");
    REQUIRE(status != NULL);
    while (fgets(line, sizeof line, status))
        if (strncmp(line, "VmRSS:", 6) == 0)
            printf("%s %ld\n", name, strtol(line + 6, NULL, 10));
    fclose(status);
}

int main(int argc, char **argv)
{
    static size_t warm[WARM];
    double rounds[ROUNDS];
    uint64_t state = 88172645463325252u;
    REQUIRE(argc == 4 || argc == 5);
    count = (size_t)atol(argv[2]);
    wanted_mode = strcmp(argv[3], "enforce") == 0 ? MTASTS_MODE_ENFORCE : MTASTS_MODE_NONE;
    print_memory("memory_at_start");
    uint64_t began = nanoseconds();
    REQUIRE(mtasts_context_new(argv[1], &context) == MTASTS_OK);
    ask(next_random(&state) % count);
    printf("first %.1f\n", (double)(nanoseconds() - began) / 1000);
    print_memory("memory_after_first");
    if (argc == 5) {
        for (size_t n = 0; n < count; n++)
            ask(n);
        print_memory("memory_after_all");
        return 0;
    }

    for (int round = 0; round < ROUNDS; round++) {
        began = nanoseconds();
        for (int n = 0; n < RANDOM_CALLS; n++)
            ask(next_random(&state) % count);
        rounds[round] = (double)(nanoseconds() - began) / RANDOM_CALLS;
    }
    printf("random %.1f\n", median(rounds, ROUNDS));

    for (int n = 0; n < WARM; n++)
        ask(warm[n] = next_random(&state) % count);
    for (int round = 0; round < ROUNDS; round++) {
        began = nanoseconds();
        for (int n = 0; n < WARM_CALLS; n++)
            ask(warm[next_random(&state) % WARM]);
        rounds[round] = (double)(nanoseconds() - began) / WARM_CALLS;
    }
    printf("warm %.1f\n", median(rounds, ROUNDS));

    mtasts_context_free(context);
    return 0;
}
