//! The program as people use it.

mod help;
mod pages;
mod program;
mod record;
mod scan;
