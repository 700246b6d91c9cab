#include "modules.h"

int load_module_file(const char *path, const char *options) {
    int fd = xopen(path, O_RDONLY, 0);
    if (fd < 0) return fd;
    const char *dot = strrchr(path, '.');
    // MODULE_INIT_COMPRESSED_FILE
    int packed = dot && (!strcmp(dot, ".xz") || !strcmp(dot, ".zst") || !strcmp(dot, ".gz")) ? 4 : 0;
    int r = SYS3(NR_finit_module, fd, options, packed);
    xclose(fd);
    return r == -EEXIST ? 0 : r;
}

// whether the file of a path in modules.dep is that of a module, '-' and '_' being the same
static bool is_module(const char *path, size_t n, const char *name) {
    const char *s = path + n;
    while (s > path && s[-1] != '/') s--;
    for (;; s++, name++) {
        char a = *s == '-' ? '_' : *s, b = *name == '-' ? '_' : *name;
        if (!b) return a == '.';
        if (a != b) return false;
    }
}

static bool built_in(const char *base, const char *name) {
    char p[256];
    size_t n;
    format(p, sizeof p, "%s/modules.builtin", base);
    char *text = read_file(p, &n);
    if (!text) return false;
    bool found = false;
    for (char *s = text; *s && !found;) {
        char *e = strchr(s, '\n');
        size_t len = e ? (size_t)(e - s) : strlen(s);
        found = is_module(s, len, name);
        s += len + (e != 0);
    }
    unmap(text, n + 2);
    return found;
}

int load_module(const char *name) {
    static char *deps, base[160];
    char p[320];
    if (!deps) {
        char uts[6][65];
        if (SYS1(NR_uname, uts)) return -ENOSYS;
        format(base, sizeof base, "/usr/lib/modules/%s", uts[2]);
        format(p, sizeof p, "%s/modules.dep", base);
        deps = read_file(p, 0);
        if (!deps) return -ENOENT;
    }
    format(p, sizeof p, "/sys/module/%s", name);
    for (char *q = p + 12; *q; q++) if (*q == '-') *q = '_';
    if (exists(p)) return 0;
    for (char *s = deps; *s;) {
        char *e = strchr(s, '\n');
        size_t len = e ? (size_t)(e - s) : strlen(s);
        char *colon = s;
        while (colon < s + len && *colon != ':') colon++;
        if (!is_module(s, (size_t)(colon - s), name)) { s += len + (e != 0); continue; }
        // the last dependency comes first, the module itself last
        const char *end = s + len;
        int r = 0;
        while (end > s) {
            const char *b = end;
            while (b > s && b[-1] != ' ') b--;
            size_t n = (size_t)(end - b);
            if (n && b[n - 1] == ':') n--;
            if (n) {
                size_t k = (size_t)format(p, sizeof p, "%s/", base);
                if (k + n + 1 > sizeof p) return -EINVAL;
                memcpy(p + k, b, n);
                p[k + n] = 0;
                r = load_module_file(p, "");
                // crc32c_generic is wanted by libcrc32c without being named there
                if (r == -ENOENT && strcmp(name, "crc32c_generic")) { load_module("crc32c_generic"); r = load_module_file(p, ""); }
            }
            end = b > s ? b - 1 : s;
        }
        return r;
    }
    return built_in(base, name) ? 0 : -ENOENT;
}
