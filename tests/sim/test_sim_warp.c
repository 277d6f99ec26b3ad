// What needs more than one lane: divergence, barriers, shuffles, matrix fragments, memory spaces,
// functions; and that a barrier which some threads never reach is reported. PTX in the test.
#include <math.h>
#include <string.h>

#include "sim_bench.h"
#include "test.h"

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define HEAD ".version 9.0\n.target sm_80\n.address_size 64\n"
// %o: out + 4 * thread of the launch; %t: thread of the block; %x: in + 4 * thread
#define BEGIN                                                                                      \
  ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n"                                        \
  ".reg .b32 %r<60>;\n.reg .b64 %d<20>;\n.reg .pred %p<9>;\n.reg .f32 %f<20>;\n"                   \
  ".reg .b32 %t, %g;\n.reg .b64 %o, %x;\n"                                                         \
  "ld.param.u64 %x, [in];\nld.param.u64 %o, [out];\nmov.u32 %t, %tid.x;\n"                         \
  "mov.u32 %r0, %ctaid.x;\nmov.u32 %r1, %ntid.x;\nmad.lo.u32 %g, %r0, %r1, %t;\n"                  \
  "mad.wide.u32 %o, %g, 4, %o;\nmad.wide.u32 %x, %g, 4, %x;\n"

static u32 in[4096], out[4096];

static u32 sim_half(float v) { // of a whole number below 2048
  if (v == 0) return 0;
  int e;
  const float m = frexpf(fabsf(v), &e); // m in [0.5, 1)
  return (v < 0 ? 0x8000u : 0) | (u32)(e + 14) << 10 | ((u32)(m * 2048) & 1023);
}

static bool run(const char *body, int threads, int64_t dynamic, u64 seed) {
  static char ptx[20000];
  snprintf(ptx, sizeof ptx, "%s%s", HEAD, body);
  SimModule *module = bench_module(ptx);
  if (sim_kernel_unknown(module->kernels[0]) != NULL)
    fprintf(stderr, "not known: %s\n", sim_kernel_unknown(module->kernels[0]));
  for (u32 k = 0; k < 4096; k++) in[k] = k * 0x9e3779b9u, out[k] = 0x5a5a5a5a;
  const void *params[2] = {in, out};
  const bool whole = bench_launch(module->kernels[0], (SimDim){2, 1, 1},
                                  (SimDim){(u32)threads, 1, 1}, dynamic, params, seed);
  sim_module_free(module);
  return whole;
}

// A loop of as many turns as the lane says, nested in a branch; lanes join again behind it.
static void test_divergence(void) {
  EXPECT(run(BEGIN
             "and.b32 %r3, %t, 7;\nmov.u32 %r4, 0;\nand.b32 %r5, %t, 1;\n"
             "setp.eq.u32 %p1, %r5, 0;\n@%p1 bra EVEN;\n"
             "ODD: setp.eq.u32 %p2, %r3, 0;\n@%p2 bra JOIN;\nadd.u32 %r4, %r4, %r3;\n"
             "sub.u32 %r3, %r3, 1;\nbra ODD;\n"
             "EVEN: add.u32 %r4, %r4, 100;\n@!%p1 trap;\n"
             "JOIN: activemask.b32 %r6;\nsetp.ne.u32 %p3, %r6, -1;\n@%p3 add.u32 %r4, %r4, 5000;\n"
             "st.global.u32 [%o], %r4;\nret;\n}\n",
             64, 0, 3));
  for (u32 k = 0; k < 128; k++) {
    const u32 n = k & 7;
    EXPECT(out[k] == (k & 1 ? n * (n + 1) / 2 : 100));
  }
  // brx.idx with a list, and exit of half of the lanes
  EXPECT(run(BEGIN "and.b32 %r3, %t, 3;\nL: .branchtargets A, B, C, D;\nbrx.idx %r3, L;\n"
                   "A: mov.u32 %r4, 10;\nbra E;\nB: mov.u32 %r4, 11;\nbra E;\nC: exit;\n"
                   "D: mov.u32 %r4, 13;\nE: st.global.u32 [%o], %r4;\nret;\n}\n",
             32, 0, 1));
  for (u32 k = 0; k < 32; k++) EXPECT(out[k] == (k % 4 == 2 ? 0x5a5a5a5a : 10 + k % 4));
  // Lanes whose way lies behind the shuffle in the text come back to those that wait at it.
  EXPECT(run(BEGIN "mov.u32 %r2, 1;\nsetp.gt.u32 %p1, %t, 3;\n@%p1 bra FAR;\n"
                   "NEAR: shfl.sync.bfly.b32 %r3, %r2, 16, 31, -1;\nadd.u32 %r3, %r3, %t;\n"
                   "st.global.u32 [%o], %r3;\nret;\nFAR: mov.u32 %r2, 2;\nbra NEAR;\n}\n",
             32, 0, 1));
  for (u32 k = 0; k < 32; k++) EXPECT(out[k] == k + (k < 16 || k > 19 ? 2 : 1));
  EXPECT(bench_reports() == 0);
}

// A reversal through static and dynamic shared memory, with every order of warps.
static void test_barrier(void) {
  for (u64 seed = 1; seed < 40; seed++) {
    EXPECT(run(".extern .shared .align 16 .b8 dyn[];\n" BEGIN ".shared .align 4 .b8 s[1024];\n"
               "ld.global.u32 %r3, [%x];\nmov.u32 %r4, s;\nshl.b32 %r5, %t, 2;\n"
               "add.u32 %r6, %r4, %r5;\nst.shared.u32 [%r6], %r3;\nbar.sync 0;\n"
               "sub.u32 %r7, 1020, %r5;\nadd.u32 %r8, %r4, %r7;\nld.shared.u32 %r9, [%r8];\n"
               "mov.u32 %r10, dyn;\nadd.u32 %r11, %r10, %r5;\nst.shared.u32 [%r11+1024], %r9;\n"
               "setp.gt.u32 %p1, %t, 99;\nbar.red.popc.u32 %r12, 0, %p1;\n"
               "add.u32 %r13, %r10, %r7;\nld.shared.u32 %r14, [%r13+1024];\n"
               "add.u32 %r15, %r14, %r12;\nst.global.u32 [%o], %r15;\nret;\n}\n",
               256, 2048, seed));
    for (u32 k = 0; k < 512; k++) EXPECT(out[k] == in[k] + 156);
  }
  // Producers arrive, consumers wait: 32 + 32 at barrier 1.
  for (u64 seed = 1; seed < 20; seed++) {
    EXPECT(run(BEGIN ".shared .align 4 .b8 s[256];\nmov.u32 %r4, s;\nand.b32 %r5, %t, 31;\n"
                     "mad.lo.u32 %r6, %r5, 4, %r4;\nsetp.lt.u32 %p1, %t, 32;\n@%p1 bra MAKE;\n"
                     "bar.sync 1, 64;\nld.shared.u32 %r7, [%r6];\nst.global.u32 [%o], %r7;\nret;\n"
                     "MAKE: st.shared.u32 [%r6], %r5;\nbar.arrive 1, 64;\nret;\n}\n",
               64, 0, seed));
    for (u32 k = 0; k < 32; k++) EXPECT(out[32 + k] == k);
  }
  EXPECT(bench_reports() == 0);
}

static void expect_divergent(const char *body, const char *says) {
  const int64_t before = bench_reports();
  EXPECT(!run(body, 64, 0, 5));
  EXPECT(bench_reports() == before + 1 && bench_fault == SIM_DIVERGENT_BARRIER);
  EXPECT(strstr(bench_text, says) != NULL);
  if (strstr(bench_text, says) == NULL) fprintf(stderr, "%s\n", bench_text);
}

static void test_divergent(void) {
  expect_divergent(BEGIN "setp.gt.u32 %p1, %t, 40;\n@%p1 bra OUT;\nbar.sync 0;\nOUT: ret;\n}\n",
                   "have left");
  expect_divergent(BEGIN "setp.gt.u32 %p1, %t, 31;\n@%p1 bra OUT;\nbar.sync 0;\nOUT: ret;\n}\n",
                   "thread 32 has left the kernel");
  expect_divergent(BEGIN "setp.gt.u32 %p1, %t, 7;\n@%p1 bra B;\nbar.sync 0;\nret;\n"
                         "B: bar.sync 0;\nret;\n}\n",
                   "waits at");
  expect_divergent(BEGIN "setp.gt.u32 %p1, %t, 31;\n@%p1 bra B;\nbar.sync 0;\nret;\n"
                         "B: bar.sync 1;\nret;\n}\n",
                   "waits at");
  expect_divergent(BEGIN "setp.eq.u32 %p1, %t, 9;\n@%p1 bra OUT;\n"
                         "shfl.sync.idx.b32 %r3, %t, 0, 31, -1;\nOUT: ret;\n}\n",
                   "shfl.sync");
  expect_divergent(BEGIN "bar.warp.sync 15;\nsetp.eq.u32 %p1, %t, 99;\n@%p1 ret;\n"
                         "vote.sync.ballot.b32 %r3, %p1, 255;\nret;\n}\n",
                   "does not name");
}

static void test_lanes(void) {
  const int64_t before = bench_reports();
  EXPECT(run(BEGIN
             "and.b32 %r2, %t, 31;\nshfl.sync.bfly.b32 %r3|%p1, %r2, 5, 31, -1;\n"
             "shfl.sync.up.b32 %r4|%p2, %r2, 3, 0, -1;\n"
             "shfl.sync.down.b32 %r5|%p3, %r2, 3, 31, -1;\n"
             "shfl.sync.idx.b32 %r6, %r2, 2, 0x1807, -1;\n" // segments of 8
             "setp.gt.u32 %p4, %r2, 20;\nvote.sync.ballot.b32 %r7, %p4, -1;\n"
             "popc.b32 %r7, %r7;\nredux.sync.add.u32 %r8, %r2, -1;\n"
             "shr.u32 %r9, %r2, 3;\nmatch.any.sync.b32 %r10, %r9, -1;\npopc.b32 %r10, %r10;\n"
             "selp.u32 %r11, 1000, 0, %p2;\nselp.u32 %r12, 2000, 0, %p3;\n"
             "mad.lo.u32 %r13, %r3, 7, %r4;\nmad.lo.u32 %r13, %r13, 37, %r5;\n"
             "mad.lo.u32 %r13, %r13, 41, %r6;\nmad.lo.u32 %r13, %r13, 43, %r7;\n"
             "add.u32 %r13, %r13, %r8;\nadd.u32 %r13, %r13, %r10;\nadd.u32 %r13, %r13, %r11;\n"
             "add.u32 %r13, %r13, %r12;\nst.global.u32 [%o], %r13;\nret;\n}\n",
             32, 0, 1));
  for (u32 l = 0; l < 32; l++) {
    const u32 up = l >= 3 ? l - 3 : l, down = l + 3 < 32 ? l + 3 : l;
    const u32 want = ((((l ^ 5) * 7 + up) * 37 + down) * 41 + (l & 24) + 2) * 43 + 11 + 496 + 8 +
                     (l >= 3 ? 1000 : 0) + (l + 3 < 32 ? 2000 : 0);
    EXPECT(out[l] == want);
  }
  EXPECT(bench_reports() == before);
}

// cp.async with a short source, ldmatrix plain and transposed, st and ld of vectors and bytes.
static void test_memory(void) {
  const int64_t before = bench_reports();
  EXPECT(run(BEGIN ".shared .align 16 .b8 s[512];\nmov.u32 %r4, s;\nmad.lo.u32 %r5, %t, 16, %r4;\n"
                   "ld.param.u64 %d1, [in];\nmad.wide.u32 %d1, %t, 16, %d1;\n"
                   "cp.async.cg.shared.global [%r5], [%d1], 16;\ncp.async.commit_group;\n"
                   "cp.async.wait_group 0;\nbar.sync 0;\n"
                   "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r5];\n"
                   "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r14, %r15}, [%r5];\n"
                   "ld.param.u64 %d2, [out];\nmad.wide.u32 %d2, %t, 32, %d2;\n"
                   "st.global.v4.u32 [%d2], {%r10, %r11, %r12, %r13};\n"
                   "st.global.v2.b32 [%d2+16], {%r14, %r15};\n"
                   "mov.u32 %r20, 3;\ncp.async.ca.shared.global [%r5], [%d1], 4, %r20;\n"
                   "cp.async.wait_all;\nld.shared.u32 %r21, [%r5];\nst.global.u32 [%d2+24], %r21;\n"
                   "ld.shared.s8 %r22, [%r5+2];\nst.global.u32 [%d2+28], %r22;\nret;\n}\n",
             32, 0, 1));
  const u16 *half = (const u16 *)(const void *)in;
  for (u32 l = 0; l < 32; l++) {
    for (u32 m = 0; m < 4; m++) {
      const u16 *row = half + (8 * m + l / 4) * 8 + l % 4 * 2;
      EXPECT(out[8 * l + m] == (row[0] | (u32)row[1] << 16));
    }
    for (u32 m = 0; m < 2; m++) {
      const u16 *at = half + (8 * m + l % 4 * 2) * 8 + l / 4;
      EXPECT(out[8 * l + 4 + m] == (at[0] | (u32)at[8] << 16));
    }
    EXPECT(out[8 * l + 6] == (in[4 * l] & 0xffffff));
    EXPECT(out[8 * l + 7] == (u32)(int32_t)(int8_t)(in[4 * l] >> 16));
  }
  // Generic addresses of shared and local memory, atomics of all lanes on one word.
  EXPECT(run(BEGIN
             ".shared .align 4 .b8 s[8];\n.local .align 8 .b8 mine[64];\nmov.u64 %d1, s;\n"
             "cvta.shared.u64 %d1, %d1;\nmov.u64 %d2, mine;\ncvta.local.u64 %d2, %d2;\n"
             "setp.eq.u32 %p1, %t, 0;\n@%p1 st.u32 [%d1], 0;\n@%p1 st.u32 [%d1+4], -1;\n"
             "bar.sync 0;\natom.add.u32 %r3, [%d1], %t;\nred.shared.min.u32 [s+4], %t;\n"
             "st.u32 [%d2+8], %t;\nst.local.u32 [mine+12], %r3;\nbar.sync 0;\n"
             "ld.local.u64 %d3, [mine+8];\nmov.b64 {%r5, %r6}, %d3;\nld.shared.u32 %r7, [s];\n"
             "ld.u32 %r8, [%d1+4];\nadd.u32 %r7, %r7, %r5;\nadd.u32 %r7, %r7, %r8;\n"
             "st.global.u32 [%o], %r7;\nret;\n}\n",
             64, 0, 9));
  for (u32 k = 0; k < 64; k++) EXPECT(out[k] == 2016 + k);
  EXPECT(bench_reports() == before);
  EXPECT(run(BEGIN ".shared .align 4 .b8 s[8];\nmov.u32 %r3, s;\nadd.u32 %r3, %r3, %t;\n"
                   "st.shared.u32 [%r3], %t;\nret;\n}\n",
             32, 0, 1));
  EXPECT(bench_reports() == before + 2 && bench_fault == SIM_OUT_OF_BOUNDS); // one a block
}

// A device function twice, with a result and a branch of its own; constants; an opcode that is not
// known is named at once and reported when it runs.
static void test_functions(void) {
  const int64_t before = bench_reports();
  EXPECT(
      run(".const .align 4 .u32 table[4] = {5, 6, 7, 8};\n.global .u64 where = table;\n"
          ".func (.param .b32 res) twice(.param .b32 a)\n;\n" BEGIN
          "{\n.param .b32 p;\nst.param.b32 [p+0], %t;\n.param .b32 r;\n"
          "call.uni (r), twice, (p);\nld.param.b32 %r3, [r+0];\n}\n"
          "{\n.param .b32 p;\nst.param.b32 [p], %r3;\n.param .b32 r;\n"
          "call (r), twice, (p);\nld.param.b32 %r4, [r];\n}\n"
          "and.b32 %r5, %t, 3;\nld.global.u64 %d1, [where];\nmad.wide.u32 %d2, %r5, 4, %d1;\n"
          "ld.const.u32 %r6, [%d2];\nadd.u32 %r4, %r4, %r6;\nst.global.u32 [%o], %r4;\nret;\n}\n"
          ".func (.param .b32 res) twice(.param .b32 a)\n{\n.reg .b32 %r<4>;\n.reg .pred %p<2>;\n"
          "ld.param.b32 %r1, [a];\nsetp.gt.u32 %p1, %r1, 20;\n@%p1 bra BIG;\n"
          "add.u32 %r2, %r1, %r1;\nst.param.b32 [res], %r2;\nret;\n"
          "BIG: st.param.b32 [res], %r1;\nret;\n}\n",
          32, 0, 1));
  for (u32 k = 0; k < 32; k++) {
    const u32 once = k > 20 ? k : 2 * k, again = once > 20 ? once : 2 * once;
    EXPECT(out[k] == again + 5 + k % 4);
  }
  EXPECT(bench_reports() == before);
  EXPECT(!run(BEGIN "wgmma.fence.sync.aligned;\nret;\n}\n", 32, 0, 1));
  EXPECT(bench_reports() == before + 1 && bench_fault == SIM_UNSUPPORTED);
  EXPECT(strstr(bench_text, "wgmma.fence.sync.aligned") != NULL);
  char message[200];
  EXPECT(sim_module_parse(HEAD ".visible .entry k()\n{\nbra NOWHERE;\n}\n", message,
                          sizeof message) == NULL);
  EXPECT(strstr(message, "NOWHERE") != NULL);
}

// Fragments as the PTX manual gives them, element by element; sums that f32 holds exactly.
static void test_mma(void) {
  static const char *bodies[] = {
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4, %f5, %f6, %f7}, "
      "{%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f0, %f1, %f2, %f3};\n",
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f4, %f5, %f6, %f7}, "
      "{%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f0, %f1, %f2, %f3};\n",
      "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f4, %f5, %f6, %f7}, "
      "{%r10, %r11}, {%r14}, {%f0, %f1, %f2, %f3};\n",
      "mov.b32 %r30, %f0;\nmov.b32 %r31, %f1;\nmov.b32 %r32, %f2;\nmov.b32 %r33, %f3;\n"
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r34, %r35, %r36, %r37}, "
      "{%r10, %r11, %r12, %r13}, {%r14, %r15}, {%r30, %r31, %r32, %r33};\n"
      "mov.b32 %f4, %r34;\nmov.b32 %f5, %r35;\nmov.b32 %f6, %r36;\nmov.b32 %f7, %r37;\n",
  };
  static const int ks[] = {16, 16, 8, 32};
  for (int form = 0; form < 4; form++) {
    const int k = ks[form], per = form == 3 ? 4 : 2;
    int a[16][32], b[32][8], c[16][8];
    u64 state = 7 + (u64)form;
    for (int m = 0; m < 32; m++)
      for (int n = 0; n < 32; n++) {
        state = state * 6364136223846793005 + 1442695040888963407;
        const int value = (int)(state >> 58) - 32;
        if (m < 16) a[m][n] = value;
        if (n < 8) b[m][n] = value / 2 + (m == 3);
        if (m < 16 && n < 8) c[m][n] = 1000 * value + n;
      }
    static u32 fragments[32][10];
    memset(fragments, 0, sizeof fragments);
    for (int lane = 0; lane < 32; lane++) {
      const int group = lane / 4, t = lane % 4;
      u32 *f = fragments[lane];
      for (int i = 0; i < 16 * k / 32; i++) { // A
        const int block = i / per;            // register
        const int row = block % 2 == 0 ? group : group + 8;
        const int column = t * per + i % per + (block >= 2 ? 4 * per : 0);
        const float v = (float)a[row][column];
        u32 bits;
        memcpy(&bits, &v, 4);
        const u32 e = form == 3 ? (u32)a[row][column] & 255 : form == 1 ? sim_half(v) : bits >> 16;
        f[block] |= e << (i % per * (32 / per));
      }
      for (int i = 0; i < 8 * k / 32; i++) { // B
        const int row = t * per + i % per + i / per * 4 * per;
        const float v = (float)b[row][group];
        u32 bits;
        memcpy(&bits, &v, 4);
        const u32 e = form == 3 ? (u32)b[row][group] & 255 : form == 1 ? sim_half(v) : bits >> 16;
        f[4 + i / per] |= e << (i % per * (32 / per));
      }
      for (int i = 0; i < 4; i++) {
        const int value = c[group + (i >= 2 ? 8 : 0)][t * 2 + i % 2];
        const float v = (float)value;
        memcpy(&f[6 + i], form == 3 ? (const void *)&value : (const void *)&v, 4);
      }
    }
    char body[4000];
    snprintf(
        body, sizeof body,
        "%s"
        "ld.param.u64 %%d1, [in];\nmad.wide.u32 %%d1, %%t, 40, %%d1;\n"
        "ld.global.v2.u32 {%%r10, %%r11}, [%%d1];\nld.global.v2.u32 {%%r12, %%r13}, [%%d1+8];\n"
        "ld.global.v2.u32 {%%r14, %%r15}, [%%d1+16];\nld.global.v2.f32 {%%f0, %%f1}, [%%d1+24];\n"
        "ld.global.v2.f32 {%%f2, %%f3}, [%%d1+32];\n%s"
        "ld.param.u64 %%d2, [out];\nmad.wide.u32 %%d2, %%t, 16, %%d2;\n"
        "st.global.v4.f32 [%%d2], {%%f4, %%f5, %%f6, %%f7};\nret;\n}\n",
        HEAD BEGIN, bodies[form]);
    SimModule *module = bench_module(body);
    EXPECT(sim_kernel_unknown(module->kernels[0]) == NULL);
    const void *params[2] = {fragments, out};
    bench_launch(module->kernels[0], (SimDim){1, 1, 1}, (SimDim){32, 1, 1}, 0, params, 1);
    sim_module_free(module);
    for (int m = 0; m < 16; m++)
      for (int n = 0; n < 8; n++) {
        int want = c[m][n], got_int;
        for (int j = 0; j < k; j++) want += a[m][j] * b[j][n];
        const int lane = m % 8 * 4 + n / 2, i = (m >= 8 ? 2 : 0) + n % 2;
        float got;
        memcpy(&got, &out[4 * lane + i], 4);
        memcpy(&got_int, &out[4 * lane + i], 4);
        EXPECT(form == 3 ? got_int == want : got == (float)want);
      }
  }
}

int main(void) {
  RUN(test_mma);
  RUN(test_divergence);
  RUN(test_barrier);
  RUN(test_divergent);
  RUN(test_lanes);
  RUN(test_memory);
  RUN(test_functions);
  return test_done();
}
