// Decimal numbers as binary ones, to the last bit.

#pragma once

#include <stdint.h>

// The double that is nearest to digits × 10^power, of two equally near ones the even one, as IEEE 754 wants it; infinity
// when it is too large. Any other way is off by a bit now and then, and then two plugins no longer agree.
double decimal(uint64_t digits, int power);
