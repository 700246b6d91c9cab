//! `builtin:write-text`: a file, or a folder with one file.

use super::check_relative;
use crate::error::StoreError;
use crate::graph::{Built, Failure, Job};
use crate::store::write_file;
use serde::Deserialize;
use std::fs;

#[derive(Deserialize)]
struct Arguments {
    text: String,
    #[serde(default)]
    executable: Option<bool>,
    /// Empty, or `/bin/x` below the output.
    #[serde(default)]
    destination: Option<String>,
}

pub(super) fn build(job: &Job<'_>) -> Result<Built, Failure> {
    let arguments: Arguments = job.attrs()?;
    let mut place = job.out()?.to_path_buf();
    let destination = arguments.destination.unwrap_or_default();
    if !destination.is_empty() {
        let relative = destination.trim_start_matches('/');
        check_relative(relative)?;
        place.push(relative);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(StoreError::io("create", parent))?;
        }
    }
    let mode = if arguments.executable.unwrap_or(false) { 0o755 } else { 0o644 };
    write_file(&place, arguments.text.as_bytes(), mode)?;
    Ok(Built::default())
}
