//! The ways out of a live pipeline: pins, and an uplink to each hub.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::LiveError;
use crate::output::{AlarmOutputs, Pin, PinError, PinSettings, open};
use crate::pipeline::{Pipeline, Shows};
use crate::reading::Series;
use crate::spool::old::{MEMORY_BYTES, MemorySpool, Spool as _};
use crate::uplink::wire::Connect;
use crate::uplink::{Endpoint, WebSocketUplink, read_token};

type Outputs = (AlarmOutputs, Vec<Box<dyn Pin>>);

pub(super) fn open_outputs(pipeline: &Pipeline) -> Result<Outputs, Vec<PinError>> {
    let mut alarms = AlarmOutputs::default();
    let mut status = Vec::new();
    let mut refused = Vec::new();
    for output in &pipeline.outputs {
        let settings = PinSettings {
            gpio: output.gpio,
            active_low: output.active_low,
            simulate: output.simulate,
        };
        match (open(settings), &output.shows) {
            (Ok(pin), Shows::Status) => status.push(pin),
            (Ok(pin), Shows::Alarm(stage)) => alarms.add(stage, pin),
            (Err(error), _) => refused.push(error),
        }
    }
    if refused.is_empty() { Ok((alarms, status)) } else { Err(refused) }
}

pub(super) fn read_uplink_token(pipeline: &Pipeline) -> Result<Option<String>, LiveError> {
    let Some(file) = pipeline.uplink.as_ref().and_then(|uplink| uplink.token_file.as_ref()) else {
        return Ok(None);
    };
    let token =
        read_token(file).map_err(|source| LiveError::Token { file: file.clone(), source })?;
    Ok(Some(token))
}

/// The uplink of the file first, then the one to the hub inside this process: the same code, over loopback.
pub(super) fn uplinks(
    pipeline: &Pipeline,
    series: &[Series],
    token: Option<String>,
    dashboard: Option<&TcpListener>,
) -> Vec<WebSocketUplink> {
    let mut targets = Vec::new();
    if let Some(uplink) = &pipeline.uplink {
        targets.push((uplink.endpoint.clone(), token));
    }
    if let Some(mut address) = dashboard.and_then(|listener| listener.local_addr().ok()) {
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let own = Endpoint::parse(&format!("ws://{address}/uplink"));
        targets.extend(own.map(|endpoint| (endpoint, None)));
    }
    let uplinks = targets.into_iter().map(|(endpoint, token)| {
        let spool = Arc::new(MemorySpool::new(MEMORY_BYTES));
        let connect = Connect::new(&pipeline.device, spool.stream(), series);
        WebSocketUplink { endpoint, token, connect, spool }
    });
    uplinks.collect()
}
