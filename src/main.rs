//! The command `windu`.

fn main() {}
