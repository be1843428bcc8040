//! Statements about the agent, in one binary.

mod facts;
