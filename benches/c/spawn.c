/* Measures how long programs take from fork to exit: ROUNDS, then commands, each ended by a word of one `;`.
 * Prints a line for each: median and least microseconds. The commands take turns, so that a noise hits all of them. */
#define _POSIX_C_SOURCE 200809L
#include "bench.h"
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_COMMANDS = 16, MOST_ROUNDS = 10000 };

static char **commands[MOST_COMMANDS];
static double times[MOST_COMMANDS][MOST_ROUNDS];

static double microseconds(char **command)
{
    int status;
    uint64_t began = nanoseconds();
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        execv(command[0], command);
        _exit(127);
    }
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    return (double)(nanoseconds() - began) / 1000;
}

int main(int argc, char **argv)
{
    int count = 0;
    REQUIRE(argc > 3);
    int rounds = atoi(argv[1]);
    REQUIRE(rounds > 0 && rounds <= MOST_ROUNDS);
    for (int n = 2; n < argc; n++) {
        REQUIRE(count < MOST_COMMANDS);
        commands[count++] = argv + n;
        while (n < argc && strcmp(argv[n], ";") != 0)
            n++;
        REQUIRE(n < argc);
        argv[n] = NULL;
    }
    /* What the programs say is nobody's business, but this one's table is. */
    int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    REQUIRE(out >= 0 && dup2(null, STDOUT_FILENO) == STDOUT_FILENO);
    for (int round = -3; round < rounds; round++)
        for (int n = 0; n < count; n++)
            times[n][round < 0 ? 0 : round] = microseconds(commands[n]);
    for (int n = 0; n < count; n++) {
        double middle = median(times[n], (size_t)rounds);
        dprintf(out, "%.1f %.1f\n", middle, times[n][0]);
    }
    return 0;
}
