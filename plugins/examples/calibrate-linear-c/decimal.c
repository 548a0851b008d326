// Decimal numbers as binary ones: a division of whole numbers with as many bits as it takes.

#include "decimal.h"

#include <stdbool.h>
#include <string.h>

// Beyond these powers of ten even 1 is infinity, and 2^64 is zero.
enum { LARGEST_POWER = 308, SMALLEST_POWER = -343 };
// 10^343 has 1,140 bits, and 64 more are shifted in.
enum { WORDS = 40 };

// A whole number, the lowest 32 bits first.
struct whole {
  uint32_t word[WORDS];
};

static struct whole whole(uint64_t value) {
  struct whole new = {{(uint32_t)value, (uint32_t)(value >> 32)}};
  return new;
}

static void multiply(struct whole *a, uint32_t by) {
  uint64_t carry = 0;
  for (int i = 0; i < WORDS; i++) {
    carry += (uint64_t)a->word[i] * by;
    a->word[i] = (uint32_t)carry;
    carry >>= 32;
  }
}

static bool is_less(const struct whole *a, const struct whole *b) {
  int i = WORDS - 1;
  while (i > 0 && a->word[i] == b->word[i]) i--;
  return a->word[i] < b->word[i];
}

static bool is_zero(const struct whole *a) {
  uint32_t bits = 0;
  for (int i = 0; i < WORDS; i++) bits |= a->word[i];
  return bits == 0;
}

// a -= b, where b is not the larger one.
static void subtract(struct whole *a, const struct whole *b) {
  uint32_t borrow = 0;
  for (int i = 0; i < WORDS; i++) {
    uint64_t difference = (uint64_t)a->word[i] - b->word[i] - borrow;
    a->word[i] = (uint32_t)difference;
    borrow = (uint32_t)(difference >> 63);
  }
}

// bits × 2^power, rounded to the nearest double; `more` tells that a little was cut off below the bits, whose highest is 1.
static double round_to_double(uint64_t bits, int power, bool more) {
  // A double keeps 53 bits, and fewer when it would reach below 2^-1074.
  int cut = 11;
  if (power + cut < -1074) cut = -1074 - power;
  if (cut > 64) return 0.0;
  uint64_t kept = cut == 64 ? 0 : bits >> cut;
  uint64_t half = (uint64_t)1 << (cut - 1);
  uint64_t below = cut == 64 ? bits : bits & ((half << 1) - 1);
  if (below > half || (below == half && (more || (kept & 1)))) kept++;
  if (power + cut > 971) return __builtin_inf();
  // The highest kept bit is not stored; added to the exponent it makes it the right one, also after a carry.
  uint64_t stored = ((uint64_t)(power + cut + 1074) << 52) + kept;
  double value;
  memcpy(&value, &stored, sizeof value);
  return value;
}

double decimal(uint64_t digits, int power_of_ten) {
  if (digits == 0 || power_of_ten < SMALLEST_POWER) return 0.0;
  if (power_of_ten > LARGEST_POWER) return __builtin_inf();
  struct whole above = whole(digits), below = whole(1);
  for (int i = 0; i < power_of_ten; i++) multiply(&above, 10);
  for (int i = 0; i > power_of_ten; i--) multiply(&below, 10);
  // above / below × 2^power stays what it is, and the quotient comes to lie from 1 to 2.
  int power = 0;
  while (is_less(&above, &below)) multiply(&above, 2), power--;
  for (;;) {
    struct whole twice = below;
    multiply(&twice, 2);
    if (is_less(&above, &twice)) break;
    below = twice, power++;
  }
  // One bit of the quotient after the other, the highest first.
  uint64_t bits = 0;
  for (int i = 0; i < 64; i++) {
    bits <<= 1;
    if (!is_less(&above, &below)) {
      subtract(&above, &below);
      bits |= 1;
    }
    multiply(&above, 2);
  }
  return round_to_double(bits, power - 63, !is_zero(&above));
}
