// The runtime of the guest's programs: no libc. Only the compiler's own headers are used; kernel structures are defined here.
// A new architecture is one more arch_X.h (64-bit little-endian ones need nothing else).
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

#if defined __x86_64__
#include "arch_x86_64.h"
#elif defined __i386__
#include "arch_i386.h"
#else
#error "no arch_X.h for this processor"
#endif

long nbv_syscall(long nr, long a, long b, long c, long d, long e, long f);
long nbv_clone(long nr, long a1, long a2, void (*fn)(void *), void *arg);
int nbv_main(int argc, char **argv, char **envp);

#define SYS6(nr, a, b, c, d, e, f) nbv_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define SYS5(nr, a, b, c, d, e) SYS6(nr, a, b, c, d, e, 0)
#define SYS4(nr, a, b, c, d) SYS6(nr, a, b, c, d, 0, 0)
#define SYS3(nr, a, b, c) SYS6(nr, a, b, c, 0, 0, 0)
#define SYS2(nr, a, b) SYS6(nr, a, b, 0, 0, 0, 0)
#define SYS1(nr, a) SYS6(nr, a, 0, 0, 0, 0, 0)
#define SYS0(nr) SYS6(nr, 0, 0, 0, 0, 0, 0)

// Every call gives a negative error number on failure, as the kernel does.
enum { EPERM = 1, ENOENT = 2, EINTR = 4, EIO = 5, E2BIG = 7, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EBUSY = 16, EEXIST = 17, ENODEV = 19,
    ENOTDIR = 20, EISDIR = 21, EINVAL = 22, EPIPE = 32, ENOSYS = 38, ELOOP = 40 };
enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_EXCL = 0200, O_NOCTTY = 0400, O_TRUNC = 01000, O_APPEND = 02000,
    O_NONBLOCK = 04000, O_ASYNC = 020000, O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000, O_CLOEXEC = 02000000, O_PATH = 010000000 };
enum { AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100, AT_REMOVEDIR = 0x200, AT_EMPTY_PATH = 0x1000 };
enum { POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16, POLLNVAL = 32 };
enum { SIGHUP = 1, SIGKILL = 9, SIGPIPE = 13, SIGTERM = 15, SIGCHLD = 17, SIGCONT = 18, SIGIO = 29 };
enum { S_IFMT = 0170000, S_IFDIR = 0040000, S_IFREG = 0100000, S_IFLNK = 0120000, S_IFCHR = 0020000 };
enum { MS_RDONLY = 1, MS_NOSUID = 2, MS_NODEV = 4, MS_NOEXEC = 8, MS_REMOUNT = 32, MS_NOATIME = 1024, MS_BIND = 4096, MS_MOVE = 8192,
    MS_REC = 16384, MS_RELATIME = 1 << 21 };
enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, AF_NETLINK = 16, SOCK_STREAM = 1, SOCK_DGRAM = 2, SOCK_RAW = 3, SOCK_CLOEXEC = O_CLOEXEC,
    SOCK_NONBLOCK = O_NONBLOCK };

struct timespec { s64 sec, nsec; };
struct pollfd { int fd; short events, revents; };
struct statx_ts { s64 sec; u32 nsec; int pad; };
struct statx {
    u32 mask, blksize; u64 attributes; u32 nlink, uid, gid; u16 mode, pad1; u64 ino, size, blocks, attributes_mask;
    struct statx_ts atime, btime, ctime, mtime; u32 rdev_major, rdev_minor, dev_major, dev_minor; u64 mnt_id, spare[13];
};
struct iovec { void *base; size_t len; };
struct msghdr { void *name; int namelen; struct iovec *iov; size_t iovlen; void *control; size_t controllen; u32 flags; };
struct dirent64 { u64 ino; s64 off; u16 reclen; u8 type; char name[]; };

// strings
void *memcpy(void *d, const void *s, size_t n);
void *memmove(void *d, const void *s, size_t n);
void *memset(void *d, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);
char *strstr(const char *s, const char *t);
bool starts(const char *s, const char *prefix);
// Decimal (or, with base 8, octal) number at the start of s; *end is where it stops. u64 without division.
u64 number(const char *s, int base, const char **end);
// printf's %s %d %u %x %o %c %%; no widths but %0Nx and %0No. Always ends with NUL, cut at size; gives the length written.
int format(char *out, size_t size, const char *f, ...);
int vformat(char *out, size_t size, const char *f, va_list v);
const char *error_name(long e);
// The next word of *p that ends at one of the separators; *p moves behind it. NULL at the end. Writes NULs.
char *word(char **p, const char *separators);

// memory: from mmap; 0 when there is none
void *map(size_t n);
void unmap(void *p, size_t n);
// bump memory for programs that end soon: never freed, never NULL (the program ends with a message)
void *take(size_t n);
char *copy_string(const char *s);

// files; names are relative to the current folder unless absolute
static inline int xopen(const char *p, int flags, int mode) { return SYS4(NR_openat, AT_FDCWD, p, flags | O_CLOEXEC, mode); }
static inline int xopenat(int d, const char *p, int flags, int mode) { return SYS4(NR_openat, d, p, flags | O_CLOEXEC, mode); }
static inline int xclose(int fd) { return SYS1(NR_close, fd); }
static inline long xread(int fd, void *b, size_t n) { return SYS3(NR_read, fd, b, n); }
static inline long xwrite(int fd, const void *b, size_t n) { return SYS3(NR_write, fd, b, n); }
static inline int xmkdir(const char *p, int mode) { return SYS3(NR_mkdirat, AT_FDCWD, p, mode); }
static inline int xunlink(const char *p) { return SYS3(NR_unlinkat, AT_FDCWD, p, 0); }
static inline int xrmdir(const char *p) { return SYS3(NR_unlinkat, AT_FDCWD, p, AT_REMOVEDIR); }
static inline int xsymlink(const char *target, const char *p) { return SYS3(NR_symlinkat, target, AT_FDCWD, p); }
static inline int xrename(const char *a, const char *b) { return SYS5(NR_renameat2, AT_FDCWD, a, AT_FDCWD, b, 0); }
static inline int xchmod(const char *p, int mode) { return SYS3(NR_fchmodat, AT_FDCWD, p, mode); }
static inline int xlchown(const char *p, u32 uid, u32 gid) { return SYS5(NR_fchownat, AT_FDCWD, p, uid, gid, AT_SYMLINK_NOFOLLOW); }
static inline int xioctl(int fd, unsigned long r, long a) { return SYS3(NR_ioctl, fd, r, a); }
static inline int xfcntl(int fd, int c, long a) { return SYS3(NR_fcntl, fd, c, a); }
static inline int xmount(const char *what, const char *where, const char *type, unsigned long flags, const char *data) {
    return SYS5(NR_mount, what, where, type, flags, data);
}
static inline int xkill(int pid, int sig) { return SYS2(NR_kill, pid, sig); }
static inline int xpoll(struct pollfd *p, int n, const struct timespec *t) { return SYS5(NR_ppoll, p, n, t, 0, 8); }
static inline int xstat(const char *p, struct statx *s, bool follow) {
    return SYS5(NR_statx, AT_FDCWD, p, follow ? 0 : AT_SYMLINK_NOFOLLOW, 0x7ff, s);
}
static inline bool exists(const char *p) { struct statx s; return xstat(p, &s, true) == 0; }
static inline void clock_get(int which, struct timespec *t) { SYS2(NR_clock_gettime, which, t); }
_Noreturn void quit(int code);
void sleep_ms(int ms);
u64 now_ms(void);
// Writes all of it (waits where it must); 0 or an error.
int write_all(int fd, const void *b, size_t n);
// Reads a whole file into memory of map(); the text ends with NUL. NULL when it cannot be read; *len may be NULL.
char *read_file(const char *p, size_t *len);
// The same into a given buffer, cut at size - 1; the length, or an error.
long read_small(const char *p, char *b, size_t size);
int write_file(const char *p, const void *b, size_t n, int mode);
int write_text(const char *p, const char *text);
// Makes the parents of a path (0755).
void make_parents(const char *p);
// Calls f for each entry but . and .. of a folder; an error when it cannot be read.
int each_entry(const char *folder, void (*f)(const char *name, int type, void *arg), void *arg);
long read_link(const char *p, char *b, size_t size);
