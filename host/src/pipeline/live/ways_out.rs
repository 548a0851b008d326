//! The ways out of a live pipeline: pins, and an uplink to each hub.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::LiveError;
use crate::hub::{self, Door, Gate, HubTls, Listening, TlsFiles, is_private};
use crate::output::{AlarmOutputs, Pin, PinError, PinSettings, open};
use crate::pipeline::{Pipeline, Shows};
use crate::reading::Series;
use crate::spool::{MEMORY_BYTES, MemorySpool, Spool as _};
use crate::uplink::wire::Connect;
use crate::uplink::{Endpoint, Tls, Token, WebSocketUplink, read_token};

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

/// What an uplink shows, and whom it trusts.
#[derive(Default)]
pub(super) struct Credentials {
    token: Option<Token>,
    tls: Option<Tls>,
}

/// Reads what the uplink needs at the hub's door; all that is wrong is told.
pub(super) fn read_credentials(pipeline: &Pipeline) -> Result<Credentials, Vec<LiveError>> {
    let Some(uplink) = &pipeline.uplink else { return Ok(Credentials::default()) };
    let mut refused = Vec::new();
    let token = uplink.token_file.as_ref().map(|file| {
        read_token(file).map_err(|source| LiveError::Token { file: file.clone(), source })
    });
    let is_encrypted = uplink.endpoints.iter().any(Endpoint::is_encrypted);
    let tls = is_encrypted.then(|| Tls::new(&uplink.tls).map_err(LiveError::UplinkTls));
    let token = token.transpose().map_err(|error| refused.push(error)).unwrap_or_default();
    let tls = tls.transpose().map_err(|error| refused.push(error)).unwrap_or_default();
    if refused.is_empty() { Ok(Credentials { token, tls }) } else { Err(refused) }
}

/// The hub inside this process: its page, and a door of its own for the device's uplink, which no other machine reaches
/// and which takes nobody but this device.
pub(super) struct OwnHub {
    pub(super) hub: Listening,
    /// Where its page is.
    pub(super) page: String,
    endpoint: Endpoint,
    token: Token,
}

pub(super) async fn open_dashboard(pipeline: &Pipeline) -> Result<Option<OwnHub>, LiveError> {
    let Some(dashboard) = &pipeline.dashboard else { return Ok(None) };
    if dashboard.certificate.is_none() && !is_private(dashboard.listen) {
        let listen = dashboard.listen;
        tracing::warn!(%listen, "The page is not encrypted: whoever is on the way can read it.");
    }
    let files = dashboard
        .certificate
        .clone()
        .map(|certificate| TlsFiles { certificate, client_ca_file: None });
    let tls = files.map(HubTls::new).transpose().map_err(LiveError::DashboardTls)?;
    let door = Door::open(dashboard.listen, tls).await.map_err(LiveError::Dashboard)?;
    let own = Door::open((Ipv4Addr::LOCALHOST, 0).into(), None).await;
    let own = own.map_err(LiveError::Dashboard)?;
    let token = hub::new_token().map_err(LiveError::Dashboard)?;
    let endpoint = Endpoint::parse(&format!("ws://{}/uplink", own.address()));
    let endpoint = endpoint.ok_or_else(|| LiveError::Ended("loopback"))?;
    let page = door.page();
    let gate = Gate::of_one(&pipeline.device, &token);
    let hub = Listening { doors: vec![door, own], gate };
    Ok(Some(OwnHub { hub, page, endpoint, token }))
}

/// The uplink of the file first, then the one to the hub inside this process: the same code, over loopback.
pub(super) fn uplinks(
    pipeline: &Pipeline,
    series: &[Series],
    credentials: Credentials,
    dashboard: Option<&OwnHub>,
) -> Vec<WebSocketUplink> {
    let mut targets = Vec::new();
    if let Some(uplink) = &pipeline.uplink {
        targets.push((uplink.endpoints.clone(), credentials));
    }
    if let Some(own) = dashboard {
        let credentials = Credentials { token: Some(own.token.clone()), tls: None };
        targets.push((vec![own.endpoint.clone()], credentials));
    }
    let uplinks = targets.into_iter().map(|(endpoints, Credentials { token, tls })| {
        let spool = Arc::new(MemorySpool::new(MEMORY_BYTES));
        let connect = Connect::new(&pipeline.device, spool.stream(), series);
        WebSocketUplink { endpoints, token, tls, connect, spool }
    });
    uplinks.collect()
}
