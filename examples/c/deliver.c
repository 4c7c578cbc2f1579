/*
 * deliver [-t SECONDS] SENDER RECIPIENT HOST[=ADDRESS:PORT]... < MESSAGE
 *
 * Takes one message to the first MX host that may have it, as a mail server obeys MTA-STS: ask once about the domain,
 * decide for each host, STARTTLS with OpenSSL, let libmtasts judge the certificates, decide again, deliver. The hosts
 * are given in the order of their MX records; ADDRESS:PORT is for tests. A mail server that does DANE says what it
 * found in place of MTASTS_DANE_NOT_CHECKED. SMTP itself is in smtp.c.
 *
 * Exits with 0 if the message is delivered, 75 if it is to be kept and tried again, 69 if it is to be bounced.
 */

#define _POSIX_C_SOURCE 200809L
#include "smtp.h"
#include <mtasts.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HOSTS 100
#define MAX_CERTIFICATES 16 /* of a longer chain mtasts_decision_verify takes so many */

enum outcome { SENT = 0, TRY_NEXT_HOST = 1, KEEP = 75, BOUNCE = 69 };

static SSL_CTX *tls_context;
static long long session_seconds = 300;

/* ---- MTA-STS ---- */

/* What libmtasts says of the certificates that the host showed; 0 if they cannot be judged, which is not its fault. */
static int judge_chain(const mtasts_decision *decision, SSL *tls)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(tls);
    unsigned char *der[MAX_CERTIFICATES] = {NULL};
    size_t len[MAX_CERTIFICATES];
    int count = chain ? sk_X509_num(chain) : 0, known = 0, result_type = 0, status;

    for (; known < count && known < MAX_CERTIFICATES; known++) {
        int size = i2d_X509(sk_X509_value(chain, known), &der[known]);
        if (size < 0)
            break;
        len[known] = (size_t)size;
    }
    status = mtasts_decision_verify(decision, (const uint8_t *const *)der, len, (size_t)known, &result_type);
    for (int i = 0; i < known; i++)
        OPENSSL_free(der[i]);
    if (status == MTASTS_OK)
        return MTASTS_TLS_OK;
    say("certificate", "%s", mtasts_last_error());
    switch (result_type) {
    case MTASTS_RESULT_TYPE_CERTIFICATE_EXPIRED:
        return MTASTS_TLS_EXPIRED;
    case MTASTS_RESULT_TYPE_CERTIFICATE_NOT_TRUSTED:
        return MTASTS_TLS_NOT_TRUSTED;
    case MTASTS_RESULT_TYPE_CERTIFICATE_HOST_MISMATCH:
        return MTASTS_TLS_HOST_MISMATCH;
    case MTASTS_RESULT_TYPE_VALIDATION_FAILURE:
        return MTASTS_TLS_CERTIFICATE_INVALID;
    default:
        return 0;
    }
}

/* Whether the message may go, as a decision says it; anything else than permission is none. */
static enum outcome permission(const struct host *host, const mtasts_decision *decision)
{
    const char *status = mtasts_decision_enhanced_status(decision);

    switch (mtasts_decision_action(decision)) {
    case MTASTS_ACTION_DELIVER_REPORT:
        if (mtasts_decision_result_type(decision) != MTASTS_RESULT_TYPE_NONE)
            say(host->name, "to be reported: %s", mtasts_decision_reason_text(decision));
        return SENT;
    case MTASTS_ACTION_DELIVER:
    case MTASTS_ACTION_REQUIRE_ENCRYPTION:
    case MTASTS_ACTION_REQUIRE_TLS:
        return SENT;
    case MTASTS_ACTION_SKIP_HOST:
        say(host->name, "%s %s", status, mtasts_decision_reason_text(decision));
        return TRY_NEXT_HOST;
    case MTASTS_ACTION_DEFER:
        say(host->name, "%s %s", status, mtasts_decision_reason_text(decision));
        return KEEP;
    default:
        say(host->name, "no decision: %s", mtasts_last_error());
        return KEEP;
    }
}

/* The decision after the handshake. */
static enum outcome permission_after(const struct host *host, const mtasts_decision *before, int tls_state)
{
    mtasts_decision *after = NULL;
    enum outcome allowed = KEEP;

    if (mtasts_decision_tls(before, tls_state, &after) == MTASTS_OK)
        allowed = permission(host, after);
    else
        say(host->name, "no decision: %s", mtasts_last_error());
    mtasts_decision_free(after);
    return allowed;
}

/* Tries one host, as the decision about it wants. */
static enum outcome try_host(const struct host *host, const mtasts_decision *decision, const struct mail *mail)
{
    struct session session;
    enum outcome outcome = permission(host, decision);

    if (outcome != SENT)
        return outcome;
    if (!smtp_open(&session, host, session_seconds))
        return TRY_NEXT_HOST;
    int tls_state = smtp_start_tls(&session, tls_context, mtasts_decision_sni(decision));
    int is_lost = tls_state == MTASTS_TLS_FAILED;
    /* Where MTA-STS sets no constraint, any certificate will do. */
    if (tls_state == MTASTS_TLS_OK && mtasts_decision_action(decision) != MTASTS_ACTION_DELIVER)
        tls_state = judge_chain(decision, session.tls);
    if (tls_state != 0)
        outcome = permission_after(host, decision, tls_state);
    else if (mtasts_decision_action(decision) == MTASTS_ACTION_REQUIRE_TLS)
        outcome = KEEP;
    /* As without TLS: only where no constraint is left does it come to this. */
    if (outcome == SENT && is_lost) {
        smtp_close(&session);
        if (!smtp_open(&session, host, session_seconds))
            return TRY_NEXT_HOST;
    }
    if (outcome == SENT) {
        int code = smtp_send(&session, mail);
        outcome = code / 100 == 2 ? SENT : code / 100 == 5 ? BOUNCE : TRY_NEXT_HOST;
    }
    smtp_close(&session);
    return outcome;
}

/* Asks once about the domain, then walks the hosts in their order. */
static enum outcome deliver(mtasts_context *context, const struct host *hosts, size_t count, const struct mail *mail)
{
    const char *names[MAX_HOSTS] = {NULL};
    const char *domain = strrchr(mail->recipient, '@') + 1;
    mtasts_policy *policy = NULL;
    enum outcome outcome = TRY_NEXT_HOST;

    for (size_t i = 0; i < count; i++)
        names[i] = hosts[i].name;
    if (mtasts_query_for(context, domain, names, count, 0, 0, &policy) != MTASTS_OK) {
        say(domain, "%s", mtasts_last_error());
        return KEEP;
    }
    for (size_t i = 0; i < count && outcome == TRY_NEXT_HOST; i++) {
        mtasts_decision *decision = NULL;
        if (mtasts_policy_decide(policy, hosts[i].name, MTASTS_DANE_NOT_CHECKED, &decision) == MTASTS_OK) {
            outcome = try_host(&hosts[i], decision, mail);
        } else {
            say(hosts[i].name, "no decision: %s", mtasts_last_error());
            outcome = KEEP;
        }
        mtasts_decision_free(decision);
    }
    mtasts_policy_free(policy);
    return outcome == TRY_NEXT_HOST ? KEEP : outcome;
}

/* ---- the program ---- */

/* Any thread may call this, at any time; a mail server hands the lines to syslog(LOG_MAIL | level, "%s", line). */
static void log_line(void *user, int level, const char *line)
{
    (void)user;
    (void)level;
    say("libmtasts", "%s", line);
}

/* Reads the message: lines end with CRLF then, a carriage return elsewhere is dropped, and dots are doubled. */
static int read_message(FILE *input, struct mail *mail)
{
    FILE *output = open_memstream(&mail->data, &mail->size);
    int byte, before = '\n';

    if (!output)
        return 0;
    while ((byte = getc(input)) != EOF) {
        if (byte == '\r')
            continue;
        if (byte == '.' && before == '\n')
            putc('.', output);
        if (byte == '\n')
            putc('\r', output);
        putc(byte, output);
        before = byte;
    }
    fputs(before == '\n' ? ".\r\n" : "\r\n.\r\n", output);
    int is_whole = !ferror(input) && !ferror(output);
    return fclose(output) == 0 && is_whole;
}

/* An address or a name that can be put into a command. */
static int is_harmless(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == '<' || *text == '>' || *text == 0x7f)
            return 0;
    return 1;
}

/* Takes HOST or HOST=ADDRESS:PORT apart. */
static struct host host_of(char *argument)
{
    struct host host = {argument, argument, "25"};
    char *address = strchr(argument, '='), *port = address ? strrchr(address, ':') : NULL;

    if (port) {
        *address = *port = '\0';
        host.address = address + 1;
        host.port = port + 1;
    }
    return host;
}

int main(int argc, char **argv)
{
    static struct host hosts[MAX_HOSTS];
    struct mail mail = {NULL, NULL, NULL, 0};
    mtasts_context *context = NULL;
    enum outcome outcome = KEEP;
    size_t count = 0;

    if (argc > 2 && strcmp(argv[1], "-t") == 0) {
        session_seconds = atoll(argv[2]);
        argc -= 2;
        argv += 2;
    }
    if (argc < 4 || argc - 3 > MAX_HOSTS || session_seconds < 1 || !is_harmless(argv[1]) || !is_harmless(argv[2]) ||
        !strchr(argv[2], '@')) {
        fprintf(stderr, "usage: deliver [-t SECONDS] SENDER RECIPIENT HOST[=ADDRESS:PORT]... < MESSAGE\n");
        return 64;
    }
    mail.sender = argv[1];
    mail.recipient = argv[2];
    for (int i = 3; i < argc; i++)
        hosts[count++] = host_of(argv[i]);

    /* OpenSSL writes to connections that the other side has closed. */
    signal(SIGPIPE, SIG_IGN);
    tls_context = SSL_CTX_new(TLS_client_method());
    if (!tls_context || !SSL_CTX_set_min_proto_version(tls_context, TLS1_2_VERSION)) {
        fprintf(stderr, "deliver: OpenSSL cannot be used\n");
        SSL_CTX_free(tls_context);
        return KEEP;
    }
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);

    if (!read_message(stdin, &mail)) {
        fprintf(stderr, "deliver: the message cannot be read\n");
    } else if (mtasts_context_new(NULL, &context) != MTASTS_OK) {
        say("deliver", "%s", mtasts_last_error());
    } else {
        mtasts_context_set_log(context, log_line, NULL);
        outcome = deliver(context, hosts, count, &mail);
    }
    mtasts_context_free(context);
    SSL_CTX_free(tls_context);
    free(mail.data);
    return outcome;
}
