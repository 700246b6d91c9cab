// Starts a 64-bit Linux with a text screen. QEMU starts an ELF kernel by its PVH entry, and Linux takes from there that there is no
// screen. So QEMU starts this program by its own PVH entry instead, with the kernel loaded beside it; this goes the way of Linux'
// 64-bit boot protocol (Documentation/arch/x86/boot.rst), which can tell the kernel the text mode that the firmware has set.
//
// It runs once, before anything else, in 32-bit mode without paging, and needs neither the firmware nor the other sources here.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// The driver writes the kernel's entry behind the mark.
__attribute__((section(".data.entry"), used)) struct { char mark[8]; u64 address; } kernel_entry = { "NBVENTRY", 0 };

// xen/include/public/arch-x86/hvm/start_info.h
struct start_info { u32 magic, version, flags, modules; u64 module_list, command_line, rsdp, memory_map; u32 memory_entries, reserved; };
struct module { u64 address, size, command_line, reserved; };
struct memory { u64 address, size; u32 type, reserved; };

u8 params[4096] __attribute__((aligned(4096)));
u64 pages[6][512] __attribute__((aligned(4096)));
u8 stack[4096] __attribute__((aligned(16)));

static void put(u32 at, u64 value, int bytes) {
    for (int i = 0; i < bytes; i++) params[at + (u32)i] = (u8)(value >> 8 * i);
}

static u32 bios(u32 address, int bytes) {
    u32 value = 0;
    // the BIOS data area is at the address 0x400, where no object of C is
    for (int i = 0; i < bytes; i++) value |= (u32) * (volatile u8 *)(address + (u32)i) << 8 * i;
    return value;
}

static void range(u64 address, u64 size, u32 type) {
    u32 n = params[0x1e8];
    if (n == 128) return;
    put(0x2d0 + n * 20, address, 8);
    put(0x2d0 + n * 20 + 8, size, 8);
    put(0x2d0 + n * 20 + 16, type, 4);
    params[0x1e8]++;
}

u64 prepare(const struct start_info *info) {
    const struct module *initrd = (void *)(u32)info->module_list;
    const struct memory *map = (void *)(u32)info->memory_map;
    // struct screen_info: cursor, page, mode, columns, lines, VGA, height of a character
    put(0x00, bios(0x450, 2), 2);
    put(0x04, bios(0x462, 1), 2);
    put(0x06, bios(0x449, 1), 1);
    put(0x07, bios(0x44a, 1), 1);
    put(0x0a, 3, 2);
    put(0x0e, bios(0x484, 1) + 1, 1);
    put(0x0f, 1, 1);
    put(0x10, bios(0x485, 2), 2);
    put(0x70, info->rsdp, 8);
    // struct setup_header: a loader of unknown kind that speaks 2.12
    put(0x1fe, 0xaa55, 2);
    put(0x202, 0x53726448, 4);
    put(0x206, 0x20c, 2);
    put(0x210, 0xff, 1);
    put(0x211, 1, 1);
    put(0x228, info->command_line, 4);
    if (info->modules) {
        put(0x218, initrd->address, 4);
        put(0x21c, initrd->size, 4);
    }
    for (u32 i = 0; i < info->memory_entries; i++) range(map[i].address, map[i].size, map[i].type);
    range(0xa0000, 0x60000, 2);
    // the first 4 GB at their own addresses, in pages of 2 MB
    pages[0][0] = (u32)pages[1] | 3;
    for (u32 i = 0; i < 4; i++) pages[1][i] = (u32)pages[2 + i] | 3;
    for (u32 i = 0; i < 2048; i++) pages[2 + i / 512][i % 512] = (u64)i << 21 | 0x83;
    return kernel_entry.address;
}

__asm__(
    ".pushsection .note.pvh,\"a\",@note\n"
    ".align 4\n.long 4, 4, 18\n.asciz \"Xen\"\n.long start\n"  // XEN_ELFNOTE_PHYS32_ENTRY
    ".popsection\n"
    ".text\n.globl start\n"
    "start:\n"
    "cli\n cld\n"
    "movl $stack + 4096, %esp\n"
    "pushl %ebx\n"
    "call prepare\n"
    "movl %eax, %edi\n"
    "movl $params, %esi\n"
    "movl %cr4, %eax\n orl $0x20, %eax\n movl %eax, %cr4\n"   // PAE
    "movl $pages, %eax\n movl %eax, %cr3\n"
    "movl $0xc0000080, %ecx\n rdmsr\n orl $0x100, %eax\n wrmsr\n"  // EFER.LME
    "movl %cr0, %eax\n orl $0x80000001, %eax\n movl %eax, %cr0\n"
    "lgdt gdtr\n"
    "ljmp $0x10, $long_mode\n"
    ".code64\n"
    "long_mode:\n"
    "movl $0x18, %eax\n movl %eax, %ds\n movl %eax, %es\n movl %eax, %ss\n movl %eax, %fs\n movl %eax, %gs\n"
    "movl %esi, %esi\n movl %edi, %eax\n"
    "jmp *%rax\n"
    ".code32\n"
    ".align 8\n"
    "gdt: .quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff\n"
    "gdtr: .word 31\n .long gdt\n");
