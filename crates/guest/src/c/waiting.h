// What control and the bash that waits for it (waiting.c) agree on.
#pragma once
enum {
    SHELL_MESSAGE = 96 * 1024, // bytes of a request: two u32 (arguments, variables), then folder, arguments, variables, each with a NUL
    SHELL_WORDS = 2000,        // arguments and variables together
};
