//! The command line; everything lives in the library.

fn main() {}
