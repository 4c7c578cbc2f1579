/* Asks a socketmap server: ADDRESS PID CONNECTIONS DOMAINS TAIL MILLISECONDS [any]. One blocking thread for each
 * connection sends a request, receives the reply, compares it with the right one and goes on. The domains are d0000000TAIL
 * and so on. For so many milliseconds they are asked in random order; with 0 each is asked once. With `any` the reply may
 * be that of another one of them.
 *
 * Prints replies, those that were TEMP, nanoseconds in all, nanoseconds of one reply (median, 99 % and the longest), and
 * nanoseconds of processor time for one reply (of the process PID, and of this one). */
#define _POSIX_C_SOURCE 200809L
#include "socket.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    MOST_CONNECTIONS = 64,
    WARM_UP = 100,
    DIGITS = 7,
    /* A power of two is cut into so many buckets: no latency is more than 2 % beside the truth. */
    SHARES = 64,
    BUCKETS = 40 * SHARES,
};

static struct address address;
static uint32_t domains;
static const char *tail;
static bool asks_once, takes_any;
static atomic_bool ends;
static atomic_uint next;
static pthread_barrier_t barrier;

struct connection {
    uint64_t state, replies, temporary, longest;
    uint32_t histogram[BUCKETS];
    int fd;
    /* The request; before and after the digits of the domain in the reply. */
    char request[MOST_FRAME], before[MOST_FRAME], after[MOST_FRAME];
    size_t request_length, digits_at, before_length, after_length;
};

static size_t bucket_of(uint64_t value)
{
    if (value < SHARES)
        return value;
    unsigned power = 63 - (unsigned)__builtin_clzll(value);
    size_t bucket = (power - 5) * (size_t)SHARES + ((value >> (power - 6)) & (SHARES - 1));
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static uint64_t least_of(size_t bucket)
{
    if (bucket < SHARES)
        return bucket;
    return (SHARES + bucket % SHARES) << (bucket / SHARES - 1);
}

static void write_digits(char *digits, uint32_t number)
{
    for (int n = DIGITS - 1; n >= 0; n--, number /= 10)
        digits[n] = (char)('0' + number % 10);
}

static void prepare(struct connection *connection)
{
    char payload[MOST_FRAME / 2];
    int length = snprintf(payload, sizeof payload, "postfix d0000000%s", tail);
    connection->request_length =
        (size_t)snprintf(connection->request, sizeof connection->request, "%d:%s,", length, payload);
    connection->digits_at = connection->request_length - strlen(tail) - 1 - DIGITS;
    length = snprintf(payload, sizeof payload, "OK secure match=mx1.example.com:.d0000000%s servername=hostname", tail);
    connection->before_length = (size_t)snprintf(connection->before, sizeof connection->before,
                                                 "%d:OK secure match=mx1.example.com:.d", length);
    connection->after_length =
        (size_t)snprintf(connection->after, sizeof connection->after, "%s servername=hostname,", tail);
}

static bool is_right(const struct connection *connection, const char *reply, size_t length)
{
    const char *digits = reply + connection->before_length, *request = connection->request + connection->digits_at;
    return length == connection->before_length + DIGITS + connection->after_length &&
           memcmp(reply, connection->before, connection->before_length) == 0 &&
           (takes_any || memcmp(digits, request, DIGITS) == 0) &&
           memcmp(digits + DIGITS, connection->after, connection->after_length) == 0;
}

/* Asks for one domain; returns whether there was an answer. */
static bool ask(struct connection *connection, uint32_t number)
{
    char reply[MOST_FRAME];
    size_t length = 0;
    write_digits(connection->request + connection->digits_at, number);
    REQUIRE(send(connection->fd, connection->request, connection->request_length, MSG_NOSIGNAL) ==
            (ssize_t)connection->request_length);
    do {
        ssize_t count = recv(connection->fd, reply + length, sizeof reply - length, 0);
        REQUIRE(count > 0);
        length += (size_t)count;
    } while (whole_frame(reply, length) == 0);
    if (is_right(connection, reply, length))
        return true;
    const char *text = memchr(reply, ':', length);
    if (asks_once && strncmp(text, ":TEMP ", 6) == 0)
        return false;
    fprintf(stderr, "%.*s: %.*s\n", (int)connection->request_length, connection->request, (int)length, reply);
    exit(1);
}

static void *work(void *of)
{
    struct connection *connection = of;
    connection->fd = socket(address.of.any.sa_family, SOCK_STREAM, 0);
    REQUIRE(connect(connection->fd, &address.of.any, address.length) == 0);
    without_delay(address.of.any.sa_family, connection->fd);
    for (int n = 0; n < WARM_UP && !asks_once; n++)
        ask(connection, (uint32_t)(next_random(&connection->state) % domains));
    pthread_barrier_wait(&barrier);
    uint64_t before = nanoseconds();
    while (!atomic_load_explicit(&ends, memory_order_relaxed)) {
        uint32_t number = asks_once ? atomic_fetch_add_explicit(&next, 1, memory_order_relaxed)
                                    : (uint32_t)(next_random(&connection->state) % domains);
        if (number >= domains)
            break;
        connection->temporary += !ask(connection, number);
        uint64_t now = nanoseconds(), took = now - before;
        before = now;
        connection->replies++;
        connection->histogram[bucket_of(took)]++;
        connection->longest = took > connection->longest ? took : connection->longest;
    }
    pthread_barrier_wait(&barrier);
    close(connection->fd);
    return NULL;
}

static uint64_t processor_time(clockid_t clock)
{
    struct timespec used;
    REQUIRE(clock_gettime(clock, &used) == 0);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

int main(int argc, char **argv)
{
    static struct connection connections[MOST_CONNECTIONS];
    pthread_t threads[MOST_CONNECTIONS];
    clockid_t server;
    REQUIRE(argc == 7 || (argc == 8 && strcmp(argv[7], "any") == 0));
    address = address_of(argv[1]);
    REQUIRE(clock_getcpuclockid((pid_t)atol(argv[2]), &server) == 0);
    unsigned count = (unsigned)atol(argv[3]);
    domains = (uint32_t)atol(argv[4]);
    tail = argv[5];
    long milliseconds = atol(argv[6]);
    asks_once = milliseconds == 0;
    takes_any = argc == 8;
    REQUIRE(count >= 1 && count <= MOST_CONNECTIONS && domains >= 1 && strlen(tail) < 64);

    pthread_barrier_init(&barrier, NULL, count + 1);
    for (unsigned n = 0; n < count; n++) {
        connections[n].state = 88172645463325252u * (n + 1);
        prepare(&connections[n]);
        REQUIRE(pthread_create(&threads[n], NULL, work, &connections[n]) == 0);
    }
    pthread_barrier_wait(&barrier);
    uint64_t began = nanoseconds(), used = processor_time(server), own = processor_time(CLOCK_PROCESS_CPUTIME_ID);
    if (!asks_once) {
        struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
        nanosleep(&pause, NULL);
        atomic_store(&ends, true);
    }
    pthread_barrier_wait(&barrier);
    uint64_t all = nanoseconds() - began;
    used = processor_time(server) - used;
    own = processor_time(CLOCK_PROCESS_CPUTIME_ID) - own;

    static uint64_t histogram[BUCKETS];
    uint64_t replies = 0, temporary = 0, longest = 0, seen = 0, median = 0, slow = 0;
    for (unsigned n = 0; n < count; n++) {
        pthread_join(threads[n], NULL);
        replies += connections[n].replies;
        temporary += connections[n].temporary;
        longest = connections[n].longest > longest ? connections[n].longest : longest;
        for (size_t bucket = 0; bucket < BUCKETS; bucket++)
            histogram[bucket] += connections[n].histogram[bucket];
    }
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        uint64_t with = seen + histogram[bucket];
        if (2 * seen < replies && 2 * with >= replies)
            median = least_of(bucket);
        if (100 * seen < 99 * replies && 100 * with >= 99 * replies)
            slow = least_of(bucket);
        seen = with;
    }
    printf("%lu %lu %lu %lu %lu %lu %.0f %.0f\n", (unsigned long)replies, (unsigned long)temporary, (unsigned long)all,
           (unsigned long)median, (unsigned long)slow, (unsigned long)longest, (double)used / (double)replies,
           (double)own / (double)replies);
    return 0;
}
