// Low-rank adapters: skinny products, rank r (8) against widths of hundreds to thousands. Each
// reads its large operand once, in its own dtype, and expands it in cache; dropout's mask is drawn
// where it is applied.
//
//   down   a row of x by the r rows of A: dot products
//   up     a row of y plus r rows of B^T
//   back   dt as down, dx as up; da and db sum over rows: for MICRO_COLS columns a thread expands
//   the rows of x or dy
//          in pieces of MICRO_DEPTH and multiplies by dt^T or t^T with the GEMM's micro product. A
//          column's sum belongs to one thread and runs over the rows in order, so threads change no
//          bit.
//
// 2 R r (K + N) flops forward, twice that backward: 1 % of the layer's own.
#include "op_check.h"
#include "simd_dots.h"
#include "simd_dropout.h"
#include "simd_micro.h"
#include "simd_rowio.h"

#include <omp.h>
#include <string.h>

static bool selected(RowSelect select, int64_t r) {
  return !tensor_given(select.adapters) || ((const int32_t *)select.adapters.data)[r] == select.id;
}

// out[0, cols) = columns c0 .. of row r of x, dropped.
static void load_dropped(float *out, Tensor x, int64_t r, int64_t c0, int64_t cols,
                         const Dropout *dropout) {
  rowio_load(out, x, r, c0, cols);
  if (dropout->p == 0) return;
  DropoutRow mask = dropout_row(dropout, r);
  for (int64_t c = 0; c < cols; c += DROPOUT_PART) {
    float factors[DROPOUT_PART];
    int64_t n = cols - c < DROPOUT_PART ? cols - c : DROPOUT_PART;
    dropout_factors(factors, &mask, c0 + c, n);
    SIMD_FOR(i, m, n) {
      row_store(out + c, DT_F32, i,
                row_load(out + c, DT_F32, i, m) * row_load(factors, DT_F32, i, m), m);
    }
  }
}

// t[r, :] = factor * dropped x[r, :] by the rows of a (pitch floats apart); 0 where not selected.
static void down(Backend *be, Tensor t, Tensor x, const float *a, int64_t pitch, float factor,
                 RowSelect select, const Dropout *dropout) {
  int64_t cols = x.cols, size = cols + VW;
  float *rows = cpu_scratch(be, SCRATCH_THREADS, cpu_of(be)->threads * size);
  if (cpu_noting(be)) return;
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, x.rows *cols *t.cols / 4))
  for (int64_t r = 0; r < x.rows; r++) {
    float *out = row_at(t, r), *row = rows + omp_get_thread_num() * size;
    if (!selected(select, r)) {
      memset(out, 0, (size_t)t.cols * sizeof *out);
      continue;
    }
    load_dropped(row, x, r, 0, cols, dropout);
    dots_of(out, a, pitch, row, DT_F32, cols, t.cols);
    for (int64_t j = 0; j < t.cols; j++) out[j] *= factor;
  }
}

static void lora_down(Backend *be, Tensor t, Tensor x, Tensor a, RowSelect select,
                      const Dropout *dropout) {
  if (!cpu_fast(x)) {
    if (!cpu_noting(be)) cpu_of(be)->ref.lora_down(be, t, x, a, select, dropout);
    return;
  }
  op_check_lora_down(be, t, x, a, select, dropout);
  down(be, t, x, a.data, a.stride, 1, select, dropout);
}

// y[c0 ..] += factors * sum over j of t[j] rows[j][c0 ..]; factors NULL: 1
SIMD_INLINE void add_rows(void *y, DType F, const float *t, const float *rows, int64_t pitch,
                          int64_t rank, int64_t c0, int64_t cols, const float *factors) {
  SIMD_FOR(c, n, cols) {
    vf sum = (vf){0};
    for (int64_t j = 0; j < rank; j++) {
      sum = vf_fma(vf_set(t[j]), row_load(rows + j * pitch, DT_F32, c0 + c, n), sum);
    }
    if (factors != NULL) sum *= row_load(factors, DT_F32, c, n);
    row_store(y, F, c0 + c, row_load(y, F, c0 + c, n) + sum, n);
  }
}

// B^T [r, N], dense.
static const float *transposed(Backend *be, Tensor b) {
  float *out = cpu_scratch(be, SCRATCH_ROWS, b.rows * b.cols);
  if (cpu_noting(be)) return NULL;
  SIMD(micro_transpose)(out, b.rows, b.data, b.stride, b.rows, b.cols);
  return out;
}

static void lora_up_acc(Backend *be, Tensor y, Tensor t, Tensor b, float scale, RowSelect select) {
  if (!cpu_fast(y)) {
    if (!cpu_noting(be)) cpu_of(be)->ref.lora_up_acc(be, y, t, b, scale, select);
    return;
  }
  op_check_lora_up_acc(be, y, t, b, select);
  float *rows = cpu_scratch(be, SCRATCH_EXPAND, b.rows * b.cols);
  const float *bt = transposed(be, b);
  if (cpu_noting(be)) return;
  for (int64_t i = 0; i < b.rows * b.cols; i++) rows[i] = scale * bt[i];
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y) * t.cols / 4))
  for (int64_t r = 0; r < y.rows; r++) {
    if (!selected(select, r)) continue;
    SIMD_BY_F(y.dtype, F,
              add_rows(row_at(y, r), F, row_at(t, r), rows, y.cols, t.cols, 0, y.cols, NULL));
  }
}

// ---- backward ----

// left^T in tiles [piece of MICRO_DEPTH rows][rank][A_PITCH].
static const float *left_tiles(Backend *be, Tensor left) {
  int64_t rank = left.cols, pieces = (left.rows + MICRO_DEPTH - 1) / MICRO_DEPTH;
  float *out = cpu_scratch(be, SCRATCH_SHARED, pieces * rank * A_PITCH);
  if (cpu_noting(be)) return NULL;
  for (int64_t p = 0; p < pieces; p++) {
    int64_t r0 = p * MICRO_DEPTH, n = left.rows - r0 < MICRO_DEPTH ? left.rows - r0 : MICRO_DEPTH;
    SIMD(micro_transpose)
    (out + p * rank * A_PITCH, A_PITCH, row_at(left, r0), left.stride, n, rank);
  }
  return out;
}

// sums[rank][MICRO_COLS] = left^T times columns c0 .. of the selected rows of right, dropped.
static void outer_columns(float *sums, const float *tiles, int64_t rank, Tensor right, int64_t c0,
                          int64_t cols, RowSelect select, const Dropout *dropout) {
  float panel[MICRO_DEPTH * MICRO_COLS];
  for (int64_t r0 = 0; r0 < right.rows; r0 += MICRO_DEPTH) {
    int64_t n = right.rows - r0 < MICRO_DEPTH ? right.rows - r0 : MICRO_DEPTH;
    for (int64_t r = 0; r < n; r++) {
      float *out = panel + r * MICRO_COLS;
      bool on = selected(select, r0 + r);
      if (on) load_dropped(out, right, r0 + r, c0, cols, dropout);
      for (int64_t c = on ? cols : 0; c < MICRO_COLS; c++) out[c] = 0;
    }
    for (int64_t j = 0; j < rank; j += MICRO_ROWS) {
      SIMD(micro_tile)
      (sums + j * MICRO_COLS, MICRO_COLS, tiles + j * A_PITCH, panel, n, r0 > 0,
       rank - j < MICRO_ROWS ? rank - j : MICRO_ROWS);
    }
    tiles += rank * A_PITCH;
  }
}

// out += factor * left^T right (by_row), or its transpose: out [rank, C] or [C, rank].
static void outer_acc(Backend *be, Tensor out, bool by_row, Tensor left, Tensor right, float factor,
                      RowSelect select, const Dropout *dropout) {
  if (!tensor_given(out) || right.rows == 0) return;
  int64_t rank = left.cols, blocks = (right.cols + MICRO_COLS - 1) / MICRO_COLS,
          size = rank * MICRO_COLS;
  const float *tiles = left_tiles(be, left);
  float *all = cpu_scratch(be, SCRATCH_THREADS, cpu_of(be)->threads * size);
  if (cpu_noting(be)) return;
#pragma omp parallel for schedule(dynamic, 1)                                                      \
    num_threads(cpu_team(be, right.rows *right.cols *rank / 4))
  for (int64_t i = 0; i < blocks; i++) {
    float *sums = all + omp_get_thread_num() * size;
    int64_t c0 = i * MICRO_COLS, cols = right.cols - c0 < MICRO_COLS ? right.cols - c0 : MICRO_COLS;
    outer_columns(sums, tiles, rank, right, c0, cols, select, dropout);
    for (int64_t j = 0; j < rank; j++) {
      for (int64_t c = 0; c < cols; c++) {
        float *p = by_row ? (float *)row_at(out, j) + c0 + c : (float *)row_at(out, c0 + c) + j;
        *p += factor * sums[j * MICRO_COLS + c];
      }
    }
  }
}

static void dx_acc(Backend *be, Tensor dx, Tensor dt, Tensor a, RowSelect select,
                   const Dropout *dropout) {
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(dx) * dt.cols / 4))
  for (int64_t r = 0; r < dx.rows; r++) {
    if (!selected(select, r)) continue;
    DropoutRow mask = dropout_row(dropout, r);
    for (int64_t c = 0; c < dx.cols; c += DROPOUT_PART) {
      float part[DROPOUT_PART];
      const float *factors = mask.off ? NULL : part;
      int64_t n = dx.cols - c < DROPOUT_PART ? dx.cols - c : DROPOUT_PART;
      if (!mask.off) dropout_factors(part, &mask, c, n);
      SIMD_BY_F(
          dx.dtype, F,
          add_rows(row_at(dx, r), F, row_at(dt, r), a.data, a.stride, dt.cols, c, n, factors));
    }
  }
}

static void lora_back_acc(Backend *be, Tensor dx, Tensor da, Tensor db, Tensor dt, Tensor dy,
                          Tensor t, Tensor x, Tensor a, Tensor b, float scale, RowSelect select,
                          const Dropout *dropout) {
  if (!cpu_fast(x)) {
    if (!cpu_noting(be))
      cpu_of(be)->ref.lora_back_acc(be, dx, da, db, dt, dy, t, x, a, b, scale, select, dropout);
    return;
  }
  op_check_lora_back_acc(be, dx, da, db, dt, dy, t, x, a, b, select, dropout);
  Dropout none = {.p = 0};
  down(be, dt, dy, transposed(be, b), b.rows, scale, select, &none);
  outer_acc(be, db, false, t, dy, scale, select, &none);
  outer_acc(be, da, true, dt, x, 1, select, dropout);
  if (tensor_given(dx) && !cpu_noting(be)) dx_acc(be, dx, dt, a, select, dropout);
}

void SIMD(simd_install_lora)(Backend *be) {
  be->lora_down = lora_down;
  be->lora_up_acc = lora_up_acc;
  be->lora_back_acc = lora_back_acc;
}
