// calibrate-linear in JavaScript: gain and offset, or two reference points, a table by sensor.
//
// What the functions are given and give back is in wit/weir-plugin.wit, world `calibration`. A text that is thrown is an
// error for the user; anything else that is thrown is a trap.

import { lineThrough, valueAt } from "./line.js";

// One line a series, by the series' number.
let lines = [];

export function configure(settings, series) {
  const { gain, offset, sensor = {} } = JSON.parse(settings);
  lines = series.map(({ sensor: name }) => {
    // A sensor may have the name of something that every object inherits.
    const own = Object.hasOwn(sensor, name);
    return own ? lineOf(name, sensor[name]) : { gain, offset };
  });
}

export function apply(batch) {
  return batch.value.map((value, row) => valueAt(lines[batch.series[row]], value));
}

// Nothing is remembered, and neither time nor faults change anything.
export function tick(now) {}

export function fault(of, time, reason) {}

export function save() {
  return new Uint8Array();
}

export function load(state) {}

function lineOf(name, { gain, offset, low, high }) {
  const refuse = (why) => {
    throw `sensor.${name}: ${why}`;
  };
  if (low === undefined && high === undefined) {
    return { gain: gain ?? 1, offset: offset ?? 0 };
  }
  if (low === undefined || high === undefined) {
    refuse("`low` and `high` go together: two reference points make a line");
  }
  if (gain !== undefined || offset !== undefined) {
    refuse("`low` and `high` already say gain and offset: give the one pair or the other");
  }
  return lineThrough(low, high, refuse);
}
