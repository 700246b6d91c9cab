//! Fetchers: sources from elsewhere, put in the store.

use crate::evaluator::Evaluator;
use crate::primop::PrimOp;
use crate::value::{EvalResult};

use super::paths::as_path;

pub(super) const TABLE: &[PrimOp] = &[];

/// The folder that an entry of the search path stands for; nothing when there is none.
pub(super) fn search_path_entry(ev: &Evaluator<'_>, entry: &[u8]) -> EvalResult<Option<Vec<u8>>> {
    let path = if entry.starts_with(b"/") { entry.to_vec() } else { ev.world().absolute(entry) };
    let exists = ev.world().file_kind(as_path(&path)).unwrap_or(None).is_some();
    Ok(exists.then_some(path))
}
