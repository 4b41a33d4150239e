//! The attribute macro of `pgharness`.
