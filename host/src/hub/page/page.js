import { Chart, chartCount } from './chart.js';
import { State, current, faultCounts, interval } from './state.js';
import { StrangerList } from './strangers.js';
import { clock, explain, explainDoubt, measure, moment, plural, quantity, span } from './words.js';
import { element, setText, stamp } from './nodes.js';

const RENDER_MS = 100;
const RETRY_MS = 3000;
// The hub pings every 15 s; a phone back from sleep can hold a dead connection.
const SILENCE_MS = 45_000;
const CLEARED_SHOWN = 8;
const REASONS_SHOWN = 4;
const SEVERITIES = ['critical', 'warning', 'info'];

const state = new State();
/** @type {Map<string, DeviceView>} */
const views = new Map();
const alarmViews = new Map();
const $ = (id) => document.getElementById(id);

const link = { source: null, live: false, lostAt: 0, heardAt: 0, pings: false, snapshots: 0 };
let hubAhead = 0;
const hubNow = () => Date.now() + hubAhead;

// ---- the link to the hub

function open() {
  link.source?.close();
  const source = link.source = new EventSource('/api/live');
  link.heardAt = Date.now();
  const on = (name, handle) => source.addEventListener(name, ({ data }) => {
    link.heardAt = Date.now();
    handle(JSON.parse(data));
  });
  on('snapshot', (snapshot) => {
    setClock(snapshot.time);
    state.snapshot(snapshot);
    link.live = true;
    link.snapshots++;
    for (const view of views.values()) view.touchAll();
    const active = state.alarms().filter((alarm) => alarm.state === 'active').length;
    if (link.snapshots === 1 && active) announce(`${plural(active, 'active alarm')}.`);
    requestRender();
  });
  on('messages', (batch) => {
    state.messages(batch, hubNow(), (device, sensor) => views.get(device)?.touch(sensor), announceAlarm);
    requestRender();
  });
  on('device', (device) => {
    state.device(device);
    views.get(device.device)?.touchAll();
    requestRender();
  });
  on('renewed', (device) => {
    state.renewed(device);
    views.get(device.device)?.touchAll();
    requestRender();
  });
  on('hub', (hub) => {
    state.hub(hub);
    requestRender();
  });
  on('ping', ({ time }) => {
    link.pings = true;
    setClock(time);
  });
  source.onerror = () => {
    lost();
    // The browser retries by itself, except after an HTTP error.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => source === link.source && open(), RETRY_MS);
  };
}

function setClock(time) {
  hubAhead = Date.parse(time) - Date.now();
}

function lost() {
  if (link.live || !link.lostAt) link.lostAt = hubNow();
  link.live = false;
  requestRender();
}

function announce(text) {
  $('announce').textContent = text;
}

function announceAlarm({ device, alarm, sensor, state, severity }) {
  announce(`Alarm ${alarm} ${state}, ${severity}, ${[device, sensor].filter(Boolean).join(', ')}.`);
}

// ---- rendering

let pending = 0;
let rendered = 0;
function requestRender() {
  pending ||= setTimeout(() => requestAnimationFrame(() => {
    pending = 0;
    rendered = performance.now();
    render();
  }), rendered + RENDER_MS - performance.now());
}

function render() {
  const now = hubNow();
  renderLink();
  renderTrouble(now);
  for (const [name, view] of views) {
    if (state.devices.has(name)) continue;
    view.remove();
    views.delete(name);
  }
  for (const device of state.devices.values()) {
    if (!views.has(device.name)) addView(device.name);
    views.get(device.name).render(device, now);
  }
  $('empty').hidden = !link.snapshots || state.devices.size > 0;
  renderAlarms(now);
}

function renderLink() {
  const { live, lostAt, snapshots } = link;
  const word = live ? 'live' : lostAt ? 'link lost' : 'connecting';
  setText($('link'), word);
  $('link').className = live ? 'live' : lostAt ? 'gone' : '';
  document.documentElement.classList.toggle('stale', !live);
  $('banner').hidden = live || !lostAt;
  if (lostAt) {
    setText($('banner'), snapshots
      ? `The link to the hub is lost since ${clock(lostAt)}. The values below are not current. Trying again…`
      : 'The hub cannot be reached. Trying again…');
  }
}

function renderTrouble(now) {
  const { trouble } = state;
  $('trouble').hidden = !trouble;
  setText($('trouble'), trouble
    ? `The hub cannot store what it receives since ${moment(trouble.since, now)}: ${trouble.reason}. Devices keep their messages until it can.`
    : '');
}

function addView(name) {
  const view = new DeviceView(name);
  const next = [...views.keys()].filter((other) => other > name).sort()[0];
  $('devices').insertBefore(view.root, next === undefined ? null : views.get(next).root);
  views.set(name, view);
}

class DeviceView {
  #cards = new Map();
  #notices = '';

  constructor(name) {
    this.root = stamp('device');
    this.root.dataset.device = name;
    setText(this.find('.name'), name);
    this.strangers = new StrangerList(this.find('.strangers'), announce);
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  touch(sensor) {
    const card = this.#cards.get(sensor);
    if (card) card.touched = true;
  }

  touchAll() {
    for (const card of this.#cards.values()) card.touched = true;
  }

  render(device, now) {
    const { connected, changed, newest, received, queued, lost, version } = device;
    this.root.classList.toggle('offline', !connected);
    setText(this.find('.connection b'), connected ? 'connected' : 'not connected');
    setText(this.find('.connection span'),
      Number.isNaN(changed) ? '' : `since ${moment(changed, now)} (${span(now - changed)})`);

    // An age by a clock that was not set says nothing.
    const heard = device.clock ? received : newest ?? received;
    setText(this.find('.behind'), heard === null ? '–' : behind(now - heard));
    this.find('.behind').title = received === null ? '' : `the newest message is this old; received ${moment(received, now)}`;
    setText(this.find('.queued'), queued ?? '–');
    this.find('.queued').classList.toggle('bad', queued > 0);
    setText(this.find('.lost'), lost);
    this.find('.lost').classList.toggle('bad', lost > 0);
    setText(this.find('.version'), version || '–');
    this.find('.unset').hidden = device.clock === null;
    const ways = waysOut(device, now);
    this.find('.ways').hidden = ways === '';
    setText(this.find('.ways'), ways);
    this.find('.ways').classList.toggle('bad', isTroubled(device));
    this.#renderNotices(device.notices, now);
    this.strangers.render(device.found, now);

    for (const [name, card] of this.#cards) {
      if (device.sensors.has(name)) continue;
      card.remove();
      this.#cards.delete(name);
    }
    for (const sensor of device.sensors.values()) {
      if (!this.#cards.has(sensor.name)) {
        const card = new SensorCard(sensor.name);
        this.#cards.set(sensor.name, card);
        this.find('.sensors').append(card.root);
      }
      this.#cards.get(sensor.name).render(sensor, connected, now);
    }
    this.find('.no-sensor').hidden = device.sensors.size > 0;
  }

  // Rewritten only on change, or a screen reader would repeat it.
  #renderNotices(notices, now) {
    const lines = notices.map(({ count, reason, at }) =>
      `${plural(count, 'message')} lost (${reason})${at === null ? '' : ` at ${moment(at, now)}`}`);
    if (lines.join() === this.#notices) return;
    this.#notices = lines.join();
    this.find('.notices').replaceChildren(...lines.map((line) => element('li', line)));
  }

  remove() {
    for (const card of this.#cards.values()) card.remove();
    this.root.remove();
  }
}

// How a device's messages get out and where they wait, as far as there is something to say.
function waysOut({ uplinks, spool, gaps }, now) {
  const lines = [];
  if (uplinks.length > 1 || uplinks.some(({ state }) => state !== 'up')) {
    const ways = uplinks.map(({ uplink, state, queued, since, reason }) => {
      const down = state === 'up' ? '' : `${since ? ` since ${moment(since, now)}` : ''}${reason ? `: ${reason}` : ''}`;
      return `${uplink} ${state}${down}${queued ? ` (${queued.toLocaleString('en')} waiting)` : ''}`;
    });
    lines.push(`${plural(uplinks.length, 'uplink')}: ${ways.join(', ')}`);
  }
  if (spool?.reason) lines.push(`spool ${spool.on_disk ? 'on disk' : 'in memory'}: ${spool.reason}`);
  if (gaps) lines.push(`${plural(gaps, 'message')} missing that the device did not account for`);
  return lines.join(' · ');
}

function isTroubled({ uplinks, spool, gaps }) {
  return gaps > 0 || Boolean(spool?.reason) || uplinks.some(({ state }) => state !== 'up');
}

function behind(age) {
  return age < -5000 ? `0 s (its clock is ${span(-age)} ahead)` : span(age);
}

class SensorCard {
  touched = true;
  #counts = [];

  constructor(name) {
    this.root = stamp('sensor');
    this.root.dataset.sensor = name;
    setText(this.find('.name'), name);
    this.find('.chart').setAttribute('aria-label', `Chart of the recent readings of ${name}`);
    this.chart = new Chart(this.find('.chart'));
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  render(sensor, connected, now) {
    if (this.touched) {
      this.touched = false;
      this.#counts = faultCounts(sensor);
      this.chart.show(sensor);
    }
    const { reading, fault, faultSince } = current(sensor);
    const age = reading ? now - reading.t : 0;
    const silence = reading?.clock ? now - (sensor.arrived ?? now) : age;
    const late = silence > Math.max(15_000, 5 * interval(sensor.entries));
    this.root.classList.toggle('faulty', fault !== null);
    this.root.classList.toggle('old', !fault && reading !== null && (!connected || late));

    setText(this.find('.rom'), sensor.id ?? 'no address');
    const [number, unit] = reading ? measure(reading.value, sensor.unit) : ['–', ''];
    setText(this.find('.number'), number);
    setText(this.find('.unit'), unit);
    setText(this.find('.age'), !reading ? 'no reading yet' : reading.clock ? `at ${moment(reading.t, now)}` : `${span(age)} ago`);
    const quality = this.find('.quality');
    quality.hidden = !reading || fault !== null;
    setText(quality, quality.hidden ? '' : reading.quality);
    quality.classList.toggle('uncertain', reading?.quality !== 'good');

    const doubt = this.find('.doubt');
    setText(doubt, quality.hidden ? '' : explainDoubt(reading.doubt));
    doubt.hidden = doubt.textContent === '';

    const line = this.find('.fault');
    line.hidden = fault === null;
    setText(line.querySelector('b'), fault?.fault ?? '');
    setText(line.querySelector('.why'), fault ? explain(fault.fault) : '');
    setText(line.querySelector('.since'), fault ? `since ${moment(faultSince, now)} (${span(now - faultSince)})` : '');
    this.#renderCounts(now);
  }

  #renderCounts(now) {
    const shown = this.#counts.slice(0, REASONS_SHOWN);
    const list = this.find('.faults');
    while (list.children.length > Math.max(1, shown.length)) list.lastChild.remove();
    while (list.children.length < Math.max(1, shown.length)) list.append(element('li'));
    if (!shown.length) setText(list.firstChild, 'none');
    shown.forEach(({ reason, count, last }, i) => {
      setText(list.children[i], `${reason} × ${count}, last ${moment(last, now)} (${span(now - last)} ago)`);
      list.children[i].title = explain(reason);
    });
  }

  remove() {
    this.chart.remove();
    this.root.remove();
  }
}

function renderAlarms(now) {
  const alarms = state.alarms();
  const rank = ({ severity }) => SEVERITIES.indexOf(severity) + 1 || SEVERITIES.length + 1;
  const active = alarms.filter((alarm) => alarm.state === 'active')
    .sort((a, b) => rank(a) - rank(b) || b.since - a.since);
  const cleared = alarms.filter((alarm) => alarm.state !== 'active')
    .sort((a, b) => b.since - a.since).slice(0, CLEARED_SHOWN);

  const unused = new Set(alarmViews.keys());
  const place = (list, shown) => shown.forEach((alarm, i) => {
    const key = JSON.stringify([alarm.device, alarm.alarm, alarm.sensor, alarm.condition]);
    unused.delete(key);
    if (!alarmViews.has(key)) alarmViews.set(key, stamp('alarm'));
    const view = alarmViews.get(key);
    if (list.children[i] !== view) list.insertBefore(view, list.children[i] ?? null);
    renderAlarm(view, alarm, now);
  });
  place($('active'), active);
  place($('cleared'), cleared);
  for (const key of unused) {
    alarmViews.get(key).remove();
    alarmViews.delete(key);
  }

  $('no-alarms').hidden = active.length > 0;
  $('cleared-title').hidden = cleared.length === 0;
  const sensors = [...state.devices.values()].reduce((sum, device) => sum + device.sensors.size, 0);
  const counts = [plural(state.devices.size, 'device'), plural(sensors, 'sensor'), plural(active.length, 'active alarm')];
  setText($('summary'), link.snapshots ? counts.join(' · ') : '');
  document.title = active.length ? `(${active.length}) Weir` : 'Weir';
}

function renderAlarm(view, { device, alarm, sensor, condition, state: phase, severity, value, limit, clock: ofClock, since }, now) {
  const find = (selector) => view.querySelector(selector);
  const known = SEVERITIES.includes(severity) ? severity : 'warning';
  view.dataset.alarm = alarm;
  view.dataset.state = phase;
  view.className = `alarm ${phase === 'active' ? known : 'past'}`;
  find('use').setAttribute('href', `#icon-${phase === 'active' ? known : 'cleared'}`);
  setText(find('.name'), alarm);
  setText(find('.severity'), severity);
  setText(find('.where'), [device, sensor].filter(Boolean).join(' / '));

  const unit = state.devices.get(device)?.sensors.get(sensor)?.unit ?? '';
  const wanted = condition === 'missing' ? 'readings are missing'
    : limit == null ? condition : `${condition} ${quantity(limit, unit)}`;
  setText(find('.what'), value == null ? wanted : `${quantity(value, unit)} (alarm ${wanted})`);
  setText(find('.state'), `${phase} since`);
  setText(find('time'), moment(since, now));
  find('time').dateTime = new Date(since).toISOString();
  setText(find('.ago'), ofClock ? '(clock not synchronized)' : `(${span(now - since)})`);
}

// ---- start

Object.defineProperty(window, 'weir', {
  value: Object.freeze({
    /** Entries kept, readings and faults. */
    points: (device, sensor) => state.devices.get(device)?.sensors.get(sensor)?.entries.length ?? 0,
    get charts() { return chartCount(); },
  }),
});

$('uplink').textContent = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/uplink`;
$('zone').textContent = Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'local time';

setInterval(() => {
  if (link.pings && Date.now() - link.heardAt > SILENCE_MS) {
    lost();
    open();
  }
  requestRender();
}, 1000);
open();
