//! The network plan: the one boundary between evaluation and running.
