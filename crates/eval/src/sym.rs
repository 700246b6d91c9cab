//! Symbols known in advance, as constants.

use nbv_syntax::{Symbol, Symbols};

macro_rules! symbols {
    ($($id:ident = $text:literal),* $(,)?) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code, reason = "names follow the constants")]
        #[repr(u32)]
        enum Index { $($id),* }
        $(#[allow(dead_code, reason = "a table of names")] pub(crate) const $id: Symbol = Symbol(Index::$id as u32);)*
        const TEXTS: &[&str] = &[$($text),*];
    };
}

symbols! {
    EMPTY = "",
    SUB = "__sub",
    MUL = "__mul",
    DIV = "__div",
    LESS_THAN = "__lessThan",
    FIND_FILE = "__findFile",
    NIX_PATH = "__nixPath",
    OUT_PATH = "outPath",
    DRV_PATH = "drvPath",
    TYPE = "type",
    META = "meta",
    NAME = "name",
    VALUE = "value",
    SYSTEM = "system",
    OVERRIDES = "__overrides",
    OUTPUTS = "outputs",
    OUTPUT_NAME = "outputName",
    IGNORE_NULLS = "__ignoreNulls",
    FILE = "file",
    LINE = "line",
    COLUMN = "column",
    FUNCTOR = "__functor",
    TO_STRING = "__toString",
    RIGHT = "right",
    WRONG = "wrong",
    STRUCTURED_ATTRS = "__structuredAttrs",
    BUILDER = "builder",
    ARGS = "args",
    OUTPUT_HASH = "outputHash",
    OUTPUT_HASH_ALGO = "outputHashAlgo",
    OUTPUT_HASH_MODE = "outputHashMode",
    START_SET = "startSet",
    OPERATOR = "operator",
    KEY = "key",
    PATH = "path",
    PREFIX = "prefix",
    SUCCESS = "success",
    BODY = "body",
    CODE = "code",
    MESSAGE = "message",
    POS = "pos",
    HINT = "hint",
    NOTES = "notes",
}

/// Whether operators and search paths are made of this name.
pub(crate) fn is_operator(symbol: Symbol) -> bool {
    (SUB..=NIX_PATH).contains(&symbol)
}

/// Gives the symbols above their ids; the table must be empty.
pub(crate) fn intern_all(symbols: &Symbols) {
    for (i, text) in TEXTS.iter().enumerate() {
        let symbol = symbols.intern(text.as_bytes());
        debug_assert_eq!(symbol.0 as usize, i);
    }
}
