// Users and groups: what NixOS' update-users-groups does, with its files in /var/lib/nixos.
//
// A declared user or group keeps the number that it has. Numbers once given out are remembered and not given to others. With mutable
// users, those that no activation declared stay, and a password that exists is kept; else only declared ones are left.
#include "activate.h"
#include "sha512.h"

struct entry { // a user or a group
    char *name, *description, *home, *shell, *group, *password, *members, *flags, *shadow;
    s64 id;
    s64 gid;
    bool declared, existing;
};
struct list { struct entry *e; int n, size; };
struct number { char *name; u32 id; };
struct numbers { struct number *n; int count, size; };

static bool mutable_users = true;
static struct list users, groups;
static struct numbers uid_map, gid_map;

static struct entry *add(struct list *l) {
    if (l->n == l->size) {
        int size = l->size ? l->size * 2 : 64;
        struct entry *more = take((size_t)size * sizeof *more);
        if (l->n) memcpy(more, l->e, (size_t)l->n * sizeof *more);
        l->e = more; l->size = size;
    }
    struct entry *e = &l->e[l->n++];
    memset(e, 0, sizeof *e);
    return e;
}

static struct entry *get(struct list *l, const char *name) {
    for (int i = 0; i < l->n; i++) if (!strcmp(l->e[i].name, name)) return &l->e[i];
    return 0;
}

void accounts_line(const struct line *l) {
    const char *key = l->f[0];
    if (!strcmp(key, "mutable")) {
        mutable_users = l->n < 2 || strcmp(l->f[1], "no") != 0;
    } else if (!strcmp(key, "group") && l->n >= 3) {
        struct entry *e = add(&groups);
        e->name = l->f[1];
        e->id = *l->f[2] == '-' || !*l->f[2] ? -1 : (s64)number(l->f[2], 10, 0);
        e->members = l->n > 3 ? l->f[3] : "";
        e->password = "x";
        e->declared = true;
    } else if (!strcmp(key, "user") && l->n >= 6) {
        struct entry *e = add(&users);
        e->name = l->f[1];
        e->id = *l->f[2] == '-' || !*l->f[2] ? -1 : (s64)number(l->f[2], 10, 0);
        e->group = l->f[3];
        e->home = l->f[4];
        e->shell = l->f[5];
        e->description = l->n > 6 ? l->f[6] : "";
        e->password = l->n > 7 ? l->f[7] : "-";
        e->flags = l->n > 8 ? l->f[8] : "system";
        e->declared = true;
    } else {
        warn("a line '%s' has too few fields", key);
    }
}

// A word of a user's flags; its value when it is NAME=VALUE.
static const char *flag(const struct entry *e, const char *name) {
    size_t n = strlen(name);
    for (const char *p = e->flags ? e->flags : ""; *p;) {
        if (!strncmp(p, name, n) && (p[n] == 0 || p[n] == ',' || p[n] == '=')) return p + n + (p[n] == '=');
        while (*p && *p != ',') p++;
        if (*p) p++;
    }
    return 0;
}

static char *next_field(char **p) {
    char *s = *p, *e;
    if (!s) return "";
    if ((e = strchr(s, ':'))) *e++ = 0;
    *p = e;
    return s;
}

// {"name":1000,...}
static void read_numbers(const char *path, struct numbers *m) {
    char *s = read_file(path, 0);
    m->size = 64;
    m->n = take(64 * sizeof *m->n);
    while (s && (s = strchr(s, '"'))) {
        char *name = ++s, *e = strchr(s, '"');
        if (!e) return;
        *e = 0;
        s = e + 1;
        while (*s == ' ' || *s == ':') s++;
        if (m->count == m->size) {
            struct number *more = take((size_t)m->size * 2 * sizeof *more);
            memcpy(more, m->n, (size_t)m->count * sizeof *more);
            m->n = more; m->size *= 2;
        }
        m->n[m->count].name = name;
        m->n[m->count++].id = (u32)number(s, 10, 0);
    }
}

static bool taken(struct list *l, struct numbers *m, u32 id, const char *but) {
    for (int i = 0; i < l->n; i++) if (l->e[i].id == (s64)id) return true;
    for (int i = 0; i < m->count; i++) if (m->n[i].id == id && strcmp(m->n[i].name, but)) return true;
    return false;
}

static void give_number(struct list *l, struct numbers *m, struct entry *e, bool normal) {
    for (int i = 0; i < m->count; i++) {
        if (strcmp(m->n[i].name, e->name)) continue;
        bool used = false;
        for (int k = 0; k < l->n; k++) used = used || l->e[k].id == (s64)m->n[i].id;
        if (!used) { e->id = m->n[i].id; return; }
    }
    if (normal) for (u32 id = 1000; id < 30000; id++) if (!taken(l, m, id, e->name)) { e->id = id; return; }
    for (u32 id = 999; id >= 400; id--) if (!taken(l, m, id, e->name)) { e->id = id; return; }
    warn("no number is left for %s", e->name);
    e->id = 65534;
}

static void write_numbers(const char *path, struct numbers *m, struct list *l) {
    size_t size = 16, at = 0;
    for (int i = 0; i < m->count; i++) size += strlen(m->n[i].name) + 20;
    for (int i = 0; i < l->n; i++) size += strlen(l->e[i].name) + 20;
    char *b = take(size);
    b[at++] = '{';
    for (int i = 0; i < l->n; i++) at += (size_t)format(b + at, size - at, "%s\"%s\":%u", at > 1 ? "," : "", l->e[i].name, (u32)l->e[i].id);
    for (int i = 0; i < m->count; i++)
        if (!get(l, m->n[i].name)) at += (size_t)format(b + at, size - at, "%s\"%s\":%u", at > 1 ? "," : "", m->n[i].name, m->n[i].id);
    b[at++] = '}';
    replace_file(path, b, at, 0644, 0, 0);
}

static bool listed(const char *list, const char *name, const char *separators) {
    size_t n = strlen(name);
    for (const char *p = list ? list : ""; *p;) {
        while (*p && strchr(separators, *p)) p++;
        if (!strncmp(p, name, n) && (!p[n] || strchr(separators, p[n]))) return true;
        while (*p && !strchr(separators, *p)) p++;
    }
    return false;
}

static void write_names(const char *path, struct list *l) {
    size_t size = 2, at = 0;
    for (int i = 0; i < l->n; i++) size += strlen(l->e[i].name) + 1;
    char *b = take(size);
    for (int i = 0; i < l->n; i++) if (l->e[i].declared) at += (size_t)format(b + at, size - at, "%s%s", at ? " " : "", l->e[i].name);
    replace_file(path, b, at, 0644, 0, 0);
}

static void read_group(void) {
    char *old = read_file("/var/lib/nixos/declarative-groups", 0), *text = read_file("/etc/group", 0), *p = text, *line;
    while (text && (line = word(&p, "\n"))) {
        char *name = next_field(&line), *password = next_field(&line);
        s64 gid = (s64)number(next_field(&line), 10, 0);
        char *members = next_field(&line);
        struct entry *e = get(&groups, name);
        if (e) {
            if (e->id >= 0 && e->id != gid) warn("not changing the number of group '%s' from %u to %u", name, (u32)gid, (u32)e->id);
            e->id = gid;
            e->existing = true;
            e->password = password;
            e->shell = members; // what it had; merged below
        } else if (mutable_users && !listed(old, name, " \n")) {
            e = add(&groups);
            e->name = name; e->id = gid; e->password = password; e->members = members; e->existing = true;
        }
    }
}

static void read_passwd(void) {
    char *old = read_file("/var/lib/nixos/declarative-users", 0), *text = read_file("/etc/passwd", 0), *p = text, *line;
    while (text && (line = word(&p, "\n"))) {
        char *name = next_field(&line);
        next_field(&line);
        s64 uid = (s64)number(next_field(&line), 10, 0), gid = (s64)number(next_field(&line), 10, 0);
        char *description = next_field(&line), *home = next_field(&line), *shell = next_field(&line);
        struct entry *e = get(&users, name);
        if (e) {
            if (e->id >= 0 && e->id != uid) warn("not changing the number of user '%s' from %u to %u", name, (u32)uid, (u32)e->id);
            e->id = uid;
            e->existing = true;
        } else if (mutable_users && !listed(old, name, " \n")) {
            e = add(&users);
            e->name = name; e->id = uid; e->gid = gid; e->description = description; e->home = home; e->shell = shell; e->existing = true;
        }
    }
}

// The shadow field that a user's PASSWORD says, or NULL when it says none (for this case).
static char *said_password(const struct entry *e, bool fresh) {
    const char *p = e->password ? e->password : "-";
    if (fresh && starts(p, "initial-hash:")) return (char *)p + 13;
    if (starts(p, "hash:")) return (char *)p + 5;
    if (starts(p, "plain:") || (fresh && starts(p, "initial:"))) {
        char *out = take(160);
        hash_password(strchr(p, ':') + 1, out);
        return out;
    }
    if (starts(p, "file:")) {
        char *text = read_file(p + 5, 0), *at = text;
        char *line = text ? word(&at, "\n") : 0;
        if (!line) warn("the password file %s of user '%s' cannot be read", p + 5, e->name);
        return line;
    }
    return 0;
}

static void write_shadow(u32 gid) {
    char *text = read_file("/etc/shadow", 0), *p = text, *line;
    while (text && (line = word(&p, "\n"))) {
        char *name = next_field(&line);
        struct entry *e = get(&users, name);
        if (e) { e->shadow = next_field(&line); e->members = line ? line : ""; }
    }
    size_t size = 16;
    for (int i = 0; i < users.n; i++) {
        struct entry *e = &users.e[i];
        bool had = e->shadow != 0;
        if (!had || (!mutable_users && e->declared)) {
            char *said = said_password(e, !had);
            // No password is "*", not NixOS' "!": sshd without PAM takes the latter for a closed account and refuses keys too.
            if (said) e->shadow = strcmp(said, "!") ? said : "*";
            else if (!had || !mutable_users) e->shadow = "*";
        }
        if (!had) {
            // last change, then what is not said, the day from which it is closed, reserved
            char *rest = take(64), day[24] = "";
            const char *expires = flag(e, "expires"), *end;
            if (expires) {
                number(expires, 10, &end);
                if ((size_t)(end - expires) < sizeof day) { memcpy(day, expires, (size_t)(end - expires)); day[end - expires] = 0; }
            }
            format(rest, 64, "1:::::%s:", day);
            e->members = rest;
        }
        size += strlen(e->name) + strlen(e->shadow) + strlen(e->members) + 4;
    }
    char *b = take(size);
    size_t at = 0;
    for (int i = 0; i < users.n; i++) {
        struct entry *e = &users.e[i];
        at += (size_t)format(b + at, size - at, "%s:%s:%s\n", e->name, e->shadow, e->members);
    }
    int r = replace_file("/etc/shadow", b, at, 0640, 0, gid);
    if (r) warn("/etc/shadow: %s", error_name(r));
}

static void write_group(void) {
    size_t size = 16;
    for (int i = 0; i < groups.n; i++) {
        struct entry *e = &groups.e[i];
        // members that a declared group has by hand, if they are users that nobody declares
        if (e->declared && e->existing && mutable_users && e->shell && *e->shell) {
            size_t n = strlen(e->members) + strlen(e->shell) + 2, at;
            char *b = take(n), *p = e->shell, *m;
            at = (size_t)format(b, n, "%s", e->members);
            while ((m = word(&p, ","))) {
                struct entry *u = get(&users, m);
                if (u && !u->declared && !listed(e->members, m, ",")) at += (size_t)format(b + at, n - at, "%s%s", at ? "," : "", m);
            }
            e->members = b;
        }
        size += strlen(e->name) + strlen(e->password) + strlen(e->members) + 20;
    }
    char *b = take(size);
    size_t at = 0;
    for (int i = 0; i < groups.n; i++) {
        struct entry *e = &groups.e[i];
        at += (size_t)format(b + at, size - at, "%s:%s:%u:%s\n", e->name, e->password, (u32)e->id, e->members);
    }
    int r = replace_file("/etc/group", b, at, 0644, 0, 0);
    if (r) warn("/etc/group: %s", error_name(r));
}

static void write_passwd(void) {
    size_t size = 16;
    for (int i = 0; i < users.n; i++) {
        struct entry *e = &users.e[i];
        size += strlen(e->name) + strlen(e->description) + strlen(e->home) + strlen(e->shell) + 32;
    }
    char *b = take(size);
    size_t at = 0;
    for (int i = 0; i < users.n; i++) {
        struct entry *e = &users.e[i];
        at += (size_t)format(b + at, size - at, "%s:x:%u:%u:%s:%s:%s\n", e->name, (u32)e->id, (u32)e->gid, e->description, e->home, e->shell);
    }
    int r = replace_file("/etc/passwd", b, at, 0644, 0, 0);
    if (r) warn("/etc/passwd: %s", error_name(r));
}

void accounts_apply(void) {
    if (!users.n && !groups.n) return;
    // one activation at a time
    int lock = xopen("/run/nbv-accounts.lock", O_RDWR | O_CREAT, 0600);
    if (lock >= 0) SYS2(NR_flock, lock, 2);
    make_folder("/var/lib/nixos", 0755, 0, 0);
    read_numbers("/var/lib/nixos/uid-map", &uid_map);
    read_numbers("/var/lib/nixos/gid-map", &gid_map);
    read_group();
    read_passwd();
    for (int i = 0; i < groups.n; i++) if (groups.e[i].id < 0) give_number(&groups, &gid_map, &groups.e[i], false);
    for (int i = 0; i < users.n; i++) {
        struct entry *e = &users.e[i];
        if (e->id < 0) give_number(&users, &uid_map, e, flag(e, "normal") != 0);
        if (!e->declared) continue;
        struct entry *g = get(&groups, e->group);
        if (g) e->gid = g->id;
        else {
            const char *end;
            u64 gid = number(e->group, 10, &end);
            if (*end || end == e->group) { warn("user '%s' has the group '%s', which there is not", e->name, e->group); gid = 65534; }
            e->gid = (s64)gid;
        }
    }
    write_numbers("/var/lib/nixos/uid-map", &uid_map, &users);
    write_numbers("/var/lib/nixos/gid-map", &gid_map, &groups);
    write_names("/var/lib/nixos/declarative-users", &users);
    write_names("/var/lib/nixos/declarative-groups", &groups);
    struct entry *shadow = get(&groups, "shadow");
    write_group();
    write_passwd();
    write_shadow(shadow ? (u32)shadow->id : 0);
    for (int i = 0; i < users.n; i++) {
        struct entry *e = &users.e[i];
        const char *mode = e->declared ? flag(e, "home") : 0;
        if (mode) make_folder(e->home, octal(mode, 0700), (u32)e->id, (u32)e->gid);
        if (e->declared && flag(e, "linger")) {
            char p[300];
            make_folder("/var/lib/systemd/linger", 0755, 0, 0);
            format(p, sizeof p, "/var/lib/systemd/linger/%s", e->name);
            write_file(p, "", 0, 0644);
        }
    }
    if (lock >= 0) xclose(lock);
}
