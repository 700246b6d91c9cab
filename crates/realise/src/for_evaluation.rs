//! Making what an evaluation reads (import from derivation), without a network around it.

use crate::build::{BuildOptions, archive, builder, pin};
use crate::error::Error;
use crate::layers::Memory;
use crate::{lock, runner};
use nbv_store::{Graph, Progress, Store};
use std::sync::Arc;

/// Makes the derivations `drvs` of `graph`, and all that they need, in `store`. Programs that build see the /usr of a layer, which is
/// made when it is missing. Of `options` count the cache, the program, the mirror and how things are made.
///
/// # Errors
/// A build, a download, the disk; an interruption.
pub fn build_for_evaluation(
    options: &BuildOptions,
    store: &Arc<Store>,
    graph: &Graph,
    drvs: &[&str],
    progress: &Arc<dyn Progress>,
) -> Result<(), Error> {
    store.begin()?;
    let archive = archive(options, progress);
    let mut pins = lock::remembered(&store.var().join("pins.json"));
    pin(&archive, &mut pins, false)?;
    let closures = Memory { folder: options.cache.clone(), program: runner::identity(&options.program)? };
    builder(options, store, &archive, &pins, &closures, progress)(graph, drvs)
}
