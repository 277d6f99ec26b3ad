// The QKV split with its rotation: qkv is read once, q, k and v written once (a cache row where
// there are slots).
#include "check.h"
#include "cpu_rope.h"
#include "op_check.h"
#include "simd_install.h"
#include "simd_vec.h"

#include <string.h>

// A head of `half` pairs: out = in turned by the angle (cs: cosines, then sines); backwards: out +=
// in turned by its negative. cs NULL: no turn.
SIMD_INLINE void turn(void *out, const void *in, DType F, const float *cs, int64_t half,
                      bool back) {
  SIMD_FOR(i, n, half) {
    vf a = row_load(in, F, i, n), b = row_load(in, F, half + i, n), x = a, y = b;
    if (cs != NULL) {
      vf c = row_load(cs, DT_F32, i, n), s = row_load(cs + half, DT_F32, i, n);
      if (back) s = -s;
      x = a * c - b * s;
      y = b * c + a * s;
    }
    if (back) {
      x += row_load(out, F, i, n);
      y += row_load(out, F, half + i, n);
    }
    row_store(out, F, i, x, n);
    row_store(out, F, half + i, y, n);
  }
}

static bool table_of(const float **table, Backend *be, const RopeArgs *args, DType dtype) {
  *table = NULL;
  if (dtype != DT_F32 && dtype != DT_BF16) return false;
  if (!tensor_given(args->inv_freq)) return true;
  if (args->inv_freq.dtype != DT_F32) return false;
  *table = cpu_rope_table(be, args);
  return *table != NULL;
}

static const float *row_angles(const float *table, const RopeArgs *args, int64_t r) {
  return table == NULL ? NULL : table + ((const int32_t *)args->positions.data)[r] * args->head_dim;
}

static void *column(void *row, DType dtype, int64_t c) {
  return (char *)row + dtype_bytes(dtype, c);
}

static void rope_split(Backend *be, Tensor q, Tensor k, Tensor v, Tensor qkv,
                       const RopeArgs *args) {
  const float *table;
  if (cpu_noting(be)) {
    if (tensor_given(args->inv_freq)) cpu_rope_note(be, args);
    return;
  }
  if (!table_of(&table, be, args, qkv.dtype)) {
    cpu_of(be)->ref.rope_split(be, q, k, v, qkv, args);
    return;
  }
  op_check_rope_split(be, q, k, v, qkv, args);
  int64_t width = args->head_dim, heads = args->n_heads, kv_heads = args->n_kv_heads;
  DType f = qkv.dtype;
  const int32_t *slots = args->slots.data;
  for (int64_t r = 0; slots != NULL && r < qkv.rows; r++) {
    CHECK(slots[r] >= -1 && slots[r] < k.rows && slots[r] < v.rows,
          "rope_split: slots[%lld] is %d; expected -1 <= it < %lld", (long long)r, slots[r],
          (long long)k.rows);
  }
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(qkv)))
  for (int64_t r = 0; r < qkv.rows; r++) {
    const float *cs = row_angles(table, args, r);
    char *in = row_at(qkv, r);
    int64_t slot = slots != NULL ? slots[r] : r;
    bool stored = slot >= 0;
    void *to_q = row_at(q, r), *to_k = stored ? row_at(k, slot) : NULL;
    for (int64_t h = 0; h < (stored ? heads + kv_heads : heads); h++) {
      void *out = h < heads ? column(to_q, f, h * width) : column(to_k, f, (h - heads) * width);
      const void *from = column(in, f, h * width);
      SIMD_BY_F(f, F, turn(out, from, F, cs, width / 2, false));
    }
    if (!stored) continue;
    memcpy(row_at(v, slot), column(in, f, (heads + kv_heads) * width),
           (size_t)dtype_bytes(f, kv_heads * width));
  }
}

static void rope_split_back_acc(Backend *be, Tensor dqkv, Tensor dq, Tensor dk, Tensor dv,
                                const RopeArgs *args) {
  const float *table;
  if (cpu_noting(be)) {
    if (tensor_given(args->inv_freq)) cpu_rope_note(be, args);
    return;
  }
  if (!table_of(&table, be, args, dqkv.dtype)) {
    cpu_of(be)->ref.rope_split_back_acc(be, dqkv, dq, dk, dv, args);
    return;
  }
  op_check_rope_split_back_acc(be, dqkv, dq, dk, dv, args);
  int64_t width = args->head_dim, heads = args->n_heads, kv_heads = args->n_kv_heads;
  DType f = dqkv.dtype;
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(dqkv)))
  for (int64_t r = 0; r < dqkv.rows; r++) {
    const float *cs = row_angles(table, args, r);
    char *out = row_at(dqkv, r);
    for (int64_t h = 0; h < heads + 2 * kv_heads; h++) {
      Tensor t = h < heads ? dq : h < heads + kv_heads ? dk : dv;
      int64_t first = h < heads ? 0 : h < heads + kv_heads ? heads : heads + kv_heads;
      const void *from = column(row_at(t, r), f, (h - first) * width);
      const float *angles = h < heads + kv_heads ? cs : NULL;
      SIMD_BY_F(f, F, turn(column(out, f, h * width), from, F, angles, width / 2, true));
    }
  }
}

void SIMD(simd_install_rope)(Backend *be) {
  be->rope_split = rope_split;
  be->rope_split_back_acc = rope_split_back_acc;
}
