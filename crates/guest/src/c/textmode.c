// Starts a 64-bit Linux with a text screen. QEMU starts an ELF kernel by its PVH entry, and Linux takes from there that there is no
// screen. So QEMU starts this program by its own PVH entry instead and has the kernel as the file `opt/nbv/kernel` of its firmware
// configuration device. This loads it and goes the way of Linux' 64-bit boot protocol (Documentation/arch/x86/boot.rst), which can tell
// the kernel the text mode that the firmware has set.
//
// It runs once, before anything else, in 32-bit mode without paging, and needs neither the firmware nor the other sources here. QEMU
// writes it into memory again whenever a machine that sleeps wakes; so its place is left out of the memory that the kernel may use.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// xen/include/public/arch-x86/hvm/start_info.h
struct start_info { u32 magic, version, flags, modules; u64 module_list, command_line, rsdp, memory_map; u32 memory_entries, reserved; };
struct module { u64 address, size, command_line, reserved; };
struct memory { u64 address, size; u32 type, reserved; };

extern u8 first_byte[], end_byte[];
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

// The firmware configuration device (docs/specs/fw_cfg in QEMU): numbers in it are big endian.
struct access { u32 control, length; u64 address; };

static u32 swap(u32 x) {
    return x >> 24 | (x >> 8 & 0xff00) | (x & 0xff00) << 8 | x << 24;
}

// Reads (2) or skips (4) bytes of the entry that was selected last, or selects one (its number << 16 | 8) first.
static void firmware(u32 what, void *to, u32 length) {
    static volatile struct access a;
    a.control = swap(what);
    a.length = swap(length);
    a.address = (u64)swap((u32)to) << 32;
    __asm__ volatile("outl %0, %w1" : : "a"(swap((u32)&a)), "d"(0x518) : "memory");
    while (a.control) __asm__ volatile("pause" : : : "memory");
}

static u32 kernel_file(void) {
    static const char name[] = "opt/nbv/kernel";
    struct { u32 size; u16 entry, reserved; char name[56]; } file;
    u32 count;
    firmware(0x19 << 16 | 8 | 2, &count, 4);
    for (count = swap(count); count--;) {
        u32 i = 0;
        firmware(2, &file, sizeof file);
        while (i < sizeof name && file.name[i] == name[i]) i++;
        if (i == sizeof name) return (u32)(u16)(file.entry >> 8 | file.entry << 8);
    }
    // nobody is there to be told
    for (;;) __asm__ volatile("hlt");
}

// Elf64_Ehdr and Elf64_Phdr
struct elf { u8 ident[16]; u16 type, machine; u32 version; u64 entry, segments, sections; u32 flags; u16 size, segment_size, segment_count, rest[3]; };
struct segment { u32 type, flags; u64 offset, address, physical, file_size, memory_size, align; };

// Loads the kernel's segments; gives its entry.
static u64 load(void) {
    static struct segment segments[16];
    u32 file = kernel_file();
    struct elf head;
    firmware(file << 16 | 8 | 2, &head, sizeof head);
    u32 n = head.segment_count < 16 ? head.segment_count : 16;
    firmware(4, 0, (u32)head.segments - sizeof head);
    firmware(2, segments, n * sizeof *segments);
    for (u32 i = 0; i < n; i++) {
        // what is in memory only is zero already
        if (segments[i].type != 1 || !segments[i].file_size) continue;
        firmware(file << 16 | 8 | 4, 0, (u32)segments[i].offset);
        firmware(2, (void *)(u32)segments[i].physical, (u32)segments[i].file_size);
    }
    return head.entry;
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
    u64 own = (u32)first_byte, after = ((u64)(u32)end_byte + 4095) & ~4095ULL;
    for (u32 i = 0; i < info->memory_entries; i++) {
        u64 from = map[i].address, to = from + map[i].size;
        if (map[i].type != 1 || own < from || after > to) {
            range(from, map[i].size, map[i].type);
            continue;
        }
        if (own > from) range(from, own - from, 1);
        range(own, after - own, 2);
        if (to > after) range(after, to - after, 1);
    }
    range(0xa0000, 0x60000, 2);
    // the first 4 GB at their own addresses, in pages of 2 MB
    pages[0][0] = (u32)pages[1] | 3;
    for (u32 i = 0; i < 4; i++) pages[1][i] = (u32)pages[2 + i] | 3;
    for (u32 i = 0; i < 2048; i++) pages[2 + i / 512][i % 512] = (u64)i << 21 | 0x83;
    return load();
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
