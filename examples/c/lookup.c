/* lookup DOMAIN...: what MTA-STS asks of mail to each domain. */
#include <mtasts.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    static const char *const modes[] = {"none", "testing", "enforce", "unknown"};
    static char patterns[MTASTS_PATTERNS_SIZE];
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        int mode = mtasts_lookup(argv[i], patterns, sizeof patterns);
        if (mode < 0) { /* keep the message */
            fprintf(stderr, "%s: %s\n", argv[i], mtasts_last_error());
            failed = 1;
        } else {        /* under enforce: only hosts with mtasts_match_mx(patterns, host) == 1, over verified TLS */
            printf("%s: %s%s%s\n", argv[i], modes[mode], patterns[0] ? " " : "", patterns);
        }
    }
    mtasts_cleanup();
    return failed;
}
