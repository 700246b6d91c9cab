//! QEMU: accelerator choice, command lines, QMP, supervision of the process.
