//! Contracts: properties of the user's own code, shown on a real server through a small trait.
//!
//! [`transaction::verify`] takes a [`Transactions`] and shows whether a commit is visible, an error, a panic
//! and a cancelled future roll back, and what the server asks to be run again is run again.
//! [`errors::verify`] takes an [`ErrorMap`], provokes the server's errors one by one, and shows that no
//! input value comes out at the other end. Both want a database that nothing else uses meanwhile; what they
//! create lies in the schema `pgharness_contract` and is dropped afterwards.

pub mod errors;
mod reference;
mod report;
mod seam;
mod stage;
pub mod transaction;

pub use reference::Reference;
pub use report::{ContractReport, Property, Verdict};
pub use seam::{Answer, BoxFuture, ErrorMap, Failure, Session, Transactions, Work};
