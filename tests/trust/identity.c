/*
 * A host with a log identity and descriptors of its own: identity CONFIGURATION MX-LIST.
 *
 * LOG_PERROR shows on stderr what syslog() says, and as whom: only the two lines of the host may be there. On stdout
 * stands each descriptor of the host that is not as it was.
 */

#define _GNU_SOURCE
#include <mtasts.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define MOST 64

struct descriptor {
    struct stat facts;
    int is_open, flags, status;
    off_t offset;
};

static void look(struct descriptor *all)
{
    memset(all, 0, MOST * sizeof *all);
    for (int fd = 0; fd < MOST; fd++) {
        all[fd].is_open = fstat(fd, &all[fd].facts) == 0;
        all[fd].flags = fcntl(fd, F_GETFD);
        all[fd].status = fcntl(fd, F_GETFL);
        all[fd].offset = fd > 2 ? lseek(fd, 0, SEEK_CUR) : 0;
    }
}

static int is_same(const struct descriptor *a, const struct descriptor *b)
{
    return a->is_open == b->is_open && a->flags == b->flags && a->status == b->status && a->offset == b->offset &&
           a->facts.st_dev == b->facts.st_dev && a->facts.st_ino == b->facts.st_ino;
}

int main(int argc, char **argv)
{
    static struct descriptor before[MOST], after[MOST];
    static char patterns[MTASTS_PATTERNS_SIZE];
    unsigned char domain[] = "good.test", *answer = NULL;
    if (argc != 3) {
        return 2;
    }
    setenv("MTASTS_CONFIG", argv[1], 1);
    openlog("myname", LOG_PERROR | LOG_NDELAY, LOG_LOCAL3);
    syslog(LOG_NOTICE, "before");
    /* A descriptor in every place but those that a closed one leaves. */
    for (int fd = 3; fd < 40; fd++) {
        dup2(open("/proc/self/exe", O_RDONLY), fd);
    }
    close(10);
    close(20);
    look(before);
    unsigned char *arguments[] = {domain, (unsigned char *)argv[2]};
    int route = mtasts_exim(&answer, 2, arguments);
    int mode = mtasts_lookup("good.test", patterns, sizeof patterns);
    mtasts_lookup("absent.test", patterns, sizeof patterns);
    mtasts_lookup("wrong-certificate.test", patterns, sizeof patterns);
    mtasts_context *context = NULL;
    mtasts_context_new(NULL, &context);
    mtasts_refresh(context, 0, 5000, NULL, NULL);
    mtasts_context_free(context);
    mtasts_cleanup();
    look(after);
    for (int fd = 0; fd < MOST; fd++) {
        if (before[fd].is_open && !is_same(&before[fd], &after[fd])) {
            printf("descriptor %d is not as it was\n", fd);
        }
    }
    printf("exim %d, mode %d\n", route, mode);
    syslog(LOG_NOTICE, "after");
    return 0;
}
