//! Tests of the worlds, and of the rooms: which crate may know which.

mod rooms;
mod server;
mod systemd;
mod worlds;
