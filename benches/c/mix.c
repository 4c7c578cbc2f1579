/* Eight processes on one cache, in which each tenth question is about a domain that nobody has asked about, and is
 * written down: CONFIG ROWS. Prints questions a second of all, and the longest that one took in milliseconds. */
#define _POSIX_C_SOURCE 200809L
#include "bench.h"
#include <mtasts.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 8 };

static const uint64_t RUN_NANOSECONDS = 3000000000u;

struct run {
    double questions, longest;
};

static struct run ask(const char *config, size_t count, int process)
{
    struct run run = {0, 0};
    mtasts_context *context;
    mtasts_policy *policy;
    char name[64];
    uint64_t state = 88172645463325252u * (uint64_t)(process + 1);
    REQUIRE(mtasts_context_new(config, &context) == MTASTS_OK);
    uint64_t end = nanoseconds() + RUN_NANOSECONDS;
    for (unsigned long n = 0; nanoseconds() < end; n++) {
        if (n % 10 == 9)
            snprintf(name, sizeof name, "new%d-%lu.test", process, n);
        else
            snprintf(name, sizeof name, "d%07lu.example", (unsigned long)(next_random(&state) % count));
        uint64_t began = nanoseconds();
        REQUIRE(mtasts_query(context, name, 0, 10000, &policy) == MTASTS_OK);
        double took = (double)(nanoseconds() - began) / 1000000;
        mtasts_policy_free(policy);
        run.questions++;
        if (took > run.longest)
            run.longest = took;
    }
    mtasts_context_free(context);
    return run;
}

int main(int argc, char **argv)
{
    int ends[2];
    struct run run, all = {0, 0};
    REQUIRE(argc == 3 && pipe(ends) == 0);
    for (int process = 0; process < PROCESSES; process++) {
        if (fork() == 0) {
            run = ask(argv[1], (size_t)atol(argv[2]), process);
            _exit(write(ends[1], &run, sizeof run) != sizeof run);
        }
    }
    for (int process = 0; process < PROCESSES; process++) {
        int status;
        REQUIRE(wait(&status) > 0 && status == 0 && read(ends[0], &run, sizeof run) == sizeof run);
        all.questions += run.questions;
        all.longest = run.longest > all.longest ? run.longest : all.longest;
    }
    printf("%.0f %.0f\n", all.questions * 1e9 / (double)RUN_NANOSECONDS, all.longest);
    return 0;
}
