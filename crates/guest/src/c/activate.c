// Prepares a machine as its toplevel says, in one process. Called as <toplevel>/init by the first program (then it executes systemd at
// the end), or as <toplevel>/activate by a switch. What it reads, <toplevel>/activate.manifest, is described in docs/booting.md
// ('Activation').
#include "activate.h"
#include "modules.h"

int failures;
static bool boot;
static char toplevel[1024];
static char *exec_env[64];
static int exec_env_count;

void warn(const char *f, ...) {
    char b[2048];
    va_list v;
    int n = format(b, sizeof b, "nbv-activate: ");
    va_start(v, f);
    n += vformat(b + n, sizeof b - (size_t)n - 1, f, v);
    va_end(v);
    b[n++] = '\n';
    failures++;
    write_all(2, b, (size_t)n);
}

int octal(const char *s, int otherwise) {
    const char *e;
    u64 v = number(s, 8, &e);
    return e == s || *e ? otherwise : (int)v;
}

void owner(const char *user, const char *group, u32 *uid, u32 *gid) {
    *uid = *gid = 0;
    if (!find_uid("/", user, uid)) warn("there is no user '%s'", user);
    if (!find_gid("/", group, gid)) warn("there is no group '%s'", group);
}

int replace_file(const char *path, const void *b, size_t n, int mode, u32 uid, u32 gid) {
    char beside[4096];
    struct statx s;
    bool there = xstat(path, &s, false) == 0;
    if (there && (s.mode & S_IFMT) == S_IFREG && s.size == n) {
        size_t len;
        char *old = read_file(path, &len);
        if (old && len == n && !memcmp(old, b, n)) {
            if (s.uid != uid || s.gid != gid) xlchown(path, uid, gid);
            if ((s.mode & 07777) != mode) xchmod(path, mode);
            unmap(old, n + 2);
            return 0;
        }
        if (old) unmap(old, len + 2);
    }
    format(beside, sizeof beside, "%s.nbv-tmp", path);
    xunlink(beside);
    int fd = xopen(beside, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd == -ENOENT) { make_parents(path); fd = xopen(beside, O_WRONLY | O_CREAT | O_EXCL, 0600); }
    if (fd < 0) return fd;
    int r = write_all(fd, b, n);
    if (!r && (uid || gid)) r = SYS3(NR_fchown, fd, uid, gid);
    if (!r) r = SYS2(NR_fchmod, fd, mode);
    xclose(fd);
    if (!r) r = xrename(beside, path);
    if (r) xunlink(beside);
    return r;
}

void make_folder(const char *path, int mode, u32 uid, u32 gid) {
    struct statx s;
    int r = xmkdir(path, mode);
    if (r == -ENOENT) { make_parents(path); r = xmkdir(path, mode); }
    if (r && r != -EEXIST) { warn("folder %s: %s", path, error_name(r)); return; }
    if (r == 0 || xstat(path, &s, true) || s.uid != uid || s.gid != gid) xlchown(path, uid, gid);
    if (r == 0 || (s.mode & 07777) != mode) xchmod(path, mode);
}

// Copies of sources, one behind the other. Whether any was there in *any.
static char *join_sources(const struct line *l, int first, size_t *len, bool *any) {
    size_t size = 1;
    *len = 0;
    *any = false;
    char *parts[FIELDS];
    size_t lens[FIELDS];
    for (int i = first; i < l->n; i++) {
        const char *source = l->f[i];
        parts[i] = 0;
        if (*source == '=') {
            parts[i] = (char *)source + 1;
            lens[i] = strlen(parts[i]);
        } else {
            bool optional = *source == '-';
            parts[i] = read_file(source + optional, &lens[i]);
            if (!parts[i]) {
                if (!optional) { warn("cannot read %s for %s", source, l->f[1]); return 0; }
                continue;
            }
        }
        *any = true;
        size += lens[i];
    }
    char *b = take(size);
    for (int i = first; i < l->n; i++)
        if (parts[i]) { memcpy(b + *len, parts[i], lens[i]); *len += lens[i]; }
    return b;
}

static void file_line(const struct line *l) {
    if (l->n < 6) { warn("a line '%s' has too few fields", l->f[0]); return; }
    const char *path = l->f[1];
    bool keep = !strcmp(l->f[0], "keep"), any;
    u32 uid, gid;
    size_t n;
    if (keep && exists(path)) return;
    char *b = join_sources(l, 5, &n, &any);
    if (!b || (!any && keep)) return;
    owner(l->f[3], l->f[4], &uid, &gid);
    int r = replace_file(path, b, n, octal(l->f[2], 0644), uid, gid);
    if (r) warn("file %s: %s", path, error_name(r));
    if (!keep) etc_copied(path);
}

static void sysctl_line(const struct line *l) {
    if (l->n < 3) return;
    const char *key = l->f[1];
    bool quiet = *key == '-';
    char p[512];
    key += quiet;
    size_t at = (size_t)format(p, sizeof p, "/proc/sys/");
    // as sysctl: the first separator says which of '.' and '/' separates
    bool slashes = false;
    for (const char *q = key; *q; q++) if (*q == '.' || *q == '/') { slashes = *q == '/'; break; }
    for (; *key && at + 1 < sizeof p; key++) p[at++] = slashes ? *key : *key == '.' ? '/' : *key == '/' ? '.' : *key;
    p[at] = 0;
    int r = write_text(p, l->f[2]);
    if (r && !quiet) warn("sysctl %s: %s", l->f[1], error_name(r));
}

static char *disk_found, *disk_wanted;
static void look_disk(const char *name, int type, void *arg) {
    char p[320], b[64];
    (void)type; (void)arg;
    format(p, sizeof p, "/sys/block/%s/serial", name);
    long n = read_small(p, b, sizeof b);
    while (n > 0 && (b[n - 1] == '\n' || b[n - 1] == ' ')) b[--n] = 0;
    if (n > 0 && !strcmp(b, disk_wanted)) {
        format(p, sizeof p, "/dev/%s", name);
        disk_found = copy_string(p);
    }
}

static void mount_line(const struct line *l) {
    if (!boot) return;
    if (l->n < 4) { warn("a line 'mount' has too few fields"); return; }
    static const struct { const char *name; u32 flag; } known[] = { { "ro", MS_RDONLY }, { "nosuid", MS_NOSUID }, { "nodev", MS_NODEV },
        { "noexec", MS_NOEXEC }, { "noatime", MS_NOATIME }, { "relatime", MS_RELATIME }, { "bind", MS_BIND }, { "rbind", MS_BIND | MS_REC },
        { "rw", 0 }, { "defaults", 0 }, { "auto", 0 }, { "x-initrd.mount", 0 }, { "suid", 0 }, { "dev", 0 }, { "exec", 0 }, { "nofail", 0 } };
    const char *what = l->f[1];
    char data[512] = "", *p = copy_string(l->n > 4 ? l->f[4] : ""), *o;
    unsigned long flags = 0;
    size_t at = 0;
    bool quiet = false;
    while ((o = word(&p, ","))) {
        bool found = starts(o, "x-");
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (!strcmp(o, known[i].name)) { flags |= known[i].flag; found = true; }
        if (!strcmp(o, "nofail")) quiet = true;
        if (!found) at += (size_t)format(data + at, sizeof data - at, "%s%s", at ? "," : "", o);
    }
    if (starts(what, "serial:")) {
        disk_wanted = (char *)what + 7;
        disk_found = 0;
        each_entry("/sys/block", look_disk, 0);
        if (!disk_found) { if (!quiet) warn("mount %s: no disk has the serial %s", l->f[2], disk_wanted); return; }
        what = disk_found;
    }
    make_parents(l->f[2]);
    xmkdir(l->f[2], 0755);
    int r = xmount(what, l->f[2], l->f[3], flags, data);
    // the file system's driver may be a module that nobody has loaded
    if (r == -ENODEV && load_module(l->f[3]) == 0) r = xmount(what, l->f[2], l->f[3], flags, data);
    if (r && !quiet) warn("mount %s at %s (%s): %s", what, l->f[2], l->f[3], error_name(r));
}

struct program { char **argv, **envp; };
static void run_child(void *arg) {
    struct program *p = arg;
    SYS3(NR_execve, p->argv[0], p->argv, p->envp);
    quit(127);
}

static void script_line(const struct line *l) {
    static u8 stack[16384] __attribute__((aligned(16)));
    char *argv[FIELDS], system[1100];
    int n = 0, status = 0;
    if (l->n < 3) return;
    for (int i = 2; i < l->n; i++) argv[n++] = l->f[i];
    argv[n] = 0;
    format(system, sizeof system, "systemConfig=%s", toplevel);
    char *envp[] = { system, "PATH=/run/current-system/sw/bin:/usr/bin", "HOME=/root", "LC_ALL=C.UTF-8", boot ? "NIXOS_ACTION=boot" : "NIXOS_ACTION=test", 0 };
    struct program p = { argv, envp };
    int pid = (int)nbv_clone(NR_clone, 0x4100 | SIGCHLD, (long)(stack + sizeof stack), run_child, &p);
    if (pid < 0) { warn("script %s: %s", l->f[1], error_name(pid)); return; }
    while (SYS4(NR_wait4, pid, &status, 0, 0) == -EINTR) {}
    if (status) warn("script %s failed (%s %d)", l->f[1], status & 0x7f ? "signal" : "status", status & 0x7f ? status & 0x7f : status >> 8);
}

static void machine_id(void) {
    struct statx s;
    if (xstat("/etc/machine-id", &s, true) == 0 && s.size >= 32) return;
    u8 r[16];
    char text[34];
    SYS3(NR_getrandom, r, sizeof r, 0);
    // a random UUID (version 4), as systemd makes them
    r[6] = (r[6] & 0x0f) | 0x40;
    r[8] = (r[8] & 0x3f) | 0x80;
    for (int i = 0; i < 16; i++) format(text + 2 * i, 3, "%02x", (u32)r[i]);
    text[32] = '\n';
    int e = replace_file("/etc/machine-id", text, 33, 0444, 0, 0);
    if (e) warn("/etc/machine-id: %s", error_name(e));
}

// Splits one line in place; \t, \n and \\ in the fields become what they stand for.
static bool split(char **text, struct line *l) {
    char *p = *text;
    if (!*p) return false;
    l->n = 0;
    char *to = p;
    l->f[l->n++] = to;
    for (;; p++) {
        if (!*p || *p == '\n') {
            bool more = *p;
            *to = 0;
            *text = p + more;
            return true;
        }
        if (*p == '\t' && l->n < FIELDS) {
            *to++ = 0;
            l->f[l->n++] = to;
        } else if (*p == '\\' && (p[1] == 't' || p[1] == 'n' || p[1] == '\\')) {
            p++;
            *to++ = *p == 't' ? '\t' : *p == 'n' ? '\n' : '\\';
        } else {
            *to++ = *p;
        }
    }
}

static struct line *lines;
static int line_count;

static void read_manifest(void) {
    char path[1100];
    format(path, sizeof path, "%s/activate.manifest", toplevel);
    size_t n;
    char *text = read_file(path, &n), *p = text;
    if (!text || strncmp(text, "nbv-activate 1\n", 15)) {
        warn("%s %s", path, text ? "is of another version" : "cannot be read");
        quit(1);
    }
    int count = 1;
    for (char *q = text; *q; q++) count += *q == '\n';
    lines = map((size_t)count * sizeof *lines);
    if (!lines) { warn("no memory"); quit(1); }
    struct line *l = lines;
    for (bool first = true; split(&p, l); first = false)
        if (!first && *l->f[0] && *l->f[0] != '#') { l++; line_count++; }
}

static void apply(const struct line *l) {
    const char *k = l->f[0];
    u32 uid, gid;
    if (!strcmp(k, "etc")) { if (l->n > 1) etc_tree(l->f[1]); }
    else if (!strcmp(k, "file") || !strcmp(k, "keep")) file_line(l);
    else if (!strcmp(k, "link")) { if (l->n > 2) replace_link(l->f[2], l->f[1]); }
    else if (!strcmp(k, "dir")) {
        if (l->n < 5) { warn("a line 'dir' has too few fields"); return; }
        owner(l->f[3], l->f[4], &uid, &gid);
        make_folder(l->f[1], octal(l->f[2], 0755), uid, gid);
    }
    else if (!strcmp(k, "tmpfile")) tmpfile_line(l);
    else if (!strcmp(k, "sysctl")) sysctl_line(l);
    else if (!strcmp(k, "module")) {
        int r = l->n > 1 ? load_module(l->f[1]) : 0;
        if (r) warn("module %s: %s", l->f[1], error_name(r));
    }
    else if (!strcmp(k, "mount")) mount_line(l);
    else if (!strcmp(k, "wrapper")) wrapper_line(l);
    else if (!strcmp(k, "script")) script_line(l);
    else if (!strcmp(k, "env")) {
        if (l->n < 3 || exec_env_count >= 60) return;
        size_t n = strlen(l->f[1]) + strlen(l->f[2]) + 2;
        char *e = take(n);
        format(e, n, "%s=%s", l->f[1], l->f[2]);
        exec_env[exec_env_count++] = e;
    }
    else if (strcmp(k, "exec") && strcmp(k, "mutable") && strcmp(k, "group") && strcmp(k, "user")) warn("unknown word '%s'", k);
}

_Noreturn static void become(const struct line *l, char **envp) {
    char *argv[FIELDS];
    int n = 0;
    for (int i = 1; i < l->n; i++) argv[n++] = l->f[i];
    argv[n] = 0;
    // what the first program gave stays, `env` wins
    for (; *envp && exec_env_count < 62; envp++) {
        bool said = false;
        char *eq = strchr(*envp, '=');
        for (int i = 0; eq && i < exec_env_count; i++) said = said || !strncmp(exec_env[i], *envp, (size_t)(eq - *envp) + 1);
        if (!said) exec_env[exec_env_count++] = *envp;
    }
    exec_env[exec_env_count] = 0;
    int r = SYS3(NR_execve, argv[0], argv, exec_env);
    warn("cannot execute %s: %s", argv[0], error_name(r));
    SYS0(NR_sync);
    SYS4(NR_reboot, 0xfee1dead, 672274793, 0x4321fedc, 0);
    quit(1);
}

int nbv_main(int argc, char **argv, char **envp) {
    char self[512], folder[1024];
    if (read_link("/proc/self/exe", self, sizeof self) > 0 && starts(self, "/run/wrappers/bin/")) return wrapper_main(self, argc, argv, envp);
    if (argc < 1 || !strchr(argv[0], '/')) { warn("call it by its place in a toplevel"); return 2; }
    format(folder, sizeof folder, "%s", argv[0]);
    char *slash = strrchr(folder, '/');
    boot = !strcmp(slash + 1, "init") && SYS0(NR_getpid) == 1;
    *slash = 0;
    // the toplevel's own name, if it was called through a link to it
    int fd = xopen(*folder ? folder : "/", O_PATH | O_DIRECTORY, 0);
    char p[64];
    format(p, sizeof p, "/proc/self/fd/%d", fd);
    if (fd < 0 || read_link(p, toplevel, sizeof toplevel) <= 0) format(toplevel, sizeof toplevel, "%s", folder);
    if (fd >= 0) xclose(fd);
    SYS1(NR_umask, 022);
    read_manifest();
    if (argc > 1 && !strcmp(argv[1], "--check")) return failures != 0;
    xmkdir("/run", 0755);
    replace_link(toplevel, "/run/current-system");
    if (boot) replace_link(toplevel, "/run/booted-system");
    for (int i = 0; i < line_count; i++) {
        const char *k = lines[i].f[0];
        if (!strcmp(k, "mutable") || !strcmp(k, "group") || !strcmp(k, "user")) accounts_line(&lines[i]);
    }
    accounts_apply();
    machine_id();
    for (int i = 0; i < line_count; i++) apply(&lines[i]);
    etc_finish();
    if (boot) {
        for (int i = line_count - 1; i >= 0; i--)
            if (!strcmp(lines[i].f[0], "exec") && lines[i].n > 1) become(&lines[i], envp);
        warn("the manifest has no line exec");
        return 1;
    }
    return failures ? 1 : 0;
}
