//! The virtual switch: layer 2 segments between machines.
