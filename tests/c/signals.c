/* A host whose timer ticks each millisecond, with an alarm of its own, and without a handler for SIGPIPE. */

#define _GNU_SOURCE
#include "guest.h"
#include <errno.h>

static volatile sig_atomic_t ticks;

static void tick(int signal)
{
    (void)signal;
    ticks++;
}

static void handle_alarm(int flags)
{
    struct sigaction action = {0};
    action.sa_handler = tick;
    action.sa_flags = flags;
    CHECK_NUMBER(sigaction(SIGALRM, &action, NULL), 0);
}

static void tick_each_millisecond(int is_on)
{
    struct itimerval times = {{0, is_on ? 1000 : 0}, {0, is_on ? 1000 : 0}};
    CHECK_NUMBER(setitimer(ITIMER_REAL, &times, NULL), 0);
}

/* A call that nobody answers ends when its time is up, not much later, and not before either. */
static void ends_in_time(mtasts_context *context, const char *domain, int reason, int line)
{
    const int timeout = 600;
    mtasts_policy *policy = NULL;
    double began = seconds();
    int status = mtasts_query(context, domain, MTASTS_REFRESH, timeout, &policy);
    double took = (seconds() - began) * 1e3;
    if (status != MTASTS_OK || mtasts_policy_reason(policy) != reason || took < timeout * 0.5 || took > timeout + 5000) {
        printf("%s:%d: %s: status %d, reason %d, want %d, after %.0f ms of %d: %s\n", __FILE__, line, domain, status,
               mtasts_policy_reason(policy), reason, took, timeout, mtasts_policy_reason_text(policy));
        faults++;
    }
    mtasts_policy_free(policy);
}

/* A port that takes no more connections: whoever connects waits. */
static int full_port(mtasts_context *context, int waiting[4])
{
    struct sockaddr_in address;
    char port[20];
    int server = loopback_socket(SOCK_STREAM, &address);
    CHECK_NUMBER(listen(server, 0), 0);
    for (int i = 0; i < 4; i++) {
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(waiting[i], (struct sockaddr *)&address, sizeof address);
    }
    snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
    CHECK_NUMBER(mtasts_context_set(context, "https_port", port), MTASTS_OK);
    return server;
}

/* extra: the port of the policy hosts. */
static void answers_and_deadlines_are_the_same(int flags)
{
    static const struct {
        const char *domain;
        int mode, reason;
    } rows[] = {
        {"drip.test", MTASTS_MODE_ENFORCE, MTASTS_REASON_FETCHED},
        {"good.test", MTASTS_MODE_ENFORCE, MTASTS_REASON_FETCHED},
        {"testing.test", MTASTS_MODE_TESTING, MTASTS_REASON_FETCHED},
        {"none.test", MTASTS_MODE_NONE, MTASTS_REASON_FETCHED},
        {"absent.test", MTASTS_MODE_NONE, MTASTS_REASON_NO_RECORD},
        {"malformed.test", MTASTS_MODE_NONE, MTASTS_REASON_POLICY_INVALID},
        {"wrong-certificate.test", MTASTS_MODE_NONE, MTASTS_REASON_POLICY_HOST_CERTIFICATE_HOST_MISMATCH},
    };
    struct descriptors before = descriptors();
    handle_alarm(flags);
    tick_each_millisecond(1);
    mtasts_context *context = new_context();
    for (size_t i = 0; i < COUNT(rows); i++) {
        mtasts_policy *policy = ask(context, rows[i].domain);
        int is_good = CHECK_NUMBER(mtasts_policy_mode(policy), rows[i].mode);
        is_good &= CHECK_NUMBER(mtasts_policy_reason(policy), rows[i].reason);
        if (!is_good) {
            printf("... for %s: %s\n", rows[i].domain, mtasts_policy_reason_text(policy));
        }
        mtasts_policy_free(policy);
    }
    CHECK(ticks > 100);
    /* Each of these reads and writes the database. */
    CHECK_NUMBER(mtasts_context_set(context, "memory_entries", "0"), MTASTS_OK);
    for (int i = 0; i < 200; i++) {
        check_mode(context, "good.test", i % 20 ? 0 : MTASTS_REFRESH, MTASTS_MODE_ENFORCE, __LINE__);
    }
    ends_in_time(context, "silent.test", MTASTS_REASON_DNS_FAILED, __LINE__);
    ends_in_time(context, "mute.test", MTASTS_REASON_POLICY_HOST_TIMED_OUT, __LINE__);
    ends_in_time(context, "no-handshake.test", MTASTS_REASON_POLICY_HOST_TIMED_OUT, __LINE__);
    int waiting[4], server = full_port(context, waiting);
    ends_in_time(context, "fresh.test", MTASTS_REASON_POLICY_HOST_TIMED_OUT, __LINE__);
    close(server);
    for (int i = 0; i < 4; i++) {
        close(waiting[i]);
    }
    /* The host's handlers and timer are as they were. */
    struct itimerval still;
    struct sigaction mine;
    CHECK(getitimer(ITIMER_REAL, &still) == 0 && still.it_interval.tv_usec == 1000);
    tick_each_millisecond(0);
    CHECK(sigaction(SIGALRM, NULL, &mine) == 0 && mine.sa_handler == tick);
    CHECK((mine.sa_flags & SA_RESTART) == flags);
    CHECK(sigaction(SIGPIPE, NULL, &mine) == 0 && mine.sa_handler == SIG_DFL);
    mtasts_context_free(context);
    check_descriptors(before, 0, __LINE__);
}

static void signals_that_interrupt_do_no_harm(void)
{
    answers_and_deadlines_are_the_same(0);
}

static void signals_that_restart_do_no_harm(void)
{
    answers_and_deadlines_are_the_same(SA_RESTART);
}

/* One alarm falls into a call, one comes long after it. */
static void the_hosts_alarm_still_fires(void)
{
    mtasts_context *context = new_context();
    mtasts_policy *policy = NULL;
    handle_alarm(0);
    alarm(1);
    CHECK_NUMBER(mtasts_query(context, "silent.test", 0, 2500, &policy), MTASTS_OK);
    CHECK_NUMBER(mtasts_policy_reason(policy), MTASTS_REASON_DNS_FAILED);
    mtasts_policy_free(policy);
    CHECK_NUMBER(ticks, 1);
    alarm(1000);
    check_mode(context, "good.test", 0, MTASTS_MODE_ENFORCE, __LINE__);
    unsigned left = alarm(0);
    CHECK(left > 800 && left <= 1000);
    CHECK_NUMBER(ticks, 1);
    mtasts_context_free(context);
}

/* SIGPIPE would end this process. The servers cut connections while we write, and close them before. */
static void a_cut_connection_raises_no_signal(void)
{
    mtasts_context *context = new_context();
    struct sigaction pipe_action;
    for (int i = 0; i < atoi(extra[0]); i++) {
        mtasts_policy *policy = NULL;
        static const char *const domains[] = {"cut.test", "good.test"};
        CHECK_NUMBER(mtasts_query(context, domains[i % 2], MTASTS_REFRESH, 0, &policy), MTASTS_OK);
        CHECK_NUMBER(mtasts_policy_mode(policy), MTASTS_MODE_NONE);
        mtasts_policy_free(policy);
    }
    CHECK(sigaction(SIGPIPE, NULL, &pipe_action) == 0 && pipe_action.sa_handler == SIG_DFL);
    mtasts_context_free(context);
}

MAIN({"signals-that-interrupt-do-no-harm", signals_that_interrupt_do_no_harm},
     {"signals-that-restart-do-no-harm", signals_that_restart_do_no_harm},
     {"the-hosts-alarm-still-fires", the_hosts_alarm_still_fires},
     {"a-cut-connection-raises-no-signal", a_cut_connection_raises_no_signal})
