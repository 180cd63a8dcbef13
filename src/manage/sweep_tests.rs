//! Sweeps beside dumps, with crashes, and with clocks that are wrong.
