// Runs programs for the host over one byte stream: the virtio-serial port nbv.control, or (test mode, `control --fd N`) a descriptor.
// One thread, one ppoll; nothing is forked but the programs. Frames: wire.h, described in ../protocol.rs.
//
// Flow: a program's output is read only while the host has given its channel credit and the output buffer has room, so a slow
// reader stops its own program and nobody else. The port is always read: what the host sends is bounded by the credit that it was given.
//
// The current folder is the machine's root (in a guest control's own root is the initial file system): all names here are relative.
#include "shell.h"
#include "wire.h"

enum { CHANNELS = 256, OUT_SIZE = 512 * 1024, OUT_RESERVE = 128 * 1024, IN_SIZE = 2 * FRAME_MAX, OPEN_LIMIT = 4 << 20, LOG_SIZE = 16384 };

struct channel {
    bool used, started, exited, host_gone, in_end;
    u16 id;
    int pid, status;
    int in, out, err;      // ours of the program's ends; -1 when closed. With a terminal in and out are the same descriptor.
    bool pty;
    u32 credit;            // bytes of output that the host still takes
    u8 *stdin_ring;        // STDIN_WINDOW bytes
    u32 stdin_at, stdin_len, stdin_owed; // owed: consumed, not yet given back as credit
    u8 *open;
    u32 open_len, open_size;
    int group;             // index in groups, or -1
};

static struct channel channels[CHANNELS];
static struct { int fd, name; bool used, dirty, killed; } groups[CHANNELS];
static int top;            // channels[0 .. top) may be in use
static int port = -1, notify = -1, signals = -1;
static bool guest, hup, greeted;
static u8 *out;
static u32 out_at, out_len;
static u8 in[IN_SIZE];
static u32 in_len;
static char notices[LOG_SIZE];
static u32 notices_len;

static void complain(const char *f, ...) {
    char b[512];
    va_list v;
    int n = format(b, sizeof b, "nbv-control: ");
    va_start(v, f);
    n += vformat(b + n, sizeof b - (size_t)n - 1, f, v);
    va_end(v);
    b[n++] = '\n';
    write_all(2, b, (size_t)n);
}

// ---- output

static u32 out_room(void) { return OUT_SIZE - out_len; }

// Room for n bytes at the end of what is queued; the caller has asked out_room.
static u8 *out_end(u32 n) {
    if (out_at + out_len + n > OUT_SIZE) {
        memmove(out, out + out_at, out_len);
        out_at = 0;
    }
    return out + out_at + out_len;
}

static void put16(u8 *p, u32 v) { p[0] = (u8)v; p[1] = (u8)(v >> 8); }
static void put32(u8 *p, u32 v) { put16(p, v); put16(p + 2, v >> 16); }
static u32 get16(const u8 *p) { return p[0] | (u32)p[1] << 8; }
static u32 get32(const u8 *p) { return get16(p) | get16(p + 2) << 16; }

static void head(u8 *p, int type, u32 id, u32 n) {
    p[0] = (u8)type; p[1] = 0;
    put16(p + 2, id);
    put32(p + 4, n);
}

// Small frames. The reserve is kept for them; the host cannot cause more than it holds without reading (see `flush` and `serve`).
static bool send(int type, u32 id, const void *body, u32 n) {
    if (!greeted || out_room() < n + HEAD) return false;
    u8 *p = out_end(n + HEAD);
    head(p, type, id, n);
    memcpy(p + HEAD, body, n);
    out_len += n + HEAD;
    return true;
}

static void send32(int type, u32 id, u32 v) {
    u8 b[4];
    put32(b, v);
    send(type, id, b, 4);
}

static void flush(void) {
    while (out_len && !hup) {
        u32 n = out_len < 32768 ? out_len : 32768; // the port's driver takes no more at once
        long r = xwrite(port, out + out_at, n);
        if (r == -EINTR) continue;
        if (r <= 0) {
            if (r < 0 && r != -EAGAIN && !guest) quit(0);
            return;
        }
        out_at += (u32)r; out_len -= (u32)r;
        if (!out_len) out_at = 0;
    }
}

// ---- control groups: one per running program, kept for the next; so that a kill reaches all that the program started

static bool is_empty(int group) {
    char b[128];
    int fd = xopenat(group, "cgroup.events", O_RDONLY, 0);
    long n = fd < 0 ? -1 : xread(fd, b, sizeof b - 1);
    if (fd >= 0) xclose(fd);
    if (n <= 0) return false;
    b[n] = 0;
    return strstr(b, "populated 0") != 0;
}

static int take_group(void) {
    static int base = -1, made, names;
    char p[96];
    int at = -1;
    if (!guest) return -1;
    if (base < 0) {
        if (!exists("sys/fs/cgroup/cgroup.procs")) return -1;
        xmkdir("sys/fs/cgroup/nbv-control", 0755);
        base = xopen("sys/fs/cgroup/nbv-control", O_RDONLY | O_DIRECTORY, 0);
        if (base < 0) return -1;
    }
    for (int i = 0; i < made && at < 0; i++) {
        if (groups[i].used) continue;
        // something that a program left running may still be in it
        if (groups[i].dirty && !is_empty(groups[i].fd)) continue;
        if (groups[i].killed) {
            // Linux 6.1.129 and others kill whatever is later cloned into a group that was killed once: this one is used up
            format(p, sizeof p, "%d", groups[i].name);
            xclose(groups[i].fd);
            SYS3(NR_unlinkat, base, p, AT_REMOVEDIR);
            groups[i].fd = -1;
        }
        at = i;
    }
    if (at < 0) {
        if (made == CHANNELS) return -1;
        at = made++;
        groups[at].fd = -1;
    }
    if (groups[at].fd < 0) {
        groups[at].name = names++;
        format(p, sizeof p, "%d", groups[at].name);
        int r = SYS3(NR_mkdirat, base, p, 0755);
        groups[at].fd = r && r != -EEXIST ? r : xopenat(base, p, O_RDONLY | O_DIRECTORY, 0);
        groups[at].killed = groups[at].dirty = false;
        if (groups[at].fd < 0) return -1; // the next try makes another
    }
    groups[at].used = groups[at].dirty = true;
    return at;
}

struct kin { int session, signal; };

// Without a control group: all processes of the program's session.
static void kill_kin(const char *name, int type, void *arg) {
    struct kin *k = arg;
    char p[64], b[512];
    (void)type;
    if (*name < '0' || *name > '9') return;
    format(p, sizeof p, "proc/%s/stat", name);
    if (read_small(p, b, sizeof b) <= 0) return;
    char *s = strrchr(b, ')');
    if (!s) return;
    // state, parent, group, session
    s++;
    for (int i = 0; i < 3; i++) { s++; while (*s && *s != ' ') s++; }
    if ((int)number(s + 1, 10, 0) == k->session) xkill((int)number(name, 10, 0), k->signal);
}

static void signal_channel(struct channel *c, int sig, int scope) {
    if (!c->started || c->pid <= 0) return;
    if (scope == SCOPE_ALL && c->group >= 0) {
        int g = groups[c->group].fd;
        if (sig == SIGKILL) {
            int fd = xopenat(g, "cgroup.kill", O_WRONLY, 0);
            groups[c->group].killed = true;
            if (fd >= 0 && xwrite(fd, "1", 1) == 1) { xclose(fd); return; }
            if (fd >= 0) xclose(fd);
        }
        char b[4096];
        int fd = xopenat(g, "cgroup.procs", O_RDONLY, 0);
        long n = fd < 0 ? fd : xread(fd, b, sizeof b - 1);
        if (fd >= 0) xclose(fd);
        if (n >= 0) {
            b[n] = 0;
            char *p = b, *line;
            while ((line = word(&p, "\n"))) xkill((int)number(line, 10, 0), sig);
            return;
        }
    }
    if (scope == SCOPE_ALL) {
        struct kin k = { c->pid, sig };
        each_entry("proc", kill_kin, &k);
        // the pid may be another process' once it was waited for
        if (!c->exited) xkill(-c->pid, sig);
        return;
    }
    if (c->exited) return;
    xkill(scope == SCOPE_GROUP ? -c->pid : c->pid, sig);
}

// ---- channels

static struct channel *find(u32 id) {
    for (int i = 0; i < top; i++) if (channels[i].used && !channels[i].host_gone && channels[i].id == id) return &channels[i];
    return 0;
}

static struct channel *make(u32 id) {
    int i = 0;
    while (i < CHANNELS && channels[i].used) i++;
    if (i == CHANNELS) return 0;
    if (i >= top) top = i + 1;
    struct channel *c = &channels[i];
    memset(c, 0, sizeof *c);
    c->used = true;
    c->id = (u16)id;
    c->in = c->out = c->err = c->group = -1;
    return c;
}

static void close_in(struct channel *c) {
    if (c->in >= 0 && c->in != c->out) xclose(c->in);
    c->in = -1;
    c->stdin_len = 0;
}

static void release(struct channel *c) {
    close_in(c);
    if (c->out >= 0) xclose(c->out);
    if (c->err >= 0) xclose(c->err);
    unmap(c->stdin_ring, STDIN_WINDOW);
    unmap(c->open, c->open_size);
    if (c->group >= 0) groups[c->group].used = false;
    c->used = false;
    while (top && !channels[top - 1].used) top--;
}

// A channel ends when its program ended and both outputs did.
static void settle(struct channel *c) {
    if (!c->exited || c->out >= 0 || c->err >= 0) return;
    if (!c->host_gone) send(G_CLOSED, c->id, 0, 0);
    release(c);
}

static void end_output(struct channel *c, int *fd, int which) {
    if (*fd == c->in) c->in = -1;
    xclose(*fd);
    *fd = -1;
    u8 b = (u8)which;
    if (!c->host_gone) send(G_END, c->id, &b, 1);
}

static void abandon(struct channel *c) {
    c->host_gone = true;
    if (!c->started) { release(c); return; }
    // what a program that ended left running is not its end's business
    if (!c->exited) signal_channel(c, SIGKILL, SCOPE_ALL);
    close_in(c);
    if (c->out >= 0) { xclose(c->out); c->out = -1; }
    if (c->err >= 0) { xclose(c->err); c->err = -1; }
    settle(c);
}

static void fail_open(struct channel *c, int error, const char *step) {
    u8 b[256];
    put32(b, (u32)-error);
    int n = format((char *)b + 4, sizeof b - 4, "%s: %s", step, error_name(error));
    send(G_FAILED, c->id, b, 4 + (u32)n);
    release(c);
}

static int make_pipe(int p[2]) {
    return SYS2(NR_pipe2, p, O_CLOEXEC);
}

static bool next_string(u8 **p, u8 *end, char **s) {
    u8 *q = *p;
    while (q < end && *q) q++;
    if (q == end) return false;
    *s = (char *)*p;
    *p = q + 1;
    return true;
}

static void set_size(int fd, u32 rows, u32 columns) {
    u16 size[4] = { (u16)rows, (u16)columns, 0, 0 };
    xioctl(fd, 0x5414, (long)size);
}

// The body of F_OPEN: flags u32, credit u32, rows u16, columns u16, argc u32, envc u32, then strings, each ended by NUL:
// user, folder, the arguments, the environment (NAME=value).
static void open_program(struct channel *c, u8 *b, u32 n) {
    static struct user user;
    u8 *p = b + 20, *end = b + n;
    char *who, *folder, home[600], name_env[140], log_env[140], shell_env[520], home_env[540];
    if (n < 20) { fail_open(c, -EINVAL, "frame"); return; }
    u32 flags = get32(b), rows = get16(b + 8), columns = get16(b + 10), argc = get32(b + 12), envc = get32(b + 16);
    c->credit = get32(b + 4);
    if (!argc || argc > n || envc > n || !next_string(&p, end, &who) || !next_string(&p, end, &folder)) {
        fail_open(c, -EINVAL, "frame");
        return;
    }
    size_t room = (argc + envc + 16) * sizeof(char *);
    char **argv = map(room), **envp = argv + argc + 1;
    if (!argv) { fail_open(c, -ENOMEM, "memory"); return; }
    bool good = true;
    for (u32 i = 0; i < argc; i++) good = good && next_string(&p, end, &argv[i]);
    // a later definition wins: those of the host come first, a default only for a name that it did not give
    u32 e = 0;
    for (u32 i = 0; i < envc; i++) { good = good && next_string(&p, end, &envp[e]); e += good; }
    if (!good) { unmap(argv, room); fail_open(c, -EINVAL, "frame"); return; }
    if (!find_user("", *who ? who : "0", &user)) { unmap(argv, room); fail_open(c, -ENOENT, "no such user"); return; }
    if (!(flags & OPEN_BARE)) {
        struct { const char *name; char *text; size_t size; const char *value; } d[] = {
            { "HOME", home_env, sizeof home_env, user.home }, { "USER", name_env, sizeof name_env, user.name },
            { "LOGNAME", log_env, sizeof log_env, user.name }, { "SHELL", shell_env, sizeof shell_env, user.shell } };
        for (u32 i = 0; i < 4; i++) {
            if (get_env(envp, d[i].name)) continue;
            format(d[i].text, d[i].size, "%s=%s", d[i].name, d[i].value);
            envp[e++] = d[i].text;
        }
        static char path[] = "PATH=/run/wrappers/bin:/root/.nix-profile/bin:/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin";
        static char term[] = "TERM=xterm-256color";
        if (!get_env(envp, "PATH")) envp[e++] = path;
        if (flags & OPEN_PTY && !get_env(envp, "TERM")) envp[e++] = term;
    }
    struct spawn s = { .argv = argv, .envp = envp, .change_root = guest, .cgroup = -1, .terminal = flags & OPEN_PTY };
    s.cwd = folder;
    if (!*folder) {
        format(home, sizeof home, "%s", user.home);
        const char *relative = home;
        while (*relative == '/') relative++;
        s.cwd = *relative && exists(guest ? relative : home) ? home : "/";
    }
    if (*who) s.user = &user;

    int r = 0, ours[3] = { -1, -1, -1 }, theirs[3] = { -1, -1, -1 }, pair[2];
    const char *step = "pipe";
    if (flags & OPEN_PTY) {
        int zero = 0;
        step = "terminal";
        r = ours[0] = xopen(guest ? "dev/ptmx" : "/dev/ptmx", O_RDWR | O_NOCTTY, 0);
        if (r >= 0) r = xioctl(ours[0], 0x40045431, (long)&zero);
        if (r >= 0) r = theirs[0] = xioctl(ours[0], 0x5441, O_RDWR | O_NOCTTY);
        if (r >= 0) {
            if (rows && columns) set_size(ours[0], rows, columns);
            ours[1] = ours[0];
            theirs[1] = theirs[2] = theirs[0];
        }
    } else {
        int null = -1;
        if (flags & (OPEN_STDIN_NULL | OPEN_OUTPUT_NULL)) r = null = xopen(guest ? "dev/null" : "/dev/null", O_RDWR, 0);
        if (flags & OPEN_STDIN_NULL) theirs[0] = null;
        else if (r >= 0 && (r = make_pipe(pair)) >= 0) { theirs[0] = pair[0]; ours[0] = pair[1]; }
        if (flags & OPEN_OUTPUT_NULL) theirs[1] = theirs[2] = null;
        else {
            if (r >= 0 && (r = make_pipe(pair)) >= 0) { theirs[1] = pair[1]; ours[1] = pair[0]; }
            if (flags & OPEN_MERGE) theirs[2] = theirs[1];
            else if (r >= 0 && (r = make_pipe(pair)) >= 0) { theirs[2] = pair[1]; ours[2] = pair[0]; }
        }
    }
    if (r >= 0) {
        for (int i = 0; i < 3; i++) {
            s.fds[i] = theirs[i];
            if (ours[i] >= 0) xfcntl(ours[i], 4, O_RDWR | O_NONBLOCK);
        }
        c->group = take_group();
        if (c->group >= 0) s.cgroup = groups[c->group].fd;
        bool may_wait = flags & OPEN_SHELL && !(flags & OPEN_PTY);
        r = may_wait ? ask_shell(&s) : 0;
        if (!r) {
            r = spawn(&s);
            if (may_wait && r > 0) start_shell(&s);
        }
        step = s.step;
    }
    int null_shared = flags & OPEN_STDIN_NULL && flags & OPEN_OUTPUT_NULL;
    if (theirs[0] >= 0) xclose(theirs[0]);
    if (theirs[1] >= 0 && theirs[1] != theirs[0] && !null_shared) xclose(theirs[1]);
    if (theirs[2] >= 0 && theirs[2] != theirs[1] && theirs[2] != theirs[0]) xclose(theirs[2]);
    c->in = ours[0]; c->out = ours[1]; c->err = ours[2];
    c->pty = flags & OPEN_PTY;
    if (r < 0) {
        if (c->out < 0 && c->in >= 0) { xclose(c->in); c->in = -1; }
        fail_open(c, r, step);
    } else {
        c->pid = r;
        c->started = true;
        send32(G_STARTED, c->id, (u32)r);
    }
    unmap(argv, room);
}

// Gives back credit for what the program (or nobody) has taken.
static void give_back(struct channel *c, bool all) {
    if (!c->stdin_owed || (!all && c->stdin_owed < STDIN_WINDOW / 4)) return;
    send32(G_CREDIT, c->id, c->stdin_owed);
    c->stdin_owed = 0;
}

static void stdin_gone(struct channel *c) {
    c->stdin_owed += c->stdin_len;
    close_in(c);
    give_back(c, true);
    send(G_STDIN_GONE, c->id, 0, 0);
}

// Writes what waits for a program's input.
static void drain_stdin(struct channel *c) {
    while (c->in >= 0 && c->stdin_len) {
        u32 n = STDIN_WINDOW - c->stdin_at;
        if (n > c->stdin_len) n = c->stdin_len;
        long r = xwrite(c->in, c->stdin_ring + c->stdin_at, n);
        if (r == -EAGAIN || r == -EINTR) break;
        if (r < 0) { stdin_gone(c); return; }
        c->stdin_at = (c->stdin_at + (u32)r) & (STDIN_WINDOW - 1);
        c->stdin_len -= (u32)r;
        c->stdin_owed += (u32)r;
    }
    give_back(c, !c->stdin_len);
    if (c->in >= 0 && c->in_end && !c->stdin_len) {
        // a terminal stays open: the end is the character ^D
        if (c->pty) { xwrite(c->in, "\4", 1); c->in_end = false; }
        else close_in(c);
    }
}

static void take_stdin(struct channel *c, const u8 *b, u32 n) {
    if (n > STDIN_WINDOW - c->stdin_len) { abandon(c); return; } // the host broke the rule of credit
    if (c->in < 0) { c->stdin_owed += n; give_back(c, false); return; }
    if (!c->stdin_len) {
        long r = xwrite(c->in, b, n);
        if (r < 0 && r != -EAGAIN && r != -EINTR) { c->stdin_owed += n; stdin_gone(c); return; }
        if (r > 0) { b += r; n -= (u32)r; c->stdin_owed += (u32)r; }
    }
    if (n && !c->stdin_ring && !(c->stdin_ring = map(STDIN_WINDOW))) { abandon(c); return; }
    while (n) {
        u32 at = (c->stdin_at + c->stdin_len) & (STDIN_WINDOW - 1), k = STDIN_WINDOW - at;
        if (k > n) k = n;
        memcpy(c->stdin_ring + at, b, k);
        c->stdin_len += k; b += k; n -= k;
    }
    give_back(c, !c->stdin_len);
}

static bool out_ready(void) { return out_len < OUT_RESERVE && !hup; }

// Moves one piece of a program's output into the buffer.
static void take_output(struct channel *c, int *fd, int type) {
    u32 n = BODY_MAX;
    if (n > c->credit) n = c->credit;
    if (!n || !out_ready()) return;
    u8 *p = out_end(n + HEAD);
    long r = xread(*fd, p + HEAD, n);
    if (r == -EAGAIN || r == -EINTR) return;
    if (r <= 0) { // a terminal says EIO when its last user is gone
        end_output(c, fd, type == G_STDOUT ? 1 : 2);
        settle(c);
        return;
    }
    head(p, type, c->id, (u32)r);
    out_len += (u32)r + HEAD;
    c->credit -= (u32)r;
}

static void reap(void) {
    int status, pid;
    while ((pid = SYS4(NR_wait4, -1, &status, 1, 0)) > 0) {
        shell_ended(pid);
        for (int i = 0; i < top; i++) {
            struct channel *c = &channels[i];
            if (!c->used || !c->started || c->exited || c->pid != pid) continue;
            u8 b[8];
            c->exited = true;
            int sig = status & 0x7f;
            put32(b, sig ? 1 : 0);
            put32(b + 4, sig ? (u32)sig : (u32)(status >> 8 & 0xff));
            close_in(c);
            if (!c->host_gone) send(G_EXIT, c->id, b, 8);
            settle(c);
            break;
        }
    }
}

// ---- notices

static void remember(const char *b, u32 n) {
    if (n + 1 > LOG_SIZE) return;
    if (notices_len + n + 1 > LOG_SIZE) {
        // the oldest half goes, but never the word that the machine is ready
        bool ready = strstr(notices, "READY=1") != 0;
        u32 cut = notices_len / 2;
        while (cut < notices_len && notices[cut] != '\n') cut++;
        if (cut < notices_len) cut++;
        if (notices_len - cut + n + 10 > LOG_SIZE) cut = notices_len;
        memmove(notices, notices + cut, notices_len - cut);
        notices_len -= cut;
        if (ready && notices_len + 8 + n + 1 <= LOG_SIZE) { memcpy(notices + notices_len, "READY=1\n", 8); notices_len += 8; }
    }
    memcpy(notices + notices_len, b, n);
    notices_len += n;
    if (n && b[n - 1] != '\n') notices[notices_len++] = '\n';
    if (notices_len < LOG_SIZE) notices[notices_len] = 0;
}

static void take_notices(void) {
    struct { size_t len; int level, type; u32 pid, uid, gid, pad; } credentials[4];
    char b[4096];
    for (;;) {
        struct iovec v = { b + 1, sizeof b - 2 };
        struct msghdr m = { 0, 0, &v, 1, credentials, sizeof credentials, 0 };
        long n = SYS3(NR_recvmsg, notify, &m, 0x40);
        if (n <= 0) return;
        // only the first process and root may speak for the machine
        if (credentials[0].level != 1 || credentials[0].type != 2 || credentials[0].uid != 0) continue;
        b[0] = 0;
        b[n + 1] = 0;
        remember(b + 1, (u32)n);
        send(G_NOTICE, 0, b, (u32)n + 1);
    }
}

static int open_notify(void) {
    struct { u16 family; char path[30]; } a = { AF_UNIX, "run/nbv/notify" };
    int fd = SYS3(NR_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, r;
    if (fd < 0) return fd;
    SYS5(NR_setsockopt, fd, 1, 16, &one, sizeof one);
    xunlink(a.path);
    r = SYS3(NR_bind, fd, &a, sizeof a);
    if (r < 0) { xclose(fd); return r; }
    return fd;
}

// ---- the host's frames

static void hello(const u8 *b, u32 n) {
    if (n < 36 || memcmp(b, WIRE_MAGIC, 16)) return;
    u8 nonce[16];
    memcpy(nonce, b + 16, 16);
    // what the former host left is killed, what was queued for it is dropped
    for (int i = 0; i < top; i++) if (channels[i].used) abandon(&channels[i]);
    out_at = out_len = 0;
    greeted = true;
    u8 a[40];
    memcpy(a, WIRE_MAGIC, 16);
    memcpy(a + 16, nonce, 16);
    put32(a + 32, WIRE_VERSION);
    put32(a + 36, STDIN_WINDOW);
    send(G_HELLO, 0, a, sizeof a);
    if (notices_len) {
        static char again[LOG_SIZE + 1];
        again[0] = 1;
        memcpy(again + 1, notices, notices_len);
        send(G_NOTICE, 0, again, notices_len + 1);
    }
}

static int set_clock(const u8 *b, u32 n) {
    if (n < 12) return -EINVAL;
    struct timespec t = { (s64)(get32(b) | (u64)get32(b + 4) << 32), get32(b + 8) };
    return SYS2(NR_clock_settime, 0, &t);
}

static int add_entropy(const u8 *b, u32 n) {
    static struct { int bits, size; u8 data[4096]; } e;
    if (!n || n > sizeof e.data) return -EINVAL;
    int fd = xopen(guest ? "dev/urandom" : "/dev/urandom", O_RDWR, 0);
    if (fd < 0) return fd;
    e.bits = (int)n * 8;
    e.size = (int)n;
    memcpy(e.data, b, n);
    int r = xioctl(fd, 0x40085203, (long)&e), again = xioctl(fd, 0x5207, 0);
    memset(e.data, 0, n);
    xclose(fd);
    return r ? r : again;
}

// Writes files: for each mode, length of the content, name with a NUL, content.
static int write_files(const u8 *b, u32 n) {
    while (n) {
        u32 at = 8;
        if (n < at) return -EINVAL;
        u32 mode = get32(b), len = get32(b + 4);
        const char *name = (const char *)b + at;
        while (at < n && b[at]) at++;
        if (at == n || ++at > n || len > n - at) return -EINVAL;
        if (guest) while (*name == '/') name++;
        int fd = xopen(name, O_WRONLY | O_CREAT | O_TRUNC, (int)mode);
        if (fd < 0) return fd;
        int r = write_all(fd, b + at, len);
        xclose(fd);
        if (r < 0) return r;
        b += at + len;
        n -= at + len;
    }
    return 0;
}

static void take_frame(int type, u32 id, u8 *b, u32 n) {
    if (type == F_HELLO) { hello(b, n); return; }
    if (!greeted) return;
    if (type == F_PING) { send(G_PONG, id, b, n > 64 ? 64 : n); return; }
    if (type == F_CLOCK) { send32(G_DONE, id, (u32)-set_clock(b, n)); return; }
    if (type == F_ENTROPY) { send32(G_DONE, id, (u32)-add_entropy(b, n)); return; }
    if (type == F_FILES) { send32(G_DONE, id, (u32)-write_files(b, n)); return; }
    struct channel *c = find(id);
    if (type == F_OPEN || type == F_OPEN_PART) {
        if (c && c->started) { complain("channel %d is open already", (int)id); return; }
        if (!c && !(c = make(id))) {
            u8 busy[64];
            put32(busy, EAGAIN);
            int k = format((char *)busy + 4, sizeof busy - 4, "too many programs at once");
            send(G_FAILED, id, busy, 4 + (u32)k);
            return;
        }
        if (type == F_OPEN && !c->open) { open_program(c, b, n); return; }
        if (c->open_len + n > c->open_size) {
            u32 size = c->open_size ? c->open_size : 131072;
            while (size < c->open_len + n) size *= 2;
            u8 *more = size > OPEN_LIMIT ? 0 : map(size);
            if (!more) { fail_open(c, -E2BIG, "arguments"); return; }
            memcpy(more, c->open, c->open_len);
            unmap(c->open, c->open_size);
            c->open = more; c->open_size = size;
        }
        memcpy(c->open + c->open_len, b, n);
        c->open_len += n;
        if (type == F_OPEN) {
            u8 *all = c->open;
            u32 size = c->open_size, len = c->open_len;
            c->open = 0;
            open_program(c, all, len);
            unmap(all, size);
        }
        return;
    }
    if (!c) return; // it has ended meanwhile
    switch (type) {
    case F_STDIN: take_stdin(c, b, n); break;
    case F_STDIN_END: c->in_end = true; drain_stdin(c); break;
    case F_SIGNAL: if (n >= 2) signal_channel(c, b[0], b[1]); break;
    case F_WINDOW_SIZE: if (n >= 4 && c->pty && c->out >= 0) set_size(c->out, get16(b), get16(b + 2)); break;
    case F_CREDIT: if (n >= 4) { u32 v = get32(b); c->credit = c->credit + v < v ? 0xffffffff : c->credit + v; } break;
    case F_CLOSE: send(G_CLOSED, id, 0, 0); abandon(c); break;
    default: complain("unknown frame %d", type);
    }
}

static void take_port(void) {
    for (int round = 0; round < 8; round++) {
        long r = xread(port, in + in_len, IN_SIZE - in_len);
        if (r == -EINTR) continue;
        if (r == 0 && !guest) quit(0);
        if (r <= 0) return;
        in_len += (u32)r;
        u32 at = 0;
        for (;;) {
            while (at < in_len && in[at] == F_PAD) at++;
            if (in_len - at < HEAD) break;
            u32 n = get32(in + at + 4);
            if (n > BODY_MAX) { at++; continue; } // not a frame: lost until the next greeting
            if (in_len - at < HEAD + n) break;
            take_frame(in[at], get16(in + at + 2), in + at + HEAD, n);
            at += HEAD + n;
        }
        memmove(in, in + at, in_len - at);
        in_len -= at;
        if (out_room() < OUT_RESERVE / 2) return;
    }
}

static void drain_signals(void) {
    u8 b[128 * 8];
    while (xread(signals, b, sizeof b) > 0) {}
}

static void serve(void) {
    static struct pollfd p[3 + 3 * CHANNELS];
    static struct { struct channel *c; int what; } whose[3 + 3 * CHANNELS];
    u32 turn = 0;
    for (;;) {
        flush();
        int n = 3;
        // while no host is there the port says so without end: it is not asked, SIGIO tells of the next one
        p[0].fd = hup ? -1 : port;
        p[0].events = (short)((out_room() >= OUT_RESERVE / 2 ? POLLIN : 0) | (out_len ? POLLOUT : 0));
        p[1].fd = signals; p[1].events = POLLIN;
        p[2].fd = notify; p[2].events = POLLIN;
        bool ready = out_ready();
        for (int k = 0; k < top; k++) {
            struct channel *c = &channels[(k + (int)turn) % top];
            if (!c->used || !c->started) continue;
            if (c->in >= 0 && c->stdin_len) { p[n].fd = c->in; p[n].events = POLLOUT; whose[n].c = c; whose[n++].what = 0; }
            if (!ready || !c->credit) continue;
            if (c->out >= 0) { p[n].fd = c->out; p[n].events = POLLIN; whose[n].c = c; whose[n++].what = 1; }
            if (c->err >= 0) { p[n].fd = c->err; p[n].events = POLLIN; whose[n].c = c; whose[n++].what = 2; }
        }
        turn++;
        struct timespec wait = { 1, 0 };
        int r = xpoll(p, n, hup ? &wait : 0);
        if (r < 0 && r != -EINTR) { complain("ppoll: %s", error_name(r)); quit(1); }
        bool children = p[1].revents & POLLIN;
        if (children) drain_signals();
        if (hup) {
            struct pollfd q = { port, POLLIN | POLLOUT, 0 };
            xpoll(&q, 1, &(struct timespec){ 0, 0 });
            if (!(q.revents & POLLHUP)) { hup = false; xfcntl(port, 4, O_RDWR | O_NONBLOCK); }
            p[0].revents = q.revents;
        }
        if (!hup && p[0].revents & POLLIN) take_port();
        if (!hup && p[0].revents & POLLHUP) {
            if (!guest) quit(0);
            hup = true;
            in_len = 0;
            xfcntl(port, 8, SYS0(NR_getpid));
            xfcntl(port, 4, O_RDWR | O_NONBLOCK | O_ASYNC);
        }
        if (p[2].revents & POLLIN) take_notices();
        for (int i = 3; i < n; i++) {
            struct channel *c = whose[i].c;
            if (!p[i].revents || !c->used) continue;
            if (whose[i].what == 0) { if (p[i].fd == c->in) drain_stdin(c); }
            else if (whose[i].what == 1) { if (p[i].fd == c->out) take_output(c, &c->out, G_STDOUT); }
            else if (p[i].fd == c->err) take_output(c, &c->err, G_STDERR);
        }
        // after their output, so that most programs' end comes behind it
        if (children) reap();
    }
}

// ---- start

static void find_port(const char *name, int type, void *arg) {
    char p[320], b[64];
    (void)type;
    format(p, sizeof p, "sys/class/virtio-ports/%s/name", name);
    long n = read_small(p, b, sizeof b);
    if (n > 0 && b[n - 1] == '\n') b[n - 1] = 0;
    if (n > 0 && !strcmp(b, "nbv.control")) format(arg, 64, "dev/%s", name);
}

int nbv_main(int argc, char **argv, char **envp) {
    (void)envp;
    u64 all = ~0ull;
    SYS4(NR_rt_sigprocmask, 2, &all, 0, 8);
    u64 want = 1ull << (SIGCHLD - 1) | 1ull << (SIGIO - 1);
    signals = SYS4(NR_signalfd4, -1, &want, 8, O_NONBLOCK | O_CLOEXEC);
    SYS5(NR_prctl, 15, "nbv-control", 0, 0, 0);
    u64 files[2];
    if (SYS4(NR_prlimit64, 0, 7, 0, files) == 0) { files[0] = files[1] < 65536 ? files[1] : 65536; SYS4(NR_prlimit64, 0, 7, files, 0); }
    if (argc == 3 && !strcmp(argv[1], "--fd")) {
        port = (int)number(argv[2], 10, 0);
        if (argc == 3) SYS1(NR_chdir, "/");
    } else {
        char path[64] = "";
        guest = true;
        notify = open_notify();
        if (notify < 0) complain("no notices: run/nbv/notify: %s", error_name(notify));
        for (int waited = 0; !path[0] && waited < 5000; waited += 10) {
            each_entry("sys/class/virtio-ports", find_port, path);
            if (!path[0]) sleep_ms(10);
        }
        if (!path[0]) { complain("there is no virtio-serial port nbv.control: the host cannot run commands here"); return 1; }
        for (int waited = 0; (port = xopen(path, O_RDWR | O_NONBLOCK | O_NOCTTY, 0)) < 0 && waited < 2000; waited += 10) sleep_ms(10);
        if (port < 0) { complain("%s: %s", path, error_name(port)); return 1; }
    }
    xfcntl(port, 2, 1);
    xfcntl(port, 4, O_RDWR | O_NONBLOCK);
    out = map(OUT_SIZE);
    if (!out || signals < 0) { complain("no memory or signals"); return 1; }
    serve();
    return 0;
}
