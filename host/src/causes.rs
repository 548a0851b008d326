//! An error with all that caused it, in one line.

use std::error::Error;
use std::fmt::Write as _;

/// `what failed: because of this: because of that`.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a text cannot fail.
        let _written = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
