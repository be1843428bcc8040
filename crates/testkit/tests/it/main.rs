//! Tests of the worlds and the browser, and of the rooms: which crate may know which.

mod browser;
mod downloads;
mod rooms;
mod systemd;
mod worlds;
