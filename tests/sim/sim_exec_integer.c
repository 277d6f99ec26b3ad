// Integer and bit instructions, moves and selects: each a loop over 32 lanes.
#include "sim_exec.h"

#define DEF1(id, D, A, EXPR)                                                                       \
  static void id(SimWarp *w, const SimInstr *i) {                                                  \
    D *d = SIM_REG(D, 0);                                                                          \
    const A *a = SIM_REG(A, 1);                                                                    \
    SIM_LANES(d, (D)(EXPR));                                                                       \
  }
#define DEF2(id, D, A, B, EXPR)                                                                    \
  static void id(SimWarp *w, const SimInstr *i) {                                                  \
    D *d = SIM_REG(D, 0);                                                                          \
    const A *a = SIM_REG(A, 1);                                                                    \
    const B *b = SIM_REG(B, 2);                                                                    \
    SIM_LANES(d, (D)(EXPR));                                                                       \
  }
#define DEF3(id, D, A, B, C, EXPR)                                                                 \
  static void id(SimWarp *w, const SimInstr *i) {                                                  \
    D *d = SIM_REG(D, 0);                                                                          \
    const A *a = SIM_REG(A, 1);                                                                    \
    const B *b = SIM_REG(B, 2);                                                                    \
    const C *c = SIM_REG(C, 3);                                                                    \
    SIM_LANES(d, (D)(EXPR));                                                                       \
  }

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef __int128 s128;
typedef unsigned __int128 u128;

static inline u64 div_u(u64 a, u64 b) {
  return b == 0 ? UINT64_MAX : a / b;
}
static inline u64 rem_u(u64 a, u64 b) {
  return b == 0 ? a : a % b;
}
static inline s64 div_s(s64 a, s64 b) {
  return b == 0 ? -1 : b == -1 ? (s64)(0 - (u64)a) : a / b;
}
static inline s64 rem_s(s64 a, s64 b) {
  return b == 0 ? a : b == -1 ? 0 : a % b;
}
// The quick division of 32 bits: lanes that do not run may hold anything.
static inline u32 div_u32(u32 a, u32 b) {
  return b == 0 ? UINT32_MAX : a / b;
}
static inline u32 rem_u32(u32 a, u32 b) {
  return b == 0 ? a : a % b;
}
static inline s32 saturate_s32(s64 x) {
  return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (s32)x;
}
static inline u32 bfe_u32(u32 a, u32 pos, u32 len) {
  pos &= 255, len &= 255;
  if (pos > 31 || len == 0) return 0;
  return len > 31 ? a >> pos : a >> pos & ((1u << len) - 1);
}
static inline u64 bfe_u64(u64 a, u32 pos, u32 len) {
  pos &= 255, len &= 255;
  if (pos > 63 || len == 0) return 0;
  return len > 63 ? a >> pos : a >> pos & (((u64)1 << len) - 1);
}
static inline s64 bfe_s(s64 a, u32 pos, u32 len, u32 width) {
  pos &= 255, len &= 255;
  if (len == 0) return 0;
  if (pos > width - 1) return a < 0 ? -1 : 0;
  s64 x = a >> pos;
  if (pos + len >= width) return x; // the sign fills up
  return (s64)((u64)x << (64 - len)) >> (64 - len);
}
static inline u64 bfi(u64 f, u64 into, u32 pos, u32 len, u32 width) {
  pos &= 255, len &= 255;
  if (len == 0 || pos >= width) return into;
  const u64 mask = (len > 63 ? UINT64_MAX : ((u64)1 << len) - 1) << pos;
  return (into & ~mask) | (f << pos & mask);
}
static inline u32 brev32(u32 x) {
  x = (x >> 1 & 0x55555555) | (x & 0x55555555) << 1;
  x = (x >> 2 & 0x33333333) | (x & 0x33333333) << 2;
  x = (x >> 4 & 0x0f0f0f0f) | (x & 0x0f0f0f0f) << 4;
  return __builtin_bswap32(x);
}
static inline u64 brev64(u64 x) {
  return (u64)brev32((u32)x) << 32 | brev32((u32)(x >> 32));
}
static inline u32 clz32(u32 x) {
  return x == 0 ? 32 : (u32)__builtin_clz(x);
}
static inline u32 clz64(u64 x) {
  return x == 0 ? 64 : (u32)__builtin_clzll(x);
}
static inline u32 prmt(u32 a, u32 b, u32 select) {
  const u64 bytes = (u64)b << 32 | a;
  u32 out = 0;
  for (int k = 0; k < 4; k++) {
    const u32 s = select >> (4 * k) & 15;
    u32 byte = (u32)(bytes >> (8 * (s & 7))) & 255;
    if (s & 8) byte = byte & 128 ? 255 : 0;
    out |= byte << (8 * k);
  }
  return out;
}
static inline u32 prmt_mode(u32 a, u32 b, u32 c, int mode) { // f4e b4e rc8 ecl ecr rc16
  static const u16 select[6][4] = {
      {0x3210, 0x4321, 0x5432, 0x6543}, {0x5670, 0x6701, 0x7012, 0x0123},
      {0x0000, 0x1111, 0x2222, 0x3333}, {0x3210, 0x3211, 0x3222, 0x3333},
      {0x0000, 0x1110, 0x2210, 0x3210}, {0x1010, 0x3232, 0x1010, 0x3232}};
  return prmt(a, b, select[mode][c & 3]);
}
static inline u32 shf_l(u32 a, u32 b, u32 n) {
  return (u32)((((u64)b << 32 | a) << n) >> 32);
}
static inline u32 shf_r(u32 a, u32 b, u32 n) {
  return (u32)(((u64)b << 32 | a) >> n);
}
static inline u32 least(u32 a, u32 b) {
  return a < b ? a : b;
}
static inline int byte_of(u32 x, int k, bool is_signed) {
  return is_signed ? (int8_t)(x >> (8 * k)) : (int)(x >> (8 * k) & 255);
}
static inline u32 dp4(u32 a, bool as, u32 b, bool bs, u32 c) {
  s64 sum = 0;
  for (int k = 0; k < 4; k++) sum += byte_of(a, k, as) * byte_of(b, k, bs);
  return (u32)((u64)sum + c);
}
static inline u32 dp2(u32 a, bool as, u32 b, bool bs, u32 c, int high) {
  s64 sum = 0;
  for (int k = 0; k < 2; k++)
    sum += (s64)(as ? (s16)(a >> (16 * k)) : (s32)(a >> (16 * k) & 65535)) *
           byte_of(b, k + 2 * high, bs);
  return (u32)((u64)sum + c);
}
static inline u32 pair(u32 low, u32 high) {
  return (low & 65535) | high << 16;
}

// The same result whatever the sign: of 16, 32, 64 bits.
#define WRAP(X)                                                                                    \
  X("add", add, 1ull * a[l] + b[l])                                                                \
  X("sub", sub, 1ull * a[l] - b[l])                                                                \
  X("mul.lo", mul_lo, 1ull * a[l] * b[l])
// By sign and width.
#define SIGNED(X)                                                                                  \
  X("min", min, a[l] < b[l] ? a[l] : b[l])                                                         \
  X("max", max, a[l] > b[l] ? a[l] : b[l])
#define BITS(X)                                                                                    \
  X("and", and, a[l] & b[l])                                                                       \
  X("or", or, a[l] | b[l])                                                                         \
  X("xor", xor, a[l] ^ b[l])

#define DEF_WRAP(key, id, EXPR)                                                                    \
  DEF2(id##_u16, u16, u16, u16, EXPR)                                                              \
  DEF2(id##_u32, u32, u32, u32, EXPR)                                                              \
  DEF2(id##_u64, u64, u64, u64, EXPR)
#define DEF_SIGNED(key, id, EXPR)                                                                  \
  DEF_WRAP(key, id, EXPR)                                                                          \
  DEF2(id##_s16, s16, s16, s16, EXPR)                                                              \
  DEF2(id##_s32, s32, s32, s32, EXPR)                                                              \
  DEF2(id##_s64, s64, s64, s64, EXPR)
#define DEF_BITS(key, id, EXPR)                                                                    \
  DEF_WRAP(key, id, EXPR)                                                                          \
  static void id##_pred(SimWarp *w, const SimInstr *i) {                                           \
    const u32 am = sim_mask(w, i, 1), bm = sim_mask(w, i, 2);                                      \
    const u32 *a = &am, *b = &bm;                                                                  \
    const int l = 0;                                                                               \
    sim_set_mask(w, i->o[0], EXPR);                                                                \
  }
WRAP(DEF_WRAP)
SIGNED(DEF_SIGNED)
BITS(DEF_BITS)

DEF2(mul_hi_u16, u16, u16, u16, (u32)a[l] * b[l] >> 16)
DEF2(mul_hi_s16, s16, s16, s16, (s32)a[l] * b[l] >> 16)
DEF2(mul_hi_u32, u32, u32, u32, (u64)a[l] * b[l] >> 32)
DEF2(mul_hi_s32, s32, s32, s32, (s64)a[l] * b[l] >> 32)
DEF2(mul_hi_u64, u64, u64, u64, (u128)a[l] * b[l] >> 64)
DEF2(mul_hi_s64, s64, s64, s64, (s128)a[l] * b[l] >> 64)
DEF2(mul_wide_u16, u32, u16, u16, (u32)a[l] * b[l])
DEF2(mul_wide_s16, s32, s16, s16, (s32)a[l] * b[l])
DEF2(mul_wide_u32, u64, u32, u32, (u64)a[l] * b[l])
DEF2(mul_wide_s32, s64, s32, s32, (s64)a[l] * b[l])
DEF2(mul24_u32, u32, u32, u32, (u64)(a[l] & 0xffffff) * (b[l] & 0xffffff))
DEF2(mul24_s32, u32, u32, u32, (s64)((s32)(a[l] << 8) >> 8) * ((s32)(b[l] << 8) >> 8))
DEF3(mad_lo_u16, u16, u16, u16, u16, 1u * a[l] * b[l] + c[l])
DEF3(mad_lo_u32, u32, u32, u32, u32, a[l] * b[l] + c[l])
DEF3(mad_lo_u64, u64, u64, u64, u64, a[l] * b[l] + c[l])
DEF3(mad_hi_u32, u32, u32, u32, u32, (u32)((u64)a[l] * b[l] >> 32) + c[l])
DEF3(mad_hi_s32, u32, s32, s32, u32, (u32)((s64)a[l] * b[l] >> 32) + c[l])
DEF3(mad_hi_u64, u64, u64, u64, u64, (u64)((u128)a[l] * b[l] >> 64) + c[l])
DEF3(mad_hi_s64, u64, s64, s64, u64, (u64)((s128)a[l] * b[l] >> 64) + c[l])
DEF3(mad_wide_u16, u32, u16, u16, u32, (u32)a[l] * b[l] + c[l])
DEF3(mad_wide_s16, u32, s16, s16, u32, (u32)((s32)a[l] * b[l]) + c[l])
DEF3(mad_wide_u32, u64, u32, u32, u64, (u64)a[l] * b[l] + c[l])
DEF3(mad_wide_s32, u64, s32, s32, u64, (u64)((s64)a[l] * b[l]) + c[l])
DEF2(add_sat_s32, s32, s32, s32, saturate_s32((s64)a[l] + b[l]))
DEF2(sub_sat_s32, s32, s32, s32, saturate_s32((s64)a[l] - b[l]))
DEF3(sad_u32, u32, u32, u32, u32, c[l] + (a[l] < b[l] ? b[l] - a[l] : a[l] - b[l]))
DEF3(sad_s32, u32, s32, s32, u32,
     c[l] + (a[l] < b[l] ? (u32)b[l] - (u32)a[l] : (u32)a[l] - (u32)b[l]))
DEF2(div_u16, u16, u16, u16, div_u32(a[l], b[l]))
DEF2(div_s16, s16, s16, s16, div_s(a[l], b[l]))
DEF2(div_u32_, u32, u32, u32, div_u32(a[l], b[l]))
DEF2(div_s32, s32, s32, s32, div_s(a[l], b[l]))
DEF2(div_u64, u64, u64, u64, div_u(a[l], b[l]))
DEF2(div_s64, s64, s64, s64, div_s(a[l], b[l]))
DEF2(rem_u16, u16, u16, u16, rem_u32(a[l], b[l]))
DEF2(rem_s16, s16, s16, s16, rem_s(a[l], b[l]))
DEF2(rem_u32_, u32, u32, u32, rem_u32(a[l], b[l]))
DEF2(rem_s32, s32, s32, s32, rem_s(a[l], b[l]))
DEF2(rem_u64, u64, u64, u64, rem_u(a[l], b[l]))
DEF2(rem_s64, s64, s64, s64, rem_s(a[l], b[l]))
DEF1(abs_s16, u16, s16, a[l] < 0 ? -a[l] : a[l])
DEF1(abs_s32, u32, s32, a[l] < 0 ? 0u - (u32)a[l] : (u32)a[l])
DEF1(abs_s64, u64, s64, a[l] < 0 ? 0ull - (u64)a[l] : (u64)a[l])
DEF1(neg_s16, u16, u16, 0u - a[l])
DEF1(neg_s32, u32, u32, 0u - a[l])
DEF1(neg_s64, u64, u64, 0ull - a[l])
DEF1(not_16, u16, u16, ~a[l])
DEF1(not_32, u32, u32, ~a[l])
DEF1(not_64, u64, u64, ~a[l])
DEF1(cnot_16, u16, u16, a[l] == 0)
DEF1(cnot_32, u32, u32, a[l] == 0)
DEF1(cnot_64, u64, u64, a[l] == 0)
DEF1(mov_16, u16, u16, a[l])
DEF1(mov_32, u32, u32, a[l])
DEF1(mov_64, u64, u64, a[l])
DEF1(popc_32, u32, u32, __builtin_popcount(a[l]))
DEF1(popc_64, u32, u64, __builtin_popcountll(a[l]))
DEF1(clz_32, u32, u32, clz32(a[l]))
DEF1(clz_64, u32, u64, clz64(a[l]))
DEF1(brev_32, u32, u32, brev32(a[l]))
DEF1(brev_64, u64, u64, brev64(a[l]))
DEF1(bfind_u32, u32, u32, 31 - clz32(a[l]))
DEF1(bfind_s32, u32, s32, 31 - clz32((u32)(a[l] < 0 ? ~a[l] : a[l])))
DEF1(bfind_u64, u32, u64, 63 - clz64(a[l]))
DEF1(bfind_s64, u32, s64, 63 - clz64((u64)(a[l] < 0 ? ~a[l] : a[l])))
DEF1(bfind_shift_u32, u32, u32, a[l] == 0 ? UINT32_MAX : clz32(a[l]))
DEF1(bfind_shift_u64, u32, u64, a[l] == 0 ? UINT32_MAX : clz64(a[l]))
DEF2(shl_16, u16, u16, u32, b[l] > 15 ? 0 : (u32)a[l] << (b[l] & 15))
DEF2(shl_32, u32, u32, u32, b[l] > 31 ? 0 : a[l] << (b[l] & 31))
DEF2(shl_64, u64, u64, u32, b[l] > 63 ? 0 : a[l] << (b[l] & 63))
DEF2(shr_u16, u16, u16, u32, b[l] > 15 ? 0 : a[l] >> (b[l] & 15))
DEF2(shr_u32, u32, u32, u32, b[l] > 31 ? 0 : a[l] >> (b[l] & 31))
DEF2(shr_u64, u64, u64, u32, b[l] > 63 ? 0 : a[l] >> (b[l] & 63))
DEF2(shr_s16, s16, s16, u32, a[l] >> least(b[l], 15))
DEF2(shr_s32, s32, s32, u32, a[l] >> least(b[l], 31))
DEF2(shr_s64, s64, s64, u32, a[l] >> least(b[l], 63))
DEF3(bfe_u32_, u32, u32, u32, u32, bfe_u32(a[l], b[l], c[l]))
DEF3(bfe_s32, s32, s32, u32, u32, bfe_s(a[l], b[l], c[l], 32))
DEF3(bfe_u64_, u64, u64, u32, u32, bfe_u64(a[l], b[l], c[l]))
DEF3(bfe_s64, s64, s64, u32, u32, bfe_s(a[l], b[l], c[l], 64))
DEF3(shf_l_wrap, u32, u32, u32, u32, shf_l(a[l], b[l], c[l] & 31))
DEF3(shf_l_clamp, u32, u32, u32, u32, shf_l(a[l], b[l], least(c[l], 32)))
DEF3(shf_r_wrap, u32, u32, u32, u32, shf_r(a[l], b[l], c[l] & 31))
DEF3(shf_r_clamp, u32, u32, u32, u32, shf_r(a[l], b[l], least(c[l], 32)))
DEF3(prmt_32, u32, u32, u32, u32, prmt(a[l], b[l], c[l]))
DEF3(prmt_f4e, u32, u32, u32, u32, prmt_mode(a[l], b[l], c[l], 0))
DEF3(prmt_b4e, u32, u32, u32, u32, prmt_mode(a[l], b[l], c[l], 1))
DEF3(prmt_rc8, u32, u32, u32, u32, prmt_mode(a[l], b[l], c[l], 2))
DEF3(prmt_ecl, u32, u32, u32, u32, prmt_mode(a[l], b[l], c[l], 3))
DEF3(prmt_ecr, u32, u32, u32, u32, prmt_mode(a[l], b[l], c[l], 4))
DEF3(prmt_rc16, u32, u32, u32, u32, prmt_mode(a[l], b[l], c[l], 5))
DEF3(dp4a_ss, u32, u32, u32, u32, dp4(a[l], true, b[l], true, c[l]))
DEF3(dp4a_su, u32, u32, u32, u32, dp4(a[l], true, b[l], false, c[l]))
DEF3(dp4a_us, u32, u32, u32, u32, dp4(a[l], false, b[l], true, c[l]))
DEF3(dp4a_uu, u32, u32, u32, u32, dp4(a[l], false, b[l], false, c[l]))
DEF3(dp2a_lo_ss, u32, u32, u32, u32, dp2(a[l], true, b[l], true, c[l], 0))
DEF3(dp2a_hi_ss, u32, u32, u32, u32, dp2(a[l], true, b[l], true, c[l], 1))
DEF3(dp2a_lo_uu, u32, u32, u32, u32, dp2(a[l], false, b[l], false, c[l], 0))
DEF3(dp2a_hi_uu, u32, u32, u32, u32, dp2(a[l], false, b[l], false, c[l], 1))
DEF2(add_u16x2, u32, u32, u32, pair(a[l] + b[l], (a[l] >> 16) + (b[l] >> 16)))

static void bfi_32(SimWarp *w, const SimInstr *i) {
  u32 *d = SIM_REG(u32, 0);
  const u32 *f = SIM_REG(u32, 1), *g = SIM_REG(u32, 2), *p = SIM_REG(u32, 3), *n = SIM_REG(u32, 4);
  SIM_LANES(d, (u32)bfi(f[l], g[l], p[l], n[l], 32));
}
static void bfi_64(SimWarp *w, const SimInstr *i) {
  u64 *d = SIM_REG(u64, 0);
  const u64 *f = SIM_REG(u64, 1), *g = SIM_REG(u64, 2);
  const u32 *p = SIM_REG(u32, 3), *n = SIM_REG(u32, 4);
  SIM_LANES(d, bfi(f[l], g[l], p[l], n[l], 64));
}

// Every minterm of the table, OR-ed: eight is the most there are.
static void lop3(SimWarp *w, const SimInstr *i) {
  u32 *d = SIM_REG(u32, 0);
  const u32 *a = SIM_REG(u32, 1), *b = SIM_REG(u32, 2), *c = SIM_REG(u32, 3);
  const u32 table = SIM_REG(u32, 4)[0];
  u32 term[8];
  for (int k = 0; k < 8; k++) term[k] = table >> k & 1 ? UINT32_MAX : 0;
#define LOP3(k) (((k)&4 ? a[l] : ~a[l]) & ((k)&2 ? b[l] : ~b[l]) & ((k)&1 ? c[l] : ~c[l]) & term[k])
  SIM_LANES(d, LOP3(0) | LOP3(1) | LOP3(2) | LOP3(3) | LOP3(4) | LOP3(5) | LOP3(6) | LOP3(7));
}

#define DEF_SELECT(T)                                                                              \
  static void selp_##T(SimWarp *w, const SimInstr *i) {                                            \
    T *d = SIM_REG(T, 0);                                                                          \
    const T *a = SIM_REG(T, 1), *b = SIM_REG(T, 2);                                                \
    const u32 p = sim_mask(w, i, 3);                                                               \
    SIM_LANES(d, p >> l & 1 ? a[l] : b[l]);                                                        \
  }                                                                                                \
  DEF3(slct_##T##_s32, T, T, T, s32, c[l] >= 0 ? a[l] : b[l])                                      \
  DEF3(slct_##T##_f32, T, T, T, float, c[l] >= 0 ? a[l] : b[l])
DEF_SELECT(u16)
DEF_SELECT(u32)
DEF_SELECT(u64)

static void mov_pred(SimWarp *w, const SimInstr *i) {
  sim_set_mask(w, i->o[0], sim_mask(w, i, 1));
}
static void not_pred(SimWarp *w, const SimInstr *i) {
  sim_set_mask(w, i->o[0], ~sim_mask(w, i, 1));
}

// With the carry in and out: add.cc, addc, addc.cc, sub.cc, subc, subc.cc. For subtraction the flag
// is the borrow.
#define DEF_CARRY(id, T, W, in, out, subtract)                                                     \
  static void id(SimWarp *w, const SimInstr *i) {                                                  \
    T *d = SIM_REG(T, 0);                                                                          \
    const T *a = SIM_REG(T, 1), *b = SIM_REG(T, 2);                                                \
    SIM_EACH(w->lanes, l) {                                                                        \
      const W c = (in) ? w->carry >> l & 1 : 0;                                                    \
      const W r = (subtract) ? (W)a[l] - b[l] - c : (W)a[l] + b[l] + c;                            \
      d[l] = (T)r;                                                                                 \
      if (out) w->carry = (w->carry & ~(1u << l)) | (u32)(r >> (8 * sizeof(T)) & 1) << l;          \
    }                                                                                              \
  }
#define CARRY(X)                                                                                   \
  X("add.cc", add_cc, 0, 1, 0)                                                                     \
  X("addc", addc, 1, 0, 0)                                                                         \
  X("addc.cc", addc_cc, 1, 1, 0)                                                                   \
  X("sub.cc", sub_cc, 0, 1, 1)                                                                     \
  X("subc", subc, 1, 0, 1)                                                                         \
  X("subc.cc", subc_cc, 1, 1, 1)
#define DEF_CARRIES(key, id, in, out, subtract)                                                    \
  DEF_CARRY(id##_32, u32, u64, in, out, subtract)                                                  \
  DEF_CARRY(id##_64, u64, u128, in, out, subtract)
CARRY(DEF_CARRIES)

#define ROW(key, run, sizes)                                                                       \
  { key, run, sizes, SIM_KIND_INT }
#define ROWS_WRAP(key, id, EXPR)                                                                   \
  ROW(key ".u16", id##_u16, "222"), ROW(key ".s16", id##_u16, "222"),                              \
      ROW(key ".u32", id##_u32, "444"), ROW(key ".s32", id##_u32, "444"),                          \
      ROW(key ".u64", id##_u64, "888"), ROW(key ".s64", id##_u64, "888"),
#define ROWS_SIGNED(key, id, EXPR)                                                                 \
  ROW(key ".u16", id##_u16, "222"), ROW(key ".s16", id##_s16, "222"),                              \
      ROW(key ".u32", id##_u32, "444"), ROW(key ".s32", id##_s32, "444"),                          \
      ROW(key ".u64", id##_u64, "888"), ROW(key ".s64", id##_s64, "888"),
#define ROWS_BITS(key, id, EXPR)                                                                   \
  ROW(key ".b16", id##_u16, "222"), ROW(key ".b32", id##_u32, "444"),                              \
      ROW(key ".b64", id##_u64, "888"), ROW(key ".pred", id##_pred, "111"),
#define ROWS_CARRY(key, id, in, out, subtract)                                                     \
  ROW(key ".u32", id##_32, "444"), ROW(key ".s32", id##_32, "444"),                                \
      ROW(key ".u64", id##_64, "888"), ROW(key ".s64", id##_64, "888"),
// One key an expression, by width: u and s alike, and the bit types.
#define ANY(key, id, sizes2, sizes4, sizes8)                                                       \
  ROW(key ".b16", id##_16, sizes2), ROW(key ".b32", id##_32, sizes4),                              \
      ROW(key ".b64", id##_64, sizes8)
#define SELECT(T, name, s)                                                                         \
  ROW("selp." name, selp_##T, s s s "1"), ROW("slct." name ".s32", slct_##T##_s32, s s s "4"),     \
      ROW("slct." name ".f32", slct_##T##_f32, s s s "4")

static const SimOpcode opcodes[] = {
    WRAP(ROWS_WRAP) SIGNED(ROWS_SIGNED) BITS(ROWS_BITS) CARRY(ROWS_CARRY)
        ROW("mul.hi.u16", mul_hi_u16, "222"),
    ROW("mul.hi.s16", mul_hi_s16, "222"),
    ROW("mul.hi.u32", mul_hi_u32, "444"),
    ROW("mul.hi.s32", mul_hi_s32, "444"),
    ROW("mul.hi.u64", mul_hi_u64, "888"),
    ROW("mul.hi.s64", mul_hi_s64, "888"),
    ROW("mul.wide.u16", mul_wide_u16, "422"),
    ROW("mul.wide.s16", mul_wide_s16, "422"),
    ROW("mul.wide.u32", mul_wide_u32, "844"),
    ROW("mul.wide.s32", mul_wide_s32, "844"),
    ROW("mul24.lo.u32", mul24_u32, "444"),
    ROW("mul24.lo.s32", mul24_s32, "444"),
    ROW("mad.lo.u16", mad_lo_u16, "2222"),
    ROW("mad.lo.s16", mad_lo_u16, "2222"),
    ROW("mad.lo.u32", mad_lo_u32, "4444"),
    ROW("mad.lo.s32", mad_lo_u32, "4444"),
    ROW("mad.lo.u64", mad_lo_u64, "8888"),
    ROW("mad.lo.s64", mad_lo_u64, "8888"),
    ROW("mad.hi.u32", mad_hi_u32, "4444"),
    ROW("mad.hi.s32", mad_hi_s32, "4444"),
    ROW("mad.hi.u64", mad_hi_u64, "8888"),
    ROW("mad.hi.s64", mad_hi_s64, "8888"),
    ROW("mad.wide.u16", mad_wide_u16, "4224"),
    ROW("mad.wide.s16", mad_wide_s16, "4224"),
    ROW("mad.wide.u32", mad_wide_u32, "8448"),
    ROW("mad.wide.s32", mad_wide_s32, "8448"),
    ROW("add.sat.s32", add_sat_s32, "444"),
    ROW("sub.sat.s32", sub_sat_s32, "444"),
    ROW("sad.u32", sad_u32, "4444"),
    ROW("sad.s32", sad_s32, "4444"),
    ROW("div.u16", div_u16, "222"),
    ROW("div.s16", div_s16, "222"),
    ROW("div.u32", div_u32_, "444"),
    ROW("div.s32", div_s32, "444"),
    ROW("div.u64", div_u64, "888"),
    ROW("div.s64", div_s64, "888"),
    ROW("rem.u16", rem_u16, "222"),
    ROW("rem.s16", rem_s16, "222"),
    ROW("rem.u32", rem_u32_, "444"),
    ROW("rem.s32", rem_s32, "444"),
    ROW("rem.u64", rem_u64, "888"),
    ROW("rem.s64", rem_s64, "888"),
    ROW("abs.s16", abs_s16, "22"),
    ROW("abs.s32", abs_s32, "44"),
    ROW("abs.s64", abs_s64, "88"),
    ROW("neg.s16", neg_s16, "22"),
    ROW("neg.s32", neg_s32, "44"),
    ROW("neg.s64", neg_s64, "88"),
    ANY("not", not, "22", "44", "88"),
    ROW("not.pred", not_pred, "11"),
    ANY("cnot", cnot, "22", "44", "88"),
    ANY("mov", mov, "22", "44", "88"),
    ROW("mov.u16", mov_16, "22"),
    ROW("mov.s16", mov_16, "22"),
    ROW("mov.f16", mov_16, "22"),
    ROW("mov.u32", mov_32, "44"),
    ROW("mov.s32", mov_32, "44"),
    ROW("mov.f32", mov_32, "44"),
    ROW("mov.u64", mov_64, "88"),
    ROW("mov.s64", mov_64, "88"),
    ROW("mov.f64", mov_64, "88"),
    ROW("mov.pred", mov_pred, "11"),
    ROW("popc.b32", popc_32, "44"),
    ROW("popc.b64", popc_64, "48"),
    ROW("clz.b32", clz_32, "44"),
    ROW("clz.b64", clz_64, "48"),
    ROW("brev.b32", brev_32, "44"),
    ROW("brev.b64", brev_64, "88"),
    ROW("bfind.u32", bfind_u32, "44"),
    ROW("bfind.s32", bfind_s32, "44"),
    ROW("bfind.u64", bfind_u64, "48"),
    ROW("bfind.s64", bfind_s64, "48"),
    ROW("bfind.shiftamt.u32", bfind_shift_u32, "44"),
    ROW("bfind.shiftamt.u64", bfind_shift_u64, "48"),
    ANY("shl", shl, "224", "444", "884"),
    ROW("shr.b16", shr_u16, "224"),
    ROW("shr.b32", shr_u32, "444"),
    ROW("shr.b64", shr_u64, "884"),
    ROW("shr.u16", shr_u16, "224"),
    ROW("shr.u32", shr_u32, "444"),
    ROW("shr.u64", shr_u64, "884"),
    ROW("shr.s16", shr_s16, "224"),
    ROW("shr.s32", shr_s32, "444"),
    ROW("shr.s64", shr_s64, "884"),
    ROW("bfe.u32", bfe_u32_, "4444"),
    ROW("bfe.s32", bfe_s32, "4444"),
    ROW("bfe.u64", bfe_u64_, "8844"),
    ROW("bfe.s64", bfe_s64, "8844"),
    ROW("bfi.b32", bfi_32, "44444"),
    ROW("bfi.b64", bfi_64, "88844"),
    ROW("lop3.b32", lop3, "44444"),
    ROW("shf.l.wrap.b32", shf_l_wrap, "4444"),
    ROW("shf.l.clamp.b32", shf_l_clamp, "4444"),
    ROW("shf.r.wrap.b32", shf_r_wrap, "4444"),
    ROW("shf.r.clamp.b32", shf_r_clamp, "4444"),
    ROW("prmt.b32", prmt_32, "4444"),
    ROW("prmt.b32.f4e", prmt_f4e, "4444"),
    ROW("prmt.b32.b4e", prmt_b4e, "4444"),
    ROW("prmt.b32.rc8", prmt_rc8, "4444"),
    ROW("prmt.b32.ecl", prmt_ecl, "4444"),
    ROW("prmt.b32.ecr", prmt_ecr, "4444"),
    ROW("prmt.b32.rc16", prmt_rc16, "4444"),
    ROW("dp4a.s32.s32", dp4a_ss, "4444"),
    ROW("dp4a.s32.u32", dp4a_su, "4444"),
    ROW("dp4a.u32.s32", dp4a_us, "4444"),
    ROW("dp4a.u32.u32", dp4a_uu, "4444"),
    ROW("dp2a.lo.s32.s32", dp2a_lo_ss, "4444"),
    ROW("dp2a.hi.s32.s32", dp2a_hi_ss, "4444"),
    ROW("dp2a.lo.u32.u32", dp2a_lo_uu, "4444"),
    ROW("dp2a.hi.u32.u32", dp2a_hi_uu, "4444"),
    ROW("add.u16x2", add_u16x2, "444"),
    ROW("add.s16x2", add_u16x2, "444"),
    SELECT(u16, "b16", "2"),
    SELECT(u16, "u16", "2"),
    SELECT(u16, "s16", "2"),
    SELECT(u32, "b32", "4"),
    SELECT(u32, "u32", "4"),
    SELECT(u32, "s32", "4"),
    SELECT(u32, "f32", "4"),
    SELECT(u64, "b64", "8"),
    SELECT(u64, "u64", "8"),
    SELECT(u64, "s64", "8"),
    SELECT(u64, "f64", "8"),
};

const SimOpcode *sim_opcode_integer(const char *key) {
  for (size_t k = 0; k < sizeof opcodes / sizeof *opcodes; k++)
    if (strcmp(opcodes[k].key, key) == 0) return &opcodes[k];
  return NULL;
}
