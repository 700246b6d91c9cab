//! The full-screen view of a running network.
//!
//! [`model`] is what is shown and what keys do, [`draw`] its picture: both are functions of what they are given, and are tested through a
//! terminal emulator. [`app`] joins them with a network, a terminal and the clock.
//!
//! Not here: what happens in a network (crate `driver`), lines for those who are no terminal (`driver::lines`).

pub mod app;
pub mod draw;
mod help;
pub mod log;
pub mod model;
pub mod sample;
mod shell;
mod terminal;

pub use app::open;
pub use terminal::is_wanted;
