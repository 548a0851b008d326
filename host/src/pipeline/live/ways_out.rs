//! The ways out of a live pipeline: pins, and an uplink to each hub.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::LiveError;
use super::kept::Kept;
use crate::output::{AlarmOutputs, Pin, PinError, PinSettings, open};
use crate::pipeline::health::UplinkLink;
use crate::pipeline::sink::Intake;
use crate::pipeline::{DASHBOARD, Pipeline, Protocol, Shows, Stage, Uplink};
use crate::plugin::PluginKind;
use crate::reading::Series;
use crate::spool::{Place, Spool};
use crate::stop::Stop;
use crate::uplink::mqtt::{self, MqttSettings, MqttUplink};
use crate::uplink::socketio::{self, SocketIoSettings, SocketIoUplink};
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
    let shared = Shared {
        pipeline,
        series,
        connect: Connect::new(&pipeline.device, intake.spool.stream(), series),
        intake,
        stop,
    };
    let mut begin = |name: &str| {
        let (name, place): (Arc<str>, _) = (name.into(), intake.spool.place(name)?);
        let link = Link::new();
        links.push(UplinkLink { name: name.clone(), place: place.clone(), link: link.subscribe() });
        Some(Begun { name, place, link })
    };
    for (uplink, token) in pipeline.uplinks.iter().zip(tokens) {
        let Some(begun) = begin(&uplink.name) else { continue };
        let endpoints = uplink.endpoints.clone();
        match &uplink.protocol {
            Protocol::WebSocket => {
                tasks.spawn(shared.websocket(begun, endpoints, token, uplink.order))
            }
            Protocol::Mqtt(settings) => {
                tasks.spawn(shared.mqtt(begun, endpoints, token, settings.clone()))
            }
            Protocol::SocketIo(settings) => {
                tasks.spawn(shared.socketio(begun, endpoints, token, settings.clone()))
            }
        };
    }
    if let Some(mut address) = dashboard.and_then(|listener| listener.local_addr().ok()) {
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let own = Endpoint::parse(&format!("ws://{address}/uplink"));
        if let Some(begun) = begin(DASHBOARD) {
            let own = own.into_iter().collect();
            tasks.spawn(shared.websocket(begun, own, None, Order::InOrder));
        }
    }
    links
}

/// What all uplinks of a pipeline have in common.
struct Shared<'p> {
    pipeline: &'p Pipeline,
    series: &'p [Series],
    connect: Connect,
    intake: &'p Intake,
    stop: &'p Stop,
}

/// An uplink that has its place, and whose link is watched.
struct Begun {
    name: Arc<str>,
    place: Place,
    link: watch::Sender<Link>,
}

impl Shared<'_> {
    fn websocket(
        &self,
        begun: Begun,
        endpoints: Vec<Endpoint>,
        token: Option<String>,
        order: Order,
    ) -> impl Future<Output = ()> + use<> {
        let Begun { name, place, link } = begun;
        let answers = self.intake.clone();
        let answer: Answer = Box::new(move |event| answers.append(vec![event.into()]));
        let connect = self.connect.clone();
        let uplink = WebSocketUplink { name, endpoints, token, connect, place, order, answer };
        uplink::run(uplink, link, self.stop.clone())
    }

    fn mqtt(
        &self,
        begun: Begun,
        endpoints: Vec<Endpoint>,
        password: Option<String>,
        settings: MqttSettings,
    ) -> impl Future<Output = ()> + use<> {
        let uplink = MqttUplink {
            name: begun.name,
            endpoints,
            tls: None,
            settings,
            password,
            connect: self.connect.clone(),
            series: self.series.into(),
            alarms: alarms(self.pipeline),
            place: begun.place,
        };
        mqtt::run(uplink, begun.link, self.stop.clone())
    }

    fn socketio(
        &self,
        begun: Begun,
        endpoints: Vec<Endpoint>,
        token: Option<String>,
        settings: SocketIoSettings,
    ) -> impl Future<Output = ()> + use<> {
        let uplink = SocketIoUplink {
            name: begun.name,
            endpoints,
            tls: None,
            settings,
            token,
            connect: self.connect.clone(),
            place: begun.place,
        };
        socketio::run(uplink, begun.link, self.stop.clone())
    }
}

/// Which stage can raise an alarm about which sensor.
fn alarms(pipeline: &Pipeline) -> Vec<(Arc<str>, Arc<str>)> {
    let is_alert = |stage: &&Stage| stage.plugin.manifest.kind == PluginKind::Alert;
    let alerts = pipeline.stages.iter().filter(is_alert);
    let pairs = alerts.flat_map(|stage| {
        let sensors = stage.sensors.iter().filter_map(|number| pipeline.sensors.get(*number));
        sensors.map(|sensor| (stage.name.as_str().into(), sensor.name.clone()))
    });
    pairs.collect()
}
