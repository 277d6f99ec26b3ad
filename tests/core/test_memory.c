// The five arenas of a run: all or none, and a rehearsal's peak.
#include "memory.h"
#include "test.h"

// A backend that has memory for a number of allocations only.
static int allowed, alive;

static Status scarce_alloc(Backend *be, int64_t bytes, void **out, Error *err) {
  (void)be;
  if (allowed-- == 0) return error_set(err, STATUS_MEMORY, "none left");
  *out = aligned_alloc(ARENA_ALIGN, (size_t)bytes);
  alive++;
  return STATUS_OK;
}

static void scarce_free(Backend *be, void *memory, int64_t bytes) {
  (void)be;
  EXPECT(bytes >= ARENA_ALIGN && bytes % ARENA_ALIGN == 0);
  alive--;
  free(memory);
}

static Backend scarce = {.name = "scarce", .mem_alloc = scarce_alloc, .mem_free = scarce_free};

static void all_or_none(void) {
  static const char *const names[] = {"weights", "state", "step", "cache"};
  MemoryPlan plan = {.weights = 1000, .state = 9, .step = 4096, .cache = 1, .host = 100};
  for (int i = 0; i < 4; i++) {
    Memory memory;
    Error err = {0};
    allowed = i;
    EXPECT(memory_open(&memory, &scarce, &plan, &err) == STATUS_MEMORY);
    EXPECT(alive == 0, "%d allocations are left after %s failed", alive, names[i]);
    EXPECT(strstr(err.message, names[i]) != NULL && strstr(err.message, "MiB") != NULL, "%s",
           err.message);
    memory_close(&memory); // closing twice does no harm
  }
  Memory memory;
  Error err = {0};
  allowed = 4;
  EXPECT(memory_open(&memory, &scarce, &plan, &err) == STATUS_OK, "%s", err.message);
  EXPECT(alive == 4);
  EXPECT(memory.weights.capacity == 1024 && memory.step.capacity == 4096, "whole units");
  EXPECT(memory.state.capacity == 256 && memory.host.capacity == 256);
  arena_alloc(&memory.weights, ARENA_LOW, 1000, "as planned");
  memset(memory.host.base, 1, 256);
  memory_close(&memory);
  EXPECT(alive == 0 && memory.weights.base == NULL);
}

static void nothing_takes_nothing(void) {
  MemoryPlan plan = {.weights = 1000, .host = 100};
  Memory memory;
  Error err = {0};
  allowed = 1;
  EXPECT(memory_open(&memory, &scarce, &plan, &err) == STATUS_OK, "%s", err.message);
  EXPECT(alive == 1 && memory.state.capacity == 0);
  memory_close(&memory);
  EXPECT(alive == 0);
}

// Under AddressSanitizer a request that cannot be met must return NULL, as it does without.
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "allocator_may_return_null=1";
}

static void no_host_memory(void) {
  MemoryPlan plan = {.host = INT64_MAX / 2};
  Memory memory;
  Error err = {0};
  allowed = 4;
  EXPECT(memory_open(&memory, &scarce, &plan, &err) == STATUS_MEMORY && alive == 0);
  EXPECT(strstr(err.message, "host") != NULL, "%s", err.message);
}

static void a_rehearsal_has_room_for_anything(void) {
  Backend *null;
  Error err = {0};
  EXPECT(backend_null_open(&null, &err) == STATUS_OK);
  Memory memory;
  EXPECT(memory_open_rehearsal(&memory, null, &err) == STATUS_OK, "%s", err.message);
  Arena *arenas[] = {&memory.weights, &memory.state, &memory.step, &memory.cache};
  for (int i = 0; i < 4; i++) {
    arena_alloc(arenas[i], ARENA_LOW, (INT64_C(1) << 42) + i * 1000, "4 TiB");
    for (int k = 0; k < i; k++) {
      EXPECT(arenas[i]->base >= arenas[k]->base + arenas[k]->capacity ||
                 arenas[k]->base >= arenas[i]->base + arenas[i]->capacity,
             "arenas %d and %d overlap", k, i);
    }
  }
  ArenaMark mark = arena_mark(&memory.step);
  arena_alloc(&memory.step, ARENA_HIGH, 1 << 20, "for a while");
  arena_release(&memory.step, mark);
  arena_alloc(&memory.host, ARENA_LOW, 300, "host");
  MemoryPlan peak = memory_peak(&memory);
  EXPECT(peak.weights == INT64_C(1) << 42 && peak.state == (INT64_C(1) << 42) + 1024);
  EXPECT(peak.step == (INT64_C(1) << 42) + 2048 + (1 << 20) && peak.host == 512);
  memory_close(&memory);
  null->close(null);
}

int main(void) {
  RUN(all_or_none);
  RUN(nothing_takes_nothing);
  RUN(no_host_memory);
  RUN(a_rehearsal_has_room_for_anything);
  return test_done();
}
