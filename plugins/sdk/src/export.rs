//! The one line that makes a plugin of a crate.

/// Exports a type as this crate's plugin and writes the manifest: `export!(filter: Median);`, `export!(calibration: …)`
/// or `export!(alert: …)`. Name, version and description are the crate's, from its `Cargo.toml`.
#[macro_export]
macro_rules! export {
    (filter: $plugin:ty) => {
        $crate::export!(
            @world $plugin, Filter, FilterStage, filter, export_filter,
            fn apply(batch: Readings) -> Readings,
            fn tick() -> Readings
        );
    };
    (calibration: $plugin:ty) => {
        $crate::export!(
            @world $plugin, Calibration, CalibrationStage, calibration, export_calibration,
            fn apply(batch: Readings) -> Vec<f64>,
            fn tick() -> ()
        );
    };
    (alert: $plugin:ty) => {
        $crate::export!(
            @world $plugin, Alert, AlertStage, alert, export_alert,
            fn apply(batch: Readings) -> $crate::Alarms,
            fn tick() -> $crate::Alarms
        );
    };
    (
        @world $plugin:ty, $kind:ident, $stage:ident, $world:ident, $export:ident,
        fn apply(batch: Readings) -> $applied:ty,
        fn tick() -> $ticked:ty
    ) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use std::cell::RefCell;
            use $crate::bindings::filter::weir::plugin::types::Readings;

            const MANIFEST: $crate::Manifest = $crate::Manifest {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                description: env!("CARGO_PKG_DESCRIPTION"),
                kind: $crate::PluginKind::$kind,
                parameters: <<$plugin as $crate::$kind>::Settings as $crate::Settings>::PARAMETERS,
            };
            #[unsafe(link_section = "weir-manifest")]
            #[used]
            static SECTION: [u8; MANIFEST.json_len()] = MANIFEST.json();

            std::thread_local! {
                static STAGE: RefCell<Option<$crate::$stage<$plugin>>> = const { RefCell::new(None) };
            }

            fn with<R>(call: impl FnOnce(&mut $crate::$stage<$plugin>) -> R) -> R {
                STAGE.with_borrow_mut(|stage| call(stage.as_mut().expect("the host configures first")))
            }

            struct Exported;

            impl $crate::bindings::$world::Guest for Exported {
                fn configure(settings: String, series: Vec<$crate::SeriesInfo>) -> Result<(), String> {
                    $crate::log_panics();
                    let stage = $crate::$stage::configure(&settings, &series)?;
                    STAGE.set(Some(stage));
                    Ok(())
                }
                fn save() -> Vec<u8> {
                    with(|stage| stage.save())
                }
                fn load(state: Vec<u8>) -> Result<(), String> {
                    with(|stage| stage.load(&state))
                }
                fn fault(series: u32, time: u64, reason: $crate::FaultReason) {
                    with(|stage| stage.fault($crate::Fault { series, time, reason }))
                }
                fn apply(batch: Readings) -> $applied {
                    with(|stage| stage.apply(&batch))
                }
                fn tick(now: u64) -> $ticked {
                    with(|stage| stage.tick(now))
                }
            }

            $crate::bindings::$world::$export!(Exported with_types_in $crate::bindings::$world);
        };
    };
}
