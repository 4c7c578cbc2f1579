/* Asks one question on a context of its own, as a short-lived host does: CONFIG DOMAIN. Prints the mode.
 * Without arguments it calls nothing, so that only loading the library is left. */
#include <mtasts.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    mtasts_context *context;
    mtasts_policy *policy;
    if (argc == 1)
        return 0;
    if (argc != 3 || mtasts_context_new(argv[1], &context) != MTASTS_OK)
        return 1;
    if (mtasts_query(context, argv[2], 0, 1000, &policy) != MTASTS_OK)
        return 2;
    printf("%d\n", mtasts_policy_mode(policy));
    mtasts_policy_free(policy);
    mtasts_context_free(context);
    return 0;
}
