//! Executors on other machines: the authority that vouches for both ends, the door that they come in by, and how a new
//! one is let in. Behind the door everything is the [gateway](crate::gateway) that an executor of this process uses too.

mod authority;
mod door;
mod enrol;

pub(crate) use authority::Authority;
pub(crate) use door::open;
pub(crate) use enrol::{Becomes, revoke};
