//! The Nix language: lexer, parser, tree, printer.
//!
//! [`parse`] turns text into a tree in an [`Arena`]. Names are interned; attribute sets are merged and
//! duplicates refused here, as in C++ Nix. Variables are resolved by the user of the tree (crate `eval`
//! compiles it) or, without evaluation, by [`check_variables`].

mod arena;
mod symbol;

pub use arena::Arena;
pub use symbol::{FxBuild, FxHasher, Symbol, Symbols};
