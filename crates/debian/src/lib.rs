//! Debian's archive: indices, signatures, closures, packages, layers.
