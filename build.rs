//! Sets the linker options of the shared library.

use std::env;

/// The number of the ABI. It changes when a program that was linked with an older library would no longer work.
const SONAME: &str = "libmtasts.so.0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let uses_elf = matches!(
        env::var("CARGO_CFG_TARGET_OS").as_deref(),
        Ok("linux" | "freebsd" | "netbsd" | "openbsd" | "dragonfly")
    );
    if !uses_elf {
        return;
    }
    // cargo-c names the library itself.
    if env::var_os("CARGO_FEATURE_CAPI").is_none() {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{SONAME}");
    }
    // Fork handlers and thread-local destructors must find the library mapped, so that dlclose does not unmap it.
    for option in ["relro", "now", "nodelete"] {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,{option}");
    }
}
