// Ops that move rows: bytes decide.
#include "check.h"
#include "op_check.h"
#include "simd_install.h"
#include "simd_rowio.h"

#include <stdlib.h>
#include <string.h>

static void need_index(const char *op, const char *name, const int32_t *values, int64_t n,
                       int64_t least, int64_t limit) {
  for (int64_t i = 0; i < n; i++) {
    CHECK(values[i] >= least && values[i] < limit, "%s: %s[%lld] is %d; expected %lld <= it < %lld",
          op, name, (long long)i, values[i], (long long)least, (long long)limit);
  }
}

static void embedding(Backend *be, Tensor y, Tensor table, Tensor ids) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.embedding(be, y, table, ids);
    return;
  }
  op_check_embedding(be, y, table, ids);
  const int32_t *id = ids.data;
  need_index("embedding", "ids", id, y.rows, -1, table.rows);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y)))
  for (int64_t r = 0; r < y.rows; r++) {
    if (id[r] < 0) {
      memset(row_at(y, r), 0, (size_t)dtype_bytes(y.dtype, y.cols));
      continue;
    }
    if (y.dtype == table.dtype) {
      memcpy(row_at(y, r), row_at(table, id[r]), (size_t)dtype_bytes(y.dtype, y.cols));
      continue;
    }
    rowio_convert(y, r, table, id[r]);
  }
}

static int by_id_then_row(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

// The rows with one id, in ascending order, are added in f32 and rounded once.
SIMD_INLINE void add_rows_of_id(Tensor dtable, Tensor dy, DType T, DType F, const uint64_t *keys,
                                int64_t n) {
  void *out = row_at(dtable, (int64_t)(keys[0] >> 32));
  SIMD_FOR(c, m, dy.cols) {
    vf sum = row_load(out, T, c, m);
    for (int64_t i = 0; i < n; i++)
      sum += row_load(row_at(dy, (int64_t)(uint32_t)keys[i]), F, c, m);
    row_store(out, T, c, sum, m);
  }
}

static void embedding_back_acc(Backend *be, Tensor dtable, Tensor dy, Tensor ids) {
  if (!cpu_fast(dy)) {
    if (!cpu_noting(be)) cpu_of(be)->ref.embedding_back_acc(be, dtable, dy, ids);
    return;
  }
  op_check_embedding_back_acc(be, dtable, dy, ids);
  const int32_t *id = ids.data;
  int64_t rows = dy.rows;
  uint64_t *keys = (uint64_t *)cpu_scratch(be, SCRATCH_SUMS, 2 * rows);
  if (cpu_noting(be)) return;
  need_index("embedding_back_acc", "ids", id, rows, -1, dtable.rows);
  for (int64_t r = 0; r < rows; r++) keys[r] = (uint64_t)id[r] << 32 | (uint64_t)r;
  qsort(keys, (size_t)rows, sizeof *keys, by_id_then_row);
#pragma omp parallel for schedule(dynamic, 16) num_threads(cpu_team(be, tensor_count(dy)))
  for (int64_t r = 0; r < rows; r++) {
    if (r > 0 && keys[r] >> 32 == keys[r - 1] >> 32) continue;
    if (keys[r] >> 32 == UINT32_MAX) continue; // the id -1
    int64_t n = 1;
    while (r + n < rows && keys[r + n] >> 32 == keys[r] >> 32) n++;
    SIMD_BY_F(dtable.dtype, T,
              SIMD_BY_F(dy.dtype, F, add_rows_of_id(dtable, dy, T, F, keys + r, n)));
  }
}

static void gather_rows(Backend *be, Tensor y, Tensor x, Tensor rows) {
  if (!cpu_fast(y)) {
    cpu_of(be)->ref.gather_rows(be, y, x, rows);
    return;
  }
  op_check_gather_rows(be, y, x, rows);
  const int32_t *from = rows.data;
  need_index("gather_rows", "rows", from, y.rows, -1, x.rows);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y)))
  for (int64_t i = 0; i < y.rows; i++) {
    size_t bytes = (size_t)dtype_bytes(y.dtype, y.cols);
    if (from[i] < 0) {
      memset(row_at(y, i), 0, bytes);
    } else {
      memcpy(row_at(y, i), row_at(x, from[i]), bytes);
    }
  }
}

static void scatter_rows_acc(Backend *be, Tensor dx, Tensor dy, Tensor rows) {
  if (!cpu_fast(dx)) {
    cpu_of(be)->ref.scatter_rows_acc(be, dx, dy, rows);
    return;
  }
  op_check_scatter_rows_acc(be, dx, dy, rows);
  const int32_t *to = rows.data;
  int64_t n = dy.rows;
  need_index("scatter_rows_acc", "rows", to, n, -1, dx.rows);
  while (n > 0 && to[n - 1] < 0) n--;
  for (int64_t i = 1; i < n; i++) {
    CHECK(to[i] > to[i - 1], "scatter_rows_acc: rows[%lld] is %d after %d; expected ascending rows",
          (long long)i, to[i], to[i - 1]);
  }
  need_index("scatter_rows_acc", "rows", to, n, 0, dx.rows); // those of -1 are last
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(dy)))
  for (int64_t i = 0; i < n; i++) {
    void *out = row_at(dx, to[i]);
    const void *in = row_at(dy, i);
    SIMD_BY_F(
        dx.dtype, F, SIMD_FOR(c, m, dx.cols) {
          row_store(out, F, c, row_load(out, F, c, m) + row_load(in, F, c, m), m);
        });
  }
}

enum { PATCH_PART = 512 }; // values of a line that are moved at a time: whole pixels

// Columns [j, j + n) of line i of the patch at (top, left) into row r.
static void patch_part(Tensor y, int64_t r, Tensor pixels, const PatchArgs *args, int64_t top,
                       int64_t left, int64_t i, int64_t j, int64_t n) {
  float line[PATCH_PART], one[PATCH_PART];
  int64_t size = args->size, channels = args->channels;
  rowio_load(line, pixels, top + i, (left + j) * channels, n * channels);
  if (!args->channels_first) {
    rowio_store(y, r, (i * size + j) * channels, line, n * channels);
    return;
  }
  for (int64_t channel = 0; channel < channels; channel++) {
    for (int64_t k = 0; k < n; k++) one[k] = line[k * channels + channel];
    rowio_store(y, r, (channel * size + i) * size + j, one, n);
  }
}

static void patchify(Backend *be, Tensor y, Tensor pixels, const PatchArgs *args) {
  if (!cpu_fast(y) || args->channels > PATCH_PART) {
    cpu_of(be)->ref.patchify(be, y, pixels, args);
    return;
  }
  op_check_patchify(be, y, pixels, args);
  const int32_t *top = args->tops.data, *left = args->lefts.data;
  int64_t size = args->size, part = PATCH_PART / args->channels;
  need_index("patchify", "tops", top, y.rows, -1, pixels.rows - size + 1);
  for (int64_t r = 0; r < y.rows; r++) {
    if (top[r] >= 0)
      need_index("patchify", "lefts", left + r, 1, 0, pixels.cols / args->channels - size + 1);
  }
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y)))
  for (int64_t r = 0; r < y.rows; r++) {
    if (top[r] < 0) memset(row_at(y, r), 0, (size_t)dtype_bytes(y.dtype, y.cols));
    for (int64_t i = 0; top[r] >= 0 && i < size; i++) {
      for (int64_t j = 0; j < size; j += part)
        patch_part(y, r, pixels, args, top[r], left[r], i, j, size - j < part ? size - j : part);
    }
  }
}

void SIMD(simd_install_rows)(Backend *be) {
  be->embedding = embedding;
  be->embedding_back_acc = embedding_back_acc;
  be->gather_rows = gather_rows;
  be->scatter_rows_acc = scatter_rows_acc;
  be->patchify = patchify;
}
