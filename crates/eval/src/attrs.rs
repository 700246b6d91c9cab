//! Attribute sets: immutable, sorted by symbol id, in three layouts.
//!
//! A set starts with one word; its low two bits say what follows:
//!
//! | layout | word | behind it |
//! | --- | --- | --- |
//! | flat | length in the upper half | name, position, cell of each attribute |
//! | shaped | shape | one cell per attribute; names and positions are in the shape |
//! | unplaced | shape | the same, without positions |
//! | layered | number of layers in the upper half | the layers, each flat or shaped, the strongest first |
//!
//! A literal's shape is in its code, so that all sets that it makes share it. Layers are what `//` makes instead
//! of a copy; there are at most [`MAX_LAYERS`], so that looking up and walking stay cheap.

use std::marker::PhantomData;

use nbv_syntax::{Arena, Symbol, Symbols};

use crate::value::Ref;

/// One attribute.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Attr<'h> {
    pub name: Symbol,
    /// Global position of the definition; 0 when unknown.
    pub pos: u32,
    pub value: Ref<'h>,
}

/// A name and where it is defined.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: Symbol,
    pub(crate) pos: u32,
}

/// Names and positions of sets, sorted by symbol.
#[repr(C, align(8))]
pub(crate) struct Shape<'h> {
    pub(crate) keys: &'h [Key],
}

#[repr(C, align(8))]
struct Header {
    word: u64,
}

const FLAT: u64 = 0;
const SHAPED: u64 = 1;
const UNPLACED: u64 = 2;
const LAYERED: u64 = 3;
const LAYOUT: u64 = 3;

/// More layers than this are merged, whatever their sizes.
const MAX_LAYERS: usize = 8;
/// Up to so many layers none is merged.
const FREE_LAYERS: usize = 5;

/// An attribute set in the heap.
#[derive(Clone, Copy)]
pub struct Attrs<'h>(&'h Header, PhantomData<&'h Attr<'h>>);

// SAFETY: sets are immutable once made; their cells are shared between threads anyway.
unsafe impl Send for Attrs<'_> {}
// SAFETY: as above.
unsafe impl Sync for Attrs<'_> {}

/// The place of a name among `len` sorted ones.
#[inline(always)]
fn position(len: usize, name: Symbol, at: impl Fn(usize) -> Symbol) -> Option<usize> {
    if len <= 8 {
        return (0..len).find(|&i| at(i) == name);
    }
    let mut low = 0;
    let mut size = len;
    while size > 1 {
        let half = size / 2;
        let mid = low + half;
        low = if at(mid) <= name { mid } else { low };
        size -= half;
    }
    (at(low) == name).then_some(low)
}

impl<'h> Attrs<'h> {
    /// Memory for a set with `bytes` behind the word.
    #[inline(always)]
    fn allocate(arena: &'h Arena, word: u64, bytes: usize) -> (Attrs<'h>, *mut u8) {
        let p = arena.alloc_raw(size_of::<Header>() + bytes);
        let header = p.cast::<Header>();
        // SAFETY: the allocation has room for the header, is aligned to 8, and is ours.
        unsafe {
            header.write(Header { word });
            (Attrs(header.as_ref(), PhantomData), p.as_ptr().add(size_of::<Header>()))
        }
    }

    /// Copies attributes that are sorted by symbol and have no duplicates.
    pub(crate) fn from_sorted(arena: &'h Arena, sorted: &[Attr<'h>]) -> Attrs<'h> {
        debug_assert!(sorted.is_sorted_by(|a, b| a.name < b.name));
        let (set, to) = Attrs::allocate(arena, (sorted.len() as u64) << 32 | FLAT, size_of_val(sorted));
        // SAFETY: the allocation has room for the attributes.
        unsafe { std::ptr::copy_nonoverlapping(sorted.as_ptr(), to.cast(), sorted.len()) };
        set
    }

    /// Makes a set of this shape; `cell(i)` gives the value of its attribute `i`.
    #[inline(always)]
    pub(crate) fn shaped(arena: &'h Arena, shape: &'h Shape<'h>, mut cell: impl FnMut(usize) -> Ref<'h>) -> Attrs<'h> {
        let len = shape.keys.len();
        let word = std::ptr::from_ref(shape) as u64 | SHAPED;
        let (set, to) = Attrs::allocate(arena, word, len * size_of::<Ref>());
        for i in 0..len {
            // SAFETY: the allocation has room for `len` cells; `cell` may allocate from the same arena, but never
            // this memory again.
            unsafe { to.cast::<Ref<'h>>().add(i).write(cell(i)) };
        }
        set
    }

    /// Makes a set of the same names without positions; `cell` gives the new value of each attribute.
    pub(crate) fn map(self, arena: &'h Arena, mut cell: impl FnMut(Attr<'h>) -> Ref<'h>) -> Attrs<'h> {
        if matches!(self.layout(), SHAPED | UNPLACED) {
            let cells = self.cells();
            let (set, to) = Attrs::allocate(arena, (self.0.word & !LAYOUT) | UNPLACED, size_of_val(cells));
            for (i, attr) in self.iter().enumerate() {
                // SAFETY: as in `shaped`.
                unsafe { to.cast::<Ref<'h>>().add(i).write(cell(attr)) };
            }
            return set;
        }
        Attrs::merge(arena, self.bound(), |out| {
            for attr in self.iter() {
                out.push(Attr { name: attr.name, pos: 0, value: cell(attr) });
            }
        })
    }

    /// Makes a set of at most `bound` attributes that `fill` appends in symbol order without duplicates.
    fn merge(arena: &'h Arena, bound: usize, fill: impl FnOnce(&mut Sink<'h>)) -> Attrs<'h> {
        let bytes = bound * size_of::<Attr>();
        let p = arena.alloc_raw(size_of::<Header>() + bytes);
        let header = p.cast::<Header>();
        // SAFETY: the allocation has room for the header and `bound` attributes and is ours; the sink keeps
        // the bound. What it did not use was never written, so it can be given back as zeroed memory.
        unsafe {
            let mut sink = Sink { to: p.as_ptr().add(size_of::<Header>()).cast::<Attr<'h>>(), len: 0, bound };
            fill(&mut sink);
            header.write(Header { word: (sink.len as u64) << 32 | FLAT });
            arena.give_back(p, size_of::<Header>() + bytes, (bound - sink.len) * size_of::<Attr>());
            Attrs(header.as_ref(), PhantomData)
        }
    }

    #[inline(always)]
    fn layout(self) -> u64 {
        self.0.word & LAYOUT
    }

    #[inline(always)]
    fn behind<T>(self) -> *const T {
        std::ptr::from_ref(self.0).wrapping_add(1).cast()
    }

    /// Attributes of a flat set.
    #[inline(always)]
    fn flat(self) -> &'h [Attr<'h>] {
        // SAFETY: a flat set has the attributes that its word says.
        unsafe { std::slice::from_raw_parts(self.behind(), (self.0.word >> 32) as usize) }
    }

    /// Keys of a shaped set.
    #[inline(always)]
    fn keys(self) -> &'h [Key] {
        // SAFETY: the word of a shaped set points to its shape.
        unsafe { (*((self.0.word & !LAYOUT) as *const Shape<'h>)).keys }
    }

    /// Cells of a shaped set.
    #[inline(always)]
    fn cells(self) -> &'h [Ref<'h>] {
        // SAFETY: a shaped set has as many cells as its shape has keys.
        unsafe { std::slice::from_raw_parts(self.behind(), self.keys().len()) }
    }

    /// Layers of a layered set; of another, itself.
    #[inline(always)]
    fn layers(&self) -> &[Attrs<'h>] {
        if self.layout() == LAYERED {
            // SAFETY: a layered set has as many layers as its word says; `Attrs` is one pointer.
            unsafe { std::slice::from_raw_parts(self.behind(), (self.0.word >> 32) as usize) }
        } else {
            std::slice::from_ref(self)
        }
    }

    /// The number of attributes of a set that is not layered.
    #[inline(always)]
    fn layer_len(self) -> usize {
        if self.layout() == FLAT { (self.0.word >> 32) as usize } else { self.keys().len() }
    }

    /// Attribute `index` of a set that is not layered.
    #[inline(always)]
    fn at(self, index: usize) -> Attr<'h> {
        match self.layout() {
            FLAT => self.flat()[index],
            layout => {
                let key = self.keys()[index];
                let pos = if layout == SHAPED { key.pos } else { 0 };
                Attr { name: key.name, pos, value: self.cells()[index] }
            }
        }
    }

    /// The number of attributes. Layered sets are walked for it; see [`Attrs::bound`].
    #[inline]
    pub fn len(self) -> usize {
        if self.layout() == LAYERED { self.iter().count() } else { self.layer_len() }
    }

    /// No less than the number of attributes, at no cost.
    #[inline]
    pub(crate) fn bound(self) -> usize {
        self.layers().iter().map(|l| l.layer_len()).sum()
    }

    #[inline(always)]
    pub fn is_empty(self) -> bool {
        // Only sets that are not empty become layers.
        self.layout() != LAYERED && self.layer_len() == 0
    }

    /// The attributes in symbol order (the order in which they are forced).
    #[inline]
    pub fn iter(self) -> Iter<'h> {
        match self.layout() {
            FLAT => Iter(Walk::Flat(self.flat().iter())),
            LAYERED => Iter(Walk::Layered { set: self, at: [0; MAX_LAYERS] }),
            _ => Iter(Walk::Shaped { set: self, at: 0 }),
        }
    }

    #[inline(always)]
    fn get_here(self, name: Symbol) -> Option<Attr<'h>> {
        if self.layout() == FLAT {
            let all = self.flat();
            return position(all.len(), name, |i| all[i].name).map(|i| all[i]);
        }
        let keys = self.keys();
        position(keys.len(), name, |i| keys[i].name).map(|i| self.at(i))
    }

    /// The attribute of a name.
    #[inline]
    pub fn get(self, name: Symbol) -> Option<Attr<'h>> {
        if self.layout() != LAYERED {
            return self.get_here(name);
        }
        self.layers().iter().find_map(|layer| layer.get_here(name))
    }

    /// The attributes in the byte order of their names (the order in which they are printed).
    pub fn by_name(self, symbols: &Symbols) -> Vec<Attr<'h>> {
        let mut all: Vec<Attr> = self.iter().collect();
        all.sort_unstable_by(|a, b| symbols.name(a.name).cmp(symbols.name(b.name)));
        all
    }

    /// A number that tells this set from all other ones.
    pub(crate) fn address(self) -> usize {
        std::ptr::from_ref(self.0) as usize
    }

    /// # Safety
    /// `address` came from [`Attrs::address`] of a set of the heap `'h`.
    #[inline(always)]
    pub(crate) unsafe fn from_address(address: u64) -> Attrs<'h> {
        // SAFETY: by contract; sets live as long as the heap.
        Attrs(unsafe { &*(address as *const Header) }, PhantomData)
    }

    pub(crate) fn is_same(self, other: Attrs<'h>) -> bool {
        std::ptr::eq(self.0, other.0)
    }

    /// `strong` and the attributes of `weak` that it does not have; neither is layered.
    fn merged(arena: &'h Arena, strong: Attrs<'h>, weak: Attrs<'h>) -> Attrs<'h> {
        let (n, m) = (strong.layer_len(), weak.layer_len());
        Attrs::merge(arena, n + m, |out| {
            let mut j = 0;
            for i in 0..n {
                let attr = strong.at(i);
                while j < m && weak.at(j).name < attr.name {
                    out.push(weak.at(j));
                    j += 1;
                }
                if j < m && weak.at(j).name == attr.name {
                    j += 1;
                }
                out.push(attr);
            }
            for k in j..m {
                out.push(weak.at(k));
            }
        })
    }

    /// The operator `//`: the attributes of both, of equal names those of `right`.
    pub(crate) fn update(arena: &'h Arena, left: Attrs<'h>, right: Attrs<'h>) -> Attrs<'h> {
        if left.is_empty() || left.is_same(right) {
            return right;
        }
        if right.is_empty() {
            return left;
        }
        let mut layers = [right; 2 * MAX_LAYERS];
        let mut count = 0;
        for &layer in right.layers().iter().chain(left.layers()) {
            layers[count] = layer;
            count += 1;
        }
        // Perf: as in a log-structured tree, a layer is merged with a weaker one that is not much larger, so
        // that a chain of small updates of a large set copies each attribute a logarithmic number of times.
        while count > FREE_LAYERS {
            let len = |i: usize| layers[i].layer_len();
            let similar = (0..count - 1).find(|&i| 2 * len(i) >= len(i + 1));
            let cheapest = || (0..count - 1).min_by_key(|&i| len(i) + len(i + 1));
            let Some(i) = similar.or_else(|| cheapest().filter(|_| count > MAX_LAYERS)) else { break };
            layers[i] = Attrs::merged(arena, layers[i], layers[i + 1]);
            layers.copy_within(i + 2..count, i + 1);
            count -= 1;
        }
        let (set, to) = Attrs::allocate(arena, (count as u64) << 32 | LAYERED, count * size_of::<Attrs>());
        // SAFETY: the allocation has room for `count` layers.
        unsafe { std::ptr::copy_nonoverlapping(layers.as_ptr(), to.cast(), count) };
        set
    }
}

impl<'h> IntoIterator for Attrs<'h> {
    type Item = Attr<'h>;
    type IntoIter = Iter<'h>;

    fn into_iter(self) -> Iter<'h> {
        self.iter()
    }
}

/// See [`Attrs::iter`].
pub struct Iter<'h>(Walk<'h>);

enum Walk<'h> {
    Flat(std::slice::Iter<'h, Attr<'h>>),
    Shaped { set: Attrs<'h>, at: usize },
    /// `at`: the next attribute of each layer.
    Layered { set: Attrs<'h>, at: [u32; MAX_LAYERS] },
}

impl<'h> Iterator for Iter<'h> {
    type Item = Attr<'h>;

    #[inline]
    fn next(&mut self) -> Option<Attr<'h>> {
        match &mut self.0 {
            Walk::Flat(attrs) => attrs.next().copied(),
            Walk::Shaped { set, at } => {
                if *at == set.keys().len() {
                    return None;
                }
                *at += 1;
                Some(set.at(*at - 1))
            }
            Walk::Layered { set, at } => {
                let mut first: Option<Attr<'h>> = None;
                for (layer, &i) in set.layers().iter().zip(&*at) {
                    if (i as usize) < layer.layer_len() {
                        let attr = layer.at(i as usize);
                        if first.is_none_or(|f| attr.name < f.name) {
                            first = Some(attr);
                        }
                    }
                }
                let found = first?;
                for (layer, i) in set.layers().iter().zip(at) {
                    if (*i as usize) < layer.layer_len() && layer.at(*i as usize).name == found.name {
                        *i += 1;
                    }
                }
                Some(found)
            }
        }
    }
}

/// Sink of [`Attrs::merge`].
struct Sink<'h> {
    to: *mut Attr<'h>,
    len: usize,
    bound: usize,
}

impl<'h> Sink<'h> {
    #[inline(always)]
    fn push(&mut self, attr: Attr<'h>) {
        assert!(self.len < self.bound, "the bound of a merge holds");
        // SAFETY: there is room, by the assertion and the allocation in `merge`.
        unsafe { self.to.add(self.len).write(attr) };
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nbv_syntax::Symbol;

    use super::{Attr, Attrs};
    use crate::testing::with_evaluator;
    use crate::value::Value;

    /// A small generator of numbers, so that failures repeat.
    fn next(state: &mut u64, below: u64) -> u64 {
        *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*state >> 33) % below
    }

    #[test]
    fn updates_are_those_of_a_map() {
        with_evaluator(|ev| {
            let mut state = 7;
            for _ in 0..200 {
                let (mut set, mut map) = (ev.common.empty_attrs, BTreeMap::new());
                for _ in 0..next(&mut state, 60) {
                    let most = [2, 3, 40][next(&mut state, 3) as usize];
                    let part: BTreeMap<u32, u32> = (0..next(&mut state, most))
                        .map(|_| (next(&mut state, 90) as u32, next(&mut state, 1000) as u32))
                        .collect();
                    let attrs: Vec<Attr<'_>> = part
                        .iter()
                        .map(|(&name, &pos)| Attr { name: Symbol(name), pos, value: ev.cell(Value::int(pos.into())) })
                        .collect();
                    let part_set = Attrs::from_sorted(ev.arena, &attrs);
                    if next(&mut state, 4) == 0 {
                        set = Attrs::update(ev.arena, part_set, set);
                        map = part.into_iter().chain(map).collect();
                    } else {
                        set = Attrs::update(ev.arena, set, part_set);
                        map.extend(part);
                    }
                }
                let found: Vec<(u32, u32)> = set.iter().map(|a| (a.name.0, a.pos)).collect();
                assert_eq!(found, map.clone().into_iter().collect::<Vec<_>>());
                assert_eq!(set.len(), map.len());
                assert!(set.bound() >= set.len());
                assert_eq!(set.is_empty(), map.is_empty());
                for name in 0..90 {
                    assert_eq!(set.get(Symbol(name)).map(|a| a.pos), map.get(&name).copied());
                }
                let mapped = set.map(ev.arena, |a| a.value);
                assert!(mapped.iter().zip(&map).all(|(a, (&name, &n))| (a.name.0, a.pos) == (name, 0) && a.value.load().as_int() == Some(n.into())));
            }
        });
    }
}
