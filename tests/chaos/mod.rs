//! interim

mod proxy;
