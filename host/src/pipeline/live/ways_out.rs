//! The ways out of a live pipeline: pins, and an uplink to each hub.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::LiveError;
use super::kept::Kept;
use crate::hub::{self, Door, Gate, HubTls, Listening, TlsFiles};
use crate::output::{AlarmOutputs, Pin, PinError, PinSettings, open};
use crate::pipeline::health::UplinkLink;
use crate::pipeline::sink::Intake;
use crate::pipeline::{Pipeline, Protocol, Shows, Stage, Uplink};
use crate::plugin::PluginKind;
use crate::reading::Series;
use crate::spool::{Place, Spool};
use crate::stop::Stop;
use crate::uplink::mqtt::{self, MqttSettings, MqttUplink};
use crate::uplink::socketio::{self, SocketIoSettings, SocketIoUplink};
use crate::uplink::wire::Connect;
use crate::uplink::{
    self, Answer, CredentialFiles, Credentials, DASHBOARD, Endpoint, Link, Order, Token,
    WebSocketUplink,
};

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

/// Reads what an uplink needs at the hub's door; all that is wrong is told.
pub(super) fn read_credentials(uplink: &Uplink) -> Result<Credentials, Vec<LiveError>> {
    let is_encrypted = uplink.endpoints.iter().any(Endpoint::is_encrypted);
    let files = CredentialFiles {
        token: uplink.token_file.clone(),
        tls: is_encrypted.then(|| uplink.tls.clone()),
    };
    let of_uplink = |source| LiveError::Credentials { uplink: uplink.name.clone(), source };
    Credentials::read(files).map_err(|refused| refused.into_iter().map(of_uplink).collect())
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

/// The spool, with a place for each uplink: those of the file, then the one to the hub inside this process.
pub(super) async fn open_spool(
    pipeline: &Pipeline,
    dashboard: Option<&OwnHub>,
    kept: &Kept,
) -> Arc<Spool> {
    let mut places: Vec<&str> =
        pipeline.uplinks.iter().map(|uplink| uplink.name.as_str()).collect();
    places.extend(dashboard.map(|_| DASHBOARD));
    Spool::open(pipeline.spool.clone(), kept.spool_folder().as_deref(), &places).await
}

/// Spawns a task for each uplink of the file, and one to the hub inside this process: the same code, over loopback.
pub(super) fn spawn_uplinks(
    tasks: &mut JoinSet<()>,
    pipeline: &Pipeline,
    series: &[Series],
    credentials: Vec<Credentials>,
    dashboard: Option<&OwnHub>,
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
    for (uplink, credentials) in pipeline.uplinks.iter().zip(credentials) {
        let Some(begun) = begin(&uplink.name) else { continue };
        let endpoints = uplink.endpoints.clone();
        match &uplink.protocol {
            Protocol::WebSocket => {
                tasks.spawn(shared.websocket(begun, endpoints, credentials, uplink.order))
            }
            Protocol::Mqtt(settings) => {
                tasks.spawn(shared.mqtt(begun, endpoints, credentials, settings.clone()))
            }
            Protocol::SocketIo(settings) => {
                tasks.spawn(shared.socketio(begun, endpoints, credentials, settings.clone()))
            }
        };
    }
    if let Some(own) = dashboard
        && let Some(begun) = begin(DASHBOARD)
    {
        let credentials = Credentials::of_token(own.token.clone());
        let endpoints = vec![own.endpoint.clone()];
        tasks.spawn(shared.websocket(begun, endpoints, credentials, Order::InOrder));
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
        credentials: Credentials,
        order: Order,
    ) -> impl Future<Output = ()> + use<> {
        let Begun { name, place, link } = begun;
        let answers = self.intake.clone();
        let answer: Answer = Box::new(move |event| answers.append(vec![event.into()]));
        let connect = self.connect.clone();
        let uplink =
            WebSocketUplink { name, endpoints, credentials, connect, place, order, answer };
        uplink::run(uplink, link, self.stop.clone())
    }

    fn mqtt(
        &self,
        begun: Begun,
        endpoints: Vec<Endpoint>,
        credentials: Credentials,
        settings: MqttSettings,
    ) -> impl Future<Output = ()> + use<> {
        let uplink = MqttUplink {
            name: begun.name,
            endpoints,
            settings,
            credentials,
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
        credentials: Credentials,
        settings: SocketIoSettings,
    ) -> impl Future<Output = ()> + use<> {
        let uplink = SocketIoUplink {
            name: begun.name,
            endpoints,
            settings,
            credentials,
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
