// The little of string.h that the plugin and its generated code use; see libc.c.

#pragma once

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t len);
void *memset(void *at, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *text);
