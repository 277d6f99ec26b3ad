// Reference: ops that move rows.
#include "check.h"
#include "cpu_reference.h"
#include "op_check.h"
#include "ref_values.h"

#include <stdlib.h>

// The id of row r: in [0, limit), or -1 for a row of no sequence or without a label.
static int64_t id_of(const char *op, const char *name, Tensor ids, int64_t r, int64_t limit) {
  return ((const int32_t *)ids.data)[r] == -1 ? -1 : ref_index(op, name, ids, r, limit);
}

static void embedding(Backend *be, Tensor y, Tensor table, Tensor ids) {
  op_check_embedding(be, y, table, ids);
  double *row = ref_scratch(y.cols);
  for (int64_t r = 0; r < y.rows; r++) {
    int64_t id = id_of("embedding", "ids", ids, r, table.rows);
    for (int64_t c = 0; id < 0 && c < y.cols; c++) row[c] = 0;
    if (id >= 0) ref_load_row(row, table, id);
    ref_store_row(y, r, row);
  }
  free(row);
}

static void embedding_back_acc(Backend *be, Tensor dtable, Tensor dy, Tensor ids) {
  op_check_embedding_back_acc(be, dtable, dy, ids);
  for (int64_t r = 0; r < dy.rows; r++) id_of("embedding_back_acc", "ids", ids, r, dtable.rows);
  double *sum = ref_scratch(dy.cols), *row = ref_scratch(dy.cols);
  const int32_t *id = ids.data;
  for (int64_t r = 0; r < dy.rows; r++) {
    int64_t first = 0;
    while (id[first] != id[r]) first++;
    if (id[r] < 0 || first < r)
      continue; // the id's first row has added them all, so that one rounding is left
    ref_load_row(sum, dtable, id[r]);
    for (int64_t i = r; i < dy.rows; i++) {
      if (id[i] != id[r]) continue;
      ref_load_row(row, dy, i);
      for (int64_t c = 0; c < dy.cols; c++) sum[c] += row[c];
    }
    ref_store_row(dtable, id[r], sum);
  }
  free(sum);
  free(row);
}

static void gather_rows(Backend *be, Tensor y, Tensor x, Tensor rows) {
  op_check_gather_rows(be, y, x, rows);
  for (int64_t i = 0; i < y.rows; i++) {
    int64_t from = id_of("gather_rows", "rows", rows, i, x.rows);
    for (int64_t c = 0; c < y.cols; c++) ref_set(y, i, c, from < 0 ? 0 : ref_get(x, from, c));
  }
}

static void scatter_rows_acc(Backend *be, Tensor dx, Tensor dy, Tensor rows) {
  op_check_scatter_rows_acc(be, dx, dy, rows);
  int64_t last = -1;
  for (int64_t i = 0; i < dy.rows; i++) {
    int64_t to = id_of("scatter_rows_acc", "rows", rows, i, dx.rows);
    if (to < 0) {
      last = dx.rows; // nothing but those of -1 after it
      continue;
    }
    CHECK(to > last, "scatter_rows_acc: rows[%lld] is %lld after %lld; expected ascending rows",
          (long long)i, (long long)to, (long long)last);
    last = to;
    for (int64_t c = 0; c < dy.cols; c++) {
      ref_set(dx, to, c, ref_get(dx, to, c) + ref_get(dy, i, c));
    }
  }
}

static void patchify(Backend *be, Tensor y, Tensor pixels, const PatchArgs *args) {
  op_check_patchify(be, y, pixels, args);
  int64_t size = args->size, channels = args->channels, width = pixels.cols / channels;
  for (int64_t r = 0; r < y.rows; r++) {
    int64_t top = id_of("patchify", "tops", args->tops, r, pixels.rows - size + 1);
    int64_t left = top < 0 ? 0 : ref_index("patchify", "lefts", args->lefts, r, width - size + 1);
    for (int64_t to = 0; to < y.cols; to++) {
      int64_t n = to % channels, j = to / channels % size, i = to / channels / size;
      if (args->channels_first) {
        j = to % size;
        i = to / size % size;
        n = to / size / size;
      }
      double value = top < 0 ? 0 : ref_get(pixels, top + i, (left + j) * channels + n);
      ref_set(y, r, to, value);
    }
  }
}

void ref_install_rows(Backend *be) {
  be->embedding = embedding;
  be->embedding_back_acc = embedding_back_acc;
  be->gather_rows = gather_rows;
  be->scatter_rows_acc = scatter_rows_acc;
  be->patchify = patchify;
}
