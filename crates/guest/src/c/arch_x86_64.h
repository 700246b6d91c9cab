// x86_64: entry, system call and clone, numbers (asm/unistd_64.h of Linux).
#ifdef NBV_RT
__asm__(
    ".globl _start\n_start: xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call nbv_start\n hlt\n"
    ".globl nbv_syscall\nnbv_syscall: mov %rdi,%rax\n mov %rsi,%rdi\n mov %rdx,%rsi\n mov %rcx,%rdx\n mov %r8,%r10\n"
    " mov %r9,%r8\n mov 8(%rsp),%r9\n syscall\n ret\n"
    // nbv_clone(nr, a1, a2, fn, arg): a1 and a2 are the first two arguments of clone or clone3. r8 and r9 are ignored by
    // both without CLONE_SETTLS and survive the call, so the child finds fn and arg there.
    ".globl nbv_clone\nnbv_clone: mov %rdi,%rax\n mov %rsi,%rdi\n mov %rdx,%rsi\n mov %r8,%r9\n mov %rcx,%r8\n xor %edx,%edx\n"
    " xor %r10d,%r10d\n syscall\n test %eax,%eax\n jz 1f\n ret\n1: xor %ebp,%ebp\n mov %r9,%rdi\n call *%r8\n hlt\n"
    ".section .note.GNU-stack,\"\",@progbits\n.text\n");
#endif
enum {
    NR_read = 0, NR_write = 1, NR_close = 3, NR_lseek = 8, NR_mmap = 9, NR_munmap = 11, NR_rt_sigprocmask = 14, NR_ioctl = 16,
    NR_getpid = 39, NR_socket = 41, NR_connect = 42, NR_sendto = 44, NR_recvfrom = 45, NR_sendmsg = 46, NR_recvmsg = 47, NR_bind = 49,
    NR_setsockopt = 54, NR_clone = 56, NR_execve = 59, NR_exit = 60, NR_wait4 = 61, NR_kill = 62, NR_uname = 63, NR_fcntl = 72,
    NR_flock = 73, NR_chdir = 80, NR_fchdir = 81, NR_fchmod = 91, NR_fchown = 93, NR_umask = 95, NR_setsid = 112,
    NR_setgroups = 116, NR_setresuid = 117, NR_setresgid = 119, NR_prctl = 157, NR_chroot = 161, NR_sync = 162, NR_mount = 165,
    NR_umount2 = 166, NR_reboot = 169, NR_sethostname = 170, NR_getdents64 = 217, NR_clock_settime = 227,
    NR_clock_gettime = 228, NR_openat = 257, NR_mkdirat = 258, NR_mknodat = 259, NR_fchownat = 260, NR_unlinkat = 263,
    NR_linkat = 265, NR_symlinkat = 266, NR_readlinkat = 267, NR_fchmodat = 268, NR_faccessat = 269, NR_ppoll = 271,
    NR_signalfd4 = 289, NR_dup3 = 292, NR_pipe2 = 293, NR_prlimit64 = 302, NR_finit_module = 313, NR_renameat2 = 316,
    NR_getrandom = 318, NR_execveat = 322, NR_statx = 332, NR_clone3 = 435, NR_socketpair = 53, NR_memfd_create = 319, NR_capset = 126,
};
