/* One SMTP conversation as a client, over TLS if the host has STARTTLS. A mail server has its own of this. */

#ifndef SMTP_H
#define SMTP_H

#include <openssl/ssl.h>
#include <stddef.h>

struct mail {
    const char *sender;
    const char *recipient;
    char *data; /* as it goes over the wire, with the final dot */
    size_t size;
};

/* An MX host: its name in the MX record, and where it listens. */
struct host {
    const char *name;
    const char *address;
    const char *port;
};

/* A conversation. No wait in it goes beyond its end, however slowly the host speaks. */
struct session {
    const struct host *host;
    int fd;
    SSL *tls; /* NULL: in the clear */
    long long ends_at;
    char received[4096];
    size_t from, to;
    char reply[1024]; /* the last line of the last reply */
    int offers_starttls;
};

/* Tells something in one line on stderr. What other machines said may hold anything, but not on this terminal. */
void say(const char *about, const char *format, ...);

/* Connects, and goes as far as the reply to EHLO; 0 if that fails, and then there is nothing to close. */
int smtp_open(struct session *session, const struct host *host, long long seconds);

/*
 * STARTTLS and the handshake; says how they went, as MTASTS_TLS_*. The certificate is not judged here: the handshake
 * proves that the host has the key to it, and no session is resumed, so that every session shows one. After
 * MTASTS_TLS_FAILED the session is of no use but for being closed.
 */
int smtp_start_tls(struct session *session, SSL_CTX *tls_context, const char *sni);

/* Hands over the message; gives the code of the last reply, 0 if the connection is lost. */
int smtp_send(struct session *session, const struct mail *mail);

void smtp_close(struct session *session);

#endif
