// What a plugin needs of a C library, and no more: with it there is nothing of WASI to import.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 65536 };

// Where free memory begins; the linker puts it behind the stack and what is static.
extern uint8_t __heap_base;

// A block has a power of two of bytes, this header and what the caller asked for. When it is freed it waits in the list of
// its size. Blocks are never divided or joined: batches of readings have the same few sizes again and again.
struct block {
  union {
    size_t size_class;   // while it is in use
    struct block *next;  // while it is free
  };
  uint64_t bytes[];      // what the caller gets: aligned to 8, which the contract's columns need
};

enum { SMALLEST_CLASS = 4, CLASSES = 31 };
static struct block *free_blocks[CLASSES];
static uint8_t *unused;

// Memory that was never used before.
static void *take(size_t size) {
  if (unused == NULL) unused = (uint8_t *)(((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15);
  size_t all = __builtin_wasm_memory_size(0) * (size_t)PAGE_BYTES;
  size_t left = all - (size_t)unused;
  if (size > left) {
    size_t pages = (size - left + PAGE_BYTES - 1) / PAGE_BYTES;
    if (__builtin_wasm_memory_grow(0, pages) == SIZE_MAX) return NULL;
  }
  void *taken = unused;
  unused += size;
  return taken;
}

void *malloc(size_t size) {
  size_t size_class = SMALLEST_CLASS;
  while (size_class < CLASSES && ((size_t)1 << size_class) < sizeof(struct block) + (uint64_t)size) size_class++;
  if (size_class == CLASSES) return NULL;
  struct block *block = free_blocks[size_class];
  if (block != NULL)
    free_blocks[size_class] = block->next;
  else
    block = take((size_t)1 << size_class);
  if (block == NULL) return NULL;
  block->size_class = size_class;
  return block->bytes;
}

static struct block *block_of(void *bytes) {
  return (struct block *)((uint8_t *)bytes - offsetof(struct block, bytes));
}

void free(void *old) {
  if (old == NULL) return;
  struct block *block = block_of(old);
  size_t size_class = block->size_class;
  block->next = free_blocks[size_class];
  free_blocks[size_class] = block;
}

void *realloc(void *old, size_t size) {
  if (old == NULL) return malloc(size);
  size_t had = ((size_t)1 << block_of(old)->size_class) - sizeof(struct block);
  if (size <= had) return old;
  void *new = malloc(size);
  if (new == NULL) return NULL;
  memcpy(new, old, had);
  free(old);
  return new;
}

// A trap: the host's `on_trap` says what becomes of the stage.
void abort(void) { __builtin_trap(); }

// Plain loops; -fno-builtin keeps the compiler from making calls of the same functions of them.
void *memcpy(void *to, const void *from, size_t len) {
  for (size_t i = 0; i < len; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
  return to;
}

void *memset(void *at, int byte, size_t len) {
  for (size_t i = 0; i < len; i++) ((uint8_t *)at)[i] = (uint8_t)byte;
  return at;
}

int memcmp(const void *a, const void *b, size_t len) {
  const uint8_t *x = a, *y = b;
  for (size_t i = 0; i < len; i++)
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}

size_t strlen(const char *text) {
  size_t len = 0;
  while (text[len] != 0) len++;
  return len;
}
