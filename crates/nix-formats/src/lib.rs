//! Formats of Nix: base32, hashes, store paths, derivations, NAR.
