//! Finding an installation, and fetching one where none is: against made-up installations and a made-up
//! mirror, and against the one of this machine.

mod fetch;
mod find;
mod mirror;
mod real;
mod sandbox;
mod tools;
