// Reference: the QKV split with its rotation.
#include "cpu_reference.h"
#include "op_check.h"
#include "ref_values.h"

#include <math.h>
#include <stdlib.h>

// cos and sin of row r's angle for each pair. The angle is a product in f32 (or f64 with f64
// activations), as Hugging Face computes it; its cosine is not rounded.
static void row_angles(double *cosines, double *sines, const RopeArgs *args, DType f, int64_t r) {
  for (int64_t i = 0; i < args->head_dim / 2; i++) {
    double angle = 0;
    if (tensor_given(args->inv_freq)) {
      double position = ref_i32(args->positions, r, 0), frequency = ref_get(args->inv_freq, 0, i);
      angle = f == DT_F64 ? position * frequency : (float)position * (float)frequency;
    }
    cosines[i] = cos(angle);
    sines[i] = sin(angle);
  }
}

static void rope_split(Backend *be, Tensor q, Tensor k, Tensor v, Tensor qkv,
                       const RopeArgs *args) {
  op_check_rope_split(be, q, k, v, qkv, args);
  int64_t half = args->head_dim / 2;
  double *cosines = ref_scratch(half), *sines = ref_scratch(half);
  for (int64_t r = 0; r < qkv.rows; r++) {
    row_angles(cosines, sines, args, qkv.dtype, r);
    int64_t slot = ref_i32(args->slots, r, (int32_t)r);
    if (tensor_given(args->slots) && slot != -1)
      slot = ref_index("rope_split", "slots", args->slots, r, k.rows);
    for (int64_t h = 0; h < args->n_heads + args->n_kv_heads; h++) {
      bool query = h < args->n_heads;
      if (!query && slot < 0) break;
      Tensor to = query ? q : k;
      int64_t row = query ? r : slot, from = h * args->head_dim,
              col = (query ? h : h - args->n_heads) * args->head_dim;
      for (int64_t i = 0; i < half; i++) {
        double a = ref_get(qkv, r, from + i), b = ref_get(qkv, r, from + half + i);
        ref_set(to, row, col + i, a * cosines[i] - b * sines[i]);
        ref_set(to, row, col + half + i, b * cosines[i] + a * sines[i]);
      }
    }
    for (int64_t c = 0; slot >= 0 && c < v.cols; c++)
      ref_set(v, slot, c, ref_get(qkv, r, q.cols + k.cols + c));
  }
  free(cosines);
  free(sines);
}

static void rope_split_back_acc(Backend *be, Tensor dqkv, Tensor dq, Tensor dk, Tensor dv,
                                const RopeArgs *args) {
  op_check_rope_split_back_acc(be, dqkv, dq, dk, dv, args);
  int64_t half = args->head_dim / 2;
  double *cosines = ref_scratch(half), *sines = ref_scratch(half);
  for (int64_t r = 0; r < dqkv.rows; r++) {
    row_angles(cosines, sines, args, dqkv.dtype, r);
    for (int64_t h = 0; h < args->n_heads + args->n_kv_heads; h++) {
      bool query = h < args->n_heads;
      Tensor from = query ? dq : dk;
      int64_t to = h * args->head_dim, col = (query ? h : h - args->n_heads) * args->head_dim;
      for (int64_t i = 0; i < half; i++) {
        double a = ref_get(from, r, col + i), b = ref_get(from, r, col + half + i);
        int64_t first = to + i, second = to + half + i;
        ref_set(dqkv, r, first, ref_get(dqkv, r, first) + a * cosines[i] + b * sines[i]);
        ref_set(dqkv, r, second, ref_get(dqkv, r, second) + b * cosines[i] - a * sines[i]);
      }
    }
    for (int64_t c = 0; c < dv.cols; c++) {
      int64_t to = dq.cols + dk.cols + c;
      ref_set(dqkv, r, to, ref_get(dqkv, r, to) + ref_get(dv, r, c));
    }
  }
  free(cosines);
  free(sines);
}

void ref_install_rope(Backend *be) {
  be->rope_split = rope_split;
  be->rope_split_back_acc = rope_split_back_acc;
}
