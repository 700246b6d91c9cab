//! What runs inside a guest, and the protocol to talk with it.
