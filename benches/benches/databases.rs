//! Criterion benches of the databases.

fn main() {}
