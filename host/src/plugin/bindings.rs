//! What wasmtime generates from `wit/`, and nothing else: generated code is not ours to document or lint.
#![allow(
    clippy::allow_attributes,
    reason = "which lints generated code needs changes with its generator"
)]
#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]

/// The world `filter`, and the interfaces that the other two share.
pub(super) mod filter {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "filter",
    });
}

/// The world `calibration`.
pub(super) mod calibration {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "calibration",
        with: {
            "weir:plugin/types": super::filter::weir::plugin::types,
            "weir:plugin/host": super::filter::weir::plugin::host,
        },
    });
}

/// The world `alert`.
pub(super) mod alert {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "alert",
        with: {
            "weir:plugin/types": super::filter::weir::plugin::types,
            "weir:plugin/host": super::filter::weir::plugin::host,
        },
    });
}
