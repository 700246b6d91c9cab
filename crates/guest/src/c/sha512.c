#include "sha512.h"
#include "sha512_k.h"

static u64 turn(u64 x, int n) { return x >> n | x << (64 - n); }

static void block(struct sha512 *s, const u8 *p) {
    u64 w[80], v[8];
    for (int i = 0; i < 16; i++, p += 8)
        w[i] = (u64)p[0] << 56 | (u64)p[1] << 48 | (u64)p[2] << 40 | (u64)p[3] << 32 | (u64)p[4] << 24 | (u64)p[5] << 16 | (u64)p[6] << 8 | p[7];
    for (int i = 16; i < 80; i++) {
        u64 a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turn(a, 1) ^ turn(a, 8) ^ a >> 7) + w[i - 7] + (turn(b, 19) ^ turn(b, 61) ^ b >> 6);
    }
    for (int i = 0; i < 8; i++) v[i] = s->h[i];
    for (int i = 0; i < 80; i++) {
        u64 t = v[7] + (turn(v[4], 14) ^ turn(v[4], 18) ^ turn(v[4], 41)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
        u64 u = (turn(v[0], 28) ^ turn(v[0], 34) ^ turn(v[0], 39)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        for (int j = 7; j > 0; j--) v[j] = v[j - 1];
        v[4] += t;
        v[0] = t + u;
    }
    for (int i = 0; i < 8; i++) s->h[i] += v[i];
}

void sha512_start(struct sha512 *s) {
    for (int i = 0; i < 8; i++) s->h[i] = H[i];
    s->used = 0;
    s->total = 0;
}

void sha512_add(struct sha512 *s, const void *data, size_t n) {
    const u8 *p = data;
    s->total += n;
    while (n) {
        size_t k = 128 - s->used;
        if (k > n) k = n;
        memcpy(s->block + s->used, p, k);
        s->used += (u32)k; p += k; n -= k;
        if (s->used == 128) { block(s, s->block); s->used = 0; }
    }
}

void sha512_end(struct sha512 *s, u8 out[64]) {
    u64 bits = s->total << 3;
    u8 one = 0x80, zero = 0, length[16] = { 0 };
    sha512_add(s, &one, 1);
    while (s->used != 112) sha512_add(s, &zero, 1);
    for (int i = 0; i < 8; i++) length[15 - i] = (u8)(bits >> (8 * i));
    sha512_add(s, length, 16);
    for (int i = 0; i < 64; i++) out[i] = (u8)(s->h[i >> 3] >> (56 - 8 * (i & 7)));
}

static const char LETTERS[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static void add_repeated(struct sha512 *s, const u8 *digest, size_t n) {
    for (; n > 64; n -= 64) sha512_add(s, digest, 64);
    sha512_add(s, digest, n);
}

// Steps as in "Unix crypt using SHA-256 and SHA-512" (U. Drepper, public domain text).
void sha512_crypt(const char *password, const char *salt, u32 rounds, char *out) {
    struct sha512 a, b;
    u8 A[64], B[64], DP[64], DS[64];
    size_t n = strlen(password), m = strlen(salt);
    if (m > 16) m = 16;
    sha512_start(&b);
    sha512_add(&b, password, n); sha512_add(&b, salt, m); sha512_add(&b, password, n);
    sha512_end(&b, B);
    sha512_start(&a);
    sha512_add(&a, password, n); sha512_add(&a, salt, m);
    add_repeated(&a, B, n);
    for (size_t i = n; i; i >>= 1) {
        if (i & 1) sha512_add(&a, B, 64);
        else sha512_add(&a, password, n);
    }
    sha512_end(&a, A);
    sha512_start(&b);
    for (size_t i = 0; i < n; i++) sha512_add(&b, password, n);
    sha512_end(&b, DP);
    sha512_start(&b);
    for (u32 i = 0; i < 16u + A[0]; i++) sha512_add(&b, salt, m);
    sha512_end(&b, DS);
    u32 count = rounds ? rounds : 5000;
    for (u32 i = 0; i < count; i++) {
        sha512_start(&b);
        if (i & 1) add_repeated(&b, DP, n); else sha512_add(&b, A, 64);
        if (i % 3) sha512_add(&b, DS, m);
        if (i % 7) add_repeated(&b, DP, n);
        if (i & 1) sha512_add(&b, A, 64); else add_repeated(&b, DP, n);
        sha512_end(&b, A);
    }
    char *p = out + (rounds ? format(out, 64, "$6$rounds=%u$", rounds) : format(out, 64, "$6$"));
    memcpy(p, salt, m);
    p += m;
    *p++ = '$';
    int x = 0, y = 21, z = 42;
    for (int i = 0; i < 21; i++) {
        u32 w = (u32)A[x] << 16 | (u32)A[y] << 8 | A[z];
        for (int k = 0; k < 4; k++, w >>= 6) *p++ = LETTERS[w & 63];
        int t = x;
        x = y + 1; y = z + 1; z = t + 1;
    }
    *p++ = LETTERS[A[63] & 63];
    *p++ = LETTERS[A[63] >> 6];
    *p = 0;
}

void hash_password(const char *password, char *out) {
    u8 r[16];
    char salt[17];
    SYS3(NR_getrandom, r, sizeof r, 0);
    for (int i = 0; i < 16; i++) salt[i] = LETTERS[r[i] & 63];
    salt[16] = 0;
    sha512_crypt(password, salt, 1000, out);
}
