//! The ways out of a live pipeline: pins, and an uplink to each hub.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::LiveError;
use super::kept::Kept;
use crate::output::{AlarmOutputs, Pin, PinError, PinSettings, open};
use crate::pipeline::health::UplinkLink;
use crate::pipeline::sink::Intake;
use crate::pipeline::{DASHBOARD, Pipeline, Protocol, Shows, Uplink};
use crate::reading::Series;
use crate::spool::Spool;
use crate::stop::Stop;
use crate::uplink::wire::Connect;
use crate::uplink::{self, Answer, Endpoint, Link, Order, WebSocketUplink, read_token};

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

/// An uplink's token, where it has one.
pub(super) fn read_uplink_token(uplink: &Uplink) -> Result<Option<String>, LiveError> {
    let Some(file) = uplink.token_file.as_ref() else { return Ok(None) };
    let token = read_token(file).map_err(|source| LiveError::Token {
        uplink: uplink.name.clone(),
        file: file.clone(),
        source,
    })?;
    Ok(Some(token))
}

/// The spool, with a place for each uplink: those of the file, then the one to the hub inside this process.
pub(super) fn open_spool(
    pipeline: &Pipeline,
    dashboard: Option<&TcpListener>,
    kept: &Kept,
) -> Arc<Spool> {
    let mut places: Vec<&str> =
        pipeline.uplinks.iter().map(|uplink| uplink.name.as_str()).collect();
    places.extend(dashboard.map(|_| DASHBOARD));
    Spool::open(pipeline.spool.clone(), kept.spool_folder().as_deref(), &places)
}

/// Spawns a task for each uplink of the file, and one to the hub inside this process: the same code, over loopback.
pub(super) fn spawn_uplinks(
    tasks: &mut JoinSet<()>,
    pipeline: &Pipeline,
    series: &[Series],
    tokens: Vec<Option<String>>,
    dashboard: Option<&TcpListener>,
    intake: &Intake,
    stop: &Stop,
) -> Vec<UplinkLink> {
    let mut links = Vec::new();
    let connect = Connect::new(&pipeline.device, intake.spool.stream(), series);
    let mut spawn = |name: &str, endpoints: Vec<Endpoint>, token, order| {
        let Some(place) = intake.spool.place(name) else { return };
        let name: Arc<str> = name.into();
        let link = Link::new();
        links.push(UplinkLink { name: name.clone(), place: place.clone(), link: link.subscribe() });
        let answers = intake.clone();
        let answer: Answer = Box::new(move |event| answers.append(vec![event.into()]));
        let connect = connect.clone();
        let uplink = WebSocketUplink { name, endpoints, token, connect, place, order, answer };
        tasks.spawn(uplink::run(uplink, link, stop.clone()));
    };
    for (uplink, token) in pipeline.uplinks.iter().zip(tokens) {
        match uplink.protocol {
            Protocol::WebSocket => {
                spawn(&uplink.name, uplink.endpoints.clone(), token, uplink.order);
            }
        }
    }
    if let Some(mut address) = dashboard.and_then(|listener| listener.local_addr().ok()) {
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let own = Endpoint::parse(&format!("ws://{address}/uplink"));
        spawn(DASHBOARD, own.into_iter().collect(), None, Order::InOrder);
    }
    links
}
