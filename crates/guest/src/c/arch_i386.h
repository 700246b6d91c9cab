// i386: entry, system call and clone, numbers (asm/unistd_32.h of Linux; the 64-bit time forms).
#ifdef NBV_RT
__asm__(
    ".globl _start\n_start: xor %ebp,%ebp\n mov %esp,%eax\n and $-16,%esp\n sub $12,%esp\n push %eax\n call nbv_start\n hlt\n"
    ".globl nbv_syscall\nnbv_syscall: push %ebx\n push %esi\n push %edi\n push %ebp\n mov 20(%esp),%eax\n mov 24(%esp),%ebx\n"
    " mov 28(%esp),%ecx\n mov 32(%esp),%edx\n mov 36(%esp),%esi\n mov 40(%esp),%edi\n mov 44(%esp),%ebp\n int $0x80\n"
    " pop %ebp\n pop %edi\n pop %esi\n pop %ebx\n ret\n"
    // As on x86_64; esi (tls) and edi (child_tid) are ignored with the flags that are used, so they carry fn and arg.
    ".globl nbv_clone\nnbv_clone: push %ebx\n push %esi\n push %edi\n mov 16(%esp),%eax\n mov 20(%esp),%ebx\n mov 24(%esp),%ecx\n"
    " mov 28(%esp),%esi\n mov 32(%esp),%edi\n xor %edx,%edx\n int $0x80\n test %eax,%eax\n jz 1f\n pop %edi\n pop %esi\n pop %ebx\n"
    " ret\n1: xor %ebp,%ebp\n and $-16,%esp\n sub $12,%esp\n push %edi\n call *%esi\n hlt\n"
    ".section .note.GNU-stack,\"\",@progbits\n.text\n");
#endif
enum {
    NR_exit = 1, NR_read = 3, NR_write = 4, NR_close = 6, NR_execve = 11, NR_chdir = 12, NR_lseek = 19, NR_getpid = 20, NR_mount = 21,
    NR_sync = 36, NR_kill = 37, NR_umount2 = 52, NR_ioctl = 54, NR_umask = 60, NR_chroot = 61, NR_setsid = 66, NR_sethostname = 74,
    NR_reboot = 88, NR_munmap = 91, NR_fchmod = 94, NR_wait4 = 114, NR_clone = 120, NR_uname = 122, NR_fchdir = 133, NR_flock = 143,
    NR_prctl = 172, NR_rt_sigprocmask = 175, NR_capset = 185, NR_mmap = 192, NR_setgroups = 206, NR_fchown = 207, NR_setresuid = 208,
    NR_setresgid = 210, NR_getdents64 = 220, NR_fcntl = 221, NR_openat = 295, NR_mkdirat = 296, NR_mknodat = 297, NR_fchownat = 298,
    NR_unlinkat = 301, NR_linkat = 303, NR_symlinkat = 304, NR_readlinkat = 305, NR_fchmodat = 306, NR_faccessat = 307,
    NR_signalfd4 = 327, NR_dup3 = 330, NR_pipe2 = 331, NR_prlimit64 = 340, NR_finit_module = 350, NR_renameat2 = 353,
    NR_getrandom = 355, NR_execveat = 358, NR_socket = 359, NR_bind = 361, NR_connect = 362, NR_setsockopt = 366, NR_sendto = 369,
    NR_recvfrom = 371, NR_recvmsg = 372, NR_statx = 383, NR_clock_gettime = 403, NR_clock_settime = 404, NR_ppoll = 414,
    NR_clone3 = 435, NR_socketpair = 360, NR_sendmsg = 370, NR_memfd_create = 356,
};
