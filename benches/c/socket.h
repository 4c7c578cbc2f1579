/* Sockets and netstrings for both ends of the socketmap benchmark. Addresses are written as for mtasts-socketmap. */
#ifndef SOCKET_H
#define SOCKET_H

#include "bench.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The longest frame: there are larger ones in the protocol, but not here. */
enum { MOST_FRAME = 512 };

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_un local;
        struct sockaddr_in inet;
    } of;
    socklen_t length;
};

/* unix:PATH or inet:ADDRESS:PORT. */
static inline struct address address_of(const char *text)
{
    struct address address = {.length = 0};
    if (strncmp(text, "unix:", 5) == 0) {
        REQUIRE(strlen(text + 5) < sizeof address.of.local.sun_path);
        address.of.local.sun_family = AF_UNIX;
        strcpy(address.of.local.sun_path, text + 5);
        address.length = sizeof address.of.local;
    } else {
        char host[64];
        unsigned port;
        REQUIRE(sscanf(text, "inet:%63[0-9.]:%u", host, &port) == 2);
        address.of.inet.sin_family = AF_INET;
        address.of.inet.sin_port = htons((uint16_t)port);
        REQUIRE(inet_pton(AF_INET, host, &address.of.inet.sin_addr) == 1);
        address.length = sizeof address.of.inet;
    }
    return address;
}

/* Small packets go at once. */
static inline void without_delay(int family, int fd)
{
    int yes = 1;
    if (family == AF_INET)
        REQUIRE(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) == 0);
}

/* The bytes that a frame takes, of which `length` are here; 0 if it is not whole. */
static inline size_t whole_frame(const char *bytes, size_t length)
{
    size_t payload = 0, at = 0;
    while (at < length && bytes[at] >= '0' && bytes[at] <= '9')
        payload = payload * 10 + (size_t)(bytes[at++] - '0');
    if (at == length || length < at + payload + 2)
        return 0;
    REQUIRE(at > 0 && bytes[at] == ':' && bytes[at + 1 + payload] == ',');
    return at + payload + 2;
}

#endif
