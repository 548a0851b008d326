// What the hub said, and nothing about how it looks.

const MAX_ENTRIES = 1800;
const MAX_NOTICES = 3;

/** @typedef {{t: number, value?: number, quality?: string, doubt?: string, fault?: string, clock?: string}} Entry */

export class State {
  /** @type {Map<string, object>} */
  devices = new Map();
  /** Why the hub cannot store anything, and since when. @type {{since: number, reason: string} | null} */
  trouble = null;

  /** Replaces everything. */
  snapshot({ devices, ...hub }) {
    this.hub(hub);
    this.devices.clear();
    for (const device of devices) this.renewed(device);
  }

  hub({ trouble }) {
    this.trouble = trouble ? { since: Date.parse(trouble.since), reason: trouble.reason } : null;
  }

  /** Replaces what a device has sent: its times were put right. */
  renewed(device) {
    this.device(device);
    const state = this.devices.get(device.device);
    state.newest = null;
    for (const { sensor, recent = [] } of device.sensors ?? []) {
      const kept = state.sensors.get(sensor);
      kept.entries = [];
      // When they came is not told; none came later than this.
      kept.arrived ??= state.received;
      for (const { time, ...rest } of recent) {
        keep(kept, { t: Date.parse(time), ...rest });
        state.newest = Math.max(state.newest ?? -Infinity, Date.parse(time));
      }
    }
  }

  /** The connection changed, or a device appeared. Entries already here stay. */
  device({
    device, connected, changed, version, behind, lost, gaps, uplinks, spool, clock, sensors, found, alarms,
  }) {
    const state = this.#device(device);
    state.connected = connected;
    state.changed = Date.parse(changed);
    state.version = version ?? null;
    state.queued = behind?.queued ?? null;
    state.received = behind?.last_received ? Date.parse(behind.last_received) : null;
    const count = (lost ?? 0) - state.lost;
    if (count > 0 && state.dropped) {
      state.notices.push({ count, ...state.dropped });
      if (state.notices.length > MAX_NOTICES) state.notices.shift();
    }
    state.lost = lost ?? 0;
    state.gaps = gaps ?? 0;
    state.uplinks = (uplinks ?? []).map(({ since, ...way }) => ({ ...way, since: since ? Date.parse(since) : null }));
    state.spool = spool ?? null;
    state.clock = clock ?? null;
    state.found = (found ?? []).map(({ id, since }) => ({ id, since: Date.parse(since) }));
    for (const { sensor, id, unit } of sensors ?? []) {
      Object.assign(sensorOf(state, sensor), { id: id ?? null, unit });
    }
    if (alarms) {
      state.alarms.clear();
      for (const { time, since, ...alarm } of alarms) {
        state.alarms.set(alarmKey(alarm), { ...alarm, device, since: Date.parse(since ?? time) });
      }
    }
  }

  /**
   * @param {number} now by the hub's clock
   * @param {(device: string, sensor: string) => void} touched a sensor has a new entry
   * @param {(alarm: object) => void} turned an alarm became active or was cleared
   */
  messages({ device, messages }, now, touched, turned) {
    const state = this.#device(device);
    state.received = now;
    for (const message of messages) {
      const t = Date.parse(message.time);
      if (!Number.isNaN(t)) state.newest = t;
      switch (message.type) {
        case 'fault':
          state.clock = message.clock ?? null;
          keep(sensorOf(state, message.sensor), { t, fault: message.reason, clock: message.clock }, now);
          touched(device, message.sensor);
          break;
        case 'alarm': {
          state.clock = message.clock ?? null;
          const key = alarmKey(message);
          const before = state.alarms.get(key);
          const same = before?.state === message.state;
          const { alarm, sensor, condition, severity, value, limit, clock } = message;
          const after = {
            device, alarm, sensor, condition, severity, value, limit, clock,
            state: message.state,
            since: same ? before.since : t,
          };
          state.alarms.set(key, after);
          if (!same) turned(after);
          break;
        }
        case 'health':
          state.queued = message.queued ?? state.queued;
          break;
        case 'dropped':
          // How many of these numbers did not come before, the hub knows: it tells by `device`.
          state.dropped = { reason: message.reason, at: Number.isNaN(t) ? null : t };
          break;
        case 'sensor':
        case 'clock':
        case 'result':
        case 'start':
          // What they change, the hub tells by `device` and `renewed`.
          break;
        default: {
          // A reading: its type is the word of its quantity.
          const { value, quality, doubt, clock, unit } = message;
          state.clock = clock ?? null;
          const sensor = sensorOf(state, message.sensor);
          sensor.unit ||= unit ?? (message.type === 'temperature' ? 'celsius' : '');
          keep(sensor, { t, value, quality, doubt, clock }, now);
          touched(device, message.sensor);
        }
      }
    }
  }

  alarms() {
    return [...this.devices.values()].flatMap((device) => [...device.alarms.values()]);
  }

  #device(name) {
    let state = this.devices.get(name);
    if (!state) {
      state = {
        name, connected: true, changed: NaN, version: null,
        queued: null, received: null, newest: null, lost: 0, gaps: 0, dropped: null, clock: null,
        uplinks: [], spool: null,
        sensors: new Map(), found: [], alarms: new Map(), notices: [],
      };
      this.devices.set(name, state);
    }
    return state;
  }
}

function sensorOf(device, name) {
  let sensor = device.sensors.get(name);
  if (!sensor) {
    sensor = { name, id: null, unit: '', entries: [], arrived: null };
    device.sensors.set(name, sensor);
  }
  return sensor;
}

/** `arrived` is by the hub's clock, whatever the device's own shows. */
function keep(sensor, entry, arrived = sensor.arrived) {
  if (Number.isNaN(entry.t)) return;
  sensor.arrived = arrived;
  sensor.entries.push(entry);
  if (sensor.entries.length > MAX_ENTRIES) sensor.entries.shift();
}

function alarmKey({ alarm, sensor, condition }) {
  return JSON.stringify([alarm, sensor, condition]);
}

/** The usual time between two entries, in milliseconds; 0 with fewer than two. */
export function interval(entries) {
  const steps = [];
  for (let i = Math.max(1, entries.length - 120); i < entries.length; i++) {
    steps.push(Math.abs(entries[i].t - entries[i - 1].t));
  }
  steps.sort((a, b) => a - b);
  return steps[steps.length >> 1] ?? 0;
}

/** The newest reading, and the run of faults after it. */
export function current({ entries }) {
  let i = entries.length - 1;
  while (i >= 0 && entries[i].fault !== undefined) i--;
  return {
    reading: entries[i] ?? null,
    fault: i === entries.length - 1 ? null : entries[entries.length - 1],
    faultSince: entries[i + 1]?.t ?? null,
  };
}

/** Per reason: how often and when last, the latest first. */
export function faultCounts({ entries }) {
  const reasons = new Map();
  for (const { t, fault } of entries) {
    if (fault === undefined) continue;
    const seen = reasons.get(fault) ?? { reason: fault, count: 0, last: t };
    reasons.set(fault, seen);
    seen.count++;
    seen.last = t;
  }
  return [...reasons.values()].sort((a, b) => b.last - a.last);
}
