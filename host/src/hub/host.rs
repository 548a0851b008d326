//! By which name a browser reaches the hub: a page of somebody else's must not read it or speak for a device.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Served;

/// Whether what is said at a door is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    Tls,
    Plain,
}

/// Lets nobody in who asks by a name that a stranger can give this machine: any page in a browser may do so (DNS rebinding),
/// and would be of the same origin. Where devices show tokens somebody has set this hub up for others, perhaps behind a
/// proxy and under a name of its own; where it shows a certificate, that must have the name.
pub(super) async fn by_its_name(
    State(served): State<Served>,
    Extension(encryption): Extension<Encryption>,
    request: Request,
    next: Next,
) -> Response {
    let is_guarded = encryption == Encryption::Tls || served.gate.asks_for_tokens_of_others();
    if is_guarded || is_nobodys(request.headers()) {
        return next.run(request).await;
    }
    let why = "call this hub by the number of its address, as `localhost`, or by a name without dots or one in `.local`: \
               nobody is asked for a token here, and any page could give this machine another name\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

/// Whether no stranger can own the name; who names none is no browser.
fn is_nobodys(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    host.is_some_and(|host| {
        let bare = host.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        // Without a dot, or so ended, it is a name of the local network: no public name server has it.
        bare.parse::<IpAddr>().is_ok() || !bare.contains('.') || bare.ends_with(".local")
    })
}

/// Whether a page that a browser has open may connect: one of this hub's own. Who sends no `Origin` is no browser.
pub(super) fn is_of_this_hub(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let same = || {
        let (scheme, origin) = origin.to_str().ok()?.split_once("://")?;
        let usual = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        let origin: Authority = origin.parse().ok()?;
        let host: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
        let port = |of: &Authority| of.port_u16().unwrap_or(usual);
        Some(origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(&host))
    };
    same().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_speaks_to_its_own_hub_alone() {
        for (origin, host, is_same, nobodys) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true, true),
            ("http://localhost:8080", "LOCALHOST:8080", true, true),
            ("http://[::1]:8080", "[::1]:8080", true, true),
            ("http://pi.local:8080", "Pi.Local:8080", true, true),
            ("https://192.168.1.5", "192.168.1.5:443", true, true),
            ("https://Hub.example", "hub.example", true, false),
            ("https://hub.example", "hub.example:443", true, false),
            ("http://hub.example:80", "hub.example", true, false),
            ("https://hub.example", "hub.example:8443", false, false),
            ("http://127.0.0.1:8080", "127.0.0.1:8081", false, true),
            ("http://evil.example", "127.0.0.1:8080", false, true),
            ("http://evil.example:8080", "evil.example:8080", true, false),
            ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example", true, false),
            ("http://pi.local.evil.example", "pi.local.evil.example", true, false),
            ("null", "127.0.0.1:8080", false, true),
            ("", "", false, false),
            ("http://", "127.0.0.1", false, true),
            ("http://127.0.0.1/x", "127.0.0.1", false, true),
        ] {
            let headers = HeaderMap::from_iter([
                (header::ORIGIN, origin.parse().unwrap()),
                (header::HOST, host.parse().unwrap()),
            ]);
            assert_eq!(is_of_this_hub(&headers), is_same, "{origin} {host}");
            assert_eq!(is_nobodys(&headers), nobodys, "{origin} {host}");
        }
        assert!(is_of_this_hub(&HeaderMap::new()) && is_nobodys(&HeaderMap::new()));
    }
}
