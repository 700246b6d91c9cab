// Shared by the parts of `activate`.
#pragma once
#include "users.h"

enum { FIELDS = 64 };
struct line { int n; char *f[FIELDS]; };

extern int failures;
void warn(const char *f, ...);
// Writes a file beside its place and renames it; equal content is left alone. 0 or an error.
int replace_file(const char *path, const void *b, size_t n, int mode, u32 uid, u32 gid);
void make_folder(const char *path, int mode, u32 uid, u32 gid);
int octal(const char *s, int otherwise);
void owner(const char *user, const char *group, u32 *uid, u32 *gid);

// accounts.c: lines `mutable`, `group`, `user`
void accounts_line(const struct line *l);
void accounts_apply(void);

// tree.c: lines `etc`, `tmpfile`; removing what a tree held
void etc_tree(const char *folder);
void etc_copied(const char *path);
void etc_finish(void);
void tmpfile_line(const struct line *l);
void replace_link(const char *target, const char *path);

// wrapper.c
void wrapper_line(const struct line *l);
int wrapper_main(char *self, int argc, char **argv, char **envp);
