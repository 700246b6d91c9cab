// Starting a program as control's client asks: user, folder, environment, terminal, control group.
#pragma once
#include "users.h"

struct spawn {
    char **argv, **envp;
    const char *cwd;      // NULL: none
    struct user *user;    // NULL: stay as we are
    int fds[3];           // become 0, 1, 2
    bool terminal;        // fds[0] becomes the controlling terminal
    bool change_root;     // the current folder becomes the root
    int cgroup;           // folder of a cgroup2 group, or -1
    int error;            // set when nothing was started
    const char *step;     // at what
};

// The process, or an error (then step says at what). Returns when the program is executed.
int spawn(struct spawn *s);
const char *get_env(char **envp, const char *name);
