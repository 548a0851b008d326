// Which settings there are, and where in the JSON they stand.

#include "settings.h"

#include "json.h"

static struct optional_number read_number(struct json *json) {
  return (struct optional_number){true, json_number(json)};
}

static struct optional_point read_point(struct json *json) {
  struct optional_point point = {.given = true};
  struct json_key key;
  json_open(json);
  while (json_next(json, &key)) {
    if (json_is(&key, "measured"))
      point.point.measured = json_number(json);
    else if (json_is(&key, "reference"))
      point.point.reference = json_number(json);
    else
      json_skip(json);
  }
  return point;
}

static struct sensor_settings read_sensor(struct json *json) {
  struct sensor_settings sensor = {.named = true};
  struct json_key key;
  json_open(json);
  while (json_next(json, &key)) {
    if (json_is(&key, "gain"))
      sensor.gain = read_number(json);
    else if (json_is(&key, "offset"))
      sensor.offset = read_number(json);
    else if (json_is(&key, "low"))
      sensor.low = read_point(json);
    else if (json_is(&key, "high"))
      sensor.high = read_point(json);
    else
      json_skip(json);
  }
  return sensor;
}

bool settings_read(const uint8_t *text, size_t len, const uint8_t *name, size_t name_len,
                   struct settings *settings) {
  *settings = (struct settings){.gain = 1.0, .offset = 0.0};
  struct json json = {text, text + len, false, false};
  struct json_key key;
  json_open(&json);
  while (json_next(&json, &key)) {
    if (json_is(&key, "gain")) {
      settings->gain = json_number(&json);
    } else if (json_is(&key, "offset")) {
      settings->offset = json_number(&json);
    } else if (json_is(&key, "sensor")) {
      json_open(&json);
      while (json_next(&json, &key)) {
        if (json_is_text(&key, name, name_len))
          settings->sensor = read_sensor(&json);
        else
          json_skip(&json);
      }
    } else {
      json_skip(&json);
    }
  }
  return !json.failed;
}
