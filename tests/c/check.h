/*
 * What the C tests share. A program is given a configuration and the name of a situation; it is silent and exits with 0
 * if all is as it should be, so that a single byte from the library is noticed. Each fault is one line on stdout.
 */

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <mtasts.h>

struct situation {
    const char *name;
    void (*run)(void);
};

/* The configuration (argv[1]), and what follows the situation's name. */
static const char *config_path;
static char **extra;
static int faults;

#define CHECK(claim) check_claim((claim) != 0, __FILE__, __LINE__, #claim)
#define CHECK_TEXT(found, wanted) check_text((found), (wanted), __FILE__, __LINE__, #found)
#define CHECK_NUMBER(found, wanted) check_number((long long)(found), (long long)(wanted), __FILE__, __LINE__, #found)

static inline int check_claim(int holds, const char *file, int line, const char *claim)
{
    if (!holds) {
        printf("%s:%d: not so: %s (last error: %s)\n", file, line, claim, mtasts_last_error());
        faults++;
    }
    return holds;
}

static inline int check_text(const char *found, const char *wanted, const char *file, int line, const char *what)
{
    int same = found != NULL && strcmp(found, wanted) == 0;
    if (!same) {
        printf("%s:%d: %s is \"%s\", want \"%s\"\n", file, line, what, found ? found : "(NULL)", wanted);
        faults++;
    }
    return same;
}

static inline int check_number(long long found, long long wanted, const char *file, int line, const char *what)
{
    if (found != wanted) {
        printf("%s:%d: %s is %lld, want %lld (last error: %s)\n", file, line, what, found, wanted, mtasts_last_error());
        faults++;
    }
    return found == wanted;
}

/* A context by the configuration of the test; without one nothing else makes sense. */
static inline mtasts_context *new_context(void)
{
    mtasts_context *context = NULL;
    if (!CHECK_NUMBER(mtasts_context_new(config_path, &context), MTASTS_OK)) {
        exit(1);
    }
    return context;
}

/* The answer about a domain, which must come. */
static inline mtasts_policy *ask(mtasts_context *context, const char *domain)
{
    mtasts_policy *policy = NULL;
    if (!CHECK_NUMBER(mtasts_query(context, domain, 0, 0, &policy), MTASTS_OK) || !CHECK(policy != NULL)) {
        exit(1);
    }
    return policy;
}

static inline int run_situation(int argc, char **argv, const struct situation *situations, size_t count)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s CONFIGURATION SITUATION [MORE]...\n", argv[0]);
        return 2;
    }
    config_path = argv[1];
    extra = argv + 3;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(argv[2], situations[i].name) == 0) {
            situations[i].run();
            return faults != 0;
        }
    }
    fprintf(stderr, "%s: no situation %s\n", argv[0], argv[2]);
    return 2;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define MAIN(...)                                                       \
    int main(int argc, char **argv)                                     \
    {                                                                   \
        static const struct situation situations[] = {__VA_ARGS__};     \
        return run_situation(argc, argv, situations, COUNT(situations)); \
    }

#endif
