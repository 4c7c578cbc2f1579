/* The least that a socketmap server can do, as a baseline: REPLY ADDRESS... One blocking thread for each connection reads
 * a netstring, whatever stands in it, and sends the same reply. Prints the port of each inet address, and ends when its
 * standard input does. */
#define _POSIX_C_SOURCE 200809L
#include "socket.h"
#include <pthread.h>

static char reply[MOST_FRAME];
static size_t reply_length;

struct listener {
    int fd, family;
};

static void *serve(void *connection)
{
    int fd = (int)(intptr_t)connection;
    char bytes[MOST_FRAME];
    size_t length = 0;
    for (;;) {
        ssize_t count = recv(fd, bytes + length, sizeof bytes - length, 0);
        if (count <= 0)
            break;
        length += (size_t)count;
        size_t frame = whole_frame(bytes, length);
        REQUIRE(frame == length || frame == 0);
        if (frame == 0)
            continue;
        length = 0;
        if (send(fd, reply, reply_length, MSG_NOSIGNAL) != (ssize_t)reply_length)
            break;
    }
    close(fd);
    return NULL;
}

static void *accept_all(void *of)
{
    struct listener *listener = of;
    for (;;) {
        pthread_t thread;
        int fd = accept(listener->fd, NULL, NULL);
        REQUIRE(fd >= 0);
        without_delay(listener->family, fd);
        REQUIRE(pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0);
        pthread_detach(thread);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    REQUIRE(argc > 2 && strlen(argv[1]) < MOST_FRAME - 8);
    reply_length = (size_t)snprintf(reply, sizeof reply, "%zu:%s,", strlen(argv[1]), argv[1]);
    for (int n = 2; n < argc; n++) {
        pthread_t thread;
        struct address address = address_of(argv[n]);
        struct listener *listener = malloc(sizeof *listener);
        listener->family = address.of.any.sa_family;
        listener->fd = socket(listener->family, SOCK_STREAM, 0);
        REQUIRE(bind(listener->fd, &address.of.any, address.length) == 0 && listen(listener->fd, 64) == 0);
        if (listener->family == AF_INET) {
            REQUIRE(getsockname(listener->fd, &address.of.any, &address.length) == 0);
            printf("%u\n", ntohs(address.of.inet.sin_port));
        }
        REQUIRE(pthread_create(&thread, NULL, accept_all, listener) == 0);
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
