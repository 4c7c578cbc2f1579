/* Loaded before the C library: makes the disk slow, and holds a thread up at an allocation, until it is told to go on. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_int sync_milliseconds, syncing, held, released, fails_to_open;
static __thread long left;

static void pause_for(int milliseconds)
{
    int before = errno;
    struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
    errno = before;
}

/* fsync() takes so long. */
void slow_sync(int milliseconds)
{
    sync_milliseconds = milliseconds;
}

int is_syncing(void)
{
    return syncing;
}

int fsync(int fd)
{
    if (sync_milliseconds > 0) {
        syncing++;
        pause_for(sync_milliseconds);
        syncing--;
    }
    return (int)syscall(SYS_fsync, fd);
}

/* The database cannot be opened for want of a descriptor, while other files can. */
void fail_open(int fails)
{
    fails_to_open = fails;
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    if (fails_to_open && strlen(path) > 9 && strcmp(path + strlen(path) - 9, "/cache.db") == 0) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_openat, -100 /* AT_FDCWD */, path, flags, mode);
}

int open(const char *path, int flags, ...) __attribute__((alias("open64")));

/* The calling thread is held up at its allocation of this number from now. */
void hold_malloc(long which)
{
    left = which;
}

int is_held(void)
{
    return held;
}

void release_malloc(void)
{
    released = 1;
}

static void count(void)
{
    if (left > 0 && --left == 0) {
        held = 1;
        while (!released) {
            pause_for(1);
        }
    }
}

void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count();
    return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size)
{
    count();
    return __libc_realloc(memory, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    count();
    *memory = __libc_memalign(alignment, size);
    return *memory == NULL ? ENOMEM : 0;
}
