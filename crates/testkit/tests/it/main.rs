//! Tests of the worlds, and of the rooms: which crate may know which.

mod rooms;
mod systemd;
mod worlds;
