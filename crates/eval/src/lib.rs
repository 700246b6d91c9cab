//! The evaluator of the Nix language.

pub mod regex;
pub mod json;
pub mod number;
pub mod xml;
