// The little of stdlib.h that the plugin and its generated code use; see libc.c.

#pragma once

#include <stddef.h>

void *malloc(size_t size);
void *realloc(void *old, size_t size);
void free(void *old);
_Noreturn void abort(void);
