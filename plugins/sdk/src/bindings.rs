//! What `wit-bindgen` generates from `wit/`, and nothing else: generated code is not ours to document or lint.
#![allow(
    clippy::allow_attributes,
    reason = "which lints generated code needs changes with its generator"
)]
#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::restriction,
    reason = "generated"
)]

/// The world `filter`, and the types that the other two share.
pub mod filter {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "filter",
        pub_export_macro: true,
        export_macro_name: "export_filter",
        default_bindings_module: "weir_plugin::bindings::filter",
        generate_all,
    });
}

/// The world `calibration`.
pub mod calibration {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "calibration",
        pub_export_macro: true,
        export_macro_name: "export_calibration",
        default_bindings_module: "weir_plugin::bindings::calibration",
        with: {
            "weir:plugin/types@0.1.0": crate::bindings::filter::weir::plugin::types,
            "weir:plugin/host@0.1.0": crate::bindings::filter::weir::plugin::host,
        },
    });
}

/// The world `alert`.
pub mod alert {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "alert",
        pub_export_macro: true,
        export_macro_name: "export_alert",
        default_bindings_module: "weir_plugin::bindings::alert",
        with: {
            "weir:plugin/types@0.1.0": crate::bindings::filter::weir::plugin::types,
            "weir:plugin/host@0.1.0": crate::bindings::filter::weir::plugin::host,
        },
    });
}
