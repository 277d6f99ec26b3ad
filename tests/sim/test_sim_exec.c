// Opcode by opcode: a kernel of one instruction over operands with all the edge cases in them,
// against the same in C that shares nothing with the interpreter.
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "sim_bench.h"
#include "test.h"

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

static float f32(u64 bits) {
  const u32 b = (u32)bits;
  float f;
  memcpy(&f, &b, sizeof f);
  return f;
}
static u64 bits32(float f) {
  u32 b;
  memcpy(&b, &f, sizeof b);
  return b;
}
static double f64(u64 bits) {
  double d;
  memcpy(&d, &bits, sizeof d);
  return d;
}
static u64 bits64(double d) {
  u64 b;
  memcpy(&b, &d, sizeof b);
  return b;
}

// 16-bit floats by their definition: sign, exponent of `width` bits, fraction.
static double small(u16 x, int width) {
  const int fraction_bits = 15 - width, bias = (1 << (width - 1)) - 1;
  const int e = x >> fraction_bits & ((1 << width) - 1), f = x & ((1 << fraction_bits) - 1);
  const double m = e == 0 ? f : f + (1 << fraction_bits);
  const double v = e == (1 << width) - 1 ? f != 0 ? NAN : INFINITY
                                         : ldexp(m, (e == 0 ? 1 : e) - bias - fraction_bits);
  return x & 0x8000 ? -v : v;
}

// The nearest, ties to even: found by halving the interval of all that there are.
static u16 to_small(double x, int width) {
  const u16 sign = signbit(x) ? 0x8000 : 0, infinite = (u16)(((1 << width) - 1) << (15 - width));
  if (x != x) return 0x7fff;
  x = fabs(x);
  u16 low = 0, high = infinite;
  while (high - low > 1) {
    const u16 middle = (u16)((low + high) / 2);
    if (small(middle, width) <= x)
      low = middle;
    else
      high = middle;
  }
  if (small(low, width) == x) return sign | low;
  const double above =
      high == infinite ? 2 * small(low, width) - small(low - 1, width) : small(high, width);
  const double down = x - small(low, width), up = above - x;
  return sign | (down < up || (down == up && !(low & 1)) ? low : high);
}

enum { F16 = 5, BF16 = 8 };
#define H(x) small((u16)(x), F16)
#define B(x) small((u16)(x), BF16)
#define PAIR(low, high) ((u32)(low) | (u32)(high) << 16)

#define A32 ((u32)a)
#define B32 ((u32)b)
#define C32 ((u32)c)
#define FN(name, EXPR)                                                                             \
  static u64 name(u64 a, u64 b, u64 c) {                                                           \
    (void)a, (void)b, (void)c;                                                                     \
    return (u64)(EXPR);                                                                            \
  }

static u64 bit_field(u64 a, u64 pos, u64 len, int width, bool is_signed) {
  pos &= 255, len &= 255;
  u64 out = 0;
  for (int k = 0; k < width; k++) { // bit by bit, as the PTX manual has it
    u64 bit = (u64)k < len ? (pos + (u64)k < (u64)width ? a >> (pos + (u64)k) & 1 : 0) : 0;
    if (is_signed && ((u64)k >= len || pos + (u64)k >= (u64)width)) {
      const u64 top = pos + len - 1 < (u64)width - 1 ? pos + len - 1 : (u64)width - 1;
      bit = len == 0 ? 0 : a >> top & 1;
    }
    out |= bit << k;
  }
  return out;
}

static u64 insert(u64 a, u64 b, u64 c, u64 d, int width) {
  const u64 pos = c & 255, len = d & 255;
  for (u64 k = 0; k < len && pos + k < (u64)width; k++)
    b = (b & ~((u64)1 << (pos + k))) | (a >> k & 1) << (pos + k);
  return b;
}

static u64 reversed(u64 a, int width) {
  u64 out = 0;
  for (int k = 0; k < width; k++) out |= (a >> k & 1) << (width - 1 - k);
  return out;
}

static u64 permuted(u64 a, u64 b, u64 c) {
  u64 out = 0;
  for (int k = 0; k < 4; k++) {
    const int s = (int)(c >> (4 * k) & 15);
    u64 byte = ((s & 4) ? b : a) >> (8 * (s & 3)) & 255;
    if (s & 8) byte = byte >> 7 ? 255 : 0;
    out |= byte << (8 * k);
  }
  return out;
}

static u64 count(u64 a) {
  u64 n = 0;
  for (; a != 0; a >>= 1) n += a & 1;
  return n;
}
static u64 leading(u64 a, int width) {
  u64 n = 0;
  while (n < (u64)width && !(a >> ((u64)width - 1 - n) & 1)) n++;
  return n;
}
static u64 majority(u64 a, u64 b, u64 c) {
  return (a & b) | (a & c) | (b & c);
}
static u64 dot(u64 a, u64 b, u64 c, bool as, bool bs) {
  s64 sum = (s32)c;
  for (int k = 0; k < 4; k++) {
    const int x = (int)(a >> (8 * k) & 255), y = (int)(b >> (8 * k) & 255);
    sum += (as && x > 127 ? x - 256 : x) * (bs && y > 127 ? y - 256 : y);
  }
  return (u32)sum;
}
static u64 to_s32(double x) {
  return x != x ? 0 : x >= 2147483647.0 ? INT32_MAX : x <= -2147483648.0 ? 1u << 31 : (u32)(s32)x;
}
static u64 to_u32(double x) {
  return !(x > 0) ? 0 : x >= 4294967295.0 ? UINT32_MAX : (u32)x;
}
static float lesser(float a, float b) {
  if (a == b) return signbit(a) ? a : b;
  return fminf(a, b);
}
static float greater(float a, float b) {
  if (a == b) return signbit(a) ? b : a;
  return fmaxf(a, b);
}
static u64 rounded(u64 a, u64 b, int mode, char op) {
  volatile float x = f32(a), y = f32(b), r;
  fesetround(mode);
  r = op == '+' ? x + y : op == '*' ? x * y : x / y;
  fesetround(FE_TONEAREST);
  return bits32(r);
}
static float flush(float x) {
  return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}

FN(add32, A32 + B32)
FN(sub32, A32 - B32)
FN(add64, a + b)
FN(sub64, a - b)
FN(add16, (u16)(a + b))
FN(mul_lo32, A32 *B32)
FN(mul_lo16, (u16)((u32)(u16)a *(u16)b))
FN(mul_lo64, a *b)
FN(mul_hi_s32, (u32)((s64)(s32)A32 *(s32)B32 >> 32))
FN(mul_hi_u32, (u64)A32 *B32 >> 32)
FN(mul_hi_u64, (unsigned __int128)a *b >> 64)
FN(mul_hi_s64, (__int128)(s64)a *(s64)b >> 64)
FN(mul_wide_s32, (s64)(s32)A32 *(s32)B32)
FN(mul_wide_u32, (u64)A32 *B32)
FN(mul_wide_u16, (u32)(u16)a *(u16)b)
FN(mad_lo, A32 *B32 + C32)
FN(mad_wide_s32, (u64)((s64)(s32)A32 *(s32)B32) + c)
FN(mad_wide_u32, (u64)A32 *B32 + c)
FN(div_u32, B32 == 0 ? UINT32_MAX : A32 / B32)
FN(rem_u32, B32 == 0 ? A32 : A32 % B32)
FN(div_s32, B32 == 0 ? UINT32_MAX : B32 == UINT32_MAX ? 0u - A32 : (u32)((s32)A32 / (s32)B32))
FN(rem_s32, B32 == 0 ? A32 : B32 == UINT32_MAX ? 0 : (u32)((s32)A32 % (s32)B32))
FN(div_s64, b == 0 ? UINT64_MAX : b == UINT64_MAX ? 0 - a : (u64)((s64)a / (s64)b))
FN(rem_u64, b == 0 ? a : a % b)
FN(min_s32, (s32)A32 < (s32)B32 ? A32 : B32)
FN(max_u32, A32 > B32 ? A32 : B32)
FN(min_s64, (s64)a < (s64)b ? a : b)
FN(abs_s32, (s32)A32 < 0 ? 0u - A32 : A32)
FN(neg_s32, 0u - A32)
FN(and32, A32 &B32)
FN(xor64, a ^ b)
FN(not32, ~A32)
FN(shl32, B32 > 31 ? 0 : A32 << B32)
FN(shr_u32, B32 > 31 ? 0 : A32 >> B32)
FN(shr_s32, (u32)((s32)A32 >> (B32 > 31 ? 31 : B32)))
FN(shl64, B32 > 63 ? 0 : a << B32)
FN(shr_s64, (s64)a >> (B32 > 63 ? 63 : B32))
FN(popc32, count(A32))
FN(popc64, count(a))
FN(clz32, leading(A32, 32))
FN(clz64, leading(a, 64))
FN(bfind32, A32 == 0 ? UINT32_MAX : 31 - leading(A32, 32))
FN(bfind_s32, (u32)(31 - leading((s32)A32 < 0 ? ~A32 : A32, 32)))
FN(brev32, reversed(A32, 32))
FN(brev64, reversed(a, 64))
FN(bfe_u, bit_field(A32, b, c, 32, false))
FN(bfe_s, (u32)bit_field(A32, b, c, 32, true))
FN(bfe_s64, bit_field(a, b, c, 64, true))
FN(bfi32, insert(A32, B32, c, 12, 32))
FN(shf_l, (C32 & 31) == 0 ? B32 : B32 << (C32 & 31) | A32 >> (32 - (C32 & 31)))
FN(shf_r, C32 >= 32 ? B32 : C32 == 0 ? A32 : A32 >> C32 | B32 << (32 - C32))
FN(prmt, permuted(A32, B32, c))
FN(lop3_maj, (u32)majority(a, b, c))
FN(lop3_xor, A32 ^ B32 ^ C32)
FN(dp4a_s, dot(a, b, c, true, true))
FN(dp4a_us, dot(a, b, c, false, true))
FN(add_sat, (u32)(s32)fmax(fmin((double)(s32)A32 + (s32)B32, INT32_MAX), INT32_MIN))
FN(sad_s, C32 + (u32)llabs((s64)(s32)A32 - (s32)B32))
FN(f32_add, bits32(f32(a) + f32(b)))
FN(fadd_rz, rounded(a, b, FE_TOWARDZERO, '+'))
FN(fmul_rp, rounded(a, b, FE_UPWARD, '*'))
FN(fdiv_rm, rounded(a, b, FE_DOWNWARD, '/'))
FN(fadd_ftz, bits32(flush(flush(f32(a)) + flush(f32(b)))))
FN(fadd_sat, bits32(f32(a) + f32(b) > 0 ? fminf(f32(a) + f32(b), 1) : 0))
FN(f32_sub, bits32(f32(a) - f32(b)))
FN(f32_mul, bits32(f32(a) * f32(b)))
FN(f32_fma, bits32(fmaf(f32(a), f32(b), f32(c))))
FN(f32_div, bits32(f32(a) / f32(b)))
FN(frcp, bits32(1 / f32(a)))
FN(f32_sqrt, bits32(sqrtf(f32(a))))
FN(fmin_, bits32(lesser(f32(a), f32(b))))
FN(fmax_, bits32(greater(f32(a), f32(b))))
FN(fmax_nan, bits32(f32(a) != f32(a) || f32(b) != f32(b) ? NAN : greater(f32(a), f32(b))))
FN(fneg, A32 ^ 1u << 31)
FN(fabs_, A32 & ~(1u << 31))
FN(fcopysign, (B32 & ~(1u << 31)) | (A32 & 1u << 31))
FN(f64_add, bits64(f64(a) + f64(b)))
FN(f64_mul, bits64(f64(a) * f64(b)))
FN(f64_fma, bits64(fma(f64(a), f64(b), f64(c))))
FN(f64_div, bits64(f64(a) / f64(b)))
FN(f64_sqrt, bits64(sqrt(f64(a))))
FN(hadd, to_small(H(a) + H(b), F16))
FN(hmul, to_small(H(a) * H(b), F16))
FN(hfma, to_small(fma(H(a), H(b), H(c)), F16))
FN(hfma2, PAIR(to_small(fma(H(a), H(b), H(c)), F16),
               to_small(fma(H(a >> 16), H(b >> 16), H(c >> 16)), F16)))
FN(bfma, to_small(fma(B(a), B(b), B(c)), BF16))
FN(bfma2, PAIR(to_small(fma(B(a), B(b), B(c)), BF16),
               to_small(fma(B(a >> 16), B(b >> 16), B(c >> 16)), BF16)))
FN(badd, to_small(B(a) + B(b), BF16))
FN(f32_to_bf16, to_small(f32(a), BF16))
FN(f32_to_f16, to_small(f32(a), F16))
FN(bf16_to_f32, bits32((float)B(a)))
FN(f16_to_f32, bits32((float)H(a)))
FN(pack_bf16, PAIR(to_small(f32(b), BF16), to_small(f32(a), BF16)))
FN(pack_f16, PAIR(to_small(f32(b), F16), to_small(f32(a), F16)))
FN(f32_to_s32_rzi, to_s32(trunc(f32(a))))
FN(f32_to_s32_rni, to_s32(rint(f32(a))))
FN(f32_to_s32_rmi, to_s32(floor(f32(a))))
FN(f32_to_u32_rpi, to_u32(ceil(f32(a))))
FN(f32_rni, bits32(rintf(f32(a))))
FN(s32_to_f32, bits32((float)(s32)A32))
FN(u64_to_f32, bits32((float)a))
FN(s64_to_f64, bits64((double)(s64)a))
FN(f64_to_f32, bits32((float)f64(a)))
FN(f32_to_f64, bits64((double)f32(a)))
FN(s8_to_s32, (u32)(s32)(int8_t)a)
FN(u8_to_u64, (uint8_t)a)
FN(s32_to_s64, (s64)(s32)A32)
FN(sat_u8_s32, (s32)A32<0 ? 0 : A32> 255 ? 255 : A32)
FN(tf32_rna, f32(a) != f32(a) ? a : ((A32 + 0x1000) & 0xffffe000))
FN(ex2, bits32(exp2f(f32(a))))
FN(lg2, bits32(log2f(f32(a))))
FN(rsqrt_, bits32((float)(1 / sqrt(f32(a)))))
FN(tanh_, bits32(tanhf(f32(a))))

typedef struct Case {
  const char *opcode, *sizes; // as in sim_code.h
  u64 (*expected)(u64, u64, u64);
  char compare;     // 0: bits; 'f', 'd', 'h', 'b': NaN equals NaN; '~': to 4 ulp of f32
  const char *tail; // more operands
} Case;

static const Case cases[] = {
    {"add.s32", "444", add32, 0, ""},
    {"sub.u32", "444", sub32, 0, ""},
    {"add.s64", "888", add64, 0, ""},
    {"sub.s64", "888", sub64, 0, ""},
    {"add.s16", "222", add16, 0, ""},
    {"mul.lo.s32", "444", mul_lo32, 0, ""},
    {"mul.lo.s16", "222", mul_lo16, 0, ""},
    {"mul.lo.s64", "888", mul_lo64, 0, ""},
    {"mul.hi.s32", "444", mul_hi_s32, 0, ""},
    {"mul.hi.u32", "444", mul_hi_u32, 0, ""},
    {"mul.hi.u64", "888", mul_hi_u64, 0, ""},
    {"mul.hi.s64", "888", mul_hi_s64, 0, ""},
    {"mul.wide.s32", "844", mul_wide_s32, 0, ""},
    {"mul.wide.u32", "844", mul_wide_u32, 0, ""},
    {"mul.wide.u16", "422", mul_wide_u16, 0, ""},
    {"mad.lo.s32", "4444", mad_lo, 0, ""},
    {"mad.wide.s32", "8448", mad_wide_s32, 0, ""},
    {"mad.wide.u32", "8448", mad_wide_u32, 0, ""},
    {"div.u32", "444", div_u32, 0, ""},
    {"rem.u32", "444", rem_u32, 0, ""},
    {"div.s32", "444", div_s32, 0, ""},
    {"rem.s32", "444", rem_s32, 0, ""},
    {"div.s64", "888", div_s64, 0, ""},
    {"rem.u64", "888", rem_u64, 0, ""},
    {"min.s32", "444", min_s32, 0, ""},
    {"max.u32", "444", max_u32, 0, ""},
    {"min.s64", "888", min_s64, 0, ""},
    {"abs.s32", "44", abs_s32, 0, ""},
    {"neg.s32", "44", neg_s32, 0, ""},
    {"and.b32", "444", and32, 0, ""},
    {"xor.b64", "888", xor64, 0, ""},
    {"not.b32", "44", not32, 0, ""},
    {"shl.b32", "444", shl32, 0, ""},
    {"shr.u32", "444", shr_u32, 0, ""},
    {"shr.s32", "444", shr_s32, 0, ""},
    {"shl.b64", "884", shl64, 0, ""},
    {"shr.s64", "884", shr_s64, 0, ""},
    {"popc.b32", "44", popc32, 0, ""},
    {"popc.b64", "48", popc64, 0, ""},
    {"clz.b32", "44", clz32, 0, ""},
    {"clz.b64", "48", clz64, 0, ""},
    {"bfind.u32", "44", bfind32, 0, ""},
    {"bfind.s32", "44", bfind_s32, 0, ""},
    {"brev.b32", "44", brev32, 0, ""},
    {"brev.b64", "88", brev64, 0, ""},
    {"bfe.u32", "4444", bfe_u, 0, ""},
    {"bfe.s32", "4444", bfe_s, 0, ""},
    {"bfe.s64", "8844", bfe_s64, 0, ""},
    {"bfi.b32", "4444", bfi32, 0, ", 12"},
    {"shf.l.wrap.b32", "4444", shf_l, 0, ""},
    {"shf.r.clamp.b32", "4444", shf_r, 0, ""},
    {"prmt.b32", "4444", prmt, 0, ""},
    {"lop3.b32", "4444", lop3_maj, 0, ", 0xE8"},
    {"lop3.b32", "4444", lop3_xor, 0, ", 150"},
    {"dp4a.s32.s32", "4444", dp4a_s, 0, ""},
    {"dp4a.u32.s32", "4444", dp4a_us, 0, ""},
    {"add.sat.s32", "444", add_sat, 0, ""},
    {"sad.s32", "4444", sad_s, 0, ""},
    {"add.f32", "444", f32_add, 'f', ""},
    {"add.rz.f32", "444", fadd_rz, 'f', ""},
    {"mul.rp.f32", "444", fmul_rp, 'f', ""},
    {"div.rm.f32", "444", fdiv_rm, 'f', ""},
    {"add.ftz.f32", "444", fadd_ftz, 'f', ""},
    {"add.sat.f32", "444", fadd_sat, 'f', ""},
    {"sub.rn.f32", "444", f32_sub, 'f', ""},
    {"mul.rn.f32", "444", f32_mul, 'f', ""},
    {"fma.rn.f32", "4444", f32_fma, 'f', ""},
    {"div.rn.f32", "444", f32_div, 'f', ""},
    {"rcp.rn.f32", "44", frcp, 'f', ""},
    {"sqrt.rn.f32", "44", f32_sqrt, 'f', ""},
    {"min.f32", "444", fmin_, 'f', ""},
    {"max.f32", "444", fmax_, 'f', ""},
    {"max.NaN.f32", "444", fmax_nan, 'f', ""},
    {"neg.f32", "44", fneg, 0, ""},
    {"abs.f32", "44", fabs_, 0, ""},
    {"copysign.f32", "444", fcopysign, 0, ""},
    {"add.f64", "888", f64_add, 'd', ""},
    {"mul.rn.f64", "888", f64_mul, 'd', ""},
    {"fma.rn.f64", "8888", f64_fma, 'd', ""},
    {"div.rn.f64", "888", f64_div, 'd', ""},
    {"sqrt.rn.f64", "88", f64_sqrt, 'd', ""},
    {"add.f16", "222", hadd, 'h', ""},
    {"mul.rn.f16", "222", hmul, 'h', ""},
    {"fma.rn.f16", "2222", hfma, 'h', ""},
    {"fma.rn.f16x2", "4444", hfma2, 'H', ""},
    {"fma.rn.bf16", "2222", bfma, 'b', ""},
    {"fma.rn.bf16x2", "4444", bfma2, 'B', ""},
    {"add.rn.bf16", "222", badd, 'b', ""},
    {"cvt.rn.bf16.f32", "24", f32_to_bf16, 'b', ""},
    {"cvt.rn.f16.f32", "24", f32_to_f16, 'h', ""},
    {"cvt.f32.bf16", "42", bf16_to_f32, 'f', ""},
    {"cvt.f32.f16", "42", f16_to_f32, 'f', ""},
    {"cvt.rn.bf16x2.f32", "444", pack_bf16, 'B', ""},
    {"cvt.rn.f16x2.f32", "444", pack_f16, 'H', ""},
    {"cvt.rzi.s32.f32", "44", f32_to_s32_rzi, 0, ""},
    {"cvt.rni.s32.f32", "44", f32_to_s32_rni, 0, ""},
    {"cvt.rmi.s32.f32", "44", f32_to_s32_rmi, 0, ""},
    {"cvt.rpi.u32.f32", "44", f32_to_u32_rpi, 0, ""},
    {"cvt.rni.f32.f32", "44", f32_rni, 'f', ""},
    {"cvt.rn.f32.s32", "44", s32_to_f32, 0, ""},
    {"cvt.rn.f32.u64", "48", u64_to_f32, 0, ""},
    {"cvt.rn.f64.s64", "88", s64_to_f64, 0, ""},
    {"cvt.rn.f32.f64", "48", f64_to_f32, 'f', ""},
    {"cvt.f64.f32", "84", f32_to_f64, 'd', ""},
    {"cvt.s32.s8", "44", s8_to_s32, 0, ""},
    {"cvt.u64.u8", "82", u8_to_u64, 0, ""},
    {"cvt.s64.s32", "84", s32_to_s64, 0, ""},
    {"cvt.sat.u8.s32", "44", sat_u8_s32, 0, ""},
    {"cvt.rna.tf32.f32", "44", tf32_rna, 'f', ""},
    {"ex2.approx.f32", "44", ex2, '~', ""},
    {"lg2.approx.f32", "44", lg2, '~', ""},
    {"rsqrt.approx.f32", "44", rsqrt_, '~', ""},
    {"tanh.approx.f32", "44", tanh_, '~', ""},
};

// Numbers that something is special about, as 64 bits: their lower halves serve smaller operands.
static const u64 edges[] = {
    0,
    1,
    2,
    3,
    31,
    32,
    33,
    63,
    64,
    127,
    128,
    255,
    0x7fff,
    0x8000,
    0xffff,
    0x7fffffff,
    0x80000000,
    0xffffffff,
    0x7fffffffffffffff,
    0x8000000000000000,
    UINT64_MAX,
    0x3f800000,
    0xbf800000,
    0x3f000000,
    0x3fc00000,
    0x40200000,
    0x7f800000,
    0xff800000,
    0x7fc00000,
    0x00000001 | 1u << 31,
    0x007fffff,
    0x00800000,
    0x7f7fffff,
    0x4f000000,
    0xcf000000,
    0x4effffff,
    0x3f808000,
    0x3f818000,
    0x477fefff,
    0x477ff000,
    0x38800000,
    0x33000000,
    0x33000001,
    0x387fffff,
    0x3ff0000000000000,
    0xbff8000000000000,
    0x7ff0000000000000,
    0x7ff8000000000000,
    0x0010000000000000,
    0x000fffffffffffff,
    0x7fefffffffffffff,
    0x3c00,
    0x3c01,
    0x7bff,
    0x7c00,
    0xfc00,
    0x7e00,
    0x0400,
    0x03ff,
    0x3f80,
    0x3f81,
    0x7f7f,
    0x7f80,
    0xff80,
    0x7fc0,
    0x3c003c00,
    0x7bff0001,
    0x3f803f80,
    0x3f813f7f,
};
enum { N_EDGES = sizeof edges / sizeof *edges, N = 4096 };

static u64 operand(int slot, int k) {
  if (k < N_EDGES * N_EDGES && slot < 2)
    return edges[slot == 0 ? k % N_EDGES : k / N_EDGES % N_EDGES];
  u64 x = ((u64)k * 4 + (u64)slot + 1) * 0x9e3779b97f4a7c15;
  x ^= x >> 31, x *= 0xbf58476d1ce4e5b9, x ^= x >> 29;
  if (slot == 2 && k % 3 == 0) return edges[(u64)k / 3 % N_EDGES];
  if (k % 5 == 1) x &= 0x3fffffff3fffffff; // floats of middling size
  return x;
}

static bool same(const Case *t, u64 got, u64 want) {
  if (got == want) return true;
  switch (t->compare) {
  case 'f':
    return f32(got) != f32(got) && f32(want) != f32(want);
  case 'd':
    return f64(got) != f64(got) && f64(want) != f64(want);
  case 'h':
    return H(got) != H(got) && H(want) != H(want);
  case 'b':
    return B(got) != B(got) && B(want) != B(want);
  case 'H':
    return ((u16)got == (u16)want || (H(got) != H(got) && H(want) != H(want))) &&
           (got >> 16 == want >> 16 ||
            (H(got >> 16) != H(got >> 16) && H(want >> 16) != H(want >> 16)));
  case 'B':
    return ((u16)got == (u16)want || (B(got) != B(got) && B(want) != B(want))) &&
           (got >> 16 == want >> 16 ||
            (B(got >> 16) != B(got >> 16) && B(want >> 16) != B(want >> 16)));
  case '~':
    if (f32(got) != f32(got) || f32(want) != f32(want))
      return f32(got) != f32(got) && f32(want) != f32(want);
    return llabs((s64)(s32)got - (s64)(s32)want) <= 4;
  default:
    return false;
  }
}

static void check_case(const Case *t) {
  const int n = (int)strlen(t->sizes);
  char ptx[3000];
  int at =
      snprintf(ptx, sizeof ptx,
               ".version 9.0\n.target sm_80\n.address_size 64\n"
               ".visible .entry one(.param .u64 x, .param .u64 y, .param .u64 z, .param .u64 o)"
               "\n{\n.reg .b64 %%p<9>;\n.reg .b32 %%i<4>;\n.reg .b16 %%h<4>;\n"
               ".reg .b32 %%w<4>;\n.reg .b64 %%d<4>;\nmov.u32 %%i1, %%ctaid.x;\n"
               "shl.b32 %%i1, %%i1, 7;\nmov.u32 %%i2, %%tid.x;\nadd.u32 %%i1, %%i1, %%i2;\n"
               "mul.wide.u32 %%p1, %%i1, 8;\n");
  static const char *names[] = {"o", "x", "y", "z"};
  char operands[100];
  int length = 0;
  for (int k = 0; k < n; k++) {
    const char class = t->sizes[k] == '2' ? 'h' : t->sizes[k] == '4' ? 'w' : 'd';
    at += snprintf(ptx + at, sizeof ptx - (size_t)at,
                   "ld.param.u64 %%p2, [%s];\nadd.u64 %%p%d, %%p2, %%p1;\n", names[k], 3 + k);
    if (k > 0)
      at += snprintf(ptx + at, sizeof ptx - (size_t)at, "ld.global.b%d %%%c%d, [%%p%d];\n",
                     8 * (t->sizes[k] - '0'), class, k, 3 + k);
    length += snprintf(operands + length, sizeof operands - (size_t)length, "%s%%%c%d",
                       k > 0 ? ", " : "", class, k);
  }
  snprintf(ptx + at, sizeof ptx - (size_t)at, "%s %s%s;\nst.global.b%d [%%p3], %%%c0;\nret;\n}\n",
           t->opcode, operands, t->tail, 8 * (t->sizes[0] - '0'),
           t->sizes[0] == '2'   ? 'h'
           : t->sizes[0] == '4' ? 'w'
                                : 'd');
  static u64 x[3][N], out[N];
  for (int k = 0; k < N; k++) {
    for (int slot = 0; slot < 3; slot++) x[slot][k] = operand(slot, k);
    out[k] = 0;
  }
  const void *params[4] = {x[0], x[1], x[2], out};
  SimModule *module = bench_module(ptx);
  bench_launch(module->kernels[0], (SimDim){N / 128, 1, 1}, (SimDim){128, 1, 1}, 0, params, 1);
  int bad = 0;
  for (int k = 0; k < N; k++) {
    u64 in[3] = {x[0][k], x[1][k], x[2][k]};
    for (int slot = 0; slot + 1 < n; slot++)
      if (t->sizes[slot + 1] != '8') in[slot] &= t->sizes[slot + 1] == '2' ? 0xffff : 0xffffffff;
    const u64 want = t->expected(in[0], in[1], in[2]);
    if (same(t, out[k], want)) continue;
    if (bad++ == 0)
      fprintf(stderr, "%s of %llx %llx %llx: %llx, expected %llx\n", t->opcode,
              (unsigned long long)in[0], (unsigned long long)in[1], (unsigned long long)in[2],
              (unsigned long long)out[k], (unsigned long long)want);
  }
  EXPECT(bad == 0);
  sim_module_free(module);
}

static void test_opcodes(void) {
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) check_case(&cases[k]);
  EXPECT(bench_reports() == 0);
}

int main(void) {
  RUN(test_opcodes);
  return test_done();
}
