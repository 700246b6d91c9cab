//! Builders that need nothing but the store: in process, without a sandbox.
//!
//! Their arguments are structured attributes; docs/architecture.md lists them.

mod build_env;
mod link_farm;
mod store_image;
mod write_text;

use crate::graph::{Built, Failure, Job};

/// Runs the builder `builtin:NAME` of a job, if it is one of this module.
#[must_use]
pub fn run(name: &str, job: &Job<'_>) -> Option<Result<Built, Failure>> {
    Some(match name {
        "write-text" => write_text::build(job),
        "link-farm" => link_farm::build(job),
        "build-env" => build_env::build(job),
        "store-image" => store_image::build(job),
        _ => return None,
    })
}

/// NAME of a builder `builtin:NAME`.
#[must_use]
pub fn builtin_name(builder: &[u8]) -> Option<&str> {
    std::str::from_utf8(builder).ok()?.strip_prefix("builtin:")
}

/// Checks a relative path that an argument names: no empty component, `.` or `..`.
fn check_relative(path: &str) -> Result<(), Failure> {
    let bad = path.is_empty() || path.contains('\0') || path.split('/').any(|c| c.is_empty() || c == "." || c == "..");
    if bad { Err(Failure::because(format!("`{path}` is not a relative path without empty parts, `.` and `..`"))) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests;
