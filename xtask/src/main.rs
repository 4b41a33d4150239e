//! This repository's own commands.

fn main() {}
