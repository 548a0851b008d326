// A sensor's recent entries as a Plotly chart: readings are a line, faults are shaded gaps.

import { interval } from './state.js';
import { clock, explain, explainDoubt, quantity, unitOf } from './words.js';

const REDRAW_MS = 250;
const HEIGHT = 190;
// Drawing may use at most a third of the time, whatever the phone.
const REST = 2;

const CONFIG = { displayModeBar: false, scrollZoom: false, doubleClick: false, showTips: false };

/** @type {Set<Chart>} */
const charts = new Set();
const script = document.getElementById('plotly');
const dark = matchMedia('(prefers-color-scheme: dark)');
let colours = readColours();
let restUntil = 0;
let frame = 0;
let timer = 0;

dark.addEventListener('change', () => {
  colours = readColours();
  for (const chart of charts) chart.redraw();
});
script.addEventListener('load', schedule);
script.addEventListener('error', () => document.documentElement.classList.add('no-charts'));
document.addEventListener('visibilitychange', schedule);

const sight = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    for (const chart of charts) if (chart.host === target) chart.visible = isIntersecting;
  }
  schedule();
}, { rootMargin: '120px' });

const size = new ResizeObserver((seen) => {
  for (const { target } of seen) {
    for (const chart of charts) if (chart.host === target && chart.width !== target.clientWidth) chart.redraw();
  }
});

export class Chart {
  visible = false;
  drawn = false;
  width = 0;
  #dirty = true;
  #due = 0;
  #sensor = null;

  constructor(host) {
    this.host = host;
    charts.add(this);
    sight.observe(host);
    size.observe(host);
  }

  show(sensor) {
    this.#sensor = sensor;
    this.redraw();
  }

  redraw() {
    this.#dirty = true;
    schedule();
  }

  remove() {
    charts.delete(this);
    sight.unobserve(this.host);
    size.unobserve(this.host);
    this.#purge();
  }

  #purge() {
    if (this.drawn) Plotly.purge(this.host);
    this.drawn = false;
  }

  /** When it may be drawn again, or Infinity when there is nothing to draw. */
  get due() {
    return this.#dirty && this.visible && this.#sensor ? this.#due : Infinity;
  }

  draw(now) {
    this.#dirty = false;
    this.#due = now + REDRAW_MS;
    this.width = this.host.clientWidth;
    const blank = this.#sensor.entries.length === 0;
    this.host.classList.toggle('blank', blank);
    if (blank) return this.#purge();
    this.drawn = true;
    Plotly.react(this.host, traces(this.#sensor), layout(this.#sensor, this.width), CONFIG);
  }
}

export function chartCount() {
  return [...charts].filter((chart) => chart.drawn).length;
}

function schedule() {
  clearTimeout(timer);
  if (frame || !window.Plotly || document.hidden) return;
  const due = Math.min(...[...charts].map((chart) => chart.due));
  if (due === Infinity) return;
  const wait = Math.max(due, restUntil) - performance.now();
  if (wait > 0) timer = setTimeout(schedule, wait);
  else frame = requestAnimationFrame(drawOne);
}

// One chart a frame, the longest waiting first, so that scrolling stays smooth.
function drawOne() {
  frame = 0;
  const start = performance.now();
  const [next] = [...charts].sort((a, b) => a.due - b.due);
  if (next?.due <= start) {
    next.draw(start);
    const end = performance.now();
    restUntil = end + REST * (end - start);
  }
  schedule();
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(
    ['text', 'muted', 'rule', 'surface', 'trace', 'uncertain', 'fault', 'gap'].map((name) => [name, read(name)]),
  );
}

// Plotly reads its texts as a subset of HTML, and these hold what devices sent.
function plain(text) {
  return text.slice(0, 80).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
}

function label(entry, unit) {
  const when = `${clock(entry.t)}${entry.clock ? ' (clock not synchronized)' : ''}`;
  if (entry.fault !== undefined) {
    const why = explain(entry.fault);
    return `${when}<br><b>${plain(entry.fault)}</b>${why && `<br>${why}`}`;
  }
  const why = plain(explainDoubt(entry.doubt));
  const note = entry.quality === 'good' ? '' : `, ${plain(entry.quality)}${why && `<br>${why}`}`;
  return `${when}<br><b>${plain(quantity(entry.value, unit))}</b>${note}`;
}

// Plotly draws the digits of a time and ignores its zone, so they are given as local time.
// One offset for the whole chart: when daylight saving ends, the line must not run back.
function localTime(entries) {
  const offset = 60_000 * new Date(entries[entries.length - 1].t).getTimezoneOffset();
  return (t) => new Date(t - offset).toISOString();
}

function traces({ entries, unit }) {
  const local = localTime(entries);
  // Nothing was measured in a long silence, so no line may cross it.
  const silence = Math.max(60_000, 10 * interval(entries));
  const line = { x: [], y: [], text: [] };
  const unsure = { x: [], y: [] };
  const uncertain = { x: [], y: [] };
  const dots = { x: [], y: [] };
  const gaps = { x: [], y: [] };
  const faults = { x: [], text: [] };
  // Marks closer than this would be a blot.
  const apart = (entries[entries.length - 1].t - entries[0].t) / 40;
  let marked = -Infinity;
  let gapFrom = null;
  let lastReading = null;

  const closeGap = (to) => {
    gaps.x.push(gapFrom, gapFrom, to, to, null);
    gaps.y.push(0, 1, 1, 0, null);
    gapFrom = null;
  };
  const lift = (x) => {
    line.x.push(x);
    line.y.push(null);
    line.text.push('');
    unsure.x.push(x);
    unsure.y.push(null);
  };

  entries.forEach((entry, i) => {
    entry.label ??= label(entry, unit);
    const x = local(entry.t);
    const before = entries[i - 1];
    const after = entries[i + 1];
    const broken = (a, b) => !a || !b || a.fault !== undefined || b.fault !== undefined
      || b.t < a.t || b.t - a.t > silence;

    if (entry.fault !== undefined) {
      gapFrom ??= lastReading ?? x;
      faults.x.push(x);
      faults.text.push(entry.label);
      lift(x);
      if (!after) closeGap(x);
      return;
    }
    if (gapFrom !== null) closeGap(x);
    if (before && broken(before, entry)) lift(x);
    line.x.push(x);
    line.y.push(entry.value);
    line.text.push(entry.label);
    lastReading = x;
    unsure.x.push(x);
    unsure.y.push(entry.quality === 'good' ? null : entry.value);

    const alone = broken(before, entry) && broken(entry, after);
    if (entry.quality !== 'good') {
      if (Math.abs(entry.t - marked) < apart) return;
      marked = entry.t;
      uncertain.x.push(x);
      uncertain.y.push(entry.value);
    } else if (alone) {
      dots.x.push(x);
      dots.y.push(entry.value);
    }
  });

  return [
    { ...gaps, yaxis: 'y2', mode: 'lines', line: { width: 0 }, fill: 'toself', fillcolor: colours.gap, hoverinfo: 'skip' },
    { ...line, mode: 'lines', line: { width: 1.75, color: colours.trace }, connectgaps: false, hoverinfo: 'text' },
    { ...unsure, mode: 'lines', line: { width: 3, color: colours.uncertain, dash: 'dot' }, connectgaps: false, hoverinfo: 'skip' },
    // A line cannot show a reading without neighbours.
    { ...dots, mode: 'markers', marker: { color: colours.trace, size: 4, maxdisplayed: 400 }, hoverinfo: 'skip' },
    {
      ...uncertain, mode: 'markers', hoverinfo: 'skip', cliponaxis: false,
      marker: { symbol: 'diamond-open', color: colours.uncertain, size: 7, line: { width: 1.5 } },
    },
    {
      ...faults, y: faults.x.map(() => 0), yaxis: 'y2', mode: 'markers', hoverinfo: 'text', cliponaxis: false,
      marker: { symbol: 'x', color: colours.fault, size: 7, maxdisplayed: 200 },
    },
  ].map((trace) => ({ type: 'scatter', ...trace }));
}

function valueRange(entries, least) {
  let low = Infinity;
  let high = -Infinity;
  for (const { value } of entries) {
    if (value === undefined) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [0, 1];
  const pad = Math.max(0.12 * (high - low), (least - (high - low)) / 2);
  return [low - pad, high + pad];
}

function timeRange(entries) {
  let first = Infinity;
  let last = -Infinity;
  for (const { t } of entries) {
    first = Math.min(first, t);
    last = Math.max(last, t);
  }
  return [first - (first === last ? 30_000 : 0), last + (first === last ? 30_000 : 0)].map(localTime(entries));
}

function layout({ entries, unit }, width) {
  const { sign, least } = unitOf(unit);
  // A long unit stands at the highest number alone, where it has the width of the numbers to itself.
  const short = sign.length < 3;
  const axis = { fixedrange: true, zeroline: false, showline: false, tickfont: { size: 11, color: colours.muted } };
  return {
    width,
    height: HEIGHT,
    margin: { l: 44, r: 10, t: 8, b: 26 },
    showlegend: false,
    dragmode: false,
    hovermode: 'x',
    hoverlabel: { bgcolor: colours.surface, bordercolor: colours.muted, font: { size: 12, color: colours.text }, align: 'left' },
    font: { family: 'system-ui, sans-serif', color: colours.text },
    // No sign between thousands: Plotly sets it at some ticks only.
    separators: '.',
    paper_bgcolor: 'rgba(0,0,0,0)',
    plot_bgcolor: 'rgba(0,0,0,0)',
    xaxis: {
      ...axis, type: 'date', range: timeRange(entries), showgrid: false, nticks: 5, ticks: 'outside', ticklen: 4, tickcolor: colours.rule,
      tickformatstops: [
        { dtickrange: [null, 59_999], value: '%H:%M:%S' },
        { dtickrange: [60_000, 86_399_999], value: '%H:%M' },
        { dtickrange: [86_400_000, null], value: '%-d %b' },
      ],
    },
    yaxis: {
      ...axis, range: valueRange(entries, least), gridcolor: colours.rule, nticks: 5, automargin: true,
      ticksuffix: unit === 'celsius' ? '°' : plain(sign && ` ${sign}`), showticksuffix: short ? 'all' : 'last',
    },
    yaxis2: { overlaying: 'y', range: [0, 1], fixedrange: true, visible: false },
  };
}
