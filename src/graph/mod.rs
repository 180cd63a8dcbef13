//! Dependency order and restore scheduling as pure functions: no async, no object kinds.
