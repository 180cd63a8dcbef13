//! Plans of hand-made entries.
