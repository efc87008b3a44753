//! A new file in migrations/ rebuilds the crate: `sqlx::migrate!` watches only the files that it has seen.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
