//! The page's files, which the binary carries.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::Served;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", JAVASCRIPT, include_str!("page/page.js")),
    ("/state.js", JAVASCRIPT, include_str!("page/state.js")),
    ("/chart.js", JAVASCRIPT, include_str!("page/chart.js")),
    ("/words.js", JAVASCRIPT, include_str!("page/words.js")),
    ("/favicon.svg", SVG, include_str!("page/favicon.svg")),
];

/// The chart library, Plotly, as `build.rs` compressed it. Every browser takes gzip.
const CHART_LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plotly.js.gz"));

pub(super) fn routes() -> Router<Served> {
    let mut routes = Router::new();
    for (path, kind, text) in FILES {
        let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
        routes = routes.route(path, get(move || async move { (headers, text).into_response() }));
    }
    let headers = [
        (header::CONTENT_TYPE, JAVASCRIPT),
        (header::CONTENT_ENCODING, "gzip"),
        (header::CACHE_CONTROL, "max-age=86400"),
    ];
    routes.route("/plotly.js", get(move || async move { (headers, CHART_LIBRARY).into_response() }))
}
