//! Makes an empty ext4 file system as a sparse file: only what is not zero is written, a few kilobytes for
//! each gigabyte. On disk (Documentation/filesystems/ext4 of the kernel): 4 KiB blocks, groups of 128 MiB,
//! group checksums with untouched bitmaps and inode tables left out (`uninit_bg`; the tables are marked as
//! zeroed, which they are in a sparse file), extents, an internal journal unless it is not wanted.

use crate::checksum::crc16;
use crate::{ImageError, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK: u64 = 4096;
const BLOCKS_PER_GROUP: u64 = 32768;
const INODES_PER_GROUP: u32 = 8192;
const INODE_SIZE: u64 = 256;
const TABLE_BLOCKS: u64 = INODES_PER_GROUP as u64 * INODE_SIZE / BLOCK;
const FIRST_FREE_INODE: u32 = 12;
const DESC: usize = 32;
const BG_INODE_UNINIT: u16 = 1;
const BG_BLOCK_UNINIT: u16 = 2;
const BG_INODE_ZEROED: u16 = 4;

/// What the file system says of itself, and whether it has a journal.
#[derive(Clone, Debug)]
pub struct Ext4Options {
    pub uuid: [u8; 16],
    /// At most 16 bytes are kept.
    pub label: String,
    /// Seconds since 1970 of its making.
    pub time: u32,
    pub journal: bool,
}

struct Plan {
    blocks: u64,
    groups: u64,
    gdt_blocks: u64,
    journal_blocks: u64,
}

/// Makes the file `path` (it must not exist) of `size` bytes, rounded down to blocks, with an empty file
/// system: root folder 0755 of root, `lost+found`. Errors: I/O; a size under 16 MiB or over 16 TiB.
pub fn make_ext4(path: &Path, size: u64, options: &Ext4Options) -> Result<()> {
    let plan = Plan::new(size, options.journal)?;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(ImageError::io(format!("making {}", path.display())))?;
    let done = file
        .set_len(size / BLOCK * BLOCK)
        .map_err(ImageError::io(format!("setting the size of {}", path.display())))
        .and_then(|()| write_all(&file, &plan, options));
    if done.is_err() {
        // nothing half made stays
        let _ = std::fs::remove_file(path);
    }
    done
}

impl Plan {
    fn new(size: u64, journal: bool) -> Result<Plan> {
        if size < 16 << 20 {
            return Err(ImageError::BadSize { size, why: "too small for ext4 here (at least 16 MiB)" });
        }
        let mut blocks = size / BLOCK;
        if blocks > u64::from(u32::MAX) {
            return Err(ImageError::BadSize { size, why: "too large for ext4 here (at most 16 TiB)" });
        }
        let mut groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let gdt_blocks = (groups * DESC as u64).div_ceil(BLOCK);
        // a last group too small for its own tables is left out
        let rest = blocks % BLOCKS_PER_GROUP;
        if groups > 1 && rest > 0 && rest < gdt_blocks + TABLE_BLOCKS + 64 {
            blocks -= rest;
            groups -= 1;
        }
        let journal_blocks = match (journal, size) {
            (false, _) => 0,
            (true, s) if s < 128 << 20 => 1024,
            (true, s) if s < 1 << 30 => 4096,
            _ => 8192,
        };
        Ok(Plan { blocks, groups, gdt_blocks, journal_blocks })
    }

    fn blocks_of(&self, group: u64) -> u64 {
        (self.blocks - group * BLOCKS_PER_GROUP).min(BLOCKS_PER_GROUP)
    }

    /// Blocks of the superblock's copy and the descriptors at the start of a group.
    fn head(&self, group: u64) -> u64 {
        if has_super(group) { 1 + self.gdt_blocks } else { 0 }
    }

    /// Blocks that a group's own tables take.
    fn overhead(&self, group: u64) -> u64 {
        self.head(group) + 2 + TABLE_BLOCKS
    }
}

/// Groups 0 and 1 and powers of 3, 5 and 7 have copies of the superblock.
fn has_super(group: u64) -> bool {
    let power = |base: u64| {
        let mut p = base;
        while p < group {
            p *= base;
        }
        p == group
    };
    group <= 1 || power(3) || power(5) || power(7)
}

fn put16(b: &mut [u8], at: usize, v: u16) {
    b[at..at + 2].copy_from_slice(&v.to_le_bytes());
}
fn put32(b: &mut [u8], at: usize, v: u32) {
    b[at..at + 4].copy_from_slice(&v.to_le_bytes());
}
fn be32(b: &mut [u8], at: usize, v: u32) {
    b[at..at + 4].copy_from_slice(&v.to_be_bytes());
}

fn write_all(file: &File, plan: &Plan, options: &Ext4Options) -> Result<()> {
    let put = |block: u64, data: &[u8]| {
        file.write_all_at(data, block * BLOCK).map_err(ImageError::io("writing an ext4 file system"))
    };
    // Group 0: tables, then the root folder, lost+found and the journal.
    let table = plan.head(0) + 2;
    let root_block = plan.overhead(0);
    let lost_block = root_block + 1;
    let journal_block = lost_block + 1;
    let used0 = journal_block + plan.journal_blocks;
    if used0 + 64 > plan.blocks_of(0) {
        return Err(ImageError::BadSize { size: plan.blocks * BLOCK, why: "too small for its journal" });
    }

    let mut bitmap = vec![0u8; BLOCK as usize];
    set_bits(&mut bitmap, 0, used0);
    set_bits(&mut bitmap, plan.blocks_of(0), BLOCKS_PER_GROUP);
    put(plan.head(0), &bitmap)?;
    let mut bitmap = vec![0u8; BLOCK as usize];
    set_bits(&mut bitmap, 0, u64::from(FIRST_FREE_INODE) - 1);
    set_bits(&mut bitmap, u64::from(INODES_PER_GROUP), BLOCK * 8);
    put(plan.head(0) + 1, &bitmap)?;

    let mut inodes = vec![0u8; BLOCK as usize];
    let t = options.time;
    inode(&mut inodes, 2, 0o040755, 3, BLOCK, root_block, 1, t);
    inode(&mut inodes, 11, 0o040700, 2, BLOCK, lost_block, 1, t);
    if plan.journal_blocks > 0 {
        inode(&mut inodes, 8, 0o100600, 1, plan.journal_blocks * BLOCK, journal_block, plan.journal_blocks, t);
    }
    put(table, &inodes)?;

    let mut dir = vec![0u8; BLOCK as usize];
    entry(&mut dir, 0, 2, 12, b".");
    entry(&mut dir, 12, 2, 12, b"..");
    entry(&mut dir, 24, 11, BLOCK as u16 - 24, b"lost+found");
    put(root_block, &dir)?;
    let mut dir = vec![0u8; BLOCK as usize];
    entry(&mut dir, 0, 11, 12, b".");
    entry(&mut dir, 12, 2, BLOCK as u16 - 12, b"..");
    put(lost_block, &dir)?;

    if plan.journal_blocks > 0 {
        let mut j = vec![0u8; BLOCK as usize];
        be32(&mut j, 0x00, 0xc03b_3998);
        be32(&mut j, 0x04, 4); // superblock, second version
        be32(&mut j, 0x0c, BLOCK as u32);
        be32(&mut j, 0x10, plan.journal_blocks as u32);
        be32(&mut j, 0x14, 1); // first block of the log
        be32(&mut j, 0x18, 1); // first sequence number
        j[0x30..0x40].copy_from_slice(&options.uuid);
        be32(&mut j, 0x40, 1); // one user
        put(journal_block, &j)?;
    }

    let mut descs = vec![0u8; (plan.gdt_blocks * BLOCK) as usize];
    let mut free_blocks = 0u64;
    for g in 0..plan.groups {
        let d = &mut descs[g as usize * DESC..(g as usize + 1) * DESC];
        let start = g * BLOCKS_PER_GROUP;
        let used = if g == 0 { used0 } else { plan.overhead(g) };
        let free = plan.blocks_of(g) - used;
        free_blocks += free;
        put32(d, 0, (start + plan.head(g)) as u32);
        put32(d, 4, (start + plan.head(g) + 1) as u32);
        put32(d, 8, (start + plan.head(g) + 2) as u32);
        put16(d, 12, free as u16);
        let (free_inodes, dirs, flags) = if g == 0 {
            (INODES_PER_GROUP - (FIRST_FREE_INODE - 1), 2, BG_INODE_ZEROED)
        } else {
            (INODES_PER_GROUP, 0, BG_INODE_UNINIT | BG_BLOCK_UNINIT | BG_INODE_ZEROED)
        };
        put16(d, 14, free_inodes as u16);
        put16(d, 16, dirs);
        put16(d, 18, flags);
        put16(d, 28, free_inodes as u16); // never used so far
        let mut sum = crc16(!0, &options.uuid);
        sum = crc16(sum, &(g as u32).to_le_bytes());
        sum = crc16(sum, &d[..30]);
        put16(d, 30, sum);
    }
    // The last group is not left uninitialised: its bitmap has the bits beyond the end set.
    if plan.groups > 1 {
        let g = plan.groups - 1;
        let mut bitmap = vec![0u8; BLOCK as usize];
        set_bits(&mut bitmap, 0, plan.overhead(g));
        set_bits(&mut bitmap, plan.blocks_of(g), BLOCKS_PER_GROUP);
        put(g * BLOCKS_PER_GROUP + plan.head(g), &bitmap)?;
        let d = &mut descs[g as usize * DESC..(g as usize + 1) * DESC];
        put16(d, 18, BG_INODE_UNINIT | BG_INODE_ZEROED);
        let mut sum = crc16(!0, &options.uuid);
        sum = crc16(sum, &(g as u32).to_le_bytes());
        sum = crc16(sum, &d[..30]);
        put16(d, 30, sum);
    }
    for g in (0..plan.groups).filter(|&g| has_super(g)) {
        let sb = superblock(plan, options, g, free_blocks, &inodes);
        let at = g * BLOCKS_PER_GROUP * BLOCK + if g == 0 { 1024 } else { 0 };
        file.write_all_at(&sb, at).map_err(ImageError::io("writing an ext4 file system"))?;
        put(g * BLOCKS_PER_GROUP + 1, &descs)?;
    }
    Ok(())
}

fn superblock(plan: &Plan, options: &Ext4Options, group: u64, free_blocks: u64, inodes: &[u8]) -> Vec<u8> {
    let mut s = vec![0u8; 1024];
    let total_inodes = plan.groups as u32 * INODES_PER_GROUP;
    put32(&mut s, 0x00, total_inodes);
    put32(&mut s, 0x04, plan.blocks as u32);
    put32(&mut s, 0x0c, free_blocks as u32);
    put32(&mut s, 0x10, total_inodes - (FIRST_FREE_INODE - 1));
    put32(&mut s, 0x18, 2); // 1024 << 2
    put32(&mut s, 0x1c, 2);
    put32(&mut s, 0x20, BLOCKS_PER_GROUP as u32);
    put32(&mut s, 0x24, BLOCKS_PER_GROUP as u32);
    put32(&mut s, 0x28, INODES_PER_GROUP);
    put32(&mut s, 0x30, options.time);
    put16(&mut s, 0x36, 0xffff); // no limit of mounts
    put16(&mut s, 0x38, 0xef53);
    put16(&mut s, 0x3a, 1); // clean
    put16(&mut s, 0x3c, 1); // go on after errors
    put32(&mut s, 0x40, options.time);
    put32(&mut s, 0x4c, 1);
    put32(&mut s, 0x54, 11); // first inode that is not reserved
    put16(&mut s, 0x58, INODE_SIZE as u16);
    put16(&mut s, 0x5a, group as u16);
    let journal = if plan.journal_blocks > 0 { 0x4 } else { 0 };
    put32(&mut s, 0x5c, journal | 0x8 | 0x20); // has_journal, ext_attr, dir_index
    put32(&mut s, 0x60, 0x2 | 0x40); // filetype, extents
    // sparse_super, large_file, huge_file, gdt_csum (uninit_bg), dir_nlink, extra_isize
    put32(&mut s, 0x64, 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40);
    s[0x68..0x78].copy_from_slice(&options.uuid);
    let label = &options.label.as_bytes()[..options.label.len().min(16)];
    s[0x78..0x78 + label.len()].copy_from_slice(label);
    // the seed of folders' hashes: the UUID serves, it need only be stable
    s[0xec..0xfc].copy_from_slice(&options.uuid);
    s[0xfc] = 1; // half of MD4
    put32(&mut s, 0x100, 0x4 | 0x8); // user_xattr, acl
    put32(&mut s, 0x108, options.time);
    if plan.journal_blocks > 0 {
        put32(&mut s, 0xe0, 8);
        s[0xfd] = 1; // what follows at 0x10c is a copy of the journal inode's block list and size
        let at = 7 * INODE_SIZE as usize;
        s[0x10c..0x10c + 60].copy_from_slice(&inodes[at + 0x28..at + 0x28 + 60]);
        put32(&mut s, 0x10c + 64, (plan.journal_blocks * BLOCK) as u32);
    }
    put16(&mut s, 0x15c, 32);
    put16(&mut s, 0x15e, 32);
    put32(&mut s, 0x160, 1); // hashes of signed characters
    s
}

/// Inode number `ino` of the first block of the table, with one extent.
#[allow(clippy::too_many_arguments)]
fn inode(table: &mut [u8], ino: usize, mode: u16, links: u16, size: u64, block: u64, count: u64, time: u32) {
    let at = (ino - 1) * INODE_SIZE as usize;
    let i = &mut table[at..at + INODE_SIZE as usize];
    put16(i, 0x00, mode);
    put32(i, 0x04, size as u32);
    for t in [0x08, 0x0c, 0x10, 0x90] {
        put32(i, t, time);
    }
    put16(i, 0x1a, links);
    put32(i, 0x1c, (count * BLOCK / 512) as u32);
    put32(i, 0x20, 0x8_0000); // extents
    put16(i, 0x28, 0xf30a);
    put16(i, 0x2a, 1);
    put16(i, 0x2c, 4);
    put16(i, 0x38, count as u16); // length; the first logical block before it is 0
    put32(i, 0x3c, block as u32);
    put16(i, 0x80, 32); // size of the fields beyond the old inode
}

fn entry(dir: &mut [u8], at: usize, ino: u32, len: u16, name: &[u8]) {
    put32(dir, at, ino);
    put16(dir, at + 4, len);
    dir[at + 6] = name.len() as u8;
    dir[at + 7] = 2; // a folder
    dir[at + 8..at + 8 + name.len()].copy_from_slice(name);
}

fn set_bits(bitmap: &mut [u8], from: u64, to: u64) {
    for i in from..to {
        bitmap[(i / 8) as usize] |= 1 << (i % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn options(journal: bool) -> Ext4Options {
        Ext4Options { uuid: [7; 16], label: "root".into(), time: 1_700_000_000, journal }
    }

    #[test]
    fn sparse_and_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let p = dir.path().join("a");
        assert!(make_ext4(&p, 1 << 20, &options(true)).is_err());
        assert!(!p.exists());
        make_ext4(&p, 8 << 30, &options(true)).unwrap();
        let m = std::fs::metadata(&p).unwrap();
        assert_eq!(m.len(), 8 << 30);
        assert!(std::os::unix::fs::MetadataExt::blocks(&m) * 512 < 1 << 20);
        assert!(make_ext4(&p, 8 << 30, &options(true)).is_err(), "an existing file is kept");
    }

    /// e2fsck agrees, where it is installed.
    #[test]
    fn checked_by_e2fsck() {
        if Command::new("e2fsck").arg("-V").output().is_err() {
            eprintln!("e2fsck is not installed: not compared");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for (n, size) in [16u64 << 20, (64 << 20) + 4096, 128 << 20, (128 << 20) + 8192, (1 << 30) + (20 << 20), 40 << 30]
            .into_iter()
            .enumerate()
        {
            for journal in [true, false] {
                let p = dir.path().join(format!("{n}{journal}"));
                make_ext4(&p, size, &options(journal)).unwrap();
                let out = Command::new("e2fsck").args(["-f", "-n"]).arg(&p).output().unwrap();
                let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
                assert!(out.status.success(), "size {size} journal {journal}: {text}");
            }
        }
    }
}
