//! The way out by MQTT 5: each message is published with QoS 1 and counts as delivered when its PUBACK came.
//!
//! The spool is the only queue. Each connection begins with a clean session, and what has no PUBACK yet is published
//! again, in order; a broker keeps nothing of us but retained messages.

mod alarms;
mod discovery;
mod session;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::v5::{ConnAck, DisconnectReasonCode, LastWill};
use rumqttc::mqttbytes::{Error as MqttError, QoS};
use rumqttc::{
    AsyncClient, Broker, ConnectionError, Event, EventLoop, Incoming, IncomingPacketSizeLimit,
    MqttOptions, StateError,
};
use tokio::sync::watch;
use tokio::time::timeout;

use self::alarms::Alarms;
pub use self::topics::STATUS;
use self::topics::Topics;
use super::again::{self, CONNECT_DEADLINE, Known, Way, warn_of_eavesdroppers};
use super::link::Link;
use super::open::{self, open};
use super::session::Ended;
use super::tls::Explained;
use super::wire::Connect;
use super::{Credentials, Endpoint};
use crate::reading::Series;
use crate::spool::Place;
use crate::stop::Stop;

/// Largest packet from a broker. All that is subscribed to is one word of Home Assistant.
const LARGEST_INCOMING: u32 = 16 << 10;
/// Most messages of a broker that wait for our PUBACK.
const INCOMING_UNACKED: u16 = 8;

/// What the pipeline file says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttSettings {
    /// How the broker knows the device: two clients with the same one push each other out.
    pub client_id: String,
    /// With the password in the uplink's file.
    pub username: Option<String>,
    /// What all topics begin with.
    pub topic: String,
    /// A broker that says nothing for so long is asked for a sign of life; after twice as long it is gone.
    pub keep_alive: Duration,
    /// What the topics begin with by which Home Assistant learns of sensors. `None` leaves that out.
    pub discovery_prefix: Option<String>,
}

/// What an uplink by MQTT needs.
pub struct MqttUplink {
    /// Its name, in logs.
    pub name: Arc<str>,
    /// Where to: each attempt takes the next.
    pub endpoints: Vec<Endpoint>,
    /// What the file says.
    pub settings: MqttSettings,
    /// The token is the password, shown with the user's name.
    pub credentials: Credentials,
    /// What the device is: told before anything else.
    pub connect: Connect,
    /// What it measures.
    pub series: Arc<[Series]>,
    /// Which stage can raise an alarm about which sensor.
    pub alarms: Vec<(Arc<str>, Arc<str>)>,
    /// What is delivered.
    pub place: Place,
}

/// Delivers until `stop` is said, then for at most a second what is left.
pub async fn run(uplink: MqttUplink, link: watch::Sender<Link>, stop: Stop) {
    let known = Known {
        name: uplink.name.clone(),
        endpoints: uplink.endpoints.clone(),
        place: uplink.place.clone(),
    };
    if uplink.credentials.token.is_some() {
        warn_of_eavesdroppers(&uplink.endpoints, "password", "mqtts");
    }
    let topics = Topics::new(&uplink.settings.topic, &uplink.connect.device);
    let alarms = Alarms::new(uplink.alarms.iter().cloned());
    let way = Mqtt { uplink, topics, alarms, is_refused: false };
    again::run(known, way, link, stop).await;
}

/// What outlives a connection.
struct Mqtt {
    uplink: MqttUplink,
    topics: Topics,
    alarms: Alarms,
    /// The broker refused a message: the next attempt goes one by one, until one is taken.
    is_refused: bool,
}

/// A broker that took us.
struct Connection {
    client: AsyncClient,
    events: EventLoop,
    limits: Limits,
}

/// What a broker takes.
#[derive(Clone, Copy)]
struct Limits {
    packet: usize,
    retains: bool,
}

impl Way for Mqtt {
    type Connection = Connection;

    fn protocol(_: &Connection) -> &'static str {
        "MQTT 5"
    }

    fn credentials(&mut self) -> &mut Credentials {
        &mut self.uplink.credentials
    }

    async fn connect(&mut self, endpoint: &Endpoint) -> Result<Connection, Explained> {
        let tls = self.uplink.credentials.tls.as_ref();
        let builder = AsyncClient::builder(self.options(endpoint)).capacity(session::REQUESTS);
        let (client, mut events) = builder.try_build().map_err(|e| e.to_string())?;
        let answer = async {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Incoming::ConnAck(answer))) => return Ok(answer),
                    Ok(_) => {}
                    Err(ConnectionError::Io(error)) => return Err(open::explain(&error, tls)),
                    Err(error) => return Err(explain(&error).into()),
                }
            }
        };
        let answer = timeout(CONNECT_DEADLINE, answer).await;
        let answer = answer.map_err(|_| format!("no answer within {CONNECT_DEADLINE:?}"))??;
        Ok(Connection { client, events, limits: limits(&answer)? })
    }

    async fn deliver(&mut self, connection: Connection, stop: &mut Stop) -> Ended {
        session::deliver(connection, self, stop).await
    }
}

impl Mqtt {
    fn options(&self, endpoint: &Endpoint) -> MqttOptions {
        let settings = &self.uplink.settings;
        let broker = Broker::tcp(endpoint.host(), endpoint.port());
        let mut options = MqttOptions::new(&settings.client_id, broker);
        let keep_alive = u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let (status, offline) = (self.topics.status(), topics::OFFLINE);
        options
            .set_keep_alive(keep_alive)
            .set_clean_start(true)
            .set_connect_timeout(CONNECT_DEADLINE)
            .set_receive_maximum(Some(INCOMING_UNACKED))
            .set_max_packet_size(Some(LARGEST_INCOMING))
            .set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(LARGEST_INCOMING))
            .set_last_will(LastWill::new(status, offline, QoS::AtLeastOnce, true, None));
        match (&settings.username, &self.uplink.credentials.token) {
            (Some(username), Some(password)) => {
                options.set_credentials(username, password.reveal().to_owned());
            }
            (Some(username), None) => {
                options.set_username(username);
            }
            _ => {}
        }
        let (endpoint, tls) = (endpoint.clone(), self.uplink.credentials.tls.clone());
        options.set_socket_connector(move |_, _| {
            let (endpoint, tls) = (endpoint.clone(), tls.clone());
            async move { open(&endpoint, tls.as_ref()).await }
        });
        options
    }
}

fn limits(answer: &ConnAck) -> Result<Limits, String> {
    let properties = answer.properties.as_ref();
    if properties.and_then(|properties| properties.max_qos) == Some(0) {
        return Err("the broker takes no messages that it acknowledges (QoS 1)".to_owned());
    }
    let packet = properties.and_then(|properties| properties.max_packet_size);
    Ok(Limits {
        packet: packet.map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(usize::MAX)),
        retains: properties.and_then(|properties| properties.retain_available) != Some(0),
    })
}

/// What became of a connection, in words of ours.
fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => {
            let code = words(code);
            let hint = if code.contains("authorized") || code.contains("password") {
                "; are `username` and `password_file` right?"
            } else {
                ""
            };
            format!("the broker refuses the connection: {code}{hint}")
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            let hint = match reason_code {
                DisconnectReasonCode::SessionTakenOver => {
                    "; does another client have the same `client_id`?"
                }
                _ => "",
            };
            format!("the broker closed the connection: {}{hint}", words(reason_code))
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            "the broker gives no sign of life: a ping was not answered".to_owned()
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "the broker closed the connection".to_owned()
        }
        ConnectionError::MqttState(StateError::Io(error)) | ConnectionError::Io(error) => {
            error.to_string()
        }
        ConnectionError::MqttState(StateError::Deserialization(MqttError::Io(error))) => {
            error.to_string()
        }
        ConnectionError::Timeout(_) => format!("no answer within {CONNECT_DEADLINE:?}"),
        other => other.to_string(),
    }
}

/// A reason code of MQTT in plain words: `NotAuthorized` is `not authorized`.
fn words(code: &impl std::fmt::Debug) -> String {
    let mut words = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_codes_become_words() {
        assert_eq!(words(&DisconnectReasonCode::SessionTakenOver), "session taken over");
        assert_eq!(words(&rumqttc::mqttbytes::v5::PubAckReason::QuotaExceeded), "quota exceeded");
    }
}
