//! From a network expression to a result: evaluation meets store.
