/* One SMTP conversation as a client; see smtp.h. */

#define _POSIX_C_SOURCE 200809L
#include "smtp.h"
#include <errno.h>
#include <fcntl.h>
#include <mtasts.h>
#include <netdb.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_REPLY_LINES 100

void say(const char *about, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    fprintf(stderr, "%s: %s\n", about, text);
}

/* ---- bytes ---- */

static long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Waits for the socket; 0 when the time is up. */
static int is_ready(struct session *session, short events)
{
    for (;;) {
        struct pollfd wanted = {session->fd, events, 0};
        long long left = session->ends_at - now_ms();
        int count = left <= 0 ? 0 : poll(&wanted, 1, left > 60000 ? 60000 : (int)left);
        if (count > 0)
            return 1;
        if (left <= 0 || (count < 0 && errno != EINTR)) {
            errno = left <= 0 ? ETIMEDOUT : errno;
            return 0;
        }
    }
}

/* Waits for what OpenSSL wants before it goes on; 0 if the session is over. */
static int tls_is_ready(struct session *session, int result)
{
    switch (SSL_get_error(session->tls, result)) {
    case SSL_ERROR_WANT_READ:
        return is_ready(session, POLLIN);
    case SSL_ERROR_WANT_WRITE:
        return is_ready(session, POLLOUT);
    default:
        return 0;
    }
}

/* Takes some bytes; 0 if there are no more. */
static size_t receive(struct session *session, char *bytes, size_t size)
{
    for (;;) {
        if (session->tls) {
            ERR_clear_error();
            int count = SSL_read(session->tls, bytes, (int)size);
            if (count > 0)
                return (size_t)count;
            if (!tls_is_ready(session, count))
                return 0;
        } else {
            if (!is_ready(session, POLLIN))
                return 0;
            ssize_t count = recv(session->fd, bytes, size, 0);
            if (count >= 0)
                return (size_t)count;
            if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
                return 0;
        }
    }
}

/* Sends all bytes; 0 if that cannot be done. */
static int transmit(struct session *session, const char *bytes, size_t size)
{
    while (size > 0) {
        size_t sent = 0;
        if (session->tls) {
            ERR_clear_error();
            int count = SSL_write(session->tls, bytes, size > 16384 ? 16384 : (int)size);
            if (count > 0)
                sent = (size_t)count;
            else if (!tls_is_ready(session, count))
                return 0;
        } else {
            if (!is_ready(session, POLLOUT))
                return 0;
            ssize_t count = send(session->fd, bytes, size, 0);
            if (count >= 0)
                sent = (size_t)count;
            else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
                return 0;
        }
        bytes += sent;
        size -= sent;
    }
    return 1;
}

/* ---- SMTP ---- */

/* Reads a line into session->reply; 0 if there is none, or one that is too long. */
static int read_line(struct session *session)
{
    for (size_t size = 0; size < sizeof session->reply;) {
        if (session->from == session->to) {
            session->from = 0;
            session->to = receive(session, session->received, sizeof session->received);
            if (session->to == 0)
                return 0;
        }
        char byte = session->received[session->from++];
        if (byte == '\n') {
            if (size > 0 && session->reply[size - 1] == '\r')
                size--;
            session->reply[size] = '\0';
            return 1;
        }
        session->reply[size++] = byte;
    }
    return 0;
}

/* Reads a reply of one or more lines and returns its code, or 0 if the conversation is over. */
static int read_reply(struct session *session)
{
    session->offers_starttls = 0;
    for (int lines = 0; lines < MAX_REPLY_LINES; lines++) {
        errno = 0;
        if (!read_line(session)) {
            snprintf(session->reply, sizeof session->reply, "%s", errno ? strerror(errno) : "no proper reply");
            return 0;
        }
        const char *line = session->reply;
        if (strspn(line, "0123456789") != 3 || (line[3] != '\0' && line[3] != ' ' && line[3] != '-')) {
            snprintf(session->reply, sizeof session->reply, "no reply of SMTP");
            return 0;
        }
        if (line[3] && strcasecmp(line + 4, "STARTTLS") == 0)
            session->offers_starttls = 1;
        if (line[3] != '-')
            return atoi(line);
    }
    snprintf(session->reply, sizeof session->reply, "more lines than a reply has");
    return 0;
}

/* Sends a command and returns the code of the reply, or 0. */
static int command(struct session *session, const char *verb, const char *rest, const char *end)
{
    char line[1024];
    int size = snprintf(line, sizeof line, "%s%s%s\r\n", verb, rest, end);

    if (size < 0 || (size_t)size >= sizeof line || !transmit(session, line, (size_t)size)) {
        snprintf(session->reply, sizeof session->reply, "the connection is lost");
        return 0;
    }
    return read_reply(session);
}

static int hello(struct session *session)
{
    char name[256];

    if (gethostname(name, sizeof name) != 0)
        strcpy(name, "localhost");
    name[sizeof name - 1] = '\0';
    return command(session, "EHLO ", name, "") == 250;
}

void smtp_close(struct session *session)
{
    if (session->tls) {
        SSL_free(session->tls);
        ERR_clear_error();
    }
    if (session->fd >= 0)
        close(session->fd);
    session->tls = NULL;
    session->fd = -1;
}

/* Connects to one address; the socket never blocks, so that each wait has its end. */
static int connect_to(struct session *session, const struct addrinfo *address)
{
    int error = 0;
    socklen_t size = sizeof error;

    session->fd = socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (session->fd < 0)
        return 0;
    fcntl(session->fd, F_SETFD, FD_CLOEXEC);
    fcntl(session->fd, F_SETFL, O_NONBLOCK);
    if (connect(session->fd, address->ai_addr, address->ai_addrlen) == 0)
        return 1;
    if (errno == EINPROGRESS && is_ready(session, POLLOUT) &&
        getsockopt(session->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0) {
        if (error == 0)
            return 1;
        errno = error;
    }
    return 0;
}

int smtp_open(struct session *session, const struct host *host, long long seconds)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses = NULL;
    int status = getaddrinfo(host->address, host->port, &hints, &addresses);

    *session = (struct session){.host = host, .fd = -1, .ends_at = now_ms() + seconds * 1000};
    if (status != 0) {
        say(host->name, "%s", gai_strerror(status));
        return 0;
    }
    for (const struct addrinfo *address = addresses; address; address = address->ai_next) {
        if (connect_to(session, address))
            break;
        say(host->name, "%s", strerror(errno));
        smtp_close(session);
    }
    freeaddrinfo(addresses);
    if (session->fd >= 0 && (read_reply(session) != 220 || !hello(session))) {
        say(host->name, "%s", session->reply);
        smtp_close(session);
    }
    return session->fd >= 0;
}

int smtp_send(struct session *session, const struct mail *mail)
{
    int code = command(session, "MAIL FROM:<", mail->sender, ">");

    if (code / 100 == 2)
        code = command(session, "RCPT TO:<", mail->recipient, ">");
    if (code / 100 == 2)
        code = command(session, "DATA", "", "");
    /* Any other success is none: the message has not been sent yet. */
    if (code == 354)
        code = transmit(session, mail->data, mail->size) ? read_reply(session) : 0;
    else if (code / 100 == 2)
        code = 0;
    if (code / 100 == 2) {
        printf("%s: sent %s\n", session->host->name, session->tls ? "over TLS" : "in the clear");
        command(session, "QUIT", "", "");
    } else {
        say(session->host->name, "%s", session->reply);
    }
    return code;
}

/* ---- TLS ---- */

int smtp_start_tls(struct session *session, SSL_CTX *tls_context, const char *sni)
{
    if (!session->offers_starttls)
        return MTASTS_TLS_NO_STARTTLS;
    int code = command(session, "STARTTLS", "", "");
    if (code != 220)
        return code == 0 ? MTASTS_TLS_FAILED : MTASTS_TLS_NO_STARTTLS;
    /* What came before the handshake may be anybody's (RFC 3207 section 6). */
    if (session->from != session->to) {
        say(session->host->name, "there is something before the handshake");
        return MTASTS_TLS_FAILED;
    }
    session->tls = SSL_new(tls_context);
    if (!session->tls || !SSL_set_fd(session->tls, session->fd) || (sni && !SSL_set_tlsext_host_name(session->tls, sni)))
        return MTASTS_TLS_FAILED;
    for (;;) {
        ERR_clear_error();
        int result = SSL_connect(session->tls);
        if (result == 1)
            return hello(session) ? MTASTS_TLS_OK : MTASTS_TLS_FAILED;
        if (!tls_is_ready(session, result)) {
            const char *reason = ERR_reason_error_string(ERR_peek_error());
            say(session->host->name, "TLS handshake: %s", reason ? reason : "the connection is lost");
            return MTASTS_TLS_FAILED;
        }
    }
}
