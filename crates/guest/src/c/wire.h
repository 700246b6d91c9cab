// The control channel's frames. The description is in ../protocol.rs; both must agree.
#pragma once
enum {
    WIRE_VERSION = 1,
    HEAD = 8,          // type u8, reserved u8, channel u16, length u32: little-endian
    FRAME_MAX = 32768, // header included
    BODY_MAX = FRAME_MAX - HEAD,
    // host to guest
    F_PAD = 0, F_HELLO = 1, F_OPEN = 2, F_OPEN_PART = 3, F_STDIN = 4, F_STDIN_END = 5, F_SIGNAL = 6, F_WINDOW_SIZE = 7, F_CREDIT = 8,
    F_CLOSE = 9, F_PING = 10, F_CLOCK = 11, F_ENTROPY = 12, F_FILES = 13,
    // guest to host
    G_HELLO = 0x81, G_STARTED = 0x82, G_FAILED = 0x83, G_STDOUT = 0x84, G_STDERR = 0x85, G_END = 0x86, G_EXIT = 0x87, G_CREDIT = 0x88,
    G_CLOSED = 0x89, G_PONG = 0x8a, G_NOTICE = 0x8b, G_DONE = 0x8c, G_STDIN_GONE = 0x8d,
    // flags of F_OPEN
    OPEN_PTY = 1, OPEN_MERGE = 2, OPEN_STDIN_NULL = 4, OPEN_OUTPUT_NULL = 8, OPEN_BARE = 16, OPEN_SHELL = 32,
    // scopes of F_SIGNAL
    SCOPE_PROCESS = 0, SCOPE_GROUP = 1, SCOPE_ALL = 2,
    STDIN_WINDOW = 65536,
};
#define WIRE_MAGIC "nbv-control\r\n\0\xff\n"  // 16 bytes
