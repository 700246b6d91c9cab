//! Interned names.
//!
//! A [`Symbol`] is a `u32`; ids are given in the order in which names are first seen, which is visible in the
//! order in which attribute sets are forced. Reading a name takes no lock.

use std::hash::Hasher;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};

/// An interned name. Compares by identity, not by text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub u32);

/// Names per first block; block `k` has `FIRST << k` names.
const FIRST: usize = 1024;
const BLOCKS: usize = 22;

struct Name {
    text: Box<[u8]>,
    hash: u64,
}

/// The table of names; shared by threads.
pub struct Symbols {
    blocks: [AtomicPtr<Name>; BLOCKS],
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Open addressing, id + 1 per entry, a power of two long.
    entries: Vec<u32>,
    len: u32,
}

impl Default for Symbols {
    fn default() -> Self {
        Symbols::new()
    }
}

fn hash(text: &[u8]) -> u64 {
    let mut h = FxHasher::default();
    h.write(text);
    h.finish()
}

fn place(id: u32) -> (usize, usize) {
    let n = id as usize + FIRST;
    let block = (n / FIRST).ilog2() as usize;
    (block, n - (FIRST << block))
}

impl Symbols {
    pub fn new() -> Symbols {
        Symbols {
            blocks: [const { AtomicPtr::new(null_mut()) }; BLOCKS],
            table: Mutex::new(Table { entries: vec![0; 4096], len: 0 }),
        }
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(|e| e.into_inner()).len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn entry(&self, id: u32) -> &Name {
        let (block, index) = place(id);
        let p = self.blocks[block].load(Ordering::Acquire);
        assert!(!p.is_null(), "a symbol belongs to the table that made it");
        // SAFETY: a block is published fully allocated, entries below `len` are written before their id is
        // given out and never change, and blocks are freed only by `drop`. Ids are given out by this
        // table in order, so the entry at `index` was written.
        unsafe { &*p.add(index) }
    }

    /// The text of a symbol.
    #[inline]
    pub fn name(&self, symbol: Symbol) -> &[u8] {
        &self.entry(symbol.0).text
    }

    /// The text for messages.
    pub fn display(&self, symbol: Symbol) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.name(symbol))
    }

    /// The symbol of a name that was seen before.
    pub fn lookup(&self, text: &[u8]) -> Option<Symbol> {
        let h = hash(text);
        let table = self.table.lock().unwrap_or_else(|e| e.into_inner());
        self.find(&table, text, h).ok().map(Symbol)
    }

    fn find(&self, table: &Table, text: &[u8], h: u64) -> Result<u32, usize> {
        let mask = table.entries.len() - 1;
        let mut i = h as usize & mask;
        loop {
            match table.entries[i] {
                0 => return Err(i),
                id => {
                    let name = self.entry(id - 1);
                    if name.hash == h && *name.text == *text {
                        return Ok(id - 1);
                    }
                }
            }
            i = (i + 1) & mask;
        }
    }

    /// The symbol of a name, made if it is new.
    pub fn intern(&self, text: &[u8]) -> Symbol {
        let h = hash(text);
        let mut table = self.table.lock().unwrap_or_else(|e| e.into_inner());
        let slot = match self.find(&table, text, h) {
            Ok(id) => return Symbol(id),
            Err(slot) => slot,
        };
        let id = table.len;
        let (block, index) = place(id);
        let mut p = self.blocks[block].load(Ordering::Acquire);
        if p.is_null() {
            let mut names: Vec<Name> = Vec::with_capacity(FIRST << block);
            p = names.as_mut_ptr();
            std::mem::forget(names);
            self.blocks[block].store(p, Ordering::Release);
        }
        // SAFETY: `index` is below the block's capacity, and only the holder of the lock writes entries.
        unsafe { p.add(index).write(Name { text: text.into(), hash: h }) };
        table.len += 1;
        table.entries[slot] = id + 1;
        if table.len as usize * 2 > table.entries.len() {
            let size = table.entries.len() * 2;
            let old = std::mem::replace(&mut table.entries, vec![0; size]);
            for id in old.into_iter().filter(|&id| id != 0) {
                let mut i = self.entry(id - 1).hash as usize & (size - 1);
                while table.entries[i] != 0 {
                    i = (i + 1) & (size - 1);
                }
                table.entries[i] = id;
            }
        }
        Symbol(id)
    }
}

impl Drop for Symbols {
    fn drop(&mut self) {
        let mut left = self.table.get_mut().unwrap_or_else(|e| e.into_inner()).len as usize;
        for (k, block) in self.blocks.iter_mut().enumerate() {
            let p = *block.get_mut();
            if p.is_null() {
                break;
            }
            let here = left.min(FIRST << k);
            left -= here;
            // SAFETY: the block came from a `Vec` of this capacity, and `here` of its entries were written.
            drop(unsafe { Vec::from_raw_parts(p, here, FIRST << k) });
        }
    }
}

/// A fast hash without protection against chosen keys.
#[derive(Default, Clone)]
pub struct FxHasher(u64);

impl FxHasher {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for FxHasher {
    #[inline]
    fn write(&mut self, mut bytes: &[u8]) {
        while let Some((word, rest)) = bytes.split_first_chunk::<8>() {
            self.add(u64::from_le_bytes(*word));
            bytes = rest;
        }
        for &b in bytes {
            self.add(b as u64);
        }
        self.add(0xff);
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.add(n as u64);
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.add(n);
    }

    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.add(n as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

/// Builds [`FxHasher`]s, for hash maps.
pub type FxBuild = std::hash::BuildHasherDefault<FxHasher>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_growth_and_keep_their_ids() {
        let symbols = Symbols::new();
        let ids: Vec<Symbol> = (0..10_000).map(|i| symbols.intern(format!("n{i}").as_bytes())).collect();
        for (i, &id) in ids.iter().enumerate() {
            assert_eq!(id.0 as usize, i);
            assert_eq!(symbols.name(id), format!("n{i}").as_bytes());
            assert_eq!(symbols.intern(format!("n{i}").as_bytes()), id);
        }
        assert_eq!(symbols.lookup(b"absent"), None);
    }
}
