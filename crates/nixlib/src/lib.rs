//! The embedded Nix library (folder nix/), as data.
