// Comparisons, conversions, packing: everything between types. The general forms go through 64 bits
// or f64 a lane; the pairs of types that kernels are full of have loops of their own.
#include <math.h>

#include "sim_exec.h"

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;

void sim_read(const SimWarp *w, const SimInstr *i, int k, uint64_t out[32]) {
  if (i->size[k] == 8) {
    memcpy(out, SIM_REG(u64, k), 256);
  } else if (i->size[k] == 4) {
    const u32 *a = SIM_REG(u32, k);
    for (int l = 0; l < 32; l++) out[l] = a[l];
  } else {
    const u16 *a = SIM_REG(u16, k);
    for (int l = 0; l < 32; l++) out[l] = a[l];
  }
}

void sim_write(SimWarp *w, const SimInstr *i, int k, const uint64_t in[32]) {
  if (i->size[k] == 8) {
    u64 *d = SIM_REG(u64, k);
    SIM_LANES(d, in[l]);
  } else if (i->size[k] == 4) {
    u32 *d = SIM_REG(u32, k);
    SIM_LANES(d, (u32)in[l]);
  } else if (i->size[k] == 2) {
    u16 *d = SIM_REG(u16, k);
    SIM_LANES(d, (u16)in[l]);
  }
}

// ---- setp ----

static bool compare_f(int mode, f64 a, f64 b) {
  const bool unordered = a != a || b != b;
  switch (mode) {
  case SIM_EQ:
    return a == b;
  case SIM_NE:
    return !unordered && a != b;
  case SIM_LT:
    return a < b;
  case SIM_LE:
    return a <= b;
  case SIM_GT:
    return a > b;
  case SIM_GE:
    return a >= b;
  case SIM_EQU:
    return unordered || a == b;
  case SIM_NEU:
    return unordered || a != b;
  case SIM_LTU:
    return unordered || a < b;
  case SIM_LEU:
    return unordered || a <= b;
  case SIM_GTU:
    return unordered || a > b;
  case SIM_GEU:
    return unordered || a >= b;
  case SIM_NUM:
    return !unordered;
  default:
    return unordered;
  }
}

static bool compare_u(int mode, u64 a, u64 b) {
  switch (mode) {
  case SIM_EQ:
    return a == b;
  case SIM_NE:
    return a != b;
  case SIM_LT:
    return a < b;
  case SIM_LE:
    return a <= b;
  case SIM_GT:
    return a > b;
  default:
    return a >= b;
  }
}

static bool is_float(int type) {
  return type >= SIM_T_F16 && type <= SIM_T_F64;
}

static f64 float_of(int type, u64 bits) {
  const u32 low = (u32)bits;
  f32 f;
  f64 d;
  switch (type) {
  case SIM_T_F16:
    return sim_f16_to_f32((u16)bits);
  case SIM_T_BF16:
    return sim_bf16_to_f32((u16)bits);
  case SIM_T_F32:
    return memcpy(&f, &low, sizeof f), (f64)f;
  default:
    return memcpy(&d, &bits, sizeof d), d;
  }
}

static int bits_of(int type) {
  return 8 * sim_type_bytes((SimType)type);
}

static u64 extend(int type, u64 x) { // to 64 bits, by sign
  const int unused = 64 - bits_of(type);
  if (type >= SIM_T_S8 && type <= SIM_T_S64) return (u64)((s64)(x << unused) >> unused);
  return x << unused >> unused;
}

static u32 compare_lanes(SimWarp *w, const SimInstr *i, int type) {
  u64 a[32], b[32];
  sim_read(w, i, 2, a);
  sim_read(w, i, 3, b);
  u32 m = 0;
  const bool is_signed = type >= SIM_T_S8 && type <= SIM_T_S64;
  SIM_EACH(w->lanes, l) {
    bool r;
    if (type == SIM_T_F16X2 || type == SIM_T_BF16X2)
      r = false;
    else if (is_float(type)) {
      f64 x = float_of(type, a[l]), y = float_of(type, b[l]);
      if (i->ftz && fabs(x) < 0x1p-126) x = 0;
      if (i->ftz && fabs(y) < 0x1p-126) y = 0;
      r = compare_f(i->mode, x, y);
    } else if (is_signed) { // the order of signed numbers is that of the same bits with the top
                            // flipped
      const u64 flip = (u64)1 << 63;
      r = compare_u(i->mode, extend(type, a[l]) ^ flip, extend(type, b[l]) ^ flip);
    } else {
      r = compare_u(i->mode, extend(type, a[l]), extend(type, b[l]));
    }
    m |= (u32)r << l;
  }
  return m;
}

static u32 combined(SimWarp *w, const SimInstr *i, u32 m) {
  if (i->combine == SIM_C_NONE) return m;
  const u32 c = sim_mask(w, i, 4) ^ (i->negate ? UINT32_MAX : 0);
  return i->combine == SIM_C_AND ? m & c : i->combine == SIM_C_OR ? m | c : m ^ c;
}

static void set_predicates(SimWarp *w, const SimInstr *i, u32 m) {
  sim_set_mask(w, i->o[0], combined(w, i, m));
  if (i->size[1] != 0) sim_set_mask(w, i->o[1], combined(w, i, ~m));
}

void sim_run_setp(SimWarp *w, const SimInstr *i) {
  set_predicates(w, i, compare_lanes(w, i, i->type));
}

void sim_run_set(SimWarp *w, const SimInstr *i) {
  const u32 m = combined(w, i, compare_lanes(w, i, i->type));
  const u64 yes = i->from == SIM_T_F32 ? 0x3f800000 : UINT32_MAX;
  u64 out[32];
  for (int l = 0; l < 32; l++) out[l] = m >> l & 1 ? yes : 0;
  sim_write(w, i, 0, out);
}

#define DEF_SETP(id, T, EXPR)                                                                      \
  static void id(SimWarp *w, const SimInstr *i) {                                                  \
    const T *a = SIM_REG(T, 2), *b = SIM_REG(T, 3);                                                \
    u32 m = 0;                                                                                     \
    for (int l = 0; l < 32; l++) m |= (u32)(EXPR) << l;                                            \
    set_predicates(w, i, m);                                                                       \
  }
#define DEF_SETPS(T)                                                                               \
  DEF_SETP(setp_##T##_eq, T, a[l] == b[l])                                                         \
  DEF_SETP(setp_##T##_ne, T, a[l]<b[l] || a[l]> b[l])                                              \
  DEF_SETP(setp_##T##_lt, T, a[l] < b[l])                                                          \
  DEF_SETP(setp_##T##_le, T, a[l] <= b[l])                                                         \
  DEF_SETP(setp_##T##_gt, T, a[l] > b[l])                                                          \
  DEF_SETP(setp_##T##_ge, T, a[l] >= b[l])
#define DEF_SETPS_UNORDERED(T)                                                                     \
  DEF_SETP(setp_##T##_equ, T, !(a[l] < b[l] || a[l] > b[l]))                                       \
  DEF_SETP(setp_##T##_neu, T, a[l] != b[l])                                                        \
  DEF_SETP(setp_##T##_ltu, T, !(a[l] >= b[l]))                                                     \
  DEF_SETP(setp_##T##_leu, T, !(a[l] > b[l]))                                                      \
  DEF_SETP(setp_##T##_gtu, T, !(a[l] <= b[l]))                                                     \
  DEF_SETP(setp_##T##_geu, T, !(a[l] < b[l]))
DEF_SETPS(u32)
DEF_SETPS(s32)
DEF_SETPS(u64)
DEF_SETPS(s64)
DEF_SETPS(f32)
DEF_SETPS_UNORDERED(f32)

#define SETPS(T)                                                                                   \
  setp_##T##_eq, setp_##T##_ne, setp_##T##_lt, setp_##T##_le, setp_##T##_gt, setp_##T##_ge

SimRun *sim_setp_fast(const SimInstr *i) {
  static SimRun *const u32s[] = {SETPS(u32)}, *const s32s[] = {SETPS(s32)};
  static SimRun *const u64s[] = {SETPS(u64)}, *const s64s[] = {SETPS(s64)};
  static SimRun *const f32s[] = {SETPS(f32),   setp_f32_equ, setp_f32_neu, setp_f32_ltu,
                                 setp_f32_leu, setp_f32_gtu, setp_f32_geu};
  if (i->type == SIM_T_F32) return i->mode <= SIM_GEU && !i->ftz ? f32s[i->mode] : NULL;
  if (i->mode > SIM_GE) return NULL;
  switch (i->type) {
  case SIM_T_U32:
  case SIM_T_B32:
    return u32s[i->mode];
  case SIM_T_S32:
    return s32s[i->mode];
  case SIM_T_U64:
  case SIM_T_B64:
    return u64s[i->mode];
  case SIM_T_S64:
    return s64s[i->mode];
  default:
    return NULL;
  }
}

// ---- cvt ----

static f64 round_integral(int mode, f64 x) {
  switch (mode) {
  case SIM_R_RNI:
  case SIM_R_RN:
    return nearbyint(x); // ties to even
  case SIM_R_RMI:
  case SIM_R_RM:
    return floor(x);
  case SIM_R_RPI:
  case SIM_R_RP:
    return ceil(x);
  default:
    return trunc(x);
  }
}

static f32 round_f32(int mode, f64 x) {
  const f32 near = (f32)x;
  if (mode == SIM_R_RN || mode == SIM_R_NONE || (f64)near == x || x != x) return near;
  const bool up = mode == SIM_R_RP || (mode == SIM_R_RZ && x < 0);
  if (up) return (f64)near < x ? nextafterf(near, INFINITY) : near;
  return (f64)near > x ? nextafterf(near, -INFINITY) : near;
}

// NaN becomes 0 for 32 bits and below, and what is out of range the nearest; nearly all of the
// hardware's 64-bit conversions give the most negative number for NaN.
static u64 to_integer(int type, f64 x) {
  const int bits = bits_of(type);
  const bool is_signed = type >= SIM_T_S8 && type <= SIM_T_S64;
  if (x != x) return bits == 64 ? (u64)1 << 63 : 0;
  if (is_signed) {
    const f64 limit = ldexp(1, bits - 1);
    if (x >= limit) return ((u64)1 << (bits - 1)) - 1;
    if (x < -limit) return (u64)0 - ((u64)1 << (bits - 1));
    return (u64)(s64)x;
  }
  if (x <= 0) return 0;
  if (x >= ldexp(1, bits)) return bits == 64 ? UINT64_MAX : ((u64)1 << bits) - 1;
  return (u64)x;
}

static u64 clamp_integer(int from, int to, u64 x) { // x extended from `from`
  const int bits = bits_of(to);
  const bool from_signed = from >= SIM_T_S8 && from <= SIM_T_S64;
  const bool to_signed = to >= SIM_T_S8 && to <= SIM_T_S64;
  const s64 low = to_signed ? (s64)(UINT64_MAX << (bits - 1)) : 0;
  const u64 high = to_signed    ? ((u64)1 << (bits - 1)) - 1
                   : bits == 64 ? UINT64_MAX
                                : ((u64)1 << bits) - 1;
  if (from_signed && (s64)x < low) return (u64)low;
  if (!(from_signed && (s64)x < 0) && x > high) return high;
  return x;
}

static u64 from_float(const SimInstr *i, f64 x) {
  f32 f;
  u32 bits;
  u64 bits64;
  if (i->relu && x < 0) x = 0;
  if (i->sat) x = x > 0 ? x < 1 ? x : 1 : 0;
  switch (i->type) {
  case SIM_T_F32:
    f = round_f32(i->mode, x);
    if (i->ftz && fabsf(f) < 0x1p-126f) f = copysignf(0, f);
    return memcpy(&bits, &f, sizeof bits), bits;
  case SIM_T_TF32: // rna: half away from zero; 10 bits of fraction
    f = (f32)x;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return bits;
    return (i->mode == SIM_R_RNA ? bits + 0x1000 : bits + 0xfff + (bits >> 13 & 1)) & 0xffffe000;
  case SIM_T_F16:
  case SIM_T_BF16:
    f = sim_odd(x);
    if (i->mode == SIM_R_RZ) {
      memcpy(&bits, &f, sizeof bits);
      if (i->type == SIM_T_BF16) return bits >> 16;
      const u16 near = sim_f32_to_f16(f);
      return near - (fabsf(sim_f16_to_f32(near)) > fabsf(f));
    }
    return i->type == SIM_T_F16 ? sim_f32_to_f16(f) : sim_f32_to_bf16(f);
  default:
    return memcpy(&bits64, &x, sizeof x), bits64;
  }
}

static u64 convert(const SimInstr *i, u64 bits) {
  if (is_float(i->from)) {
    f64 x = float_of(i->from, bits);
    if (i->ftz && fabs(x) < 0x1p-126) x = copysign(0, x);
    if (i->mode >= SIM_R_RNI && i->mode <= SIM_R_RPI) x = round_integral(i->mode, x);
    if (is_float(i->type) || i->type == SIM_T_TF32) return from_float(i, x);
    return to_integer(i->type, x);
  }
  const u64 x = extend(i->from, bits);
  const bool from_signed = i->from >= SIM_T_S8 && i->from <= SIM_T_S64;
  if (!is_float(i->type)) return i->sat ? clamp_integer(i->from, i->type, x) : extend(i->type, x);
  if (i->type == SIM_T_F64) return from_float(i, from_signed ? (f64)(s64)x : (f64)x);
  // 64 bits do not fit f64: rounded once, straight to f32, or to odd before 16 bits.
  f64 near = from_signed ? (f64)(s64)x : (f64)x;
  if (bits_of(i->from) == 64 && i->type == SIM_T_F32 && i->mode <= SIM_R_RN) {
    const f32 f = from_signed ? (f32)(s64)x : (f32)x;
    return from_float(i, f);
  }
  return from_float(i, near);
}

void sim_run_cvt(SimWarp *w, const SimInstr *i) {
  u64 a[32], out[32];
  sim_read(w, i, 1, a);
  SIM_EACH(w->lanes, l) out[l] = convert(i, a[l]);
  sim_write(w, i, 0, out);
}

// The first operand is the upper half.
void sim_run_cvt_pack(SimWarp *w, const SimInstr *i) {
  u32 *d = SIM_REG(u32, 0);
  const f32 *a = SIM_REG(f32, 1), *b = SIM_REG(f32, 2);
  if (i->type == SIM_T_BF16X2 && !i->relu && i->mode == SIM_R_RN) {
    SIM_LANES(d, (u32)sim_f32_to_bf16(a[l]) << 16 | sim_f32_to_bf16(b[l]));
    return;
  }
  SimInstr one = *i;
  one.type = i->type == SIM_T_BF16X2 ? SIM_T_BF16 : SIM_T_F16;
  SIM_EACH(w->lanes, l)
  d[l] = (u32)from_float(&one, (f64)a[l]) << 16 | (u32)from_float(&one, (f64)b[l]);
}

#define DEF_CVT(id, D, A, EXPR)                                                                    \
  static void id(SimWarp *w, const SimInstr *i) {                                                  \
    D *d = SIM_REG(D, 0);                                                                          \
    const A *a = SIM_REG(A, 1);                                                                    \
    SIM_LANES(d, (D)(EXPR));                                                                       \
  }
DEF_CVT(cvt_u64_u32, u64, u32, a[l])
DEF_CVT(cvt_s64_s32, s64, s32, a[l])
DEF_CVT(cvt_u32_u64, u32, u64, a[l])
DEF_CVT(cvt_u16_u32, u16, u32, a[l])
DEF_CVT(cvt_u32_u16, u32, u16, a[l])
DEF_CVT(cvt_s32_s16, s32, s16, a[l])
DEF_CVT(cvt_u64_u16, u64, u16, a[l])
DEF_CVT(cvt_s64_s16, s64, s16, a[l])
DEF_CVT(cvt_f32_s32, f32, s32, a[l])
DEF_CVT(cvt_f32_u32, f32, u32, a[l])
DEF_CVT(cvt_f64_f32, f64, f32, a[l])
DEF_CVT(cvt_f32_f64, f32, f64, a[l])
DEF_CVT(cvt_f64_s32, f64, s32, a[l])
DEF_CVT(cvt_f32_bf16, f32, u16, sim_bf16_to_f32(a[l]))
DEF_CVT(cvt_bf16_f32, u16, f32, sim_f32_to_bf16(a[l]))
DEF_CVT(cvt_f32_f16, f32, u16, sim_f16_to_f32(a[l]))
DEF_CVT(cvt_f16_f32, u16, f32, sim_f32_to_f16(a[l]))

SimRun *sim_cvt_fast(const SimInstr *i) {
  static const struct {
    SimType to, from;
    uint8_t to_size, from_size, mode;
    SimRun *run;
  } fast[] = {
      {SIM_T_U64, SIM_T_U32, 8, 4, SIM_R_NONE, cvt_u64_u32},
      {SIM_T_S64, SIM_T_U32, 8, 4, SIM_R_NONE, cvt_u64_u32},
      {SIM_T_S64, SIM_T_S32, 8, 4, SIM_R_NONE, cvt_s64_s32},
      {SIM_T_U64, SIM_T_S32, 8, 4, SIM_R_NONE, cvt_s64_s32},
      {SIM_T_U32, SIM_T_U64, 4, 8, SIM_R_NONE, cvt_u32_u64},
      {SIM_T_S32, SIM_T_S64, 4, 8, SIM_R_NONE, cvt_u32_u64},
      {SIM_T_U32, SIM_T_S64, 4, 8, SIM_R_NONE, cvt_u32_u64},
      {SIM_T_U16, SIM_T_U32, 2, 4, SIM_R_NONE, cvt_u16_u32},
      {SIM_T_S16, SIM_T_S32, 2, 4, SIM_R_NONE, cvt_u16_u32},
      {SIM_T_U32, SIM_T_U16, 4, 2, SIM_R_NONE, cvt_u32_u16},
      {SIM_T_S32, SIM_T_S16, 4, 2, SIM_R_NONE, cvt_s32_s16},
      {SIM_T_U64, SIM_T_U16, 8, 2, SIM_R_NONE, cvt_u64_u16},
      {SIM_T_S64, SIM_T_S16, 8, 2, SIM_R_NONE, cvt_s64_s16},
      {SIM_T_F32, SIM_T_S32, 4, 4, SIM_R_RN, cvt_f32_s32},
      {SIM_T_F32, SIM_T_U32, 4, 4, SIM_R_RN, cvt_f32_u32},
      {SIM_T_F64, SIM_T_F32, 8, 4, SIM_R_NONE, cvt_f64_f32},
      {SIM_T_F32, SIM_T_F64, 4, 8, SIM_R_RN, cvt_f32_f64},
      {SIM_T_F64, SIM_T_S32, 8, 4, SIM_R_RN, cvt_f64_s32},
      {SIM_T_F32, SIM_T_BF16, 4, 2, SIM_R_NONE, cvt_f32_bf16},
      {SIM_T_BF16, SIM_T_F32, 2, 4, SIM_R_RN, cvt_bf16_f32},
      {SIM_T_F32, SIM_T_F16, 4, 2, SIM_R_NONE, cvt_f32_f16},
      {SIM_T_F16, SIM_T_F32, 2, 4, SIM_R_RN, cvt_f16_f32},
  };
  if (i->ftz || i->sat || i->relu) return NULL;
  for (size_t k = 0; k < sizeof fast / sizeof *fast; k++)
    if (fast[k].to == i->type && fast[k].from == i->from && fast[k].to_size == i->size[0] &&
        fast[k].from_size == i->size[1] && fast[k].mode == i->mode)
      return fast[k].run;
  return NULL;
}

// ---- mov of vectors ----

void sim_run_mov_pack(SimWarp *w, const SimInstr *i) {
  u64 out[32] = {0}, part[32];
  for (int k = 0; k < i->n; k++) {
    sim_read(w, i, 1 + k, part);
    for (int l = 0; l < 32; l++) out[l] |= part[l] << (8 * i->bytes * k);
  }
  sim_write(w, i, 0, out);
}

void sim_run_mov_unpack(SimWarp *w, const SimInstr *i) {
  u64 whole[32], part[32];
  sim_read(w, i, 0, whole);
  for (int k = 0; k < i->n; k++) {
    for (int l = 0; l < 32; l++) part[l] = whole[l] >> (8 * i->bytes * k);
    sim_write(w, i, 1 + k, part);
  }
}
