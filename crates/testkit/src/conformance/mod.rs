//! The executor under test: a server double, and the driver that lets a real executor live and die in a world.

mod desk;
mod life;
mod toy;
mod wire;

pub use desk::{Desk, Session};
pub use life::{Ended, live};
pub use toy::{Defect, FileSet};
pub use wire::{Outgoing, StdioLink};
