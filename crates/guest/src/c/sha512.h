// SHA-512 and the password hash of crypt(3) that is made of it ($6$).
#pragma once
#include "rt.h"

struct sha512 { u64 h[8]; u8 block[128]; u32 used; u64 total; };
void sha512_start(struct sha512 *s);
void sha512_add(struct sha512 *s, const void *p, size_t n);
void sha512_end(struct sha512 *s, u8 out[64]);
// A hash with a random salt. 1000 rounds, the fewest: a password in clear text in a manifest is not secret, and they cost
// time under emulation. `out` holds at least 128 bytes.
void hash_password(const char *password, char *out);
// The same with a given salt and rounds (0: 5000, not told), for tests.
void sha512_crypt(const char *password, const char *salt, u32 rounds, char *out);
