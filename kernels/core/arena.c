#include "arena.h"

#include "check.h"

#include <string.h>

void arena_init(Arena *arena, const char *name, void *base, int64_t capacity) {
  CHECK((uintptr_t)base % ARENA_ALIGN == 0, "arena %s starts at %p", name, base);
  capacity -= capacity % ARENA_ALIGN; // so that both ends stay aligned
  *arena = (Arena){.name = name, .base = base, .capacity = capacity};
}

static int64_t round_up(int64_t bytes) {
  return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

void *arena_alloc(Arena *arena, ArenaEnd end, int64_t bytes, const char *name) {
  CHECK(bytes >= 0, "arena %s: %lld bytes for %s", arena->name, (long long)bytes, name);
  int64_t need = round_up(bytes > 0 ? bytes : 1); // an empty tensor has an address of its own too
  int64_t left = arena->capacity - arena->low - arena->high;
  CHECK(need <= left, "arena %s is full: %s needs %lld bytes, %lld of %lld are left", arena->name,
        name, (long long)need, (long long)left, (long long)arena->capacity);
  char *address;
  if (end == ARENA_LOW) {
    address = arena->base + arena->low;
    arena->low += need;
  } else {
    arena->high += need;
    address = arena->base + arena->capacity - arena->high;
  }
  if (arena->low + arena->high > arena->peak) arena->peak = arena->low + arena->high;
  if (arena->hook != NULL) arena->hook(arena->hook_user, arena, name, address, bytes, true);
  return address;
}

Tensor arena_tensor(Arena *arena, ArenaEnd end, DType dtype, int64_t rows, int64_t cols,
                    const char *name) {
  return tensor_make(arena_alloc(arena, end, dtype_bytes(dtype, rows * cols), name), dtype, rows,
                     cols);
}

ArenaMark arena_mark(const Arena *arena) {
  return (ArenaMark){arena->low, arena->high};
}

static void give_back(Arena *arena, char *address, int64_t bytes) {
  if (bytes == 0) return;
  if (arena->poison) memset(address, 0xFF, (size_t)bytes);
  if (arena->hook != NULL) arena->hook(arena->hook_user, arena, NULL, address, bytes, false);
}

void arena_release_end(Arena *arena, ArenaEnd end, ArenaMark mark) {
  if (end == ARENA_LOW) {
    CHECK(mark.low <= arena->low, "arena %s: low mark %lld after %lld", arena->name,
          (long long)mark.low, (long long)arena->low);
    give_back(arena, arena->base + mark.low, arena->low - mark.low);
    arena->low = mark.low;
  } else {
    CHECK(mark.high <= arena->high, "arena %s: high mark %lld after %lld", arena->name,
          (long long)mark.high, (long long)arena->high);
    give_back(arena, arena->base + arena->capacity - arena->high, arena->high - mark.high);
    arena->high = mark.high;
  }
}

void arena_release(Arena *arena, ArenaMark mark) {
  arena_release_end(arena, ARENA_LOW, mark);
  arena_release_end(arena, ARENA_HIGH, mark);
}
