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
  need_index("gather_rows", "rows", from, y.rows, 0, x.rows);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y)))
  for (int64_t i = 0; i < y.rows; i++) {
    memcpy(row_at(y, i), row_at(x, from[i]), (size_t)dtype_bytes(y.dtype, y.cols));
  }
}

static void scatter_rows_acc(Backend *be, Tensor dx, Tensor dy, Tensor rows) {
  if (!cpu_fast(dx)) {
    cpu_of(be)->ref.scatter_rows_acc(be, dx, dy, rows);
    return;
  }
  op_check_scatter_rows_acc(be, dx, dy, rows);
  const int32_t *to = rows.data;
  need_index("scatter_rows_acc", "rows", to, dy.rows, 0, dx.rows);
  for (int64_t i = 1; i < dy.rows; i++) {
    CHECK(to[i] > to[i - 1], "scatter_rows_acc: rows[%lld] is %d after %d; expected ascending rows",
          (long long)i, to[i], to[i - 1]);
  }
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(dy)))
  for (int64_t i = 0; i < dy.rows; i++) {
    void *out = row_at(dx, to[i]);
    const void *in = row_at(dy, i);
    SIMD_BY_F(
        dx.dtype, F, SIMD_FOR(c, n, dx.cols) {
          row_store(out, F, c, row_load(out, F, c, n) + row_load(in, F, c, n), n);
        });
  }
}

void SIMD(simd_install_rows)(Backend *be) {
  be->embedding = embedding;
  be->embedding_back_acc = embedding_back_acc;
  be->gather_rows = gather_rows;
  be->scatter_rows_acc = scatter_rows_acc;
}
