//! The store: paths on disk, registration, builders, garbage roots.
