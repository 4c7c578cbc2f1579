/*
 * threads COUNT DOMAIN...: COUNT threads ask one context about each domain at the same time.
 *
 * A context needs no lock around it: any thread may ask, and of many that want the same policy one fetches it. What a
 * query gives belongs to the thread that asked.
 */

#include <mtasts.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_THREADS 1000

/* What all threads share; none of them changes it. */
struct job {
    mtasts_context *context;
    char **domains;
    int count;
};

struct worker {
    pthread_t thread;
    const struct job *job;
    int *modes; /* of each domain, as this thread was told; minus a status where the question failed */
};

static void *ask(void *argument)
{
    struct worker *worker = argument;
    const struct job *job = worker->job;

    for (int i = 0; i < job->count; i++) {
        mtasts_policy *policy = NULL;
        int status = mtasts_query(job->context, job->domains[i], 0, 0, &policy);
        worker->modes[i] = status == MTASTS_OK ? mtasts_policy_mode(policy) : -status;
        if (status != MTASTS_OK) /* each thread has a last error of its own */
            fprintf(stderr, "%s: %s\n", job->domains[i], mtasts_last_error());
        mtasts_policy_free(policy);
    }
    return NULL;
}

/* Tells how many threads were told what the first one was told. */
static int tell(const struct job *job, const struct worker *workers, int threads)
{
    static const char *const modes[] = {"none", "testing", "enforce", "unknown"};
    int failed = 0;

    for (int i = 0; i < job->count; i++) {
        int mode = workers[0].modes[i], same = 0;
        for (int t = 0; t < threads; t++)
            same += workers[t].modes[i] == mode;
        printf("%s: %s, say %d of %d threads\n", job->domains[i], mode < 0 ? "failed" : modes[mode], same, threads);
        failed |= mode < 0 || same != threads;
    }
    return failed;
}

int main(int argc, char **argv)
{
    static struct worker workers[MAX_THREADS];
    struct job job = {NULL, argv + 2, argc - 2};
    int threads = argc > 2 ? atoi(argv[1]) : 0, started = 0, failed = 1;

    if (threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "usage: threads COUNT DOMAIN..., COUNT from 1 to %d\n", MAX_THREADS);
        return 64;
    }
    if (mtasts_context_new(NULL, &job.context) != MTASTS_OK) {
        fprintf(stderr, "threads: %s\n", mtasts_last_error());
        return 75;
    }
    for (; started < threads; started++) {
        struct worker *worker = &workers[started];
        worker->job = &job;
        worker->modes = calloc((size_t)job.count, sizeof *worker->modes);
        if (!worker->modes || pthread_create(&worker->thread, NULL, ask, worker) != 0)
            break;
    }
    for (int t = 0; t < started; t++)
        pthread_join(workers[t].thread, NULL);
    if (started == threads)
        failed = tell(&job, workers, threads);
    else
        fprintf(stderr, "threads: only %d of %d threads could be started\n", started, threads);
    for (int t = 0; t < threads; t++)
        free(workers[t].modes);
    /* No thread uses the context any more. */
    mtasts_context_free(job.context);
    return failed;
}
