// A straight line from measured to true values. Knows nothing of plugins.

// Reference points closer than this, in degrees, magnify the sensor's own steps of 1/16 degree into the gain.
const CLOSEST_POINTS = 1;

// The true value for a measured one.
export function valueAt({ gain, offset }, measured) {
  return gain * measured + offset;
}

// The line through two reference points, each `{ measured, reference }`. `refuse` is told why there is none.
export function lineThrough(low, high, refuse) {
  const span = high.measured - low.measured;
  if (!(span >= CLOSEST_POINTS)) {
    refuse(
      `\`low.measured\` is ${low.measured} and \`high.measured\` is ${high.measured}: ` +
        `they must be at least ${CLOSEST_POINTS} apart, the lower one first`,
    );
  }
  const gain = (high.reference - low.reference) / span;
  if (!(gain >= 0.5 && gain <= 2)) {
    refuse(`the two points give a gain of ${gain}: it must be from 0.5 to 2, so one of them is wrong`);
  }
  return { gain, offset: low.reference - gain * low.measured };
}
