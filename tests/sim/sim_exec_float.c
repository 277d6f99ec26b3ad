// f32 and f64 instructions, and those of f16, bf16 and their pairs. Approximate instructions are
// computed as libm does: nearer than a device's, so that tests compare with a tolerance. Rounding
// other than to nearest and flushing of subnormals are modes of the processor around the loop.
#include <fenv.h>
#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "sim_exec.h"

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef float f32;
typedef double f64;

#define DEF1(id, D, A, EXPR)                                                                       \
  static void id(SimWarp *w, const SimInstr *i) {                                                  \
    D *d = SIM_REG(D, 0);                                                                          \
    const A *a = SIM_REG(A, 1);                                                                    \
    SIM_LANES(d, (D)(EXPR));                                                                       \
  }
#define DEF2(id, T, EXPR)                                                                          \
  static void id(SimWarp *w, const SimInstr *i) {                                                  \
    T *d = SIM_REG(T, 0);                                                                          \
    const T *a = SIM_REG(T, 1), *b = SIM_REG(T, 2);                                                \
    SIM_LANES(d, (T)(EXPR));                                                                       \
  }
#define DEF3(id, T, EXPR)                                                                          \
  static void id(SimWarp *w, const SimInstr *i) {                                                  \
    T *d = SIM_REG(T, 0);                                                                          \
    const T *a = SIM_REG(T, 1), *b = SIM_REG(T, 2), *c = SIM_REG(T, 3);                            \
    SIM_LANES(d, (T)(EXPR));                                                                       \
  }

// ---- modes ----

void sim_run_rounded(SimWarp *w, const SimInstr *i) {
  static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
#if defined(__x86_64__)
  const unsigned csr = _mm_getcsr();
#endif
  if (i->round != 0) fesetround(modes[i->round]);
#if defined(__x86_64__)
  if (i->ftz) _mm_setcsr(_mm_getcsr() | 0x8040); // flush to zero, denormals are zeros
#endif
  i->inner(w, i);
  if (i->round != 0) fesetround(FE_TONEAREST);
#if defined(__x86_64__)
  _mm_setcsr(csr);
#endif
  if (!i->sat) return;
  if (i->size[0] == 8) {
    f64 *d = SIM_REG(f64, 0);
    SIM_LANES(d, d[l] > 0 ? d[l] < 1 ? d[l] : 1 : 0);
  } else if (i->type == SIM_T_F32) {
    f32 *d = SIM_REG(f32, 0);
    SIM_LANES(d, d[l] > 0 ? d[l] < 1 ? d[l] : 1 : 0);
  }
}

// ---- f32, f64 ----

// A NaN operand gives the other one; -0 is less than +0.
static inline f32 min_f32(f32 a, f32 b) {
  return a != a ? b : b != b ? a : a < b ? a : b < a ? b : signbit(a) ? a : b;
}
static inline f32 max_f32(f32 a, f32 b) {
  return a != a ? b : b != b ? a : a > b ? a : b > a ? b : signbit(a) ? b : a;
}
static inline f64 min_f64(f64 a, f64 b) {
  return a != a ? b : b != b ? a : a < b ? a : b < a ? b : signbit(a) ? a : b;
}
static inline f64 max_f64(f64 a, f64 b) {
  return a != a ? b : b != b ? a : a > b ? a : b > a ? b : signbit(a) ? b : a;
}
static inline f32 min_nan_f32(f32 a, f32 b) {
  return a != a || b != b ? NAN : min_f32(a, b);
}
static inline f32 max_nan_f32(f32 a, f32 b) {
  return a != a || b != b ? NAN : max_f32(a, b);
}

DEF2(add_f32, f32, a[l] + b[l])
DEF2(sub_f32, f32, a[l] - b[l])
DEF2(mul_f32, f32, a[l] * b[l])
DEF3(fma_f32, f32, fmaf(a[l], b[l], c[l]))
DEF2(min_32, f32, min_f32(a[l], b[l]))
DEF2(max_32, f32, max_f32(a[l], b[l]))
DEF2(min_nan_32, f32, min_nan_f32(a[l], b[l]))
DEF2(max_nan_32, f32, max_nan_f32(a[l], b[l]))
DEF2(div_f32, f32, a[l] / b[l])
DEF1(rcp_f32, f32, f32, 1 / a[l])
DEF1(sqrt_f32, f32, f32, sqrtf(a[l]))
DEF1(neg_f32, u32, u32, a[l] ^ 0x80000000)
DEF1(abs_f32, u32, u32, a[l] & 0x7fffffff)
DEF2(copysign_f32, u32, (a[l] & 0x80000000) | (b[l] & 0x7fffffff)) // b with a's sign
DEF1(rsqrt_f32, f32, f32, (f32)(1 / sqrt((f64)a[l])))
DEF2(add_f64, f64, a[l] + b[l])
DEF2(sub_f64, f64, a[l] - b[l])
DEF2(mul_f64, f64, a[l] * b[l])
DEF3(fma_f64, f64, fma(a[l], b[l], c[l]))
DEF2(min_64, f64, min_f64(a[l], b[l]))
DEF2(max_64, f64, max_f64(a[l], b[l]))
DEF2(div_f64, f64, a[l] / b[l])
DEF1(rcp_f64, f64, f64, 1 / a[l])
DEF1(sqrt_f64, f64, f64, sqrt(a[l]))
DEF1(rsqrt_f64, f64, f64, 1 / sqrt(a[l]))
DEF1(neg_f64, u64, u64, a[l] ^ 0x8000000000000000)
DEF1(abs_f64, u64, u64, a[l] & 0x7fffffffffffffff)
DEF2(copysign_f64, u64, (a[l] & 0x8000000000000000) | (b[l] & 0x7fffffffffffffff))

// Functions of libm: the lanes that run alone.
#define DEF_LIBM(id, f)                                                                            \
  static void id(SimWarp *w, const SimInstr *i) {                                                  \
    f32 *d = SIM_REG(f32, 0);                                                                      \
    const f32 *a = SIM_REG(f32, 1);                                                                \
    SIM_EACH(w->lanes, l) d[l] = f(a[l]);                                                          \
  }
DEF_LIBM(ex2_f32, exp2f)
DEF_LIBM(lg2_f32, log2f)
DEF_LIBM(sin_f32, sinf)
DEF_LIBM(cos_f32, cosf)
DEF_LIBM(tanh_f32, tanhf)

#define DEF_TEST(name, EXPR)                                                                       \
  static void testp_##name##_f32(SimWarp *w, const SimInstr *i) {                                  \
    const f32 *a = SIM_REG(f32, 1);                                                                \
    u32 m = 0;                                                                                     \
    for (int l = 0; l < 32; l++) m |= (u32)((EXPR) != 0) << l;                                     \
    sim_set_mask(w, i->o[0], m);                                                                   \
  }                                                                                                \
  static void testp_##name##_f64(SimWarp *w, const SimInstr *i) {                                  \
    const f64 *a = SIM_REG(f64, 1);                                                                \
    u32 m = 0;                                                                                     \
    for (int l = 0; l < 32; l++) m |= (u32)((EXPR) != 0) << l;                                     \
    sim_set_mask(w, i->o[0], m);                                                                   \
  }
DEF_TEST(finite, isfinite(a[l]))
DEF_TEST(infinite, isinf(a[l]))
DEF_TEST(number, !isnan(a[l]))
DEF_TEST(notanumber, isnan(a[l]))
DEF_TEST(normal, isnormal(a[l]))
DEF_TEST(subnormal, fpclassify(a[l]) == FP_SUBNORMAL)

#define ROW(key, run, sizes)                                                                       \
  { key, run, sizes, SIM_KIND_FLOAT }
#define APPROX(key, run, sizes)                                                                    \
  { key, run, sizes, SIM_KIND_SPECIAL }
#define TEST(name)                                                                                 \
  ROW("testp." #name ".f32", testp_##name##_f32, "14"),                                            \
      ROW("testp." #name ".f64", testp_##name##_f64, "18")

static const SimOpcode opcodes[] = {
    ROW("add.f32", add_f32, "444"),
    ROW("sub.f32", sub_f32, "444"),
    ROW("mul.f32", mul_f32, "444"),
    ROW("fma.f32", fma_f32, "4444"),
    ROW("mad.f32", fma_f32, "4444"),
    ROW("min.f32", min_32, "444"),
    ROW("max.f32", max_32, "444"),
    ROW("min.NaN.f32", min_nan_32, "444"),
    ROW("max.NaN.f32", max_nan_32, "444"),
    ROW("neg.f32", neg_f32, "44"),
    ROW("abs.f32", abs_f32, "44"),
    ROW("copysign.f32", copysign_f32, "444"),
    ROW("add.f64", add_f64, "888"),
    ROW("sub.f64", sub_f64, "888"),
    ROW("mul.f64", mul_f64, "888"),
    ROW("fma.f64", fma_f64, "8888"),
    ROW("mad.f64", fma_f64, "8888"),
    ROW("min.f64", min_64, "888"),
    ROW("max.f64", max_64, "888"),
    ROW("neg.f64", neg_f64, "88"),
    ROW("abs.f64", abs_f64, "88"),
    ROW("copysign.f64", copysign_f64, "888"),
    APPROX("div.f32", div_f32, "444"),
    APPROX("div.full.f32", div_f32, "444"),
    APPROX("div.approx.f32", div_f32, "444"),
    APPROX("rcp.f32", rcp_f32, "44"),
    APPROX("rcp.approx.f32", rcp_f32, "44"),
    APPROX("sqrt.f32", sqrt_f32, "44"),
    APPROX("sqrt.approx.f32", sqrt_f32, "44"),
    APPROX("rsqrt.approx.f32", rsqrt_f32, "44"),
    APPROX("ex2.approx.f32", ex2_f32, "44"),
    APPROX("lg2.approx.f32", lg2_f32, "44"),
    APPROX("sin.approx.f32", sin_f32, "44"),
    APPROX("cos.approx.f32", cos_f32, "44"),
    APPROX("tanh.approx.f32", tanh_f32, "44"),
    APPROX("div.f64", div_f64, "888"),
    APPROX("rcp.f64", rcp_f64, "88"),
    APPROX("rcp.approx.f64", rcp_f64, "88"),
    APPROX("sqrt.f64", sqrt_f64, "88"),
    APPROX("rsqrt.approx.f64", rsqrt_f64, "88"),
    TEST(finite),
    TEST(infinite),
    TEST(number),
    TEST(notanumber),
    TEST(normal),
    TEST(subnormal),
};

const SimOpcode *sim_opcode_float(const char *key) {
  for (size_t k = 0; k < sizeof opcodes / sizeof *opcodes; k++)
    if (strcmp(opcodes[k].key, key) == 0) return &opcodes[k];
  return NULL;
}
