//! The Nix language: lexer, parser, tree, printer.
//!
//! [`parse`] turns text into a tree in an [`Arena`]. Names are interned; attribute sets are merged and
//! duplicates refused here, as in C++ Nix. Variables are resolved by the user of the tree (crate `eval`
//! compiles it to code with slots).

mod arena;
pub mod ast;
mod lexer;
mod parser;
mod print;
mod symbol;

pub use arena::Arena;
pub use ast::Parsed;
pub use parser::{Lint, ParseOptions, parse};
pub use print::print;
pub use symbol::{FxBuild, FxHasher, Symbol, Symbols};

/// Syntax that is not on by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// `|>` and `<|`.
    pub pipe_operators: bool,
    /// `builtins.getFlake` and friends.
    pub flakes: bool,
    pub fetch_tree: bool,
    pub fetch_closure: bool,
    pub dynamic_derivations: bool,
    pub ca_derivations: bool,
    pub impure_derivations: bool,
    pub parse_toml_timestamps: bool,
}
