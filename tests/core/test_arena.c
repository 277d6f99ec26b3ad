// Arenas: alignment, both ends, marks, peaks, poison, the hook, and what ends the program.
#include "arena.h"
#include "rig.h"
#include "test.h"

enum { CAPACITY = 16 * ARENA_ALIGN };

static char *memory;

static Arena fresh(void) {
  Arena arena;
  arena_init(&arena, "test", memory, CAPACITY);
  return arena;
}

static void tensors_lie_apart(void) {
  Arena a = fresh();
  char *one = arena_alloc(&a, ARENA_LOW, 1, "one"), *none = arena_alloc(&a, ARENA_LOW, 0, "none"),
       *two = arena_alloc(&a, ARENA_LOW, 257, "two"), *top = arena_alloc(&a, ARENA_HIGH, 1, "top");
  EXPECT(one == memory && none == memory + 256 && two == memory + 512, "low end grows upward");
  EXPECT(a.low == 4 * 256 && a.high == 256 && a.peak == 5 * 256);
  EXPECT(top == memory + CAPACITY - 256, "high end grows downward");
  Tensor t = arena_tensor(&a, ARENA_HIGH, DT_F32, 3, 5, "t");
  EXPECT(t.rows == 3 && t.cols == 5 && t.stride == 5 && t.dtype == DT_F32);
  EXPECT((char *)t.data == top - 256 && (uintptr_t)t.data % ARENA_ALIGN == 0);
}

static void capacity_is_whole_units(void) {
  Arena a;
  arena_init(&a, "test", memory, CAPACITY - 1);
  EXPECT(a.capacity == CAPACITY - ARENA_ALIGN);
  char *top = arena_alloc(&a, ARENA_HIGH, 1, "top");
  EXPECT((uintptr_t)top % ARENA_ALIGN == 0);
}

static void marks(void) {
  Arena a = fresh();
  arena_alloc(&a, ARENA_LOW, 1, "kept");
  ArenaMark outer = arena_mark(&a);
  arena_alloc(&a, ARENA_LOW, 256, "a");
  arena_alloc(&a, ARENA_HIGH, 512, "b");
  ArenaMark inner = arena_mark(&a);
  arena_alloc(&a, ARENA_LOW, 256, "c");
  arena_alloc(&a, ARENA_HIGH, 256, "d");
  arena_release_end(&a, ARENA_HIGH, inner);
  EXPECT(a.low == 3 * 256 && a.high == 512, "one end only");
  arena_release(&a, inner);
  EXPECT(a.low == 2 * 256 && a.high == 512);
  arena_release(&a, outer);
  EXPECT(a.low == 256 && a.high == 0 && a.peak == 6 * 256);
}

static void released_memory_is_poisoned(void) {
  Arena a = fresh();
  a.poison = true;
  memset(memory, 1, CAPACITY);
  arena_alloc(&a, ARENA_LOW, 256, "kept");
  ArenaMark mark = arena_mark(&a);
  arena_alloc(&a, ARENA_LOW, 256, "a");
  arena_alloc(&a, ARENA_HIGH, 512, "b");
  arena_release(&a, mark);
  for (int i = 0; i < CAPACITY; i++) {
    bool released = (i >= 256 && i < 512) || i >= CAPACITY - 512;
    EXPECT((unsigned char)memory[i] == (released ? 0xFF : 1), "byte %d is %d", i, memory[i]);
  }
}

static char log_text[512];

static void log_hook(void *user, const Arena *arena, const char *name, void *address, int64_t bytes,
                     bool born) {
  (void)user;
  size_t used = strlen(log_text);
  snprintf(log_text + used, sizeof log_text - used, "%s%s@%d+%d ", born ? "+" : "-",
           name != NULL ? name : "", (int)((char *)address - arena->base), (int)bytes);
}

static void the_hook_sees_births_and_releases(void) {
  Arena a = fresh();
  a.hook = log_hook;
  log_text[0] = '\0';
  ArenaMark mark = arena_mark(&a);
  arena_alloc(&a, ARENA_LOW, 10, "a");
  arena_alloc(&a, ARENA_LOW, 300, "b");
  arena_alloc(&a, ARENA_HIGH, 1, "c");
  arena_release(&a, mark);
  arena_release(&a, mark); // nothing: not reported
  EXPECT(strcmp(log_text, "+a@0+10 +b@256+300 +c@3840+1 -@0+768 -@3840+256 ") == 0, "%s", log_text);
}

static void overflow(void *user) {
  Arena *a = user;
  arena_alloc(a, ARENA_HIGH, CAPACITY - ARENA_ALIGN + 1, "too much");
}

static void negative(void *user) {
  arena_alloc(user, ARENA_LOW, -1, "less than nothing");
}

static void late_mark(void *user) {
  arena_release(user, (ArenaMark){.low = 512, .high = 0});
}

static void crooked(void *user) {
  (void)user;
  Arena a;
  arena_init(&a, "crooked", memory + 8, 1024);
}

static void our_mistakes_end_the_program(void) {
  Arena a = fresh();
  arena_alloc(&a, ARENA_LOW, 1, "a");
  EXPECT(rig_aborts(overflow, &a, "arena test is full: too much needs 4096 bytes, 3840 of 4096"));
  EXPECT(rig_aborts(negative, &a, "less than nothing"));
  EXPECT(rig_aborts(late_mark, &a, "low mark 512 after 256"));
  EXPECT(rig_aborts(crooked, NULL, "arena crooked"));
}

int main(void) {
  memory = aligned_alloc(ARENA_ALIGN, CAPACITY);
  RUN(tensors_lie_apart);
  RUN(capacity_is_whole_units);
  RUN(marks);
  RUN(released_memory_is_poisoned);
  RUN(the_hook_sees_births_and_releases);
  RUN(our_mistakes_end_the_program);
  free(memory);
  return test_done();
}
