// The line through two reference points.

#include <stddef.h>

#include "line.h"

// Reference points closer than this, in degrees, magnify the sensor's own steps of 1/16 degree into the gain.
static const double CLOSEST_POINTS = 1.0;

const char *line_through(struct point low, struct point high, struct line *line) {
  double span = high.measured - low.measured;
  if (!(span >= CLOSEST_POINTS))
    return "`low.measured` and `high.measured` must be at least 1 apart, the lower one first";
  double gain = (high.reference - low.reference) / span;
  if (!(gain >= 0.5 && gain <= 2.0))
    return "the two points give a gain that is not from 0.5 to 2, so one of them is wrong";
  *line = (struct line){gain, low.reference - gain * low.measured};
  return NULL;
}
