// Preloaded into a bash that waits: it stops between the dynamic linker and bash's own `main`, and each request of control makes a
// process that goes on from there, with the request's arguments, environment, descriptors and folder. Such a bash differs from a fresh
// one in nothing but the time that loading took: a third of what a command costs under emulation. Its process number, parent, session
// and control group are its own.
//
// Standard input is a socket to control (SOCK_SEQPACKET). We say one word when we wait; a request is numbers and strings as in spawn.c's
// `ask_shell`, with descriptors; the answer is the process' number or an error.
#define NBV_RT
#include "rt.h"
#include "waiting.h"

extern void *dlsym(void *handle, const char *name);
extern char **environ, **__environ;

// The assembly of the runtime names it; nothing comes here.
_Noreturn void nbv_start(void);
_Noreturn void nbv_start(void) { for (;;) SYS1(NR_exit, 1); }

typedef int (*main_fn)(int, char **, char **);
typedef int (*start_fn)(main_fn, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

struct control_head { size_t len; int level, type; };

static char message[SHELL_MESSAGE];
static char *words[SHELL_WORDS + 4];

// Takes the message apart: folder, arguments, variables. The number of arguments, or an error.
static int take_apart(long n, char **folder, char ***envp) {
    u32 head[2];
    for (u32 i = 0; i < sizeof head; i++) ((char *)head)[i] = message[i];
    if (n <= (long)sizeof head || message[n - 1] || !head[0] || head[0] > SHELL_WORDS || head[1] > SHELL_WORDS - head[0]) return -EINVAL;
    char *p = message + sizeof head, *end = message + n;
    u32 at = 0, all = head[0] + head[1];
    *folder = p;
    while (*p) p++;
    p++;
    for (u32 i = 0; i < all; i++) {
        if (p >= end) return -EINVAL;
        if (i == head[0]) words[at++] = 0;
        words[at++] = p;
        while (*p) p++;
        p++;
    }
    if (!head[1]) words[at++] = 0;
    words[at] = 0;
    *envp = words + head[0] + 1;
    return (int)head[0];
}

// Waits for requests; returns in each process that one makes, with the number of its arguments.
static int wait_for_work(char ***argv, char ***envp) {
    int *tid = 0;
    int port = xfcntl(0, 1030, 20); // F_DUPFD_CLOEXEC
    char word = 'w';
    if (port < 0) SYS1(NR_exit, 1);
    SYS5(NR_prctl, 40, &tid, 0, 0, 0); // where libc keeps the thread's number
    SYS6(NR_sendto, port, &word, 1, 0, 0, 0);
    for (;;) {
        struct iovec v = { message, sizeof message };
        union { struct control_head head; char bytes[64]; } c;
        struct msghdr m = { 0, 0, &v, 1, &c, sizeof c, 0 };
        long n = SYS3(NR_recvmsg, port, &m, 0x40000000); // MSG_CMSG_CLOEXEC
        if (n == -EINTR) continue;
        if (n <= 0) for (;;) SYS1(NR_exit, 0);
        int *fds = (int *)(void *)(c.bytes + sizeof c.head), count = 0, pid;
        if (m.controllen >= sizeof c.head) count = (int)((c.head.len - sizeof c.head) / sizeof(int));
        char *folder = 0;
        pid = count < 3 ? -EINVAL : take_apart(n, &folder, envp);
        int argc = pid;
        if (pid > 0) {
            struct { u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup; } a;
            for (u32 i = 0; i < sizeof a; i++) ((char *)&a)[i] = 0;
            a.flags = 0x8000; // CLONE_PARENT: it is control's child
            if (tid) { a.flags |= 0x01200000; a.child_tid = (u64)(unsigned long)tid; } // CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID
            if (count > 3) { a.flags |= 0x200000000ull; a.cgroup = (u64)fds[3]; }
            pid = (int)SYS2(NR_clone3, &a, sizeof a);
        }
        if (pid) {
            for (int i = 0; i < count; i++) xclose(fds[i]);
            SYS6(NR_sendto, port, &pid, sizeof pid, 0, 0, 0);
            continue;
        }
        SYS0(NR_setsid);
        // Descriptors that come are above 2, which are in use.
        for (int i = 0; i < 3; i++) SYS3(NR_dup3, fds[i], i, 0);
        for (int i = 0; i < count; i++) xclose(fds[i]);
        xclose(port);
        if (SYS1(NR_chdir, folder) < 0) SYS1(NR_chdir, "/");
        *argv = words;
        return argc;
    }
}

int __libc_start_main(main_fn own, int argc, char **argv, void (*init)(void), void (*fini)(void), void (*rtld_fini)(void), void *stack_end);
int __libc_start_main(main_fn own, int argc, char **argv, void (*init)(void), void (*fini)(void), void (*rtld_fini)(void), void *stack_end) {
    char **envp = 0;
    start_fn real = (start_fn)(unsigned long)dlsym((void *)-1l, "__libc_start_main"); // RTLD_NEXT
    if (!real) for (;;) SYS1(NR_exit, 1);
    argc = wait_for_work(&argv, &envp);
    environ = __environ = envp;
    return real(own, argc, argv, init, fini, rtld_fini, stack_end);
}
