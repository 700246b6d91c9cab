// Addresses, links and routes over rtnetlink: no process, no ioctl per thing.
#pragma once
#include "rt.h"

// "192.168.1.2" or "2001:db8::1" into 4 or 16 bytes; the length, or 0 when it is neither. Stops at '/' or the end.
int parse_address(const char *s, u8 out[16]);
// Sets a link up; 0 or an error. The link's number in *index.
int link_up(int netlink, const char *name, int *index);
// "address/prefix" on a link; present already is fine.
int add_address(int netlink, int index, const char *text);
// A default route by this gateway.
int add_gateway(int netlink, const char *text);
int netlink_open(void);
// The number of a link by its name, or an error.
int link_index(const char *name);
