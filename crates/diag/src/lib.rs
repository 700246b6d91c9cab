//! Diagnostics: what a user reads when something is wrong.
//!
//! [`SourceMap`] gives every byte of every source one global `u32` position, so that a tree node needs
//! eight bytes for its [`Span`]. A [`Diagnostic`] is plain data built where the error is understood;
//! [`render()`] turns it into text. Nothing here prints.

mod diagnostic;
mod render;
mod source;
mod suggest;

pub use diagnostic::{Diagnostic, Frame, Label, Severity};
pub use render::{RenderOptions, render};
pub use source::{Location, Origin, Pos, Source, SourceMap, Span};
pub use suggest::{closest, did_you_mean};
