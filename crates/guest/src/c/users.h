// Looking up users in /etc/passwd and /etc/group (relative to the current folder: `etc/...` when base is "").
#pragma once
#include "rt.h"

struct user {
    u32 uid, gid;
    char name[128], home[512], shell[512];
    u32 groups[64];
    int group_count;
};

// By name or number; false when there is none.
bool find_user(const char *base, const char *name, struct user *u);
// A user's or group's number by name or number; false when there is none.
bool find_uid(const char *base, const char *name, u32 *uid);
bool find_gid(const char *base, const char *name, u32 *gid);
