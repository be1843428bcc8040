//! What runs on a host: reading its facts, and acting on it.

pub mod facts;
