// Correct kernels report nothing under any order of warps and blocks; each defect that is planted
// in them, most by dropping one instruction as mutation does, is reported as what it is.
#define BENCH_CHECKED
#include "sim_bench.h"

#define HEAD ".version 9.0\n.target sm_80\n.address_size 64\n"
#define BEGIN                                                                                      \
  ".visible .entry k(.param .u64 in, .param .u64 out, .param .u64 n)\n{\n"                         \
  ".reg .b32 %r<60>;\n.reg .b64 %d<20>;\n.reg .pred %p<9>;\n.reg .f32 %f<20>;\n"                   \
  ".reg .b32 %t, %g, %n;\n.reg .b64 %o, %x;\n.shared .align 16 .b8 s[2048];\n"                     \
  "ld.param.u64 %x, [in];\nld.param.u64 %o, [out];\nld.param.u32 %n, [n];\nmov.u32 %t, %tid.x;\n"  \
  "mov.u32 %r0, %ctaid.x;\nmov.u32 %r1, %ntid.x;\nmad.lo.u32 %g, %r0, %r1, %t;\n"                  \
  "mad.wide.u32 %o, %g, 4, %o;\nmad.wide.u32 %x, %g, 4, %x;\nmov.u32 %r2, s;\n"                    \
  "mad.lo.u32 %r3, %t, 4, %r2;\nxor.b32 %r4, %t, 32;\nmad.lo.u32 %r4, %r4, 4, %r2;\n"              \
  "xor.b32 %r5, %t, 1;\nmad.lo.u32 %r5, %r5, 4, %r2;\n"

enum { N = 100, BYTES = 4096 };
static _Alignas(256) uint8_t memory[2 * BYTES + 1024];

static void set_up(void) {
  static bool added;
  if (added) sim_memory_remove(memory);
  added = true;
  sim_memory_add(memory, sizeof memory, SIM_MEMORY_DEVICE);
  vma_sim_tensor("arena", "in", memory, 4 * N, true);
  vma_sim_tensor("arena", "next", memory + 4 * N, 112, true);
  vma_sim_tensor("arena", "out", memory + BYTES, 4 * N, true);
  sim_memory_wrote(memory, BYTES);
  const SimRange touches[] = {{memory, 1, 4 * N, 4 * N, true, false},
                              {memory + BYTES, 1, 4 * N, 4 * N, false, true}};
  vma_sim_op("test", touches, 2);
}

// Runs it with the instruction dropped whose text begins so (NULL: none) and returns the reports.
static int64_t run(const char *body, const char *drop, int blocks, uint64_t seed) {
  static char ptx[9000];
  snprintf(ptx, sizeof ptx, HEAD "%s", body);
  SimModule *module = bench_module(ptx);
  SimKernel *kernel = module->kernels[0];
  EXPECT(sim_kernel_unknown(kernel) == NULL);
  if (drop != NULL) {
    SimPoint points[20];
    const int64_t n = sim_kernel_points(kernel, points, 20);
    for (int64_t k = 0; k < n && kernel->dropped < 0; k++)
      if (strncmp(points[k].text, drop, strlen(drop)) == 0) kernel->dropped = points[k].pc;
    EXPECT(kernel->dropped >= 0);
  }
  const void *params[3] = {memory, memory + BYTES, (const void *)(uintptr_t)N};
  const int64_t before = bench_reports();
  bench_launch(kernel, (SimDim){(uint32_t)blocks, 1, 1}, (SimDim){64, 1, 1}, 0, params, seed);
  sim_module_free(module);
  return bench_reports() - before;
}

static void expect(const char *body, const char *drop, SimFault fault) {
  for (uint64_t seed = 1; seed < 12; seed++) {
    set_up();
    const int64_t n = run(body, drop, 2, seed);
    const bool either = fault == SIM_RACE_RAW && bench_fault == SIM_ASYNC_IN_FLIGHT;
    EXPECT(n > 0 && (bench_fault == fault || either));
    if (n > 0 && (bench_fault == fault || either)) continue;
    fprintf(stderr, "without \"%s\": %lld reports, the last %d: %s\n", drop != NULL ? drop : "",
            (long long)n, (int)bench_fault, n > 0 ? bench_text : "");
    return;
  }
}

static void expect_none(const char *body) {
  for (uint64_t seed = 1; seed < 12; seed++) {
    set_up();
    const int64_t n = run(body, NULL, 2, seed);
    EXPECT(n == 0);
    if (n == 0) continue;
    fprintf(stderr, "%lld reports, the last: %s\n", (long long)n, bench_text);
    return;
  }
}

// Guarded copies of 100 elements by 128 threads, an exchange between warps, twice through the
// buffer.
static const char exchange[] =
    BEGIN "mov.u32 %r10, 0;\nsetp.ge.u32 %p1, %g, %n;\n@%p1 bra A;\nld.global.u32 %r10, [%x];\n"
          "A: st.shared.u32 [%r3], %r10;\nbar.sync 0;\nld.shared.u32 %r11, [%r4];\nbar.sync 1;\n"
          "st.shared.u32 [%r3], %r11;\nbar.warp.sync -1;\nld.shared.u32 %r12, [%r5];\n"
          "setp.lt.u32 %p2, %g, %n;\n@%p2 st.global.u32 [%o], %r12;\nret;\n}\n";

static void test_exchange(void) {
  expect_none(exchange);
  expect(exchange, "bar.sync 0", SIM_RACE_RAW);
  expect(exchange, "bar.sync 1", SIM_RACE_WAR);
  expect(exchange, "bar.warp.sync", SIM_WARP_SYNC);
  expect(exchange, "@%p1 bra", SIM_UNDECLARED); // into the neighbour
  expect(exchange, "@%p2 st", SIM_OUT_OF_BOUNDS);
}

static const char async[] = BEGIN
    "mul.wide.u32 %d1, %t, 4;\nld.param.u64 %d2, [in];\nadd.u64 %d1, %d1, %d2;\n"
    "cp.async.ca.shared.global [%r3], [%d1], 4;\ncp.async.commit_group;\n"
    "cp.async.wait_group 0;\nbar.sync 0;\nld.shared.u32 %r11, [%r4];\nsetp.lt.u32 %p2, %g, %n;\n"
    "@%p2 st.global.u32 [%o], %r11;\nret;\n}\n";

// Copies that nobody reads, and nobody waits for: the last is under way when the block ends.
static const char async_left[] =
    BEGIN "mul.wide.u32 %d1, %t, 4;\nld.param.u64 %d2, [in];\nadd.u64 %d1, %d1, %d2;\n"
          "cp.async.ca.shared.global [%r3], [%d1], 4;\ncp.async.commit_group;\n"
          "cp.async.wait_group 0;\nret;\n}\n";

static void test_async(void) {
  expect_none(async);
  expect(async, "cp.async.wait_group", SIM_ASYNC_IN_FLIGHT);
  expect(async, "bar.sync", SIM_RACE_RAW); // or in flight still, by the order of warps
  expect_none(async_left);
  expect(async_left, "cp.async.wait_group", SIM_ASYNC_IN_FLIGHT);
}

#define GUARDED(op) BEGIN "setp.ge.u32 %p1, %g, %n;\n@%p1 bra A;\n" op "A: ret;\n}\n"

static void test_memory(void) {
  expect(GUARDED("ld.global.u32 %r6, [%o];\n"), NULL, SIM_UNDECLARED);
  expect(GUARDED("ld.shared.u32 %r6, [%r3];\n"), NULL, SIM_UNINITIALISED);
  expect(BEGIN ".local .align 8 .b8 mine[16];\nst.local.u32 [mine], %t;\n"
               "ld.local.u64 %d1, [mine];\nret;\n}\n",
         NULL, SIM_UNINITIALISED);
  expect(GUARDED("st.global.u64 [%o], %x;\n"), NULL, SIM_MISALIGNED);
  expect(GUARDED("setp.ne.u32 %p2, %t, 0;\n@%p2 bra A;\nld.param.u64 %d1, [out];\n"
                 "st.global.u32 [%d1], %t;\n"),
         NULL, SIM_RACE_BLOCKS);
  expect(BEGIN "ld.global.u32 %r6, [%x+1048576];\nret;\n}\n", NULL, SIM_OUT_OF_BOUNDS);
  expect(BEGIN "st.shared.u32 [%r3+2044], %t;\nret;\n}\n", NULL, SIM_OUT_OF_BOUNDS);
  // Atomics of all blocks on one word are no race; after them a plain read of it is one.
  expect(GUARDED("ld.param.u64 %d1, [out];\nst.shared.u32 [%r2], %t;\n"), NULL, SIM_WARP_SYNC);
  set_up();
  const SimRange all = {memory, 1, 2 * BYTES, 2 * BYTES, true, true};
  sim_memory_wrote(memory, 2 * BYTES);
  vma_sim_op("test", &all, 1);
  EXPECT(run(GUARDED("ld.param.u64 %d1, [out];\nred.global.add.u32 [%d1], %t;\n"), NULL, 2, 3) ==
         0);
  EXPECT(run(GUARDED("ld.param.u64 %d1, [out];\nred.global.add.u32 [%d1], %t;\n"
                     "ld.global.u32 %r9, [%d1];\n"),
             NULL, 2, 3) > 0);
  // Content that was never written, and a tensor that was released.
  set_up();
  const SimRange out = {memory + BYTES, 1, 4 * N, 4 * N, true, true};
  vma_sim_op("test", &out, 1);
  EXPECT(run(GUARDED("ld.global.u32 %r9, [%o];\n"), NULL, 2, 3) > 0 &&
         bench_fault == SIM_UNINITIALISED);
  set_up();
  vma_sim_tensor("arena", "out", memory + BYTES, 4 * N, false);
  const int64_t before = bench_reports();
  vma_sim_op("test", &out, 1);
  EXPECT(bench_reports() == before + 1 && bench_fault == SIM_RELEASED);
}

int main(void) {
  RUN(test_exchange);
  RUN(test_async);
  RUN(test_memory);
  return test_done();
}
