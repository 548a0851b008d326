// Numbers, times and reasons as people read them.

const REASONS = new Map([
  ['not-present', 'the sensor is not on the bus'],
  ['crc-mismatch', 'the bytes read failed their checksum'],
  ['no-answer', 'the kernel returned an empty read'],
  ['power-on-value', 'the sensor was reset and has not measured since'],
  ['insufficient-power', 'the supply was too weak for a measurement'],
  ['all-zero', 'every byte was zero, as when the bus is held low'],
  ['out-of-range', 'the value is outside what the sensor can measure'],
  ['io-error', 'the kernel could not read the sensor'],
  ['timeout', 'the read took too long and was given up'],
  ['stale', 'no new reading came in time'],
  ['plugin-trap', 'a plugin crashed on this reading'],
  ['plugin-deadline', 'a plugin took too long over this reading'],
  ['plugin-memory', 'a plugin asked for more memory than allowed'],
]);

export function explain(reason) {
  return REASONS.get(reason) ?? '';
}

const DOUBTS = new Map([
  ['power-on-value', '85 °C is also what the sensor shows before its first measurement'],
  ['first-reading', 'the first reading since the sensor appeared may be an old one'],
  ['stale', 'exactly the reading before: the sensor may not have measured again'],
]);

export function explainDoubt(doubt) {
  return DOUBTS.get(doubt) ?? doubt ?? '';
}

// What stands behind a number, how many digits follow its point, and the least that a chart spans: less, and the steps
// of a sensor's resolution look like weather.
const UNITS = new Map([
  ['celsius', { sign: '°C', digits: 2, least: 1 }],
  ['percent', { sign: '%', digits: 1, least: 2 }],
  ['hectopascal', { sign: 'hPa', digits: 1, least: 2 }],
  ['lux', { sign: 'lx', digits: 0, least: 10 }],
  ['volt', { sign: 'V', digits: 3, least: 0.1 }],
  ['ampere', { sign: 'A', digits: 3, least: 0.1 }],
  ['watt', { sign: 'W', digits: 2, least: 0.5 }],
  ['ohm', { sign: 'Ω', digits: 1, least: 1 }],
  ['ppm', { sign: 'ppm', digits: 0, least: 20 }],
  ['rpm', { sign: 'rpm', digits: 0, least: 50 }],
]);

/** @returns {{sign: string, digits: number | null, least: number}} */
export function unitOf(unit) {
  return UNITS.get(unit) ?? { sign: unit, digits: null, least: 1 };
}

/** @returns {[string, string]} digits and unit */
export function measure(value, unit) {
  const { sign, digits } = unitOf(unit);
  return [digits === null ? String(+value.toFixed(3)) : value.toFixed(digits), sign];
}

export function quantity(value, unit) {
  return measure(value, unit).join(' ').trim();
}

const CLOCK = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });
const DAY = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });

export function clock(t) {
  return CLOCK.format(t);
}

/** Time of day, and the day unless it is today's. */
export function moment(t, now) {
  const day = DAY.format(t);
  return day === DAY.format(now) ? clock(t) : `${day} ${clock(t)}`;
}

export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  return h < 48 ? `${h} h ${min % 60} min` : `${Math.floor(h / 24)} d ${h % 24} h`;
}

export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
