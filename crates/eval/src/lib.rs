//! The evaluator of the Nix language.
//!
//! Pure computation: files, environment, messages and the store enter through the trait [`World`].
//!
//! ```
//! use std::path::{Path, PathBuf};
//! use std::sync::Arc;
//! use nbv_eval::{Evaluator, FileKind, Heap, MessageKind, Settings, World, WorldError};
//!
//! struct Empty;
//! impl World for Empty {
//!     fn read_file(&self, _: &Path) -> Result<Vec<u8>, WorldError> { Err(WorldError::new("no such file")) }
//!     fn file_kind(&self, _: &Path) -> Result<Option<FileKind>, WorldError> { Ok(None) }
//!     fn read_link(&self, _: &Path) -> Result<PathBuf, WorldError> { Err(WorldError::new("no such file")) }
//!     fn read_dir(&self, _: &Path) -> Result<Vec<(Vec<u8>, FileKind)>, WorldError> { Ok(vec![]) }
//!     fn message(&self, _: MessageKind, _: &str) {}
//! }
//!
//! nbv_eval::on_big_stack(|| {
//!     let heap = Heap::new();
//!     let ev = Evaluator::new(&heap, Arc::new(Empty), Settings::default(), vec![]);
//!     let value = ev.eval_expr("{ a = map (x: x * 2) [ 1 2 ]; }", Path::new("/")).unwrap();
//!     let attrs = value.as_attrs().unwrap();
//!     let list = ev.select(attrs, "a").unwrap();
//!     let (json, context) = ev.to_json(ev.cell(list)).unwrap();
//!     assert_eq!(json.to_string(), "[2,4]");
//!     assert!(context.is_empty());
//! });
//! ```
//!
//! # How to write a builtin
//!
//! A builtin is a [`PrimFn`] in one of the tables that `builtins/mod.rs` lists: `PrimOp::new("name", arity, f)`.
//! It gets exactly `arity` *unforced* cells ([`Ref`]) and gives a finished [`Value`].
//!
//! ```ignore
//! fn repeat<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
//!     let n = ev.force_int(args[0])?;                  // also force, force_string, force_list, force_attrs, …
//!     let s = ev.force_string(args[1])?;               // Str: .bytes(), .context()
//!     if n < 0 {
//!         return Err(EvalError::invalid(format!("cannot repeat a string {n} times"))); // the caller adds the place
//!     }
//!     let text = s.bytes().repeat(n as usize);
//!     let string = ev.str_with(text, s.context());     // ev.str(..) without context
//!     let items = ev.list(&[ev.cell(string), ev.null_cell(), args[0]]);
//!     Ok(ev.attrs(vec![ev.attr("items", items), ev.attr("count", Value::int(n))]))
//! }
//! ```
//!
//! * [`Value`] is a copyable 16-byte value; [`Ref`] is the heap cell that lists, sets and arguments hold.
//!   `ev.cell(v)` makes one; `ev.lazy_call(f, arg)` makes one that applies `f` when forced; pass on `args[i]`
//!   itself to keep laziness and identity. Result values of a builtin are forced: `ev.force(args[1])`.
//! * Take values apart with `value.view()` ([`View`]) or `as_int`, `as_string`, `as_list`, `as_attrs`, …
//! * Sets: `attrs.get(symbol)`, `attrs.iter()` (symbol order), `attrs.by_name(ev.symbols())` (byte order).
//!   Symbols: `ev.intern(b"x")`, `string.symbol(ev.symbols())` (cached in the string), constants in `sym`.
//! * Calls: `ev.call(f, &[a, b])` with `f` from `ev.force_function(args[0])`.
//! * Contexts: `ev.context(&[ContextElem::Opaque(path)])`, `ev.join_contexts(a, b)`, `s.context().elems()`.
//! * Errors: [`EvalError::new`]`("eval::kebab-code", message)`, `.catchable()` for what `tryEval` catches, `.hint(…)`,
//!   `.note(…)`; `.frame(Span::NONE, || "while …".into())` on results ([`ResultExt`]). The trace frame "while calling
//!   `builtins.X`" and the place are added by the caller.
//! * The world: `ev.world().read_file(…)`; settings: `ev.settings()`; state that outlives a call lives in
//!   `builtins::State` (`ev.shared.builtin_state`), behind a lock.

mod attrs;
pub mod builtins;
mod coerce;
mod compile;
mod context;
mod convert;
mod env;
mod error;
mod evaluator;
mod grisu;
mod interp;
pub mod json;
mod load;
mod node;
pub mod number;
mod ops;
mod parallel;
mod primop;
mod print;
pub mod regex;
mod select;
mod sym;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod value;
mod world;
pub mod xml;

pub use attrs::{Attr, Attrs, Iter};
pub use context::{Context, ContextElem};
pub use error::{EvalError, ResultExt};
pub use evaluator::{Evaluator, ForkHandle, Heap, Settings, normalise_path, on_big_stack};
pub use nbv_diag::Origin;
pub use nbv_syntax::{Features, Lint, Symbol, Symbols};
pub use primop::{PrimClosure, PrimFn, PrimOp};
pub use select::Found;
pub use print::{attribute_name, float_fixed, float_general, is_identifier, quote};
pub use value::{EvalResult, Kind, Lambda, Pap, Ref, Slot, Str, Value, View};
pub use world::{FileKind, GitRequest, GitTree, MessageKind, World, WorldError};
