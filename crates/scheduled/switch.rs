//! Build script of the crates that are compiled under the scheduler: tells their sources so (`cfg(scheduled)`).

fn main() {
    println!("cargo::rustc-check-cfg=cfg(scheduled)");
    println!("cargo::rustc-cfg=scheduled");
    println!("cargo::rerun-if-changed=build.rs");
}
