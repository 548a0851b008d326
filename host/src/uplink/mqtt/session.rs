//! One connection to a broker: what is published, what it acknowledged, and how the connection ends.

use std::collections::VecDeque;
use std::pin::{Pin, pin};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{PubAckReason, PublishProperties};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, PublishNoticeError, PublishOptions,
    PublishResult,
};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::discovery::{self, BIRTH, Config};
use super::topics::{Head, Kept, OFFLINE, ONLINE};
use super::{Connection, Limits, Mqtt, explain, words};
use crate::spool::Stored;
use crate::stop::Stop;
use crate::uplink::again::{NEW_STREAM, at};
use crate::uplink::session::{CLOSE_DEADLINE, Ended, LAST_DELIVERY};
use crate::uplink::wire::{Connect, to_json};

/// Most messages without a PUBACK. A broker may want fewer (its "receive maximum", 20 for a Mosquitto): the client holds
/// the rest back.
const WINDOW: usize = 128;
/// Room for the requests that wait in the client: the window, the last status and the subscription.
pub(super) const REQUESTS: usize = WINDOW + 2;
/// A broker that acknowledges nothing of what was published for so many times the keep-alive is given up, as the client
/// itself does with one that answers no ping. It sends none while it publishes.
const KEEP_ALIVES: u32 = 2;
/// What a packet has beside its topic and its payload, at most: the fixed header, the packet's number, and properties.
const PACKET_OVERHEAD: usize = 64;
/// What all payloads but states are.
const CONTENT_TYPE: &str = "application/json";

/// Something to publish.
struct Publication {
    topic: String,
    payload: String,
    kept: Kept,
    content: Content,
}

/// What is published, which is what becomes of its PUBACK.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The message with this number.
    Numbered(u64),
    /// What the device is and whether it is there, and the state of an alarm.
    State,
    /// What Home Assistant is told. A broker need not allow it.
    Discovery,
}

/// A publication and what became of it.
type Outcome = (Content, String, Result<PublishResult, PublishNoticeError>);

struct Session<'m> {
    client: AsyncClient,
    limits: Limits,
    /// The one that this connection began with.
    stream: Uuid,
    mqtt: &'m mut Mqtt,
    /// Goes out before what the spool holds.
    waiting: VecDeque<Publication>,
    /// Read from the spool and not looked at yet.
    read: VecDeque<Stored>,
    /// Up to this number all is published, or in `read`.
    taken: u64,
    in_flight: FuturesOrdered<Pin<Box<dyn Future<Output = Outcome> + Send>>>,
    /// When something was acknowledged, or nothing waited for it.
    progressed: Instant,
}

/// Delivers over one connection until it ends.
pub(super) async fn deliver(connection: Connection, mqtt: &mut Mqtt, stop: &mut Stop) -> Ended {
    let Connection { client, events, limits } = connection;
    let birth = Notify::new();
    let mut drive = pin!(drive(events, &birth));
    let taken = mqtt.uplink.place.acked();
    let mut session = Session {
        client,
        limits,
        stream: mqtt.uplink.place.stream(),
        mqtt,
        waiting: VecDeque::new(),
        read: VecDeque::new(),
        taken,
        in_flight: FuturesOrdered::new(),
        progressed: Instant::now(),
    };
    match session.run(drive.as_mut(), &birth, stop).await {
        Ok(()) => {
            session.close(drive).await;
            Ended::Stopped
        }
        Err(why) => Ended::Lost(why),
    }
}

/// Sends and receives until the connection ends, which it gives the reason of.
async fn drive(mut events: EventLoop, birth: &Notify) -> String {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::Publish(message))) if message.payload == BIRTH => {
                birth.notify_one();
            }
            Ok(_) => {}
            Err(ConnectionError::RequestsDone) => {
                return "the connection was closed from here".to_owned();
            }
            Err(error) => return explain(&error),
        }
    }
}

impl Session<'_> {
    async fn run(
        &mut self,
        mut drive: Pin<&mut impl Future<Output = String>>,
        birth: &Notify,
        stop: &mut Stop,
    ) -> Result<(), String> {
        self.greet();
        if let Some(prefix) = &self.mqtt.uplink.settings.discovery_prefix {
            let topic = discovery::birth_topic(prefix);
            let asked = self.client.try_subscribe(topic, QoS::AtLeastOnce);
            asked.map_err(|e| e.to_string())?;
        }
        let mut appended = self.mqtt.uplink.place.appended();
        let patience = self.mqtt.uplink.settings.keep_alive * KEEP_ALIVES;
        let mut last_delivery: Option<Instant> = None;
        loop {
            if self.mqtt.uplink.place.stream() != self.stream {
                return Err(NEW_STREAM.to_owned());
            }
            self.publish_waiting().await?;
            let is_empty = self.in_flight.is_empty() && self.mqtt.uplink.place.state().queued == 0;
            if last_delivery.is_some() && is_empty {
                return Ok(());
            }
            tokio::select! {
                why = &mut drive => return Err(why),
                () = stop.wait(), if last_delivery.is_none() => {
                    last_delivery = Some(Instant::now() + LAST_DELIVERY);
                }
                () = at(last_delivery) => return Ok(()),
                changed = appended.changed() => changed.map_err(|e| e.to_string())?,
                Some(outcome) = self.in_flight.next(), if !self.in_flight.is_empty() => self.hear(outcome)?,
                // It may be told again before it has heard everything: then once more, and no oftener.
                () = birth.notified(), if self.waiting.is_empty() => self.tell_home_assistant(),
                () = tokio::time::sleep_until(self.progressed + patience), if !self.in_flight.is_empty() => {
                    return Err(format!("the broker acknowledged nothing for {} s", patience.as_secs()));
                }
            }
        }
    }

    /// What a connection begins with: that the device is there, what it is, and what Home Assistant needs to know.
    fn greet(&mut self) {
        let topics = &self.mqtt.topics;
        let status = state(topics.status(), ONLINE.to_owned());
        let stream = Some(self.stream);
        let connect = Connect { stream, ..self.mqtt.uplink.connect.clone() };
        let connect = state(topics.connect(), to_json(&connect));
        self.waiting.extend([status, connect]);
        self.tell_home_assistant();
    }

    fn tell_home_assistant(&mut self) {
        let (uplink, topics) = (&self.mqtt.uplink, &self.mqtt.topics);
        if let Some(prefix) = &uplink.settings.discovery_prefix {
            let series = uplink.series.iter();
            let sensors = series.map(|one| discovery::sensor(prefix, topics, &uplink.connect, one));
            let pairs = self.mqtt.alarms.pairs();
            let alarms = pairs.map(|pair| discovery::alarm(prefix, topics, &uplink.connect, pair));
            self.waiting.extend(sensors.chain(alarms).map(config));
        }
        let states = self.mqtt.alarms.states().into_iter();
        self.waiting.extend(states.map(|((stage, sensor), told)| {
            state(topics.alarm_state(&stage, &sensor), told.as_str().to_owned())
        }));
    }

    /// Publishes what there is, as far as the window allows.
    async fn publish_waiting(&mut self) -> Result<(), String> {
        let window = if self.mqtt.is_refused { 1 } else { WINDOW };
        while self.in_flight.len() < window {
            if let Some(publication) = self.waiting.pop_front() {
                self.publish(publication)?;
                continue;
            }
            if self.read.is_empty() && self.mqtt.uplink.place.last() > self.taken {
                self.read = self.mqtt.uplink.place.read(self.taken, WINDOW).await.into();
            }
            let Some(stored) = self.read.pop_front() else { return Ok(()) };
            self.taken = stored.seq;
            self.take(stored);
        }
        Ok(())
    }

    /// Makes publications of a message: an alarm changes a state too, which is told before.
    fn take(&mut self, stored: Stored) {
        // The spool's messages are our own, so that a text without a type does not occur; it would go to the device's.
        let head: Head<'_> = serde_json::from_str(&stored.json).unwrap_or_default();
        let mqtt = &mut *self.mqtt;
        let changed = mqtt.alarms.take(&head);
        if let (Some(pair), Some(prefix)) = (&changed.new, &mqtt.uplink.settings.discovery_prefix) {
            let told = discovery::alarm(prefix, &mqtt.topics, &mqtt.uplink.connect, pair);
            self.waiting.push_back(config(told));
        }
        for ((stage, sensor), told) in changed.states {
            let topic = mqtt.topics.alarm_state(&stage, &sensor);
            self.waiting.push_back(state(topic, told.as_str().to_owned()));
        }
        let (topic, kept) = mqtt.topics.of(&head);
        self.waiting.push_back(Publication {
            topic,
            payload: stored.json.as_ref().to_owned(),
            kept,
            content: Content::Numbered(stored.seq),
        });
    }

    fn publish(&mut self, publication: Publication) -> Result<(), String> {
        let Publication { topic, payload, kept, content } = publication;
        let size = topic.len() + payload.len() + PACKET_OVERHEAD;
        if size > self.limits.packet {
            let most = self.limits.packet;
            return Err(format!(
                "the broker takes packets of at most {most} bytes, and one to `{topic}` has {size}"
            ));
        }
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            content_type: payload.starts_with('{').then(|| CONTENT_TYPE.to_owned()),
            ..PublishProperties::default()
        };
        let options = PublishOptions::at_least_once()
            .retain(kept == Kept::Last && self.limits.retains)
            .properties(properties);
        let notice = self.client.try_publish_tracked(topic.clone(), payload, options);
        let notice = notice.map_err(|e| e.to_string())?;
        if self.in_flight.is_empty() {
            self.progressed = Instant::now();
        }
        self.in_flight
            .push_back(Box::pin(async move { (content, topic, notice.wait_async().await) }));
        Ok(())
    }

    /// Takes in what became of the oldest publication.
    fn hear(&mut self, (content, topic, result): Outcome) -> Result<(), String> {
        self.progressed = Instant::now();
        let reason = match result {
            Ok(PublishResult::Qos1(ack)) => ack.reason,
            Ok(_) => PubAckReason::Success,
            Err(error) => return Err(format!("cannot publish to `{topic}`: {error}")),
        };
        if matches!(reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
            if let Content::Numbered(seq) = content {
                self.mqtt.is_refused = false;
                self.mqtt.uplink.place.ack(seq);
            }
            return Ok(());
        }
        let why = words(&reason);
        if content == Content::Discovery {
            tracing::warn!(uplink = %self.mqtt.uplink.name, topic, "The broker refuses what Home Assistant needs: {why}.");
            return Ok(());
        }
        // It is not lost: it stays in the spool, and is tried again, after a pause and by itself.
        self.mqtt.is_refused = true;
        Err(format!("the broker refuses `{topic}`: {why}"))
    }

    /// Says that the device goes, and closes: the broker then forgets the last will.
    async fn close(&mut self, mut drive: Pin<&mut impl Future<Output = String>>) {
        self.waiting.clear();
        let farewell = async {
            // A full window has room for this one: there is no other way to say it.
            self.publish(state(self.mqtt.topics.status(), OFFLINE.to_owned()))?;
            while !self.in_flight.is_empty() {
                tokio::select! {
                    why = &mut drive => return Err(why),
                    Some(outcome) = self.in_flight.next() => self.hear(outcome)?,
                }
            }
            Ok(())
        };
        let told = timeout(CLOSE_DEADLINE, farewell).await;
        let told = told.map_err(|_| format!("no answer within {CLOSE_DEADLINE:?}"));
        if let Err(why) | Ok(Err(why)) = told {
            // Without a DISCONNECT the broker says it: that is what the last will is for.
            tracing::debug!("The device's going was not told: {why}.");
            return;
        }
        if self.client.try_disconnect_now().is_ok() {
            // It ends when all is sent.
            drop(timeout(CLOSE_DEADLINE, drive).await);
        }
    }
}

fn config(config: Config) -> Publication {
    let Config { topic, json } = config;
    Publication { topic, payload: json, kept: Kept::Last, content: Content::Discovery }
}

fn state(topic: String, payload: String) -> Publication {
    Publication { topic, payload, kept: Kept::Last, content: Content::State }
}
