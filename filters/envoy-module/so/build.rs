//! Keeps the module in memory once Envoy has loaded it, whatever its configuration says.

fn main() {
    // Threads, thread-locals and statics of the module would not survive an unload.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
