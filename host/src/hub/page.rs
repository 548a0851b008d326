//! The page's files, which the binary carries.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Served;
use super::device::uplink;
use super::gate::ClientCertificate;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const FILES: [(&str, &str, &str); 8] = [
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", JAVASCRIPT, include_str!("page/page.js")),
    ("/state.js", JAVASCRIPT, include_str!("page/state.js")),
    ("/chart.js", JAVASCRIPT, include_str!("page/chart.js")),
    ("/strangers.js", JAVASCRIPT, include_str!("page/strangers.js")),
    ("/nodes.js", JAVASCRIPT, include_str!("page/nodes.js")),
    ("/words.js", JAVASCRIPT, include_str!("page/words.js")),
    ("/favicon.svg", SVG, include_str!("page/favicon.svg")),
];

/// The chart library, Plotly, as `build.rs` compressed it. Every browser takes gzip.
const CHART_LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plotly.js.gz"));

/// `/`: the page for a browser. A device that was given the hub's address without a path is taken as well.
async fn index(
    served: State<Served>,
    peer: ConnectInfo<SocketAddr>,
    certificate: Extension<ClientCertificate>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => uplink(served, peer, certificate, headers, upgrade).await,
        Err(_) => {
            let headers = [(header::CONTENT_TYPE, HTML), (header::CACHE_CONTROL, "no-cache")];
            (headers, include_str!("page/index.html")).into_response()
        }
    }
}

pub(super) fn routes() -> Router<Served> {
    let mut routes = Router::new().route("/", get(index));
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
