/* Functions for Exim's ${dlfunc} that do less than libmtasts: baselines for the cost of its own. */
#define _POSIX_C_SOURCE 200809L
#include <mtasts.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OK = 0, FAIL = 2 };

/* What the library says of these domains. */
static unsigned char answer[] = "mx1.example.com";

int empty(unsigned char **yield, int argc, unsigned char **argv);
int bare_fork(unsigned char **yield, int argc, unsigned char **argv);
int fresh(unsigned char **yield, int argc, unsigned char **argv);

int empty(unsigned char **yield, int argc, unsigned char **argv)
{
    (void)argc, (void)argv;
    *yield = answer;
    return OK;
}

static int reap(pid_t child)
{
    int status;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? OK : FAIL;
}

/* A child that ends at once. */
int bare_fork(unsigned char **yield, int argc, unsigned char **argv)
{
    (void)argc, (void)argv;
    *yield = answer;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    return reap(child);
}

/* A child that asks the library as the first thing that it does. */
int fresh(unsigned char **yield, int argc, unsigned char **argv)
{
    static mtasts_context *context;
    *yield = answer;
    if (argc != 1 || (context == NULL && mtasts_context_new(getenv("MTASTS_CONFIG"), &context) != MTASTS_OK))
        return FAIL;
    pid_t child = fork();
    if (child == 0) {
        mtasts_policy *policy;
        int status = mtasts_query(context, (const char *)argv[0], 0, 1000, &policy);
        _exit(status != MTASTS_OK || mtasts_policy_mode(policy) != MTASTS_MODE_ENFORCE);
    }
    return reap(child);
}
