// exp and the activations on vectors: relative error of exp below 2e-7 for normal results.
#ifndef VMA_SIMD_MATH_H
#define VMA_SIMD_MATH_H

#include "backend.h"
#include "simd_vec.h"

// e^x: 0 below -87.33 (where the result would be subnormal), at most e^88.37; a NaN stays one. x =
// n ln 2 + r, |r| <= ln 2 / 2; the polynomial in r is that of the Cephes library's expf.
SIMD_INLINE vf vf_exp(vf x) {
  const float low = -87.33654f, high = 88.37626f,
              magic = 12582912.0f; // 1.5 * 2^23: rounds to an integer
  vf y = vf_min(vf_set(high), vf_max(vf_set(low), x));
  vf shifted = vf_fma(y, vf_set(1.44269504f), vf_set(magic));
  vf n = shifted - magic;
  vf r = vf_fma(n, vf_set(-0.693359375f), y);
  r = vf_fma(n, vf_set(2.12194440e-4f), r);
  vf p = vf_set(1.9875691500e-4f);
  p = vf_fma(p, r, vf_set(1.3981999507e-3f));
  p = vf_fma(p, r, vf_set(8.3334519073e-3f));
  p = vf_fma(p, r, vf_set(4.1665795894e-2f));
  p = vf_fma(p, r, vf_set(1.6666665459e-1f));
  p = vf_fma(p, r, vf_set(5.0000001201e-1f));
  p = vf_fma(p, r * r, r + 1.0f);
  // The low bits of `shifted` hold n: moved to the exponent, the rest falls off the top.
  vf scale = (vf)(((vi)shifted << 23) + (127 << 23));
  vf result = p * scale;
  return (vf)((vi)result & ~(x < low));
}

SIMD_INLINE vf vf_sigmoid(vf x) {
  return 1.0f / (1.0f + vf_exp(-x));
}

// The normal distribution function: 1 - erf by Abramowitz and Stegun 7.1.26 (absolute
// error 1.5e-7), on the side where nothing cancels. gauss: exp(-x^2 / 2).
SIMD_INLINE vf vf_normal_cdf(vf x, vf gauss) {
  vf z = vf_max(x, -x) * 0.70710678f;
  vf t = 1.0f / vf_fma(z, vf_set(0.3275911f), vf_set(1.0f));
  vf p = vf_set(1.061405429f);
  p = vf_fma(p, t, vf_set(-1.453152027f));
  p = vf_fma(p, t, vf_set(1.421413741f));
  p = vf_fma(p, t, vf_set(-0.284496736f));
  p = vf_fma(p, t, vf_set(0.254829592f));
  vf tail = 0.5f * p * t * gauss; // of the smaller side
  return vf_where(x < 0.0f, tail, 1.0f - tail);
}

// act(x), and act'(x) in *slope.
SIMD_INLINE vf vf_activation(Activation kind, vf x, vf *slope) {
  if (kind == ACT_GELU) {
    vf gauss = vf_exp(-0.5f * x * x), cdf = vf_normal_cdf(x, gauss);
    *slope = vf_fma(x * 0.39894228f, gauss, cdf);
    return x * cdf;
  }
  vf u = x, du = vf_set(1.0f); // act(x) = x sigmoid(u)
  if (kind == ACT_QUICK_GELU) {
    u = 1.702f * x;
    du = vf_set(1.702f);
  } else if (kind == ACT_GELU_TANH) { // 0.5 (1 + tanh v) = sigmoid(2 v)
    vf square = x * x;
    u = 1.5957691216f * x * vf_fma(square, vf_set(0.044715f), vf_set(1.0f));
    du = 1.5957691216f * vf_fma(square, vf_set(0.134145f), vf_set(1.0f));
  }
  vf s = vf_sigmoid(u);
  *slope = vf_fma(x * s * (1.0f - s), du, s);
  return x * s;
}

#endif
