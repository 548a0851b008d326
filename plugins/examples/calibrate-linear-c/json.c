// Walks through JSON text from front to back.

#include "json.h"

#include <string.h>

#include "decimal.h"

// The next byte, or 0 at the end and after a failure.
static uint8_t look(const struct json *json) {
  return json->failed || json->at == json->end ? 0 : *json->at;
}

static void skip_space(struct json *json) {
  while (look(json) == ' ' || look(json) == '\t' || look(json) == '\n' || look(json) == '\r')
    json->at++;
}

// Passes this byte, which must be the next one, and the space around it.
static void pass(struct json *json, uint8_t byte) {
  skip_space(json);
  if (look(json) != byte)
    json->failed = true;
  else
    json->at++;
  skip_space(json);
}

void json_open(struct json *json) {
  pass(json, '{');
  json->first = true;
}

// The text that stands here, without its quotes.
static struct json_key text(struct json *json) {
  if (look(json) != '"') json->failed = true;
  if (json->failed) return (struct json_key){NULL, 0};
  const uint8_t *begin = ++json->at;
  while (look(json) != '"' && look(json) != 0) {
    if (look(json) == '\\') json->at++;  // What follows it is no end, also when it is a quote.
    if (look(json) != 0) json->at++;
  }
  struct json_key key = {begin, (size_t)(json->at - begin)};
  pass(json, '"');
  return key;
}

bool json_next(struct json *json, struct json_key *key) {
  skip_space(json);
  if (look(json) == '}') {
    json->first = false;
    json->at++;
    skip_space(json);
    return false;
  }
  if (!json->first) pass(json, ',');
  json->first = false;
  *key = text(json);
  pass(json, ':');
  return !json->failed;
}

bool json_is_text(const struct json_key *key, const uint8_t *text, size_t len) {
  return key->len == len && memcmp(key->text, text, len) == 0;
}

bool json_is(const struct json_key *key, const char *text) {
  return json_is_text(key, (const uint8_t *)text, strlen(text));
}

static bool is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

// The exponent behind an `e`. Beyond 9,999 it makes no difference any more.
static int exponent(struct json *json) {
  bool minus = look(json) == '-';
  if (look(json) == '-' || look(json) == '+') json->at++;
  if (!is_digit(look(json))) json->failed = true;
  int value = 0;
  for (; is_digit(look(json)); json->at++)
    if (value < 1000) value = value * 10 + (look(json) - '0');
  return minus ? -value : value;
}

double json_number(struct json *json) {
  bool minus = look(json) == '-';
  if (minus) json->at++;
  if (!is_digit(look(json))) json->failed = true;
  // All digits as one whole number, and the power of ten that it must be multiplied with.
  uint64_t digits = 0;
  int power = 0, behind_point = 0;
  for (;; json->at++) {
    uint8_t byte = look(json);
    if (byte == '.' && !behind_point) {
      behind_point = 1;
      continue;
    }
    if (!is_digit(byte)) break;
    if (digits > (UINT64_MAX - 9) / 10) json->failed = true;
    digits = digits * 10 + (uint64_t)(byte - '0');
    power -= behind_point;
  }
  if (look(json) == 'e' || look(json) == 'E') {
    json->at++;
    power += exponent(json);
  }
  skip_space(json);
  double value = decimal(digits, power);
  return minus ? -value : value;
}

void json_skip(struct json *json) {
  // Brackets within brackets, and neither commas nor quotes within texts, end the value.
  for (size_t open = 0; !json->failed;) {
    uint8_t byte = look(json);
    if (byte == '"') {
      text(json);
    } else if (byte == '{' || byte == '[') {
      open++;
      json->at++;
    } else if (byte == 0) {
      json->failed = true;
    } else if (open == 0 && (byte == ',' || byte == '}' || byte == ']')) {
      return;
    } else {
      if (byte == '}' || byte == ']') open--;
      json->at++;
    }
  }
}
