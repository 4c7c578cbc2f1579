/* A host that loads the library as a plug-in, closes it, loads it again, and forks in each state. argv: library domain. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char patterns[65537];

static int use(const char *library, const char *domain)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        printf("%s\n", dlerror());
        return -1;
    }
    int (*lookup)(const char *, char *, size_t);
    void (*cleanup)(void);
    *(void **)&lookup = dlsym(handle, "mtasts_lookup");
    *(void **)&cleanup = dlsym(handle, "mtasts_cleanup");
    int mode = lookup(domain, patterns, sizeof patterns);
    cleanup();
    dlclose(handle);
    return mode;
}

int main(int argc, char **argv)
{
    for (int i = 0; argc == 3 && i < 3; i++) {
        int mode = use(argv[1], argv[2]), status = -1;
        pid_t child = fork(); /* the handlers of a library that is gone would be called here */
        if (child == 0) {
            alarm(60);
            _exit(use(argv[1], argv[2]));
        }
        if (mode != 2 || waitpid(child, &status, 0) != child || status != 2 << 8) {
            printf("round %d: mode %d, child %#x\n", i, mode, (unsigned)status);
            return 1;
        }
    }
    return 0;
}
