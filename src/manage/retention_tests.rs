//! The rules against cases by hand.
