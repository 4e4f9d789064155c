//! Tells Cargo that the migrations are part of the library: `sqlx::migrate!` can't say so for a file that is new.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
