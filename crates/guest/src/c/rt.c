// The runtime of rt.h.
#define NBV_RT // this file carries the assembly of arch_X.h
#include "rt.h"

__attribute__((used)) void nbv_start(long *sp) {
    int argc = (int)sp[0];
    char **argv = (char **)(sp + 1);
    quit(nbv_main(argc, argv, argv + argc + 1));
}

_Noreturn void quit(int code) {
    for (;;) SYS1(NR_exit, code);
}

// Word loops: under emulation they are many times faster than `rep movsb`.
void *memcpy(void *d, const void *s, size_t n) {
    u8 *a = d;
    const u8 *b = s;
    for (; n >= 4 * sizeof(long); n -= 4 * sizeof(long), a += 4 * sizeof(long), b += 4 * sizeof(long)) {
        long w[4];
        __builtin_memcpy(w, b, sizeof w);
        __builtin_memcpy(a, w, sizeof w);
    }
    while (n--) *a++ = *b++;
    return d;
}

void *memmove(void *d, const void *s, size_t n) {
    u8 *a = d;
    const u8 *b = s;
    if (a == b) return d;
    if (a < b || a >= b + n) return memcpy(d, s, n);
    a += n; b += n;
    while (n >= sizeof(long)) {
        a -= sizeof(long); b -= sizeof(long); n -= sizeof(long);
        __builtin_memcpy(a, b, sizeof(long));
    }
    while (n--) *--a = *--b;
    return d;
}

void *memset(void *d, int c, size_t n) {
    u8 *a = d;
    unsigned long w = (u8)c * (~0UL / 255);
    for (; n >= sizeof w; n -= sizeof w, a += sizeof w) __builtin_memcpy(a, &w, sizeof w);
    while (n--) *a++ = (u8)c;
    return d;
}

int memcmp(const void *x, const void *y, size_t n) {
    const u8 *a = x, *b = y;
    for (; n; n--, a++, b++) if (*a != *b) return *a - *b;
    return 0;
}

size_t strlen(const char *s) { const char *p = s; while (*p) p++; return (size_t)(p - s); }

int strncmp(const char *a, const char *b, size_t n) {
    for (; n; n--, a++, b++) {
        if (*a != *b) return (u8)*a - (u8)*b;
        if (!*a) return 0;
    }
    return 0;
}

int strcmp(const char *a, const char *b) { return strncmp(a, b, (size_t)-1); }

char *strchr(const char *s, int c) {
    for (;; s++) {
        if (*s == (char)c) return (char *)s;
        if (!*s) return 0;
    }
}

char *strrchr(const char *s, int c) {
    const char *r = 0;
    for (;; s++) {
        if (*s == (char)c) r = s;
        if (!*s) return (char *)r;
    }
}

char *strstr(const char *s, const char *t) {
    size_t n = strlen(t);
    for (; *s; s++) if (!strncmp(s, t, n)) return (char *)s;
    return n ? 0 : (char *)s;
}

bool starts(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }

u64 number(const char *s, int base, const char **end) {
    u64 v = 0;
    while (*s >= '0' && *s < '0' + base) v = (base == 8 ? v << 3 : (v << 3) + (v << 1)) + (u64)(*s++ - '0');
    if (end) *end = s;
    return v;
}

int vformat(char *out, size_t size, const char *f, va_list v) {
    size_t n = 0;
#define PUT(c) do { if (n + 1 < size) out[n++] = (c); } while (0)
    for (; *f; f++) {
        if (*f != '%') { PUT(*f); continue; }
        int width = 0;
        f++;
        while (*f >= '0' && *f <= '9') width = width * 10 + (*f++ - '0');
        if (*f == 's') {
            const char *s = va_arg(v, const char *);
            if (!s) s = "(null)";
            while (*s) { PUT(*s); s++; }
        } else if (*f == 'c') {
            PUT((char)va_arg(v, int));
        } else if (*f == '%') {
            PUT('%');
        } else if (*f == 'd' || *f == 'u' || *f == 'x' || *f == 'o') {
            char d[32];
            int i = 0;
            u32 x = va_arg(v, u32);
            if (*f == 'd' && (int)x < 0) { PUT('-'); x = 0 - x; }
            u32 base = *f == 'x' ? 16 : *f == 'o' ? 8 : 10;
            do { d[i++] = "0123456789abcdef"[x % base]; x /= base; } while (x);
            while (i < width) d[i++] = '0';
            while (i) { i--; PUT(d[i]); }
        } else {
            PUT('?');
        }
    }
#undef PUT
    if (size) out[n] = 0;
    return (int)n;
}

int format(char *out, size_t size, const char *f, ...) {
    va_list v;
    va_start(v, f);
    int n = vformat(out, size, f, v);
    va_end(v);
    return n;
}

const char *error_name(long e) {
    static char other[24];
    switch (e < 0 ? -e : e) {
    case EPERM: return "operation not permitted";
    case ENOENT: return "no such file or folder";
    case EIO: return "input or output error";
    case E2BIG: return "argument list too long";
    case 6: return "no such device or address";
    case 8: return "exec format error";
    case EAGAIN: return "resource temporarily unavailable";
    case ENOMEM: return "no memory";
    case EACCES: return "permission denied";
    case EBUSY: return "busy";
    case EEXIST: return "exists";
    case ENODEV: return "no such device or file system";
    case ENOTDIR: return "not a folder";
    case EISDIR: return "is a folder";
    case EINVAL: return "invalid argument";
    case 26: return "program file is being written";
    case 28: return "no space left";
    case 30: return "read-only file system";
    case EPIPE: return "broken pipe";
    case ENOSYS: return "not supported by the kernel";
    case ELOOP: return "too many links";
    }
    format(other, sizeof other, "error %d", (int)(e < 0 ? -e : e));
    return other;
}

char *word(char **p, const char *separators) {
    char *s = *p;
    while (*s && strchr(separators, *s)) s++;
    if (!*s) { *p = s; return 0; }
    char *e = s;
    while (*e && !strchr(separators, *e)) e++;
    if (*e) *e++ = 0;
    *p = e;
    return s;
}

void *map(size_t n) {
    long r = SYS6(NR_mmap, 0, n, 3, 0x22, -1, 0);
    return (unsigned long)r > -4096UL ? 0 : (void *)r;
}

void unmap(void *p, size_t n) { if (p) SYS2(NR_munmap, p, n); }

void *take(size_t n) {
    static u8 *at;
    static size_t left;
    n = (n + 15) & ~(size_t)15;
    if (n > left) {
        size_t chunk = n > 65536 ? (n + 4095) & ~(size_t)4095 : 262144;
        at = map(chunk);
        if (!at) { write_all(2, "nbv: no memory\n", 15); quit(111); }
        left = chunk;
    }
    void *r = at;
    at += n; left -= n;
    return r;
}

char *copy_string(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(take(n), s, n);
}

void sleep_ms(int ms) {
    struct timespec t = { 0, 0 };
    while (ms >= 1000) { t.sec++; ms -= 1000; }
    t.nsec = (long)ms * 1000000;
    xpoll(0, 0, &t);
}

u64 now_ms(void) {
    struct timespec t;
    clock_get(1, &t);
    return (u64)t.sec * 1000 + (u32)t.nsec / 1000000;
}

int write_all(int fd, const void *b, size_t n) {
    const u8 *p = b;
    while (n) {
        long w = xwrite(fd, p, n);
        if (w == -EINTR) continue;
        if (w == -EAGAIN) { struct pollfd q = { fd, POLLOUT, 0 }; xpoll(&q, 1, 0); continue; }
        if (w < 0) return (int)w;
        p += w; n -= (size_t)w;
    }
    return 0;
}

char *read_file(const char *path, size_t *len) {
    int fd = xopen(path, O_RDONLY, 0);
    if (fd < 0) return 0;
    size_t size = 16384, n = 0;
    struct statx s;
    if (SYS5(NR_statx, fd, "", AT_EMPTY_PATH, 0x7ff, &s) == 0 && s.size && s.size < 256u << 20) size = (size_t)s.size + 2;
    char *b = map(size);
    while (b) {
        long r = xread(fd, b + n, size - n - 1);
        if (r == -EINTR) continue;
        if (r < 0) { unmap(b, size); b = 0; break; }
        if (!r) break;
        n += (size_t)r;
        if (n + 1 == size) {
            char *c = map(size * 2);
            if (c) memcpy(c, b, n);
            unmap(b, size);
            b = c; size *= 2;
        }
    }
    xclose(fd);
    if (b) b[n] = 0;
    if (len) *len = n;
    return b;
}

long read_small(const char *path, char *b, size_t size) {
    int fd = xopen(path, O_RDONLY, 0);
    if (fd < 0) return fd;
    size_t n = 0;
    long r;
    while (n + 1 < size && (r = xread(fd, b + n, size - 1 - n)) > 0) n += (size_t)r;
    xclose(fd);
    b[n] = 0;
    return (long)n;
}

int write_file(const char *path, const void *b, size_t n, int mode) {
    int fd = xopen(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    if (fd < 0) return fd;
    int r = write_all(fd, b, n);
    xclose(fd);
    return r;
}

int write_text(const char *path, const char *text) {
    int fd = xopen(path, O_WRONLY, 0);
    if (fd < 0) return fd;
    int r = write_all(fd, text, strlen(text));
    xclose(fd);
    return r;
}

void make_parents(const char *p) {
    char b[4096];
    size_t n = strlen(p);
    if (n >= sizeof b) return;
    memcpy(b, p, n + 1);
    // most parents exist: begin at the last one that is missing
    char *cut = strrchr(b, '/');
    if (!cut || cut == b) return;
    *cut = 0;
    if (exists(b)) return;
    for (char *q = b + 1; *q; q++) {
        if (*q != '/') continue;
        *q = 0;
        xmkdir(b, 0755);
        *q = '/';
    }
    xmkdir(b, 0755);
}

int each_entry(const char *folder, void (*f)(const char *name, int type, void *arg), void *arg) {
    int fd = xopen(folder, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return fd;
    u64 buffer[1024];
    long n;
    while ((n = SYS3(NR_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < n;) {
            struct dirent64 *e = (void *)((u8 *)buffer + at);
            at += e->reclen;
            if (strcmp(e->name, ".") && strcmp(e->name, "..")) f(e->name, e->type, arg);
        }
    xclose(fd);
    return (int)n;
}

long read_link(const char *p, char *b, size_t size) {
    long n = SYS4(NR_readlinkat, AT_FDCWD, p, b, size - 1);
    if (n >= 0) b[n] = 0;
    return n;
}
