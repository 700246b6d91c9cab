//! The evaluator of the Nix language.
//!
//! Pure computation: files, environment, messages and the store enter through the trait [`World`].
//!
//! # Evaluate and look at values
//!
//! All memory of an evaluation belongs to a [`Heap`] and is freed with it; there is no state outside. A value is evaluated
//! when it is forced.
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//! use nbv_eval::{Evaluator, Heap, Nowhere, Settings, View};
//!
//! nbv_eval::on_big_stack(|| {
//!     let heap = Heap::new();
//!     let ev = Evaluator::new(&heap, Arc::new(Nowhere), Settings::default(), vec![]);
//!     let value = ev.eval_expr("{ a = map (x: x * 2) [ 1 2 ]; b = throw \"no\"; }", Path::new("/"))?;
//!     let attrs = value.as_attrs().unwrap();
//!     let list = ev.select(attrs, "a")?; // forced, its elements not
//!     let View::List(items) = list.view() else { panic!("a list") };
//!     assert_eq!(ev.force_int(items[1])?, 4);
//!     ev.force_deep(ev.cell(list))?;
//!     assert_eq!(ev.print(list)?, b"[ 2 4 ]");
//!     // Errors are values with code, message, places and reasons; `nbv_diag::render` makes them text.
//!     let error = ev.select(attrs, "b").err().unwrap();
//!     assert!(error.is_catchable());
//!     assert!(error.message().contains("no"));
//!     // Parsing alone: the desugared text, as `nix-instantiate --parse` prints it.
//!     let tree = ev.parse_to_text(nbv_eval::Origin::String, b"x: x", Path::new("/"))?;
//!     assert_eq!(tree, b"(x: x)");
//!     Ok::<(), nbv_eval::EvalError>(())
//! })
//! .unwrap();
//! ```
//!
//! # The program's own types
//!
//! [`Evaluator::read`] takes a value into any type that serde reads, [`Evaluator::value_of`] makes a value of any that it
//! writes; [`Evaluator::to_json`] and [`Evaluator::from_json`] do so with `serde_json::Value`.
//!
//! ```
//! # use std::{path::Path, sync::Arc};
//! # use nbv_eval::{Evaluator, Heap, Nowhere, Settings};
//! #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
//! struct Machine { name: String, memory: Option<u64> }
//!
//! # nbv_eval::on_big_stack(|| {
//! let heap = Heap::new();
//! let ev = Evaluator::new(&heap, Arc::new(Nowhere), Settings::default(), vec![]);
//! let double = ev.eval_expr("m: m // { memory = m.memory * 2; }", Path::new("/"))?;
//! let machine = ev.cell(ev.value_of(&Machine { name: "a".into(), memory: Some(512) })?);
//! let result = ev.cell(ev.call(double, &[machine])?);
//! assert_eq!(ev.read::<Machine>(result)?, Machine { name: "a".into(), memory: Some(1024) });
//! assert!(ev.read::<Vec<String>>(result).is_err());
//! # Ok::<(), nbv_eval::EvalError>(())
//! # }).unwrap();
//! ```
//!
//! # A builtin of one's own
//!
//! ```
//! # use std::{path::Path, sync::Arc};
//! # use nbv_eval::{EvalError, Evaluator, Heap, Nowhere, PrimOp, Settings};
//! let repeat = PrimOp::new("repeat", 2, |ev, args| {
//!     let n = ev.force_int(args[0])?;
//!     let s = ev.force_string(args[1])?;
//!     let n = usize::try_from(n).map_err(|_| EvalError::invalid(format!("cannot repeat a string {n} times")))?;
//!     Ok(ev.str_with(s.bytes().repeat(n), s.context()))
//! });
//! # nbv_eval::on_big_stack(|| {
//! let heap = Heap::new();
//! let ev = Evaluator::new(&heap, Arc::new(Nowhere), Settings::default(), vec![repeat]);
//! let value = ev.eval_expr("builtins.repeat 3 \"ab\"", Path::new("/"))?;
//! assert_eq!(value.as_string().unwrap().bytes(), b"ababab");
//! # Ok::<(), EvalError>(())
//! # }).unwrap();
//! ```
//!
//! # Files and a store
//!
//! ```
//! # use std::{path::Path, sync::{Arc, Mutex}};
//! use nbv_eval::{Evaluator, FileKind, Heap, Settings, World, WorldError};
//!
//! /// One file, and a store that keeps what derivations are called.
//! #[derive(Default)]
//! struct Mine(Mutex<Vec<String>>);
//!
//! impl World for Mine {
//!     fn file_kind(&self, path: &Path) -> Result<Option<FileKind>, WorldError> {
//!         Ok((path == Path::new("/a.nix")).then_some(FileKind::Regular { is_executable: false }))
//!     }
//!     fn read_file(&self, _: &Path) -> Result<Vec<u8>, WorldError> {
//!         Ok(b"derivation { name = \"x\"; system = \"s\"; builder = \"/b\"; }".to_vec())
//!     }
//!     fn store_derivation(&self, path: &str, _bytes: &[u8], _references: &[String]) -> Result<(), WorldError> {
//!         self.0.lock().unwrap().push(path.to_owned());
//!         Ok(())
//!     }
//! }
//!
//! # nbv_eval::on_big_stack(|| {
//! let world = Arc::new(Mine::default());
//! let heap = Heap::new();
//! let ev = Evaluator::new(&heap, world.clone(), Settings::default(), vec![]);
//! let value = ev.eval_file(Path::new("/a.nix"))?;
//! let path: String = ev.read(ev.cell(value))?;
//! assert!(path.starts_with("/nix/store/") && path.ends_with("-x"));
//! assert_eq!(world.0.lock().unwrap().len(), 1);
//! # Ok::<(), nbv_eval::EvalError>(())
//! # }).unwrap();
//! ```
//!
//! Several threads work on one evaluation with [`Evaluator::fork_handle`] and [`Evaluator::fork`], or with
//! [`Evaluator::work_ahead`]; evaluations with heaps of their own do not know of each other.
//!
//! # How to write a builtin
//!
//! A builtin is a [`PrimFn`] in one of the tables that `builtins/mod.rs` lists: `PrimOp::new("name", arity, f)`.
//! It gets exactly `arity` *unforced* cells ([`Ref`]) and gives a finished [`Value`].
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
pub use world::{FileKind, GitRequest, GitTree, MessageKind, Nowhere, World, WorldError};
