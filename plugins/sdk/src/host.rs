//! What the host gives to a plugin: a line of log and a counter.

pub use crate::bindings::filter::weir::plugin::host::Level;

/// Writes one line to the host's log under the stage's name. In native tests it goes to standard error.
pub fn log(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::filter::weir::plugin::host::log(level, message);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {message}");
}

/// Adds to a counter of the stage, for instance `spikes-removed`. In native tests it does nothing.
#[cfg_attr(not(target_family = "wasm"), expect(unused_variables, reason = "no host counts"))]
pub fn count(name: &str, by: u64) {
    #[cfg(target_family = "wasm")]
    crate::bindings::filter::weir::plugin::host::count(name, by);
}

/// Sends the text of a panic to the host's log, since a trap carries none.
#[doc(hidden)]
pub fn log_panics() {
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
}
