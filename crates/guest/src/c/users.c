#include "users.h"

static bool numeric(const char *s, u32 *v) {
    const char *e;
    u64 n = number(s, 10, &e);
    if (e == s || *e) return false;
    *v = (u32)n;
    return true;
}

// The next of the fields that are separated by ':' (empty ones too).
static char *field(char **p) {
    char *s = *p;
    if (!s) return "";
    char *e = strchr(s, ':');
    if (e) *e++ = 0;
    *p = e;
    return s;
}

static void keep(char *to, size_t size, const char *from) { format(to, size, "%s", from); }

bool find_user(const char *base, const char *name, struct user *u) {
    char p[64];
    u32 want;
    bool by_number = numeric(name, &want), found = false;
    size_t n;
    format(p, sizeof p, "%setc/passwd", base);
    char *text = read_file(p, &n), *at = text, *line;
    while (text && !found && (line = word(&at, "\n"))) {
        char *who = field(&line);
        field(&line);
        u32 uid = (u32)number(field(&line), 10, 0), gid = (u32)number(field(&line), 10, 0);
        field(&line);
        char *home = field(&line), *shell = field(&line);
        if (by_number ? uid != want : strcmp(who, name) != 0) continue;
        found = true;
        u->uid = uid; u->gid = gid;
        keep(u->name, sizeof u->name, who);
        keep(u->home, sizeof u->home, home);
        keep(u->shell, sizeof u->shell, *shell ? shell : "/bin/sh");
    }
    if (text) unmap(text, n + 2);
    if (!found) {
        // root is always there: a machine without its own users yet must be reachable
        if (by_number ? want != 0 : strcmp(name, "root") != 0) return false;
        u->uid = u->gid = 0;
        keep(u->name, sizeof u->name, "root");
        keep(u->home, sizeof u->home, "/root");
        keep(u->shell, sizeof u->shell, "/bin/sh");
    }
    u->group_count = 0;
    u->groups[u->group_count++] = u->gid;
    format(p, sizeof p, "%setc/group", base);
    text = read_file(p, &n);
    for (at = text; text && (line = word(&at, "\n"));) {
        field(&line);
        field(&line);
        u32 gid = (u32)number(field(&line), 10, 0);
        char *members = field(&line), *m;
        while ((m = word(&members, ",")))
            if (!strcmp(m, u->name) && gid != u->gid && u->group_count < 64) u->groups[u->group_count++] = gid;
    }
    if (text) unmap(text, n + 2);
    return true;
}

static bool find_id(const char *base, const char *file, const char *name, u32 *id) {
    if (numeric(name, id)) return true;
    if (!strcmp(name, "root")) { *id = 0; return true; }
    char p[64];
    size_t n;
    bool found = false;
    format(p, sizeof p, "%setc/%s", base, file);
    char *text = read_file(p, &n), *at = text, *line;
    while (text && !found && (line = word(&at, "\n"))) {
        char *who = field(&line);
        field(&line);
        if (strcmp(who, name)) continue;
        *id = (u32)number(field(&line), 10, 0);
        found = true;
    }
    if (text) unmap(text, n + 2);
    return found;
}

bool find_uid(const char *base, const char *name, u32 *uid) { return find_id(base, "passwd", name, uid); }
bool find_gid(const char *base, const char *name, u32 *gid) { return find_id(base, "group", name, gid); }
