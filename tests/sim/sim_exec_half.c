// Arithmetic of f16 and bf16 and of pairs of them in 32 bits: in f32, rounded once (24 bits are
// enough for the sum, difference and product of either), fma in f64 rounded to odd in between.
#include <math.h>

#include "sim_exec.h"

typedef uint16_t u16;
typedef uint32_t u32;
typedef float f32;

float sim_f16_to_f32(uint16_t x) {
  const u32 sign = (u32)(x & 0x8000) << 16, exponent = x >> 10 & 31;
  u32 fraction = x & 1023, bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000 | fraction << 13;
  } else if (exponent != 0) {
    bits = sign | (exponent + 112) << 23 | fraction << 13;
  } else {
    const f32 value = (f32)fraction * 0x1p-24f;
    memcpy(&bits, &value, sizeof bits);
    bits |= sign;
  }
  f32 f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

uint16_t sim_f32_to_f16(float x) {
  u32 bits;
  memcpy(&bits, &x, sizeof bits);
  const u16 sign = (u16)(bits >> 16 & 0x8000);
  const u32 magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return 0x7fff;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds to 65520 or more
  if (magnitude < 0x38800000) {                      // subnormal
    f32 m;
    memcpy(&m, &magnitude, sizeof m);
    return sign | (u16)nearbyintf(m * 0x1p24f);
  }
  const u32 rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return sign | (u16)((rounded >> 13) - (112 << 10));
}

float sim_odd(double x) {
  const f32 f = (f32)x;
  if ((double)f == x || !isfinite(f)) return f;
  u32 bits;
  memcpy(&bits, &f, sizeof bits);
  if (fabs((double)f) > fabs(x)) bits--; // toward zero
  bits |= 1;
  f32 out;
  memcpy(&out, &bits, sizeof out);
  return out;
}

static inline f32 to_f16(u16 x) {
  return sim_f16_to_f32(x);
}
static inline f32 to_bf16(u16 x) {
  return sim_bf16_to_f32(x);
}
static inline u16 from_f16(f32 x) {
  return sim_f32_to_f16(x);
}
static inline u16 from_bf16(f32 x) {
  return sim_f32_to_bf16(x);
}

static inline f32 fma_odd(f32 a, f32 b, f32 c) {
  return sim_odd(fma((double)a, (double)b, (double)c));
}
static inline f32 relu(f32 x) {
  return x != x ? x : x > 0 ? x : 0;
}
static inline f32 saturate(f32 x) {
  return x > 0 ? x < 1 ? x : 1 : 0;
}
static inline f32 min_number(f32 a, f32 b) {
  return a != a ? b : b != b ? a : a < b ? a : b < a ? b : signbit(a) ? a : b;
}
static inline f32 max_number(f32 a, f32 b) {
  return a != a ? b : b != b ? a : a > b ? a : b > a ? b : signbit(a) ? b : a;
}
static inline f32 min_nan(f32 a, f32 b) {
  return a != a || b != b ? NAN : min_number(a, b);
}
static inline f32 max_nan(f32 a, f32 b) {
  return a != a || b != b ? NAN : max_number(a, b);
}

// x, y, z: the operands of one lane and half as f32; unused ones repeat the first.
#define HALVES(X)                                                                                  \
  X(add, x + y)                                                                                    \
  X(sub, x - y)                                                                                    \
  X(mul, x *y)                                                                                     \
  X(add_sat, saturate(x + y))                                                                      \
  X(sub_sat, saturate(x - y))                                                                      \
  X(mul_sat, saturate(x *y))                                                                       \
  X(fma, fma_odd(x, y, z))                                                                         \
  X(fma_relu, relu(fma_odd(x, y, z)))                                                              \
  X(fma_sat, saturate(fma_odd(x, y, z)))                                                           \
  X(min, min_number(x, y))                                                                         \
  X(max, max_number(x, y))                                                                         \
  X(min_nan, min_nan(x, y))                                                                        \
  X(max_nan, max_nan(x, y))                                                                        \
  X(neg, -x)                                                                                       \
  X(abs, fabsf(x))                                                                                 \
  X(ex2, exp2f(x))                                                                                 \
  X(tanh, tanhf(x))

#define DEF(T, id, EXPR)                                                                           \
  static inline u16 T##_##id##_one(u16 a, u16 b, u16 c) {                                          \
    const f32 x = to_##T(a), y = to_##T(b), z = to_##T(c);                                         \
    (void)y, (void)z;                                                                              \
    return from_##T(EXPR);                                                                         \
  }                                                                                                \
  static void T##_##id(SimWarp *w, const SimInstr *i) {                                            \
    u16 *d = SIM_REG(u16, 0);                                                                      \
    const u16 *a = SIM_REG(u16, 1);                                                                \
    const u16 *b = i->size[2] != 0 ? SIM_REG(u16, 2) : a;                                          \
    const u16 *c = i->size[3] != 0 ? SIM_REG(u16, 3) : a;                                          \
    SIM_EACH(w->lanes, l) d[l] = T##_##id##_one(a[l], b[l], c[l]);                                 \
  }                                                                                                \
  static void T##x2_##id(SimWarp *w, const SimInstr *i) {                                          \
    u32 *d = SIM_REG(u32, 0);                                                                      \
    const u32 *a = SIM_REG(u32, 1);                                                                \
    const u32 *b = i->size[2] != 0 ? SIM_REG(u32, 2) : a;                                          \
    const u32 *c = i->size[3] != 0 ? SIM_REG(u32, 3) : a;                                          \
    SIM_EACH(w->lanes, l)                                                                          \
    d[l] = T##_##id##_one((u16)a[l], (u16)b[l], (u16)c[l]) |                                       \
           (u32)T##_##id##_one((u16)(a[l] >> 16), (u16)(b[l] >> 16), (u16)(c[l] >> 16)) << 16;     \
  }
#define DEF_F16(id, EXPR) DEF(f16, id, EXPR)
#define DEF_BF16(id, EXPR) DEF(bf16, id, EXPR)
HALVES(DEF_F16)
HALVES(DEF_BF16)

#define ROW(key, run, sizes)                                                                       \
  { key, run, sizes, SIM_KIND_FLOAT }
#define ROWS(key, id, n)                                                                           \
  ROW(key ".f16", f16_##id, "222" + (3 - n)), ROW(key ".f16x2", f16x2_##id, "444" + (3 - n)),      \
      ROW(key ".bf16", bf16_##id, "222" + (3 - n)),                                                \
      ROW(key ".bf16x2", bf16x2_##id, "444" + (3 - n))
#define ROWS3(key, id)                                                                             \
  ROW(key ".f16", f16_##id, "2222"), ROW(key ".f16x2", f16x2_##id, "4444"),                        \
      ROW(key ".bf16", bf16_##id, "2222"), ROW(key ".bf16x2", bf16x2_##id, "4444")

static const SimOpcode opcodes[] = {
    ROWS("add", add, 3),         ROWS("sub", sub, 3),          ROWS("mul", mul, 3),
    ROWS("add.sat", add_sat, 3), ROWS("sub.sat", sub_sat, 3),  ROWS("mul.sat", mul_sat, 3),
    ROWS3("fma", fma),           ROWS3("fma.relu", fma_relu),  ROWS3("fma.sat", fma_sat),
    ROWS("min", min, 3),         ROWS("max", max, 3),          ROWS("min.NaN", min_nan, 3),
    ROWS("max.NaN", max_nan, 3), ROWS("neg", neg, 2),          ROWS("abs", abs, 2),
    ROWS("ex2.approx", ex2, 2),  ROWS("tanh.approx", tanh, 2),
};

const SimOpcode *sim_opcode_half(const char *key) {
  for (size_t k = 0; k < sizeof opcodes / sizeof *opcodes; k++)
    if (strcmp(opcodes[k].key, key) == 0) return &opcodes[k];
  return NULL;
}
