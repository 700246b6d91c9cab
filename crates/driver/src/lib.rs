//! The running network as an object.
