// Counters of launches against kernels whose counts are known: instructions by kind, wavefronts and
// bank conflicts of shared memory, sectors of global memory against the ideal, bytes.
#define BENCH_CHECKED
#include "sim_bench.h"

// %t is the thread, %x [in], %o [out], %s the shared buffer: 5 instructions of setting up besides
// the body's and `ret`.
#define KERNEL(body)                                                                               \
  ".version 9.0\n.target sm_90\n.address_size 64\n"                                                \
  ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n"                                        \
  ".reg .b32 %r<40>;\n.reg .b64 %d<9>;\n.reg .pred %p<4>;\n.reg .f32 %f<20>;\n"                    \
  ".reg .b32 %t, %s, %a;\n.reg .b64 %x, %o, %g;\n.shared .align 128 .b8 buffer[16384];\n"          \
  ".local .align 4 .b8 own[16];\n"                                                                 \
  "mov.u32 %t, %tid.x;\nld.param.u64 %x, [in];\nld.param.u64 %o, [out];\nmov.u32 %s, buffer;\n"    \
  "mov.f32 %f0, 0f3F800000;\n" body "ret;\n}\n"

enum { SET_UP = 6, BYTES = 16384 };
static _Alignas(256) uint8_t memory[2 * BYTES];

// One launch; all of memory is declared and written.
static SimCounters count(const char *ptx, uint32_t blocks, uint32_t threads) {
  static bool added;
  const SimRange all = {memory, 1, sizeof memory, sizeof memory, true, true};
  if (!added) sim_memory_add(memory, sizeof memory, SIM_MEMORY_DEVICE);
  added = true;
  sim_memory_wrote(memory, sizeof memory);
  vma_sim_op("test", &all, 1);
  SimModule *module = bench_module(ptx);
  EXPECT(sim_kernel_unknown(module->kernels[0]) == NULL, "%s",
         sim_kernel_unknown(module->kernels[0]));
  const void *params[2] = {memory, memory + BYTES};
  bench_counters = (SimCounters){0};
  const int64_t before = bench_reports();
  bench_launch(module->kernels[0], (SimDim){blocks, 1, 1}, (SimDim){threads, 1, 1}, 0, params, 1);
  sim_module_free(module);
  EXPECT(bench_reports() == before, "%s", bench_text);
  return bench_counters;
}

#define IS(counters, member, value)                                                                \
  EXPECT((counters).member == (value), "%lld", (long long)(counters).member)

// ---- instructions ----

static void kinds(void) {
  SimCounters c = count(
      KERNEL("add.u32 %r1, %t, 1;\nadd.u32 %r2, %r1, 1;\nxor.b32 %r3, %r1, %r2;\n"
             "fma.rn.f32 %f1, %f0, %f0, %f0;\nadd.f32 %f2, %f1, %f0;\n"
             "ex2.approx.f32 %f3, %f2;\n"
             "shfl.sync.bfly.b32 %r4, %r3, 1, 31, -1;\nshfl.sync.bfly.b32 %r5, %r4, 2, 31, -1;\n"
             "mad.lo.u32 %a, %t, 4, %s;\nst.shared.u32 [%a], %r5;\nbar.sync 0;\n"
             "ld.shared.u32 %r6, [%a];\nred.global.add.u32 [%o], 1;\nbar.warp.sync -1;\n"
             "st.local.u32 [own], %r6;\nld.local.u32 %r7, [own];\n"
             "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4, %f5, %f6, %f7}, "
             "{%r3, %r3, %r3, %r3}, {%r3, %r3}, {%f4, %f5, %f6, %f7};\n"
             "setp.lt.u32 %p1, %t, 16;\n@%p1 bra A;\nmov.u32 %r8, 0;\nA: "),
      3, 64);
  const int64_t warps = 6;
  IS(c, launches, 1);
  IS(c, blocks, 3);
  IS(c, int_ops, 5 * warps); // add, add, xor, mad, setp; moves are of no kind
  IS(c, float_ops, 2 * warps);
  IS(c, special, warps);
  IS(c, shuffles, 2 * warps);
  IS(c, barriers, 2 * warps);
  IS(c, atomics, warps);
  IS(c, mma, warps);
  IS(c, branches, 2 * warps); // and ret
  IS(c, shared_instrs, 2 * warps);
  IS(c, local_instrs, 2 * warps);
  IS(c, global_instrs, 0);
  // A warp more or less: half of the first warp skips the move, so that warp's instructions are
  // those of the others, by fewer lanes.
  IS(c, warp_instrs, (SET_UP + 20) * warps);
  IS(c, thread_instrs, ((SET_UP + 20) * warps * 32) - 16 * 3 - 48 * 3);
}

// Lanes that arrive early at a shuffle wait there: it is one instruction all the same.
static void waiting(void) {
  SimCounters c = count(KERNEL("mov.u32 %r1, 5;\nsetp.lt.u32 %p1, %t, 16;\n@%p1 bra B;\n"
                               "L: shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;\nbar.sync 0;\nret;\n"
                               "B: mov.u32 %r1, 6;\nbra L;\n"),
                        1, 32);
  IS(c, shuffles, 1);
  IS(c, barriers, 1);
}

// ---- shared memory ----

#define STORE(index, op)                                                                           \
  KERNEL(index "add.u32 %a, %r1, %s;\nmov.u32 %r4, 1;\nmov.u64 %d1, 1;\n" op " bar.sync 0;\n")
#define TIMES(n) "mul.lo.u32 %r1, %t, " #n ";\n"

static void expect_shared(const char *name, const char *ptx, int64_t wavefronts, int64_t extra) {
  SimCounters c = count(ptx, 2, 64); // 4 warps
  EXPECT(c.shared_instrs == 4 && c.shared_wavefronts == 4 * wavefronts &&
             c.shared_extra == 4 * extra,
         "%s: %lld instructions, %lld wavefronts, %lld of conflicts", name,
         (long long)c.shared_instrs, (long long)c.shared_wavefronts, (long long)c.shared_extra);
}

static void banks(void) {
#define WORD "st.shared.u32 [%a], %r4;\n"
  expect_shared("side by side", STORE(TIMES(4), WORD), 1, 0);
  expect_shared("every second word", STORE(TIMES(8), WORD), 2, 1);
  expect_shared("every third word", STORE(TIMES(12), WORD), 1, 0);
  expect_shared("every fourth word", STORE(TIMES(16), WORD), 4, 3);
  expect_shared("a column of 32", STORE(TIMES(128), WORD), 32, 31);
  expect_shared("a column of 33", STORE(TIMES(132), WORD), 1, 0);
  expect_shared("bytes", STORE(TIMES(1), "st.shared.u8 [%a], %r4;\n"), 1, 0);
  expect_shared("8 bytes a lane", STORE(TIMES(8), "st.shared.u64 [%a], %d1;\n"), 2, 0);
  expect_shared("8 bytes, every second", STORE(TIMES(16), "st.shared.u64 [%a], %d1;\n"), 4, 2);
#define QUAD "st.shared.v4.u32 [%a], {%r4, %r4, %r4, %r4};\n"
  expect_shared("16 bytes a lane", STORE(TIMES(16), QUAD), 4, 0);
  expect_shared("16 bytes, every second", STORE(TIMES(32), QUAD), 8, 4);
  expect_shared("16 bytes, a column", STORE(TIMES(128), QUAD), 32, 28);
}

// After a store by all: the same word for all, 16 words twice, half of the lanes, matrices.
#define FILL(offset) "st.shared.v4.u32 [%a+" #offset "], {%r4, %r4, %r4, %r4};\n"
#define LOAD(index, op)                                                                            \
  KERNEL("mul.lo.u32 %r1, %t, 16;\nadd.u32 %a, %r1, %s;\nmov.u32 %r4, 1;\n" FILL(0) FILL(512)      \
             FILL(1024) FILL(1536) FILL(2048) FILL(2560) FILL(3072)                                \
                 FILL(3584) "bar.sync 0;\n" index "add.u32 %a, %r1, %s;\n" op)
enum { FILLING = 32 }; // wavefronts of eight stores

static void expect_load(const char *name, const char *ptx, int64_t wavefronts, int64_t extra) {
  SimCounters c = count(ptx, 1, 32);
  EXPECT(c.shared_wavefronts - FILLING == wavefronts && c.shared_extra == extra,
         "%s: %lld wavefronts, %lld of conflicts", name, (long long)c.shared_wavefronts - FILLING,
         (long long)c.shared_extra);
}

static void shared_loads(void) {
#define LD "ld.shared.u32 %r5, [%a];\n"
#define LANE "and.b32 %r9, %t, 31;\n"
  expect_load("the same word", LOAD("mov.u32 %r1, 0;\n", LD), 1, 0);
  expect_load("words twice", LOAD("shr.u32 %r1, %t, 1;\nmul.lo.u32 %r1, %r1, 4;\n", LD), 1, 0);
  expect_load("two words of a bank by halves",
              LOAD("shr.u32 %r1, %t, 4;\nmul.lo.u32 %r1, %r1, 128;\n", LD), 2, 1);
  expect_load("nine words of a bank, the rest again", // more than eight, then known ones
              LOAD("rem.u32 %r1, %t, 4;\nmul.lo.u32 %r1, %r1, 128;\n", LD), 4, 3);
  expect_load(
      "half of the lanes",
      LOAD("setp.lt.u32 %p1, %t, 16;\nmul.lo.u32 %r1, %t, 8;\n", "@%p1 ld.shared.u32 %r5, [%a];\n"),
      1, 0);
#define MATRIX "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%a];\n"
  expect_load("matrices, dense", LOAD("mul.lo.u32 %r1, %t, 16;\n", MATRIX), 4, 0);
  expect_load("matrices, rows of 128 bytes", LOAD("mul.lo.u32 %r1, %t, 128;\n", MATRIX), 32, 28);
  expect_load("matrices, rows of 128 bytes, swizzled",
              LOAD("and.b32 %r2, %t, 7;\nmul.lo.u32 %r2, %r2, 16;\nmul.lo.u32 %r1, %t, 128;\n"
                   "add.u32 %r1, %r1, %r2;\n",
                   MATRIX),
              4, 0);
  expect_load(
      "one matrix",
      LOAD("mul.lo.u32 %r1, %t, 16;\n", "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r10}, [%a];\n"),
      1, 0);
}

static void asynchronous(void) {
  SimCounters c =
      count(KERNEL("mul.lo.u32 %r1, %t, 16;\nadd.u32 %a, %r1, %s;\nmad.wide.u32 %g, %t, 16, %x;\n"
                   "cp.async.cg.shared.global [%a], [%g], 16;\ncp.async.commit_group;\n"
                   "cp.async.wait_group 0;\nbar.sync 0;\n"),
            1, 32);
  IS(c, shared_wavefronts, 4);
  IS(c, shared_extra, 0);
  IS(c, global_instrs, 1);
  IS(c, global_sectors, 16);
  IS(c, global_ideal, 16);
  IS(c, bytes_read, 512);
}

// ---- global memory ----

#define GLOBAL(scale, offset, op)                                                                  \
  KERNEL("mad.wide.u32 %g, %t, " #scale ", %x;\nadd.u64 %g, %g, " #offset ";\n" op)

static void expect_global(const char *name, const char *ptx, int64_t sectors, int64_t ideal,
                          int64_t read, int64_t written) {
  SimCounters c = count(ptx, 1, 32);
  EXPECT(c.global_sectors == sectors && c.global_ideal == ideal && c.bytes_read == read &&
             c.bytes_written == written,
         "%s: %lld sectors, ideal %lld, %lld bytes read, %lld written", name,
         (long long)c.global_sectors, (long long)c.global_ideal, (long long)c.bytes_read,
         (long long)c.bytes_written);
}

static void sectors(void) {
#define READ "ld.global.u32 %r5, [%g];\n"
  expect_global("side by side", GLOBAL(4, 0, READ), 4, 4, 128, 0);
  expect_global("every second word", GLOBAL(8, 0, READ), 8, 4, 128, 0);
  expect_global("a word too far", GLOBAL(4, 4, READ), 5, 4, 128, 0);
  expect_global("a sector each", GLOBAL(32, 0, READ), 32, 4, 128, 0);
  expect_global("two rows of a sector each", GLOBAL(64, 0, READ), 32, 4, 128, 0);
  expect_global("one word for all", GLOBAL(0, 0, READ), 1, 1, 128, 0);
  expect_global("backwards", KERNEL("sub.u32 %r1, 31, %t;\nmad.wide.u32 %g, %r1, 4, %x;\n" READ), 4,
                4, 128, 0);
  expect_global(
      "words twice, unsorted",
      KERNEL("xor.b32 %r1, %t, 5;\nshr.u32 %r1, %r1, 1;\nmad.wide.u32 %g, %r1, 4, %x;\n" READ), 2,
      2, 128, 0);
  expect_global("bytes", GLOBAL(1, 0, "ld.global.u8 %r5, [%g];\n"), 1, 1, 32, 0);
  expect_global("16 bytes a lane", GLOBAL(16, 0, "ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%g];\n"),
                16, 16, 512, 0);
  expect_global("half of the lanes",
                GLOBAL(4, 0, "setp.lt.u32 %p1, %t, 16;\n@%p1 ld.global.u32 %r5, [%g];\n"), 2, 2, 64,
                0);
  expect_global("written", GLOBAL(8, 0, "st.global.u32 [%g], %t;\n"), 8, 4, 0, 128);
  expect_global("atomics", GLOBAL(4, 0, "red.global.add.u32 [%g], 1;\n"), 4, 4, 128, 128);
}

int main(void) {
  RUN(kinds);
  RUN(waiting);
  RUN(banks);
  RUN(shared_loads);
  RUN(asynchronous);
  RUN(sectors);
  return test_done();
}
