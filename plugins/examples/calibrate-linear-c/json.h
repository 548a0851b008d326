// Walks through JSON text from front to back, without storing any of it.
//
// For text that the host wrote: it understands all of it, and anything else ends in `failed` or is passed over, never in a
// read beyond the end. After a failure every function does nothing, so that one look at `failed` at the end is enough.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A place in a text. Begin with {text, text + length, false, false}.
struct json {
  const uint8_t *at, *end;
  bool first;  // the next key is the first of its object: no comma stands before it
  bool failed;
};

// A key as it stands between its quotes.
struct json_key {
  const uint8_t *text;
  size_t len;
};

// Enters the object that begins here.
void json_open(struct json *json);

// Goes to the next value of the object and gives its key; false where the object ends, and leaves it.
bool json_next(struct json *json, struct json_key *key);

// Whether the key is this. A key with a backslash in it equals nothing: names of settings and sensors have none.
bool json_is(const struct json_key *key, const char *text);
bool json_is_text(const struct json_key *key, const uint8_t *text, size_t len);

// The number that stands here, to the last bit. A text with more than 19 digits is a failure: the host writes at most 17.
double json_number(struct json *json);

// Passes over the value that stands here, whatever it is.
void json_skip(struct json *json);
