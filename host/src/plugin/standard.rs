//! The standard plugins, which the binary carries.

/// Name and bytes of each, as `build.rs` compiled them.
pub const STANDARD: [(&str, &[u8]); 3] = [
    ("alert-limit", include_bytes!(concat!(env!("OUT_DIR"), "/alert-limit.wasm"))),
    ("calibrate-linear", include_bytes!(concat!(env!("OUT_DIR"), "/calibrate-linear.wasm"))),
    ("filter-median", include_bytes!(concat!(env!("OUT_DIR"), "/filter-median.wasm"))),
];

/// The bytes of the standard plugin with this name.
pub fn standard(name: &str) -> Option<&'static [u8]> {
    STANDARD.iter().find(|(standard, _)| *standard == name).map(|(_, bytes)| *bytes)
}
