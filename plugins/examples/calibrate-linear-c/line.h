// A straight line from measured to true values. Knows nothing of plugins.

#pragma once

// true = gain × measured + offset.
struct line {
  double gain, offset;
};

// One comparison with a trusted thermometer.
struct point {
  double measured, reference;
};

// The true value for a measured one.
static inline double line_at(const struct line *line, double measured) {
  return line->gain * measured + line->offset;
}

// The line through two reference points; NULL, or why there is none.
const char *line_through(struct point low, struct point high, struct line *line);
