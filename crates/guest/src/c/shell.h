// A bash that was loaded before it is needed: commands of tests start in a fraction of the time.
#pragma once
#include "spawn.h"

// Starts the program, which must be bash, as `spawn` does. The process; 0 when it is not there or not fit for this one; or an error.
int ask_shell(struct spawn *s);
// Makes one wait for the next command like this, unless one does.
void start_shell(struct spawn *like);
// To be told of each process that ended.
void shell_ended(int pid);
