//! What goes over the wire. These types are separate from the nouns of the model, so that the API can stay as it is
//! while the model moves. Ids and digests are text; times are RFC 3339 in UTC.

mod act;
mod campaign;
mod case;
mod change;
mod connection;
mod enrolment;
mod fleet;
mod item;
mod ledger;
mod overview;
mod people;
mod plan;
mod policy;
mod remediation;
mod report;
mod retention;

pub use act::*;
pub use campaign::*;
pub use case::*;
pub use change::*;
pub use connection::*;
pub use enrolment::*;
pub use fleet::*;
pub use item::*;
pub use ledger::*;
pub use overview::*;
pub use people::*;
pub use plan::*;
pub use policy::*;
pub use remediation::*;
pub use report::*;
pub use retention::*;
