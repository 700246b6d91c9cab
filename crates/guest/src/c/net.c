#include "net.h"

static bool hex_digit(char c, u32 *v) {
    if (c >= '0' && c <= '9') *v = (u32)(c - '0');
    else if (c >= 'a' && c <= 'f') *v = (u32)(c - 'a' + 10);
    else if (c >= 'A' && c <= 'F') *v = (u32)(c - 'A' + 10);
    else return false;
    return true;
}

static int parse_v4(const char *s, u8 *out) {
    for (int i = 0; i < 4; i++) {
        const char *e;
        u64 v = number(s, 10, &e);
        if (e == s || v > 255) return 0;
        out[i] = (u8)v;
        if (i < 3) {
            if (*e != '.') return 0;
            e++;
        }
        s = e;
    }
    return *s == 0 || *s == '/' ? 4 : 0;
}

static int parse_v6(const char *s, u8 *out) {
    u16 part[8];
    int n = 0, gap = -1;
    if (s[0] == ':' && s[1] == ':') { gap = 0; s += 2; }
    while (*s && *s != '/') {
        u32 v = 0, d;
        int digits = 0;
        if (n == 8) return 0;
        if (n <= 6) {
            const char *q = s;
            while (*q >= '0' && *q <= '9') q++;
            if (*q == '.') {
                u8 four[4];
                if (parse_v4(s, four) != 4) return 0;
                part[n++] = (u16)(four[0] << 8 | four[1]);
                part[n++] = (u16)(four[2] << 8 | four[3]);
                break;
            }
        }
        while (digits < 4 && hex_digit(*s, &d)) { v = v << 4 | d; s++; digits++; }
        if (!digits) return 0;
        part[n++] = (u16)v;
        if (*s == ':') {
            s++;
            if (*s == ':') {
                if (gap >= 0) return 0;
                gap = n; s++;
            } else if (!*s || *s == '/') {
                return 0;
            }
        } else if (*s && *s != '/') {
            return 0;
        }
    }
    if (gap < 0 ? n != 8 : n > 7) return 0;
    memset(out, 0, 16);
    for (int i = 0; i < n; i++) {
        int at = gap >= 0 && i >= gap ? 8 - n + i : i;
        out[2 * at] = (u8)(part[i] >> 8);
        out[2 * at + 1] = (u8)part[i];
    }
    return 16;
}

int parse_address(const char *s, u8 out[16]) {
    for (const char *p = s; *p && *p != '/'; p++) if (*p == ':') return parse_v6(s, out);
    return parse_v4(s, out);
}

enum { RTM_NEWLINK = 16, RTM_NEWADDR = 20, RTM_NEWROUTE = 24, NLM_F_REQUEST = 1, NLM_F_ACK = 4, NLM_F_REPLACE = 0x100, NLM_F_CREATE = 0x400 };

struct request { u32 len; u16 type, flags; u32 seq, pid; u8 body[240]; };

static void put(struct request *r, const void *p, size_t n) {
    size_t at = r->len - 16;
    if (at + n > sizeof r->body) return;
    memcpy(r->body + at, p, n);
    r->len += (u32)((n + 3) & ~(size_t)3);
}

static void attribute(struct request *r, u16 type, const void *p, u16 n) {
    struct { u16 len, type; } h = { (u16)(n + 4), type };
    put(r, &h, 4);
    put(r, p, n);
}

int netlink_open(void) { return SYS3(NR_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0); }

static int talk(int fd, struct request *r) {
    struct { u32 len; u16 type, flags; u32 seq, pid; int error; u8 rest[1024]; } answer;
    r->flags |= NLM_F_REQUEST | NLM_F_ACK;
    long n = SYS6(NR_sendto, fd, r, r->len, 0, 0, 0);
    if (n < 0) return (int)n;
    n = SYS6(NR_recvfrom, fd, &answer, sizeof answer, 0, 0, 0);
    if (n < 0) return (int)n;
    return n >= 20 && answer.type == 2 ? answer.error : -EIO;
}

int link_index(const char *name) {
    char p[96], b[16];
    format(p, sizeof p, "/sys/class/net/%s/ifindex", name);
    long n = read_small(p, b, sizeof b);
    return n < 0 ? (int)n : (int)number(b, 10, 0);
}

int link_up(int fd, const char *name, int *index) {
    int i = link_index(name);
    if (i < 0) return i;
    *index = i;
    struct request r = { .len = 16, .type = RTM_NEWLINK };
    struct { u8 family, pad; u16 type; int index; u32 flags, change; } m = { 0, 0, 0, i, 1, 1 };
    put(&r, &m, sizeof m);
    return talk(fd, &r);
}

int add_address(int fd, int index, const char *text) {
    u8 a[16];
    int n = parse_address(text, a);
    if (!n) return -EINVAL;
    const char *slash = strchr(text, '/');
    u32 bits = slash ? (u32)number(slash + 1, 10, 0) : (u32)n * 8;
    if (bits > (u32)n * 8) return -EINVAL;
    struct request r = { .len = 16, .type = RTM_NEWADDR, .flags = NLM_F_CREATE | NLM_F_REPLACE };
    // IFA_F_NODAD (2): the address is usable at once; numbers are ours, so there is nobody to ask
    struct { u8 family, bits, flags, scope; int index; } m = { n == 4 ? AF_INET : AF_INET6, (u8)bits, n == 16 ? 2 : 0, 0, index };
    put(&r, &m, sizeof m);
    attribute(&r, 2, a, (u16)n);
    attribute(&r, 1, a, (u16)n);
    if (n == 4 && bits < 31) {
        u32 ip = (u32)a[0] << 24 | (u32)a[1] << 16 | (u32)a[2] << 8 | a[3], b = bits ? ip | (0xffffffffu >> bits) : 0xffffffffu;
        u8 broadcast[4] = { (u8)(b >> 24), (u8)(b >> 16), (u8)(b >> 8), (u8)b };
        attribute(&r, 4, broadcast, 4);
    }
    return talk(fd, &r);
}

int add_gateway(int fd, const char *text) {
    u8 a[16];
    int n = parse_address(text, a);
    if (!n) return -EINVAL;
    struct request r = { .len = 16, .type = RTM_NEWROUTE, .flags = NLM_F_CREATE | NLM_F_REPLACE };
    // family, destination and source bits, tos, table main, protocol boot, scope universe, unicast
    struct { u8 family, dst, src, tos, table, protocol, scope, type; u32 flags; } m = { n == 4 ? AF_INET : AF_INET6, 0, 0, 0, 254, 3, 0, 1, 0 };
    put(&r, &m, sizeof m);
    attribute(&r, 5, a, (u16)n);
    return talk(fd, &r);
}
