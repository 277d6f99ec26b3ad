// Memory with one lifetime: a range handed out by pointer bumps from two ends and released by mark,
// last in first out.
//
// The low end takes what is kept (weights, saved activations), the high end what is temporary. Five
// arenas make the whole memory plan: weights, state, step, cache, host. An arena of the null
// backend has the same addresses and sizes but no memory behind them, so a rehearsal gives the
// exact peak. Tensors lie ARENA_ALIGN bytes apart or more.
#ifndef VMA_ARENA_H
#define VMA_ARENA_H

#include "error.h"
#include "tensor.h"

enum { ARENA_ALIGN = 256 };

typedef struct ArenaMark {
  int64_t low, high;
} ArenaMark;

typedef enum ArenaEnd { ARENA_LOW, ARENA_HIGH } ArenaEnd;

typedef struct Arena Arena;

// Called for every tensor's birth and release; a simulated device uses it to name an overrun. On a
// release `name` is NULL and [address, address + bytes) is the whole range that was given back.
typedef void (*ArenaHook)(void *user, const Arena *arena, const char *name, void *address,
                          int64_t bytes, bool born);

struct Arena {
  const char *name; // "weights", "step", ...
  char *base;       // the first byte; memory of the backend that owns it
  int64_t capacity; // bytes
  int64_t low;      // bytes in use from the low end
  int64_t high;     // bytes in use from the high end
  int64_t peak;     // the largest low + high so far
  bool poison;    // fill released memory with 0xFF bytes (a NaN in every float type): host memory,
                  // tests
  ArenaHook hook; // may be NULL
  void *hook_user;
};

// The arena over [base, base + capacity); base is ARENA_ALIGN-aligned and outlives it.
void arena_init(Arena *arena, const char *name, void *base, int64_t capacity);

// Bytes, ARENA_ALIGN-aligned, not cleared. An overflow is our mistake (the plan was wrong): it ends
// the program with the arena's name, what was asked for and what is left.
void *arena_alloc(Arena *arena, ArenaEnd end, int64_t bytes, const char *name);

// A dense tensor from the given end.
Tensor arena_tensor(Arena *arena, ArenaEnd end, DType dtype, int64_t rows, int64_t cols,
                    const char *name);

ArenaMark arena_mark(const Arena *arena);

// Gives back what came after the mark, on both ends. Marks are released in the reverse order of
// their making.
void arena_release(Arena *arena, ArenaMark mark);

// The same for one end only.
void arena_release_end(Arena *arena, ArenaEnd end, ArenaMark mark);

#endif
