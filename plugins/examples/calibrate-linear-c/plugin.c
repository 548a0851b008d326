// calibrate-linear in C: gain and offset, or two reference points, a table by sensor.
//
// These are the functions that the host calls; wit/weir-plugin.wit says what each is given and gives back. A function owns
// what it is given and frees it; what it gives back, the generated code frees after the host has read it.

#include <stdlib.h>
#include <string.h>

#include "generated/calibration.h"
#include "line.h"
#include "settings.h"

// The manifest is a custom section of the file, so that the host can read it without running the plugin.
__asm__(".section \".custom_section.weir-manifest\",\"\",@\n"
        ".incbin \"manifest.json\"\n"
        ".text\n");

// One line a series, by the series' number.
static struct line *lines;
static size_t line_count;

// The user sees `sensor.NAME: why`.
static void refuse(calibration_string_t *err, const calibration_string_t *name, const char *why) {
  static const char begin[] = "sensor.", middle[] = ": ";
  size_t begin_len = strlen(begin), middle_len = strlen(middle), why_len = strlen(why);
  err->len = begin_len + name->len + middle_len + why_len;
  err->ptr = malloc(err->len);
  if (err->ptr == NULL) abort();
  uint8_t *at = err->ptr;
  memcpy(at, begin, begin_len);
  memcpy(at += begin_len, name->ptr, name->len);
  memcpy(at += name->len, middle, middle_len);
  memcpy(at += middle_len, why, why_len);
}

// The line of one sensor, or why it has none.
static const char *line_of(const struct settings *settings, struct line *line) {
  const struct sensor_settings *own = &settings->sensor;
  if (!own->named) {
    *line = (struct line){settings->gain, settings->offset};
    return NULL;
  }
  if (!own->low.given && !own->high.given) {
    *line = (struct line){own->gain.given ? own->gain.number : 1.0,
                          own->offset.given ? own->offset.number : 0.0};
    return NULL;
  }
  if (!own->low.given || !own->high.given)
    return "`low` and `high` go together: two reference points make a line";
  if (own->gain.given || own->offset.given)
    return "`low` and `high` already say gain and offset: give the one pair or the other";
  return line_through(own->low.point, own->high.point, line);
}

bool exports_calibration_configure(calibration_string_t *text, calibration_list_series_t *series,
                                   calibration_string_t *err) {
  bool good = true;
  line_count = series->len;
  lines = malloc(line_count * sizeof *lines);
  if (lines == NULL) abort();
  for (size_t i = 0; good && i < line_count; i++) {
    const calibration_string_t *name = &series->ptr[i].sensor;
    struct settings settings;
    const char *why = "the settings are not the JSON that the host writes";
    if (settings_read(text->ptr, text->len, name->ptr, name->len, &settings))
      why = line_of(&settings, &lines[i]);
    if (why != NULL) {
      refuse(err, name, why);
      good = false;
    }
  }
  calibration_string_free(text);
  calibration_list_series_free(series);
  return good;
}

void exports_calibration_apply(calibration_readings_t *batch, calibration_list_f64_t *ret) {
  for (size_t i = 0; i < batch->value.len; i++) {
    uint32_t series = batch->series.ptr[i];
    if (series >= line_count) abort();  // The host declared each of them in `configure`.
    batch->value.ptr[i] = line_at(&lines[series], batch->value.ptr[i]);
  }
  // The column itself goes back, and is not freed with the others.
  *ret = batch->value;
  batch->value = (calibration_list_f64_t){NULL, 0};
  calibration_readings_free(batch);
}

// Nothing is remembered, and neither time nor faults change anything.
void exports_calibration_tick(uint64_t now) { (void)now; }

void exports_calibration_fault(uint32_t of, uint64_t time, calibration_fault_reason_t reason) {
  (void)of, (void)time, (void)reason;
}

void exports_calibration_save(calibration_list_u8_t *ret) {
  *ret = (calibration_list_u8_t){NULL, 0};
}

bool exports_calibration_load(calibration_list_u8_t *state, calibration_string_t *err) {
  (void)err;
  calibration_list_u8_free(state);
  return true;
}
