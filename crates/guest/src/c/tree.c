// /etc from a folder of links, and rules of tmpfiles.d.
#include "activate.h"

static char *copied_now[1024], *copied_before;
static int copied_count;
static bool had_static;

void replace_link(const char *target, const char *path) {
    char now[4096], beside[4096];
    long n = read_link(path, now, sizeof now);
    if (n >= 0 && !strcmp(now, target)) return;
    int r = -EEXIST;
    if (n == -ENOENT) {
        r = xsymlink(target, path);
        if (r == -ENOENT) { make_parents(path); r = xsymlink(target, path); }
    }
    if (r == -EEXIST) {
        format(beside, sizeof beside, "%s.nbv-tmp", path);
        xunlink(beside);
        r = xsymlink(target, beside);
        if (!r) r = xrename(beside, path);
        if (r) xunlink(beside);
    }
    if (r) warn("link %s: %s", path, error_name(r));
}

// Whether all in a folder are links to /etc/static (then it may go).
struct only_static { const char *folder; bool yes; };
static void check_static(const char *name, int type, void *arg) {
    struct only_static *o = arg;
    char p[4096], target[64];
    format(p, sizeof p, "%s/%s", o->folder, name);
    if (type == 4) {
        struct only_static below = { p, true };
        each_entry(p, check_static, &below);
        o->yes = o->yes && below.yes;
    } else if (type != 10 || read_link(p, target, sizeof target) < 0 || !starts(target, "/etc/static/")) {
        o->yes = false;
    }
}

static void remove_tree(const char *path);
static void remove_one(const char *name, int type, void *arg) {
    char p[4096];
    format(p, sizeof p, "%s/%s", (const char *)arg, name);
    if (type == 4) { remove_tree(p); return; }
    xunlink(p);
}
static void remove_tree(const char *path) {
    each_entry(path, remove_one, (void *)path);
    xrmdir(path);
}

struct walk { const char *from, *below; };

static void link_one(const char *name, int type, void *arg) {
    struct walk *w = arg;
    char from[2048], below[2048], to[2048], target[2048];
    format(from, sizeof from, "%s/%s", w->from, name);
    format(below, sizeof below, "%s%s%s", w->below, *w->below ? "/" : "", name);
    format(to, sizeof to, "/etc/%s", below);
    if (type == 4) {
        struct statx s;
        int r = xstat(to, &s, false);
        if (r == 0 && (s.mode & S_IFMT) != S_IFDIR) {
            // a link of an earlier activation, or a link to a folder that somebody made
            xunlink(to);
            r = -ENOENT;
        }
        if (r) xmkdir(to, 0755);
        struct walk next = { from, below };
        each_entry(from, link_one, &next);
        return;
    }
    struct statx s;
    if (had_static && xstat(to, &s, false) == 0 && (s.mode & S_IFMT) == S_IFDIR) {
        struct only_static o = { to, true };
        each_entry(to, check_static, &o);
        if (!o.yes) { warn("%s is a folder with files of its own: not replaced by a link", to); return; }
        remove_tree(to);
    }
    format(target, sizeof target, "/etc/static/%s", below);
    replace_link(target, to);
}

static void clean_one(const char *name, int type, void *arg) {
    char p[2048], target[2048];
    format(p, sizeof p, "%s/%s", (const char *)arg, name);
    if (type == 4) { each_entry(p, clean_one, p); return; }
    if (type != 10 || read_link(p, target, sizeof target) < 0 || !starts(target, "/etc/static/")) return;
    struct statx s;
    if (xstat(target, &s, false) == 0) {
        // through a folder that is a link now, it leads out of the tree of names: still there is enough
        return;
    }
    xunlink(p);
}

void etc_tree(const char *folder) {
    char now[64];
    xmkdir("/etc", 0755);
    had_static = read_link("/etc/static", now, sizeof now) >= 0;
    if (!copied_before) copied_before = read_file("/etc/.clean", 0);
    replace_link(folder, "/etc/static");
    struct walk w = { folder, "" };
    int r = each_entry(folder, link_one, &w);
    if (r) warn("etc %s: %s", folder, error_name(r));
    if (had_static) each_entry("/etc", clean_one, "/etc");
}

void etc_copied(const char *path) {
    if (copied_count < 1024 && starts(path, "/etc/")) copied_now[copied_count++] = copy_string(path);
}

// Removes files that an earlier activation copied and this one did not.
void etc_finish(void) {
    size_t size = 2, at = 0;
    char *p = copied_before, *line;
    while (p && (line = word(&p, "\n"))) {
        bool still = false;
        char full[1024], target[32];
        format(full, sizeof full, "%s%s", *line == '/' ? "" : "/etc/", line);
        for (int i = 0; i < copied_count; i++) still = still || !strcmp(copied_now[i], full);
        if (!still && !(read_link(full, target, sizeof target) > 0)) xunlink(full);
    }
    for (int i = 0; i < copied_count; i++) size += strlen(copied_now[i]) + 1;
    char *b = take(size);
    for (int i = 0; i < copied_count; i++) at += (size_t)format(b + at, size - at, "%s\n", copied_now[i] + 5);
    if (copied_count || copied_before) replace_file("/etc/.clean", b, at, 0644, 0, 0);
}

// ---- tmpfiles

static void set_below(const char *name, int type, void *arg);
struct rule { const char *path; int mode; u32 uid, gid; bool has_mode, has_owner; };

static void set_one(const char *path, int type, const struct rule *r) {
    if (r->has_owner) xlchown(path, r->uid, r->gid);
    if (r->has_mode && type != 10) {
        int mode = r->mode;
        struct statx s;
        // as with 'X' of chmod: files keep not being executable
        if (type != 4 && xstat(path, &s, false) == 0 && !(s.mode & 0111)) mode &= ~0111;
        xchmod(path, mode);
    }
}

static void set_below(const char *name, int type, void *arg) {
    struct rule *r = arg, below = *r;
    char p[2048];
    format(p, sizeof p, "%s/%s", r->path, name);
    below.path = p;
    set_one(p, type, r);
    if (type == 4) each_entry(p, set_below, &below);
}

void tmpfile_line(const struct line *l) {
    if (l->n < 3) { warn("a line 'tmpfile' has too few fields"); return; }
    const char *type = l->f[1], *path = l->f[2], *argument = l->n > 6 ? l->f[6] : "";
    struct rule r = { path, 0, 0, 0, false, false };
    const char *mode = l->n > 3 ? l->f[3] : "-", *user = l->n > 4 ? l->f[4] : "-", *group = l->n > 5 ? l->f[5] : "-";
    r.has_mode = *mode && *mode != '-';
    bool plus = strchr(type, '+') != 0, only = strchr(type, '?') != 0;
    if (*mode == '~' || *mode == ':') mode++;
    r.mode = octal(mode, 0);
    r.has_owner = (*user && *user != '-') || (*group && *group != '-');
    owner(*user && *user != '-' ? user : "root", *group && *group != '-' ? group : "root", &r.uid, &r.gid);
    struct statx s;
    bool there = xstat(path, &s, false) == 0;
    switch (*type) {
    case 'D': case 'd': case 'v': case 'q': case 'Q':
        if (*type == 'D' && there && (s.mode & S_IFMT) == S_IFDIR) each_entry(path, remove_one, (void *)path);
        make_folder(path, r.has_mode ? r.mode : 0755, r.uid, r.gid);
        break;
    case 'e':
        if (there) set_one(path, 4, &r);
        break;
    case 'f': case 'F':
        if (!there || plus || *type == 'F') {
            size_t n = strlen(argument);
            char *text = take(n + 2);
            memcpy(text, argument, n + 1);
            int e = replace_file(path, text, n, r.has_mode ? r.mode : 0644, r.uid, r.gid);
            if (e) warn("file %s: %s", path, error_name(e));
        } else {
            set_one(path, 8, &r);
        }
        break;
    case 'w': {
        if (!there) break;
        int fd = xopen(path, O_WRONLY | (plus ? O_APPEND : 0), 0);
        if (fd >= 0) { write_all(fd, argument, strlen(argument)); xclose(fd); }
        else warn("write %s: %s", path, error_name(fd));
        break;
    }
    case 'L':
        if (only && !exists(argument)) break;
        if (there && plus && (s.mode & S_IFMT) == S_IFDIR) remove_tree(path);
        if (!there || plus) replace_link(argument, path);
        if (r.has_owner) xlchown(path, r.uid, r.gid);
        break;
    case 'p':
        if (!there) { make_parents(path); SYS4(NR_mknodat, AT_FDCWD, path, 0010000 | (r.has_mode ? r.mode : 0644), 0); }
        set_one(path, 1, &r);
        break;
    case 'z':
        if (there) set_one(path, (s.mode & S_IFMT) == S_IFDIR ? 4 : (s.mode & S_IFMT) == S_IFLNK ? 10 : 8, &r);
        break;
    case 'Z':
        if (!there) break;
        set_one(path, (s.mode & S_IFMT) == S_IFDIR ? 4 : 8, &r);
        if ((s.mode & S_IFMT) == S_IFDIR) each_entry(path, set_below, &r);
        break;
    case 'r':
        if (there && ((s.mode & S_IFMT) == S_IFDIR ? xrmdir(path) : xunlink(path))) warn("cannot remove %s", path);
        break;
    case 'R':
        if (there) { if ((s.mode & S_IFMT) == S_IFDIR) remove_tree(path); else xunlink(path); }
        break;
    case 'x': case 'X': break; // they guard from cleaning, which is not done here
    default: warn("a tmpfiles rule of type '%s' (%s) is not known", type, path);
    }
}
