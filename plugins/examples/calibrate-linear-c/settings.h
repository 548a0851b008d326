// The settings, as the host writes them: a JSON object that it has checked against manifest.json, defaults filled in.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "line.h"

struct optional_number {
  bool given;
  double number;
};

struct optional_point {
  bool given;
  struct point point;
};

// The table of one sensor.
struct sensor_settings {
  bool named;
  struct optional_number gain, offset;
  struct optional_point low, high;
};

// What concerns one sensor: what holds for all, and its own table where it has one.
struct settings {
  double gain, offset;
  struct sensor_settings sensor;
};

// Reads what concerns the sensor of this name; false when the text is not what the host writes.
bool settings_read(const uint8_t *text, size_t len, const uint8_t *name, size_t name_len,
                   struct settings *settings);
