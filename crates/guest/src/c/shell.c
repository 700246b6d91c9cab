// The bash that waits (waiting.c): starting it, and having it start a program.
#include "shell.h"
#include "waiting.h"

enum { TRIES = 3, PATIENCE = 5 }; // starts of it; seconds for an answer

__asm__(".section .rodata\n.globl waiting_so\n.globl waiting_so_end\nwaiting_so: .incbin \"" WAITING_SO "\"\nwaiting_so_end:\n.previous\n");
extern const u8 waiting_so[], waiting_so_end[];

struct control_head { size_t len; int level, type; };

static int port = -1, process, tries;
static bool waits;          // it has said so
static char path[1024];     // PATH along which it was found

static void forget(void) {
    if (port >= 0) xclose(port);
    if (process) xkill(process, SIGKILL);
    port = -1;
    waits = false;
}

void shell_ended(int pid) {
    if (!process || pid != process) return;
    process = 0;
    forget();
}

void start_shell(struct spawn *like) {
    static char own[sizeof path + 8];
    const char *found = get_env(like->envp, "PATH");
    if (process || tries >= TRIES || !found || strlen(found) >= sizeof path) return;
    tries++;
    int pair[2] = { -1, -1 }, null = -1;
    int file = SYS2(NR_memfd_create, "nbv-waiting", 1);
    if (file >= 0 && write_all(file, waiting_so, (size_t)(waiting_so_end - waiting_so)) == 0
        && (null = xopen(like->change_root ? "dev/null" : "/dev/null", O_RDWR, 0)) >= 0
        && SYS4(NR_socketpair, AF_UNIX, 5 | SOCK_CLOEXEC, 0, pair) == 0) { // SOCK_SEQPACKET
        format(path, sizeof path, "%s", found);
        format(own, sizeof own, "PATH=%s", found);
        char *argv[] = { "bash", "--norc", 0 }, *envp[] = { own, "LD_PRELOAD=/proc/self/fd/1", "LD_BIND_NOW=1", 0 };
        struct spawn s = { .argv = argv, .envp = envp, .change_root = like->change_root, .cgroup = -1, .cwd = "/", .fds = { pair[1], file, null } };
        int pid = spawn(&s);
        if (pid > 0) { process = pid; port = pair[0]; pair[0] = -1; }
    }
    for (int i = 0; i < 2; i++) if (pair[i] >= 0) xclose(pair[i]);
    if (file >= 0) xclose(file);
    if (null >= 0) xclose(null);
}

// Puts the request together; its length, or 0 when it does not fit.
static size_t request(char *b, struct spawn *s) {
    u32 head[2] = { 0, 0 };
    size_t n = sizeof head;
    char *folder[] = { (char *)s->cwd, 0 };
    char **lists[] = { folder, s->argv, s->envp };
    for (int l = 0; l < 3; l++)
        for (char **w = lists[l]; *w; w++) {
            size_t m = strlen(*w) + 1;
            if (n + m > SHELL_MESSAGE) return 0;
            // the dynamic linker has run already
            if (l == 2 && starts(*w, "LD_")) return 0;
            memcpy(b + n, *w, m);
            n += m;
            if (l) head[l - 1]++;
        }
    if (head[0] + head[1] > SHELL_WORDS) return 0;
    memcpy(b, head, sizeof head);
    return n;
}

int ask_shell(struct spawn *s) {
    static char b[SHELL_MESSAGE];
    char word;
    const char *wanted = get_env(s->envp, "PATH");
    if (port < 0 || !wanted || strcmp(wanted, path) || s->user || s->terminal || !s->cwd || strcmp(s->argv[0], "bash")) return 0;
    if (!waits && SYS6(NR_recvfrom, port, &word, 1, 0x40, 0, 0) != 1) return 0; // MSG_DONTWAIT
    waits = true;
    size_t n = request(b, s);
    if (!n) return 0;
    struct iovec v = { b, n };
    union { struct control_head head; char bytes[64]; } c;
    int count = s->cgroup >= 0 ? 4 : 3, pid = 0;
    c.head.len = sizeof c.head + (size_t)count * sizeof(int);
    c.head.level = 1; // SOL_SOCKET
    c.head.type = 1;  // SCM_RIGHTS
    memcpy(c.bytes + sizeof c.head, s->fds, 3 * sizeof(int));
    memcpy(c.bytes + sizeof c.head + 3 * sizeof(int), &s->cgroup, sizeof(int));
    struct msghdr m = { 0, 0, &v, 1, &c, (c.head.len + sizeof(size_t) - 1) & ~(sizeof(size_t) - 1), 0 };
    if (SYS3(NR_sendmsg, port, &m, 0x4040) != (long)n) { forget(); return 0; } // MSG_DONTWAIT, MSG_NOSIGNAL
    struct pollfd p = { port, POLLIN, 0 };
    struct timespec patience = { PATIENCE, 0 };
    // Should it have started the program and not said so, the program would run twice: without an answer it is an error.
    if (xpoll(&p, 1, &patience) != 1 || SYS6(NR_recvfrom, port, &pid, sizeof pid, 0x40, 0, 0) != (long)sizeof pid) {
        forget();
        s->step = "the waiting shell";
        return -EIO;
    }
    return pid > 0 ? pid : 0;
}
