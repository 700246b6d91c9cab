// /run/wrappers/bin: programs with more rights than who starts them.
//
// A program of the layer that has the rights itself (Debian's sudo is set-uid root) is linked. Else the wrapper is a copy of this program with
// these rights, which finds what to execute in /run/wrappers/real/NAME.
#include "activate.h"

#if defined __x86_64__
enum { NR_setxattr = 188, NR_capget = 125 };
#elif defined __i386__
enum { NR_setxattr = 226, NR_capget = 184 };
#else
enum { NR_setxattr = 5, NR_capget = 90 };
#endif

static const char *CAPABILITIES[] = { "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio",
    "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod",
    "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read",
    "perfmon", "bpf", "checkpoint_restore" };

// "cap_net_raw,cap_net_admin+ep": the set of those named (the letters behind say nothing that matters: they are raised).
static u64 parse_capabilities(const char *text, const char *who) {
    u64 set = 0;
    char *copy = copy_string(text), *p = copy, *clause, *name;
    while ((clause = word(&p, " "))) {
        for (char *q = clause; *q; q++) if (*q == '+' || *q == '=') { *q = 0; break; }
        while ((name = word(&clause, ","))) {
            int found = -1;
            for (int i = 0; i < (int)(sizeof CAPABILITIES / sizeof *CAPABILITIES); i++)
                if (starts(name, "cap_") && !strcmp(name + 4, CAPABILITIES[i])) found = i;
            if (found < 0) warn("wrapper %s: no capability '%s'", who, name);
            else set |= 1ull << found;
        }
    }
    return set;
}

void wrapper_line(const struct line *l) {
    static bool ready;
    static char *self;
    static size_t self_len;
    char path[256], real[256];
    struct statx s;
    u32 uid, gid;
    if (l->n < 6) { warn("a line 'wrapper' has too few fields"); return; }
    const char *name = l->f[1], *program = l->f[2], *capabilities = l->n > 6 ? l->f[6] : "";
    int mode = octal(l->f[5], 0755);
    owner(l->f[3], l->f[4], &uid, &gid);
    if (!ready) {
        // /run is without set-uid programs, this is not
        if (!exists("/run/wrappers")) {
            xmkdir("/run/wrappers", 0755);
            int r = xmount("tmpfs", "/run/wrappers", "tmpfs", MS_NODEV, "mode=0755,size=4m");
            if (r) warn("/run/wrappers: %s", error_name(r));
        }
        make_folder("/run/wrappers/bin", 0755, 0, 0);
        make_folder("/run/wrappers/real", 0755, 0, 0);
        ready = true;
    }
    format(path, sizeof path, "/run/wrappers/bin/%s", name);
    if (xstat(program, &s, true)) { warn("wrapper %s: there is no program %s", name, program); return; }
    if (!*capabilities && (s.mode & 06000) == (mode & 06000) && s.uid == uid && s.gid == gid) {
        replace_link(program, path);
        return;
    }
    if (!self && !(self = read_file("/proc/self/exe", &self_len))) { warn("wrapper %s: cannot read this program", name); return; }
    format(real, sizeof real, "/run/wrappers/real/%s", name);
    replace_file(real, program, strlen(program), 0444, 0, 0);
    char now[16];
    if (read_link(path, now, sizeof now) > 0) xunlink(path);
    int r = replace_file(path, self, self_len, mode, uid, gid);
    if (r) { warn("wrapper %s: %s", name, error_name(r)); return; }
    if (*capabilities) {
        u64 set = parse_capabilities(capabilities, name);
        // struct vfs_cap_data, revision 2, effective
        u32 data[5] = { 0x02000001, (u32)set, 0, (u32)(set >> 32), 0 };
        r = SYS5(NR_setxattr, path, "security.capability", data, sizeof data, 0);
        if (r) warn("wrapper %s: capabilities: %s", name, error_name(r));
    }
}

// As a wrapper: executes the real program with the capabilities that this one has.
int wrapper_main(char *self, int argc, char **argv, char **envp) {
    char real[256], program[1024];
    (void)argc;
    format(real, sizeof real, "/run/wrappers/real/%s", strrchr(self, '/') + 1);
    if (read_small(real, program, sizeof program) <= 0) { warn("%s cannot be read", real); return 126; }
    struct { u32 version; int pid; } head = { 0x20080522, 0 };
    struct { u32 effective, permitted, inheritable; } data[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
    struct statx s;
    bool setid = xstat(self, &s, true) == 0 && s.mode & 06000;
    if (!setid && SYS2(NR_capget, &head, data) == 0) {
        for (int i = 0; i < 2; i++) data[i].inheritable |= data[i].permitted;
        SYS2(NR_capset, &head, data);
        for (int c = 0; c < 41; c++)
            if (data[c >> 5].permitted >> (c & 31) & 1) SYS5(NR_prctl, 47, 2, c, 0, 0);
    }
    int r = SYS3(NR_execve, program, argv, envp);
    warn("%s: %s", program, error_name(r));
    return 126;
}
