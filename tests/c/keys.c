/* Every key of mtasts.toml through mtasts_context_set. What follows the situation's name are keys and values. */

#include "check.h"

static void every_key_is_taken(void)
{
    mtasts_context *context = new_context();
    for (char **pair = extra; pair[0] != NULL; pair += 2) {
        if (!CHECK_NUMBER(mtasts_context_set(context, pair[0], pair[1]), MTASTS_OK)) {
            printf("  %s = %s\n", pair[0], pair[1]);
        }
    }
    mtasts_context_free(context);
}

/* Here a third text follows, which the last error must contain. */
static void what_is_wrong_is_refused_and_named(void)
{
    mtasts_context *context = new_context();
    for (char **row = extra; row[0] != NULL; row += 3) {
        CHECK_NUMBER(mtasts_context_set(context, row[0], row[1]), MTASTS_INVALID_CONFIG);
        if (!CHECK(strstr(mtasts_last_error(), row[2]) != NULL)) {
            printf("  %s = %s\n", row[0], row[1]);
        }
    }
    mtasts_context_free(context);
}

MAIN(
    {"every-key-is-taken", every_key_is_taken},
    {"what-is-wrong-is-refused-and-named", what_is_wrong_is_refused_and_named},
)
