// The first program of a guest: from the initial file system to the machine's own init. The contract is in docs/architecture.md
// ('What a guest is given'). Whatever is missing is said in one line that begins with "nbv-init:", then the machine powers off, so
// that the host sees a failed boot at once.
#include "modules.h"
#include "net.h"

static char kernel_line[4096], init_path[1024];

_Noreturn static void power_off(void) {
    SYS0(NR_sync);
    sleep_ms(20);
    SYS4(NR_reboot, 0xfee1dead, 672274793, 0x4321fedc, 0);
    SYS4(NR_reboot, 0xfee1dead, 672274793, 0x01234567, 0);
    for (;;) sleep_ms(1000);
}

static void say(const char *f, ...) {
    char b[1200];
    va_list v;
    int n = format(b, sizeof b, "nbv-init: ");
    va_start(v, f);
    n += vformat(b + n, sizeof b - (size_t)n - 2, f, v);
    va_end(v);
    b[n++] = '\n';
    if (write_all(1, b, (size_t)n)) write_file("/dev/kmsg", b, (size_t)n, 0);
}

#define FAIL(...) do { say(__VA_ARGS__); power_off(); } while (0)

static bool console(void) {
    int fd = xopen("/dev/console", O_RDWR | O_NOCTTY, 0);
    if (fd < 0) return false;
    for (int i = 0; i < 3; i++) if (fd != i) SYS3(NR_dup3, fd, i, 0);
    if (fd > 2) xclose(fd);
    return true;
}

// a word KEY=value of the kernel's command line
static bool argument(const char *key, char *out, size_t size) {
    size_t k = strlen(key);
    bool found = false;
    for (const char *p = kernel_line; *p;) {
        const char *e = p;
        while (*e && *e != ' ' && *e != '\n') e++;
        if (!strncmp(p, key, k) && (size_t)(e - p) - k < size) {
            memcpy(out, p + k, (size_t)(e - p) - k);
            out[(size_t)(e - p) - k] = 0;
            found = true;
        }
        p = *e ? e + 1 : e;
    }
    return found;
}

struct search { const char *serial; char device[64]; };

static void look(const char *name, int type, void *arg) {
    (void)type;
    struct search *s = arg;
    char p[320], b[64];
    if (s->device[0]) return;
    format(p, sizeof p, "/sys/block/%s/serial", name);
    long n = read_small(p, b, sizeof b);
    if (n < 0) return;
    while (n > 0 && (b[n - 1] == '\n' || b[n - 1] == ' ')) b[--n] = 0;
    if (!strcmp(b, s->serial)) format(s->device, sizeof s->device, "/dev/%s", name);
}

static bool find_disk(const char *serial, struct search *s, int wait) {
    s->serial = serial;
    s->device[0] = 0;
    for (int waited = 0;; waited += 5) {
        each_entry("/sys/block", look, s);
        if (s->device[0] && exists(s->device)) return true;
        if (waited >= wait) return false;
        sleep_ms(5);
    }
}

static void need_mount(const char *what, const char *where, const char *type, unsigned long flags, const char *data) {
    int r = xmount(what, where, type, flags, data);
    if (r) FAIL("cannot mount %s (%s) at %s: %s", what, type, where, error_name(r));
}

// Modules that most machines do not need (each costs emulated time): the root's file system, another bus, what the machine loads by itself.
static const char *const ROOT_MODULES[] = { "ext4", "jbd2", "mbcache", "crc16", "crc32c_generic", 0 };
static const char *const BUS_MODULES[] = { "virtio_mmio", 0 };
static const char *const LATER_MODULES[] = { "overlay", 0 };

static bool is_one_of(const char *file, const char *const *names) {
    for (; *names; names++) {
        size_t n = strlen(*names);
        if (!strncmp(file, *names, n) && file[n] == '.') return true;
    }
    return false;
}

// Loads the modules of /modules in their order: those of `only`, or all but the ones above.
static void modules(const char *const *only) {
    size_t size;
    char *list = read_file("/modules", &size), *p = list, *line;
    if (!list) return;
    while ((line = word(&p, "\n"))) {
        char path[160];
        char *name = word(&line, " \t");
        if (!name) continue;
        bool special = is_one_of(name, BUS_MODULES) || is_one_of(name, LATER_MODULES) || (is_one_of(name, ROOT_MODULES) && !starts(name, "crc32c"));
        if (only ? !is_one_of(name, only) : special) continue;
        while (*line == ' ' || *line == '\t') line++;
        format(path, sizeof path, "/m/%s", name);
        int r = load_module_file(path, line);
        // a device that is not there is no fault of the module
        if (r && r != -ENODEV) say("module %s: %s", name, error_name(r));
    }
    unmap(list, size + 2);
}

static void forget_module(const char *name, int type, void *arg) {
    char path[320];
    (void)type; (void)arg;
    format(path, sizeof path, "/m/%s", name);
    xunlink(path);
}

// The lines of /nbv/machine. DNS goes to /run/nbv/resolv.conf, which activation copies to /etc.
static void machine(void) {
    char resolv[1024];
    size_t at = 0;
    char *text = read_file("/nbv/machine", 0), *p = text, *line;
    int fd = netlink_open(), index, r;
    if (fd < 0) say("no netlink: %s", error_name(fd));
    if (fd >= 0 && (r = link_up(fd, "lo", &index))) say("lo: %s", error_name(r));
    while (text && (line = word(&p, "\n"))) {
        char *key = word(&line, " \t"), *value = key ? word(&line, " \t") : 0;
        if (!value) continue;
        if (!strcmp(key, "hostname")) {
            SYS2(NR_sethostname, value, strlen(value));
        } else if (!strcmp(key, "interface")) {
            for (int waited = 0; waited < 3000 && link_index(value) < 0; waited += 5) sleep_ms(5);
            if ((r = link_up(fd, value, &index))) { say("interface %s: %s", value, error_name(r)); continue; }
            for (char *a; (a = word(&line, " \t"));)
                if ((r = add_address(fd, index, a))) say("address %s on %s: %s", a, value, error_name(r));
        } else if (!strcmp(key, "gateway")) {
            if ((r = add_gateway(fd, value))) say("gateway %s: %s", value, error_name(r));
        } else if (!strcmp(key, "nameserver") || !strcmp(key, "search") || !strcmp(key, "domain")) {
            at += (size_t)format(resolv + at, sizeof resolv - at, "%s %s\n", key, value);
        } else if (!strcmp(key, "time")) {
            struct timespec t = { (s64)number(value, 10, 0), 0 };
            const char *dot = strchr(value, '.');
            if (dot) for (u32 unit = 100000000; *++dot >= '0' && *dot <= '9'; unit /= 10) t.nsec += (u32)(*dot - '0') * unit;
            if ((r = SYS2(NR_clock_settime, 0, &t))) say("clock: %s", error_name(r));
        } else {
            say("/nbv/machine: unknown word '%s'", key);
        }
    }
    if (fd >= 0) xclose(fd);
    if (at) write_file("/new/run/nbv/resolv.conf", resolv, at, 0644);
}

struct copying { const char *from, *to; };

static void copy_tree(const char *from, const char *to);

static void copy_one(const char *name, int type, void *arg) {
    struct copying *c = arg;
    char a[512], b[512];
    (void)type;
    format(a, sizeof a, "%s/%s", c->from, name);
    format(b, sizeof b, "%s/%s", c->to, name);
    copy_tree(a, b);
}

// Copies a folder or file with its mode, and removes it: the initial file system must not keep keys.
static void copy_tree(const char *from, const char *to) {
    struct statx s;
    if (xstat(from, &s, false)) return;
    if ((s.mode & S_IFMT) == S_IFDIR) {
        xmkdir(to, 0700);
        xchmod(to, s.mode & 07777);
        struct copying c = { from, to };
        each_entry(from, copy_one, &c);
        xrmdir(from);
    } else if ((s.mode & S_IFMT) == S_IFREG) {
        size_t n;
        char *b = read_file(from, &n);
        int r = b ? write_file(to, b, n, s.mode & 0777) : -EIO;
        if (r) say("cannot copy %s: %s", from, error_name(r));
        if (b) unmap(b, n + 2);
        xunlink(from);
    }
}

static void seed(void) {
    struct { int bits, size; u8 data[512]; } e;
    int fd = xopen("/nbv/seed", O_RDONLY, 0);
    if (fd < 0) return;
    long n = xread(fd, e.data, sizeof e.data);
    xclose(fd);
    xunlink("/nbv/seed");
    if (n <= 0 || (fd = xopen("/dev/urandom", O_WRONLY, 0)) < 0) return;
    e.size = (int)n;
    e.bits = (int)n * 8;
    xioctl(fd, 0x40085203, (long)&e);
    xclose(fd);
}

static void folder(const char *p, int mode) {
    if (xmkdir(p, mode) == 0) xchmod(p, mode);
}

// What a root needs before anything of the toplevel runs; each is made once.
static void skeleton(void) {
    static const char *plain[] = { "dev", "proc", "sys", "run", "etc", "var", "usr", "home", "mnt", "srv", "nix", "nix/store", "nix/var", "nix/var/nix",
        "nix/var/nix/profiles", "nix/var/nix/gcroots", "var/lib", "var/log", "var/cache", "var/spool", "var/db" };
    char p[64];
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        format(p, sizeof p, "/new/%s", plain[i]);
        folder(p, plain[i][0] == 'n' && plain[i][3] == '/' && plain[i][4] == 's' ? 01775 : 0755);
    }
    folder("/new/root", 0700);
    folder("/new/tmp", 01777);
    folder("/new/var/tmp", 01777);
    folder("/new/var/empty", 0555);
    xsymlink("usr/bin", "/new/bin");
    xsymlink("usr/bin", "/new/sbin");
    xsymlink("usr/lib", "/new/lib");
    if (exists("/new/usr/lib64")) xsymlink("usr/lib64", "/new/lib64");
    xsymlink("/run", "/new/var/run");
    xsymlink("/run/lock", "/new/var/lock");
}

// Starts control; its current folder is the new root, its own root stays the initial file system (so it never keeps a mount busy).
static void run_control(void *arg) {
    char **envp = arg;
    // argv[0] that begins with '@': systemd leaves it alone when it kills what is left at the end
    char *argv[] = { "@nbv-control", "guest", 0 };
    u64 none = 0;
    SYS0(NR_setsid);
    SYS4(NR_rt_sigprocmask, 2, &none, 0, 8);
    write_text("proc/self/oom_score_adj", "-1000");
    SYS3(NR_execve, "/control", argv, envp);
    quit(127);
}

static void start_control(char **envp) {
    static u8 stack[16384] __attribute__((aligned(16)));
    int r = SYS1(NR_chdir, "/new");
    if (!r) r = (int)nbv_clone(NR_clone, 0x4100 | SIGCHLD, (long)(stack + sizeof stack), run_control, envp);
    if (r < 0) say("control did not start: %s", error_name(r));
    xunlink("/control");
    SYS1(NR_chdir, "/");
}

int nbv_main(int argc, char **argv, char **envp) {
    (void)argc; (void)argv;
    static struct search root, layer, store;
    SYS1(NR_umask, 022);
    folder("/proc", 0755); folder("/sys", 0755); folder("/dev", 0755); folder("/new", 0755);
    xmount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
    xmount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
    xmount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
    bool told = console();
    read_small("/proc/cmdline", kernel_line, sizeof kernel_line);
    modules(0);
    if (!told) told = console();
    if (!argument("init=", init_path, sizeof init_path)) FAIL("the kernel's command line has no init=");

    // PCI devices are there as soon as their drivers are; none at all means another bus
    if (!find_disk("nbv-layer", &layer, 100)) modules(BUS_MODULES);
    if (!layer.device[0] && !find_disk("nbv-layer", &layer, 10000)) FAIL("there is no disk with the serial nbv-layer (the packages)");
    bool has_store = find_disk("nbv-store", &store, 0), has_root = find_disk("nbv-root", &root, 0);
    if (has_root) modules(ROOT_MODULES);
    if (has_root) need_mount(root.device, "/new", "ext4", MS_RELATIME, "");
    else need_mount("tmpfs", "/new", "tmpfs", 0, "mode=0755,size=75%");
    folder("/new/usr", 0755);
    need_mount(layer.device, "/new/usr", "erofs", MS_RDONLY | MS_NODEV | MS_NOATIME, "");
    skeleton();
    if (has_store) need_mount(store.device, "/new/nix/store", "erofs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOATIME, "");
    need_mount("tmpfs", "/new/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=25%");
    folder("/new/run/nbv", 0711);
    folder("/new/run/lock", 0755);
    folder("/new/run/sshd", 0755);
    seed();
    machine();
    copy_tree("/nbv", "/new/run/nbv");
    xchmod("/new/run/nbv", 0711);

    xsymlink("/proc/self/fd", "/dev/fd");
    xsymlink("/proc/self/fd/0", "/dev/stdin");
    xsymlink("/proc/self/fd/1", "/dev/stdout");
    xsymlink("/proc/self/fd/2", "/dev/stderr");
    static const char *moved[] = { "dev", "proc", "sys" };
    for (int i = 0; i < 3; i++) {
        char a[16], b[16];
        format(a, sizeof a, "/%s", moved[i]);
        format(b, sizeof b, "/new/%s", moved[i]);
        need_mount(a, b, 0, MS_MOVE, 0);
    }
    start_control(envp);
    each_entry("/m", forget_module, 0);
    xunlink("/modules"); xunlink("/init"); xrmdir("/m"); xrmdir("/nbv");

    int r = SYS1(NR_chdir, "/new");
    if (!r) r = xmount(".", "/", 0, MS_MOVE, 0);
    if (!r) r = SYS1(NR_chroot, ".");
    if (!r) r = SYS1(NR_chdir, "/");
    if (r) FAIL("cannot change to the machine's root: %s", error_name(r));
    if (!exists(init_path)) FAIL("init=%s does not exist (%s)", init_path, has_store ? "it is not in the store image" : "there is no disk nbv-store");
    char *args[] = { init_path, 0 };
    char *environment[] = { "HOME=/", "TERM=linux", "PATH=/usr/bin", "NOTIFY_SOCKET=/run/nbv/notify", 0 };
    r = SYS3(NR_execve, init_path, args, environment);
    FAIL("cannot execute %s: %s", init_path, error_name(r));
}
