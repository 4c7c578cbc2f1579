/*
 * Asks one question: ask CONFIGURATION|- DOMAIN. With "-" the library looks for its configuration itself.
 * Prints who asks, whether the process is privileged by its start, and the answer or what is wrong.
 */

#include <mtasts.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    mtasts_context *context = NULL;
    mtasts_policy *policy = NULL;
    const char *path = argc > 1 && strcmp(argv[1], "-") != 0 ? argv[1] : NULL;
    int status = mtasts_context_new(path, &context);
    printf("%d %d %lu ", (int)getuid(), (int)geteuid(), getauxval(AT_SECURE));
    if (status == MTASTS_OK && argc > 2) {
        status = mtasts_query(context, argv[2], 0, 10000, &policy);
    }
    if (status != MTASTS_OK) {
        printf("status %d: %s\n", status, mtasts_last_error());
    } else if (policy == NULL) {
        printf("no question\n");
    } else {
        printf("mode %d: %s\n", mtasts_policy_mode(policy), mtasts_policy_reason_text(policy));
    }
    mtasts_policy_free(policy);
    mtasts_context_free(context);
    return 0;
}
