//! The emulated kernel as programs see it: plain files under a mount point.
//!
//! Where FUSE cannot be mounted, each test says so and is skipped.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bulk;
mod files;
mod readings;
mod support;
