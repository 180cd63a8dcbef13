//! Prunes of real repositories.
