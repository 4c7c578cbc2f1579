/*
 * warm SOCKET [MILLISECONDS]: a milter that looks up the policy of each recipient's domain while the mail comes in.
 *
 * Who delivers it a moment later finds the policy in the cache. A milter never sees that delivery and cannot enforce
 * anything: Postfix or Sendmail must ask mtasts-socketmap for that. Whatever goes wrong here, the recipient is accepted.
 *
 * SOCKET is as libmilter has it (inet:8463@127.0.0.1, unix:/run/mtasts/warm). MILLISECONDS, by default 1000, is the
 * longest that a session waits for one recipient; a lookup that was cut short leaves no trace that it has failed.
 */

#include <libmilter/mfapi.h>
#include <mtasts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

static mtasts_context *context;
static int timeout_ms = 1000;

/* RCPT TO. libmilter has a thread for each session, and any thread may ask the context. */
static sfsistat recipient(SMFICTX *session, char **arguments)
{
    static const char *const modes[] = {"none", "testing", "enforce", "unknown"};
    char domain[256], *end;
    const char *at = strrchr(arguments[0], '@');
    mtasts_policy *policy = NULL;

    (void)session;
    if (at == NULL || snprintf(domain, sizeof domain, "%s", at + 1) >= (int)sizeof domain)
        return SMFIS_CONTINUE;
    if ((end = strchr(domain, '>')) != NULL)
        *end = '\0';
    if (mtasts_query(context, domain, 0, timeout_ms, &policy) == MTASTS_OK)
        syslog(LOG_INFO, "%s: %s: %s", mtasts_policy_domain(policy), modes[mtasts_policy_mode(policy)],
               mtasts_policy_reason_text(policy));
    else
        syslog(LOG_WARNING, "%s", mtasts_last_error());
    mtasts_policy_free(policy);
    return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
    static char name[] = "mtasts-warm";
    struct smfiDesc milter = {.xxfi_name = name, .xxfi_version = SMFI_VERSION, .xxfi_envrcpt = recipient};

    if (argc > 2)
        timeout_ms = atoi(argv[2]);
    if (argc < 2 || argc > 3 || timeout_ms <= 0) {
        fprintf(stderr, "usage: warm SOCKET [MILLISECONDS]\n");
        return 2;
    }
    openlog(name, LOG_PID, LOG_MAIL);
    if (mtasts_context_new(NULL, &context) != MTASTS_OK) {
        fprintf(stderr, "warm: %s\n", mtasts_last_error());
        return 1;
    }
    if (smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(milter) != MI_SUCCESS || smfi_main() != MI_SUCCESS)
        return 1;
    mtasts_context_free(context);
    return 0;
}
