//! The server: it decides, remembers and shows, and reaches no target by itself.
//!
//! Reading order: [`server`] (how it starts and stops), `tasks` (one reconciler for each arrow of the loop; nothing
//! else moves state), [`gateway`] (how executors get orders and hand over receipts), `ask` and `view` (what people ask
//! for and read), `api` and `web` (the two faces of those), `auth` and [`pki`] (who may ask, and what is signed).

pub mod api;
mod app;
mod ask;
mod auth;
mod bus;
pub mod clock;
mod cluster;
pub mod config;
pub mod error;
mod fleet;
pub mod gateway;
mod import;
mod knowledge;
mod lock;
mod metrics;
mod notice;
pub mod pki;
pub mod policies;
mod record;
pub mod retention;
pub mod server;
mod tasks;
mod undecided;
mod view;
mod web;

pub use clock::{Clock, Entropy, SystemClock, SystemEntropy};
pub use config::{Config, Door, Intervals, Nats, PolicyPlace, PolicySource};
pub use error::StartError;
pub use gateway::{BlockingGateway, Gateway, GatewayError};
pub use lock::LockError;
pub use retention::{Keep, Retention};
pub use server::{DataFolder, Running, Server};
pub use stanch_store::{DatabaseUrl, StoreAt};
pub use view::shown_plan;
