#include "spawn.h"

const char *get_env(char **envp, const char *name) {
    size_t n = strlen(name);
    for (; *envp; envp++) if (!strncmp(*envp, name, n) && (*envp)[n] == '=') return *envp + n + 1;
    return 0;
}

// The name's program along a list of folders. Gives the most telling error.
static int execute_on(const char *path, struct spawn *s, int error) {
    static char p[4096];
    for (;;) {
        const char *e = path;
        while (*e && *e != ':') e++;
        size_t n = (size_t)(e - path), m = strlen(s->argv[0]);
        if (n + m + 2 <= sizeof p) {
            memcpy(p, path, n);
            p[n] = '/';
            memcpy(p + n + (n > 0), s->argv[0], m + 1);
            int r = SYS3(NR_execve, p, s->argv, s->envp);
            if (r == -8) { s->step = p; return r; }
            if (r != -ENOENT && r != -ENOTDIR) error = r;
        }
        if (!*e) return error;
        path = e + 1;
    }
}

// Runs in the parent's memory while the parent waits (CLONE_VM, CLONE_VFORK): touches nothing but *s.
static void child(void *arg) {
    struct spawn *s = arg;
    u64 none = 0;
    int r;
#define STEP(what, call) do { s->step = what; if ((r = (int)(call)) < 0) { s->error = r; quit(127); } } while (0)
    STEP("setsid", SYS0(NR_setsid));
    int low[3];
    for (int i = 0; i < 3; i++) STEP("fcntl", low[i] = xfcntl(s->fds[i], 0, 10));
    for (int i = 0; i < 3; i++) { STEP("dup", SYS3(NR_dup3, low[i], i, 0)); }
    for (int i = 0; i < 3; i++) xclose(low[i]);
    if (s->terminal) STEP("terminal", xioctl(0, 0x540E, 0));
    write_text("proc/self/oom_score_adj", "0");
    if (s->change_root) { STEP("chroot", SYS1(NR_chroot, ".")); }
    if (s->user) {
        STEP("groups", SYS2(NR_setgroups, s->user->group_count, s->user->groups));
        STEP("group", SYS3(NR_setresgid, s->user->gid, s->user->gid, s->user->gid));
        STEP("user", SYS3(NR_setresuid, s->user->uid, s->user->uid, s->user->uid));
    }
    if (s->cwd) STEP("folder", SYS1(NR_chdir, s->cwd));
    SYS1(NR_umask, 022);
    u64 files[2];
    if (SYS4(NR_prlimit64, 0, 7, 0, files) == 0) { files[0] = 1024; SYS4(NR_prlimit64, 0, 7, files, 0); }
    SYS4(NR_rt_sigprocmask, 2, &none, 0, 8);
    s->step = s->argv[0];
    if (strchr(s->argv[0], '/')) {
        r = SYS3(NR_execve, s->argv[0], s->argv, s->envp);
    } else {
        const char *path = get_env(s->envp, "PATH");
        r = execute_on(path && *path ? path : "/usr/bin:/bin", s, -ENOENT);
        // before the machine has its own programs
        if (r == -ENOENT) r = execute_on("/usr/bin:/bin", s, r);
    }
    s->error = r;
    quit(127);
#undef STEP
}

int spawn(struct spawn *s) {
    // The memory is shared: only one child runs before its exec, so one stack will do.
    static u8 stack[65536] __attribute__((aligned(16)));
    static bool no_clone3;
    struct { u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup; } a;
    s->error = 0;
    s->step = "clone";
    memset(&a, 0, sizeof a);
    a.flags = 0x4100; // CLONE_VM | CLONE_VFORK
    a.exit_signal = SIGCHLD;
    a.stack = (u64)(unsigned long)stack;
    a.stack_size = sizeof stack;
    int pid = -ENOSYS;
    if (!no_clone3) {
        if (s->cgroup >= 0) { a.flags |= 0x200000000ull; a.cgroup = (u64)s->cgroup; }
        pid = (int)nbv_clone(NR_clone3, (long)&a, sizeof a, child, s);
        if (pid < 0 && pid != -ENOSYS && s->cgroup >= 0) {
            a.flags = 0x4100; a.cgroup = 0;
            pid = (int)nbv_clone(NR_clone3, (long)&a, sizeof a, child, s);
        }
        no_clone3 = pid == -ENOSYS;
    }
    if (pid == -ENOSYS) pid = (int)nbv_clone(NR_clone, 0x4100 | SIGCHLD, (long)(stack + sizeof stack), child, s);
    if (pid < 0) return pid;
    // Its end is still reaped like any other, but nobody waits for it.
    __asm__ volatile("" : : : "memory");
    return s->error ? s->error : pid;
}
