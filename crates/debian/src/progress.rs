//! What the work reports while it goes on.

/// Something that happened. Calls come from several threads.
#[derive(Debug)]
pub enum Event<'a> {
    /// The mirror in use was found.
    Mirror { url: &'a str },
    /// An index is being fetched (not sent when it is in the cache).
    Index { system: &'a str, bytes: u64 },
    /// Packages are about to be fetched: how many are not in the cache.
    FetchBegin { files: usize, bytes: u64 },
    FetchBytes { bytes: u64 },
    FetchDone { name: &'a str },
    /// A package was put into a layer.
    Unpacked { system: &'a str, name: &'a str, done: usize, total: usize },
    /// The layer is finished.
    LayerDone { system: &'a str, bytes: u64 },
    /// Worth telling the user, not fatal.
    Warning { text: &'a str },
}

/// Receiver of events; also asked whether to stop.
pub trait Progress: Send + Sync {
    fn event(&self, event: Event<'_>);
    /// True: the work ends soon with [`crate::DebianError::Cancelled`], leaving nothing half made.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
