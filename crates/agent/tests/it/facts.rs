//! Facts of hosts, real and fabricated.
