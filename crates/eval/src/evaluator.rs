//! The evaluator: what threads share, what each has of its own, and how values are made and looked at.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use nbv_diag::{SourceMap, Span};
use nbv_syntax::{Arena, Features, FxBuild, Lint, Symbol, Symbols};

use crate::context::{Context, ContextElem, ContextTable};
use crate::env::Spare;
use crate::error::EvalError;
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{Attr, Attrs, EvalResult, Ref, Slot, Str, Value};
use crate::world::World;

/// Owner of all memory of an evaluation; values borrow from it and are freed with it.
#[derive(Default)]
pub struct Heap {
    arenas: Mutex<Vec<Box<Arena>>>,
    primops: Mutex<Vec<Box<PrimOp>>>,
    codes: Mutex<Vec<&'static str>>,
}

// SAFETY: every arena is handed out once, to one evaluator, so none is used by two threads.
unsafe impl Sync for Heap {}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Heap {
    pub fn new() -> Heap {
        Heap::default()
    }

    /// A fresh arena.
    fn arena(&self) -> &Arena {
        let arena = Box::new(Arena::new());
        let p = std::ptr::from_ref(&*arena);
        lock(&self.arenas).push(arena);
        // SAFETY: boxed arenas do not move and are dropped only with the heap, which `self` borrows.
        unsafe { &*p }
    }

    fn keep_primop(&self, primop: PrimOp) -> &PrimOp {
        let primop = Box::new(primop);
        let p = std::ptr::from_ref(&*primop);
        lock(&self.primops).push(primop);
        // SAFETY: as for arenas.
        unsafe { &*p }
    }

    /// A diagnostic code that a Nix program made up. Codes are few; they are kept for the program's life.
    pub(crate) fn keep_code(&self, code: &str) -> &'static str {
        let mut codes = lock(&self.codes);
        if let Some(known) = codes.iter().find(|c| **c == code) {
            return known;
        }
        let kept: &'static str = Box::leak(code.to_owned().into_boxed_str());
        codes.push(kept);
        kept
    }

    /// Bytes taken from the system. Only exact while no evaluator runs.
    pub fn allocated_bytes(&self) -> usize {
        lock(&self.arenas).iter().map(|a| a.allocated_bytes()).sum()
    }
}

/// What an evaluation is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `NIX_PATH` and `-I`: prefix ("" for none) and value, in order.
    pub nix_path: Vec<(String, String)>,
    pub max_call_depth: u32,
    pub store_dir: String,
    /// `builtins.currentSystem`.
    pub system: String,
    pub features: Features,
    pub abort_on_warn: bool,
    /// Whether evaluation may build (import from derivation).
    pub allow_import_from_derivation: bool,
    /// No environment, no time, no unpinned downloads.
    pub is_pure: bool,
    /// `builtins.traceVerbose` prints.
    pub trace_verbose: bool,
    pub lint_url_literals: Lint,
    pub lint_short_path_literals: Lint,
    pub lint_absolute_path_literals: Lint,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            nix_path: Vec::new(),
            max_call_depth: 10_000,
            store_dir: "/nix/store".to_owned(),
            system: "x86_64-linux".to_owned(),
            features: Features::default(),
            abort_on_warn: false,
            allow_import_from_derivation: true,
            is_pure: false,
            trace_verbose: false,
            lint_url_literals: Lint::Ignore,
            lint_short_path_literals: Lint::Ignore,
            lint_absolute_path_literals: Lint::Ignore,
        }
    }
}

/// What all threads of an evaluation share.
pub(crate) struct Shared<'h> {
    pub(crate) heap: &'h Heap,
    pub(crate) symbols: Symbols,
    pub(crate) sources: Arc<SourceMap>,
    pub(crate) world: Arc<dyn World>,
    pub(crate) settings: Settings,
    contexts: Mutex<ContextTable<'h>>,
    pub(crate) imports: Mutex<HashMap<PathBuf, Ref<'h>, FxBuild>>,
    /// Files that paths lead to, unless they are files themselves.
    pub(crate) resolved: Mutex<HashMap<PathBuf, PathBuf, FxBuild>>,
    pub(crate) globals: OnceLock<Globals<'h>>,
    /// State of the builtins (regular expressions, hashes, derivations).
    pub(crate) builtin_state: crate::builtins::State,
    /// Threads that wait: for which cell, and whether they work ahead.
    pub(crate) waits: Mutex<HashMap<u64, (usize, bool), FxBuild>>,
    next_thread: AtomicU64,
    pub(crate) interrupted: AtomicBool,
    pub(crate) pool: crate::parallel::Pool<'h>,
}

/// The names that every expression sees.
pub(crate) struct Globals<'h> {
    pub(crate) builtins: Ref<'h>,
    /// Names without prefix and all `__name`s.
    pub(crate) names: HashMap<Symbol, Ref<'h>, FxBuild>,
}

/// Cells for values that are met everywhere.
#[derive(Clone, Copy)]
pub(crate) struct Common<'h> {
    pub(crate) null: Ref<'h>,
    pub(crate) yes: Ref<'h>,
    pub(crate) no: Ref<'h>,
    pub(crate) empty_list: Ref<'h>,
    pub(crate) empty_attrs: Attrs<'h>,
    pub(crate) empty_attrs_ref: Ref<'h>,
    pub(crate) empty_string: Str<'h>,
}

/// One thread's view of an evaluation. Make it with [`Evaluator::new`]; [`Evaluator::fork`] makes another for
/// another thread.
pub struct Evaluator<'h> {
    pub(crate) arena: &'h Arena,
    pub(crate) spare: Spare<'h>,
    pub(crate) shared: Arc<Shared<'h>>,
    pub(crate) common: Common<'h>,
    pub(crate) depth: Cell<u32>,
    /// Calls so far, to look for interruption now and then.
    ticks: Cell<u32>,
    pub(crate) max_depth: u32,
    pub(crate) stack_limit: usize,
    pub(crate) thread: u64,
    /// Offers made so far; see [`crate::parallel`].
    pub(crate) offers: Cell<u64>,
    /// Works ahead of another thread; see [`crate::parallel`].
    pub(crate) is_helper: Cell<bool>,
    pub(crate) parse_arena: Cell<Option<Arena>>,
    /// Strings of attribute names, by symbol.
    name_cells: RefCell<Vec<Option<Ref<'h>>>>,
}

/// Bytes of stack that must be left to go on.
const STACK_RESERVE: usize = 192 << 10;

/// Lowest usable address of this thread's stack.
fn stack_limit() -> usize {
    let here = &0u8 as *const u8 as usize;
    // SAFETY: plain calls on this thread's attributes, which are initialised by the first and destroyed last.
    unsafe {
        let mut attr: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attr) != 0 {
            return here.saturating_sub(1 << 20);
        }
        let (mut base, mut size) = (std::ptr::null_mut(), 0);
        let ok = libc::pthread_attr_getstack(&attr, &mut base, &mut size) == 0;
        libc::pthread_attr_destroy(&mut attr);
        let base = if ok { base as usize } else { here.saturating_sub(1 << 20) };
        // The main thread's size is the limit, of which little is mapped yet; an unlimited one is cut.
        base.max(here.saturating_sub(4 << 30)) + STACK_RESERVE
    }
}

/// Stack of a further thread. Only touched pages cost memory.
pub(crate) const BIG_STACK: usize = 512 << 20;

/// Sizes of stack that [`on_big_stack`] tries: a million values nested by laziness fit in the first.
const STACKS: [usize; 4] = [4 << 30, 1 << 30, BIG_STACK, 64 << 20];

/// Runs a function on a thread with a stack large enough for the deepest evaluation, or as large as the system gives.
/// Only touched pages cost memory.
///
/// # Panics
/// When `f` does; when no thread can be made.
pub fn on_big_stack<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let f = Mutex::new(Some(f));
    std::thread::scope(|scope| {
        for size in STACKS {
            let thread = std::thread::Builder::new().name("evaluator".into()).stack_size(size);
            let run = || {
                let f = lock(&f).take();
                f.map(|f| f())
            };
            if let Ok(handle) = thread.spawn_scoped(scope, run) {
                return match handle.join() {
                    Ok(Some(value)) => value,
                    Ok(None) => unreachable!("the function is taken once"),
                    Err(panic) => std::panic::resume_unwind(panic),
                };
            }
        }
        panic!("no thread for evaluation can be made")
    })
}

impl<'h> Evaluator<'h> {
    /// An evaluator whose values live in `heap`. `extra` are built-ins besides the standard ones.
    pub fn new(heap: &'h Heap, world: Arc<dyn World>, settings: Settings, extra: Vec<PrimOp>) -> Evaluator<'h> {
        let arena = heap.arena();
        let symbols = Symbols::new();
        sym::intern_all(&symbols);
        let empty_attrs = Attrs::from_sorted(arena, &[]);
        let cell = |v| -> Ref<'h> { arena.alloc(Slot::new(v)) };
        let common = Common {
            null: cell(Value::null()),
            yes: cell(Value::bool(true)),
            no: cell(Value::bool(false)),
            empty_list: cell(Value::list(&[])),
            empty_attrs,
            empty_attrs_ref: cell(Value::attrs(empty_attrs)),
            empty_string: Str::concat(arena, &[], Context::empty()),
        };
        let max_depth = settings.max_call_depth;
        let shared = Shared {
            heap,
            symbols,
            sources: Arc::new(SourceMap::new()),
            world,
            settings,
            contexts: Mutex::default(),
            imports: Mutex::default(),
            resolved: Mutex::default(),
            globals: OnceLock::new(),
            builtin_state: Default::default(),
            waits: Mutex::default(),
            next_thread: AtomicU64::new(2),
            interrupted: AtomicBool::new(false),
            pool: Default::default(),
        };
        let ev = Evaluator {
            arena,
            spare: Spare::default(),
            shared: Arc::new(shared),
            common,
            depth: Cell::new(0),
            ticks: Cell::new(0),
            max_depth,
            stack_limit: stack_limit(),
            thread: 1,
            offers: Cell::new(0),
            is_helper: Cell::new(false),
            parse_arena: Cell::new(None),
            name_cells: RefCell::default(),
        };
        let extra = extra.into_iter().map(|p| heap.keep_primop(p)).collect();
        let globals = crate::builtins::make_globals(&ev, extra);
        let _ = ev.shared.globals.set(globals);
        ev
    }

    /// An evaluator of the same evaluation for the calling thread.
    pub fn fork(other: &ForkHandle<'h>) -> Evaluator<'h> {
        let shared = other.shared.clone();
        Evaluator {
            arena: shared.heap.arena(),
            spare: Spare::default(),
            common: other.common,
            depth: Cell::new(0),
            ticks: Cell::new(0),
            max_depth: shared.settings.max_call_depth,
            stack_limit: stack_limit(),
            thread: shared.next_thread.fetch_add(1, Ordering::Relaxed),
            offers: Cell::new(0),
            is_helper: Cell::new(false),
            parse_arena: Cell::new(None),
            name_cells: RefCell::default(),
            shared,
        }
    }

    /// What another thread needs for [`Evaluator::fork`].
    pub fn fork_handle(&self) -> ForkHandle<'h> {
        ForkHandle { shared: self.shared.clone(), common: self.common }
    }

    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub fn world(&self) -> &dyn World {
        &*self.shared.world
    }

    pub fn sources(&self) -> &Arc<SourceMap> {
        &self.shared.sources
    }

    pub fn symbols(&self) -> &Symbols {
        &self.shared.symbols
    }

    /// The Nix files read so far, for keys of caches.
    pub fn files_read(&self) -> Vec<PathBuf> {
        self.shared.sources.files()
    }

    /// The symbol of a name.
    pub fn intern(&self, name: &[u8]) -> Symbol {
        self.shared.symbols.intern(name)
    }

    /// The bytes of a symbol's name.
    #[inline]
    pub fn name(&self, symbol: Symbol) -> &[u8] {
        self.shared.symbols.name(symbol)
    }

    /// The name for messages.
    pub fn display(&self, symbol: Symbol) -> std::borrow::Cow<'_, str> {
        self.shared.symbols.display(symbol)
    }

    /// Puts a value in a cell.
    #[inline(always)]
    pub fn cell(&self, v: Value<'h>) -> Ref<'h> {
        self.arena.alloc(Slot::new(v))
    }

    /// The shared cell of a Boolean.
    #[inline(always)]
    pub fn bool_cell(&self, b: bool) -> Ref<'h> {
        if b { self.common.yes } else { self.common.no }
    }

    /// The shared cell of `null`.
    pub fn null_cell(&self) -> Ref<'h> {
        self.common.null
    }

    /// A string without context.
    pub fn str(&self, bytes: impl AsRef<[u8]>) -> Value<'h> {
        Value::string(self.make_str(bytes.as_ref(), Context::empty()))
    }

    /// A string with context.
    pub fn str_with(&self, bytes: impl AsRef<[u8]>, context: Context<'h>) -> Value<'h> {
        Value::string(self.make_str(bytes.as_ref(), context))
    }

    pub fn make_str(&self, bytes: &[u8], context: Context<'h>) -> Str<'h> {
        if bytes.is_empty() && context.is_empty() {
            return self.common.empty_string;
        }
        Str::concat(self.arena, &[bytes], context)
    }

    /// A cell with a symbol's name; one for each name and thread.
    pub fn name_cell(&self, symbol: Symbol) -> Ref<'h> {
        let mut cells = self.name_cells.borrow_mut();
        let index = symbol.0 as usize;
        if index >= cells.len() {
            cells.resize(index + index / 2 + 64, None);
        }
        *cells[index].get_or_insert_with(|| self.cell(self.symbol_str(symbol)))
    }

    /// The string of a symbol's name, with the symbol remembered.
    pub fn symbol_str(&self, symbol: Symbol) -> Value<'h> {
        let s = Str::concat(self.arena, &[self.name(symbol)], Context::empty());
        s.set_symbol(symbol);
        Value::string(s)
    }

    /// A path value; `path` is absolute and is normalised here (`.`, `..`, double slashes).
    pub fn path(&self, path: &[u8]) -> Value<'h> {
        Value::path(self.make_str(&normalise_path(path), Context::empty()))
    }

    /// A list; the slice is copied.
    pub fn list(&self, items: &[Ref<'h>]) -> Value<'h> {
        Value::list(self.arena.slice(items))
    }

    /// A list of `len` cells made in place.
    #[inline]
    pub fn list_from(&self, len: usize, mut item: impl FnMut(usize) -> Ref<'h>) -> &'h [Ref<'h>] {
        if len == 0 {
            return &[];
        }
        let p = self.arena.alloc_raw(len * size_of::<Ref<'h>>()).cast::<Ref<'h>>();
        for i in 0..len {
            // SAFETY: the allocation has room for `len` references and is ours.
            unsafe { p.add(i).write(item(i)) };
        }
        // SAFETY: all were written.
        unsafe { std::slice::from_raw_parts(p.as_ptr(), len) }
    }

    /// An attribute set out of unsorted attributes; of equal names the first wins.
    pub fn attrs(&self, mut attrs: Vec<Attr<'h>>) -> Value<'h> {
        attrs.sort_by_key(|a| a.name);
        attrs.dedup_by_key(|a| a.name);
        Value::attrs(self.sorted_attrs(&attrs))
    }

    /// An attribute set out of attributes that are sorted by symbol without duplicates.
    pub(crate) fn sorted_attrs(&self, attrs: &[Attr<'h>]) -> Attrs<'h> {
        if attrs.is_empty() {
            return self.common.empty_attrs;
        }
        Attrs::from_sorted(self.arena, attrs)
    }

    /// An attribute without place.
    pub fn attr(&self, name: &str, value: Value<'h>) -> Attr<'h> {
        Attr { name: self.intern(name.as_bytes()), pos: 0, value: self.cell(value) }
    }

    /// A cell that applies a function when it is forced.
    pub fn lazy_call(&self, f: Ref<'h>, arg: Ref<'h>) -> Ref<'h> {
        self.cell(Value::app(f, arg))
    }

    /// A cell that applies a function to an attribute's name and value when it is forced.
    pub(crate) fn lazy_attr(&self, f: Ref<'h>, name: Symbol, value: Ref<'h>) -> Ref<'h> {
        self.cell(Value::attr_app(f, name, value))
    }

    /// The context of these elements.
    pub fn context(&self, elems: &[ContextElem<'_>]) -> Context<'h> {
        lock(&self.shared.contexts).intern(self.arena, elems)
    }

    /// The union of two contexts.
    #[inline]
    pub fn join_contexts(&self, a: Context<'h>, b: Context<'h>) -> Context<'h> {
        if a.is_empty() || a.is_same(b) {
            return b;
        }
        if b.is_empty() {
            return a;
        }
        let mut all = a.elems().to_vec();
        all.extend_from_slice(b.elems());
        self.context(&all)
    }

    /// The value of a global or of `builtins.NAME`.
    pub(crate) fn globals(&self) -> &Globals<'h> {
        match self.shared.globals.get() {
            Some(globals) => globals,
            None => unreachable!("globals are set before anything is evaluated"),
        }
    }

    /// The `builtins` set.
    pub fn builtins(&self) -> Ref<'h> {
        self.globals().builtins
    }

    /// Asks all threads of this evaluation to stop with an error.
    pub fn interrupter(&self) -> impl Fn() + Send + Sync + use<'h> {
        let shared = self.shared.clone();
        move || shared.interrupted.store(true, Ordering::Relaxed)
    }

    /// The source text of a span, on one line and shortened, for messages.
    pub(crate) fn snippet(&self, span: Span) -> Option<String> {
        let source = self.shared.sources.source_of(span.pos())?;
        let start = (span.start - source.base) as usize;
        let end = ((span.end.max(span.start) - source.base) as usize).min(source.text.len());
        let text = String::from_utf8_lossy(&source.text[start..end]);
        let mut short: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if short.chars().count() > 60 {
            short = short.chars().take(57).chain("…".chars()).collect();
        }
        (!short.is_empty()).then_some(short)
    }

    #[cold]
    pub(crate) fn stack_overflow(&self) -> EvalError {
        EvalError::new("eval::stack-overflow", "stack overflow; max-call-depth exceeded")
            .hint("this is usually a function that calls itself without end; `--max-call-depth` sets the limit")
    }

    /// Counts one nested call; the caller restores `depth` afterwards.
    #[inline(always)]
    pub(crate) fn enter_call(&self) -> EvalResult<()> {
        let depth = self.depth.get() + 1;
        if depth > self.max_depth {
            return Err(self.stack_overflow());
        }
        self.depth.set(depth);
        let ticks = self.ticks.get().wrapping_add(1);
        self.ticks.set(ticks);
        if ticks % 1024 == 0 { self.check_interrupt() } else { Ok(()) }
    }

    /// Fails when somebody asked this evaluation to stop.
    pub fn check_interrupt(&self) -> EvalResult<()> {
        if self.shared.interrupted.load(Ordering::Relaxed) || self.is_helper.get() && self.shared.pool.is_closed() {
            return Err(EvalError::new("eval::interrupted", "evaluation was interrupted"));
        }
        Ok(())
    }

    #[cold]
    fn stack_full(&self) -> EvalError {
        EvalError::new("eval::stack-overflow", "stack overflow: values are nested more deeply than the machine's stack is large")
            .hint("a long chain of values that wait for each other is often made by a fold; force each on the way (foldl', builtins.seq)")
    }

    /// Fails before the machine stack ends.
    #[inline(always)]
    pub(crate) fn check_stack(&self) -> EvalResult<()> {
        let here = 0u8;
        if (&raw const here as usize) < self.stack_limit {
            return Err(self.stack_full());
        }
        Ok(())
    }

    /// Runs `f` one call level deeper (deep force, printing, JSON).
    pub fn deeper<T>(&self, f: impl FnOnce() -> EvalResult<T>) -> EvalResult<T> {
        self.check_stack()?;
        let depth = self.depth.get();
        self.enter_call()?;
        let result = f();
        self.depth.set(depth);
        result
    }
}

/// See [`Evaluator::fork_handle`].
#[derive(Clone)]
pub struct ForkHandle<'h> {
    shared: Arc<Shared<'h>>,
    common: Common<'h>,
}

/// Resolves `.`, `..` and repeated slashes of an absolute path, without looking at the file system.
pub fn normalise_path(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        return b"/".to_vec();
    }
    let mut out = Vec::with_capacity(path.len());
    for part in parts {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    out
}
