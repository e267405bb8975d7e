/* Fails, or kills at, the k-th call of some kinds on paths below a folder. Preloaded by calls.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, FSYNC = 2, RENAME = 4, OPEN_W = 8, UNLINK = 16, MKDIR = 32, OPEN_R = 64, READ = 128 };
char fault_folder[1024] = "";
int fault_kinds = 0, fault_at = -1, fault_errno = EIO, fault_kill = 0, fault_count = 0;

static int below(const char *path) {
    return fault_folder[0] && path && !strncmp(path, fault_folder, strlen(fault_folder));
}
static int below_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path);
}
static int hit(int kind) {
    if (!(fault_kinds & kind)) return 0;
    if (fault_count++ != fault_at) return 0;
    if (fault_kill) raise(SIGKILL);
    errno = fault_errno;
    return 1;
}
#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t n) { REAL(write); return fd > 2 && fault_kinds & WRITE && below_fd(fd) && hit(WRITE) ? -1 : real(fd, data, n); }
ssize_t read(int fd, void *data, size_t n) { REAL(read); return fd > 2 && fault_kinds & READ && below_fd(fd) && hit(READ) ? -1 : real(fd, data, n); }
int fsync(int fd) { REAL(fsync); return below_fd(fd) && hit(FSYNC) ? -1 : real(fd); }
int rename(const char *a, const char *b) { REAL(rename); return (below(a) || below(b)) && hit(RENAME) ? -1 : real(a, b); }
int renameat(int d, const char *a, int e, const char *b) { REAL(renameat); return (below(a) || below(b)) && hit(RENAME) ? -1 : real(d, a, e, b); }
int unlink(const char *path) { REAL(unlink); return below(path) && hit(UNLINK) ? -1 : real(path); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); return below(path) && hit(MKDIR) ? -1 : real(path, mode); }
static int opens(const char *path, int flags) { return below(path) && hit(flags & (O_CREAT | O_WRONLY | O_RDWR) ? OPEN_W : OPEN_R); }
int open(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    if (!real) real = dlsym(RTLD_NEXT, "open");
    return opens(path, flags) ? -1 : real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    return opens(path, flags) ? -1 : real(path, flags, mode);
}
