// Loading kernel modules without a process.
#pragma once
#include "rt.h"

// A module file (.ko, or .ko.xz and .ko.zst where the kernel can unpack them); present already is fine. 0 or an error.
int load_module_file(const char *path, const char *options);
// A module by name with what it depends on, by /usr/lib/modules/RELEASE/modules.dep; built in or present already is fine.
int load_module(const char *name);
