// Attention backward, with the probabilities computed again from lse (Dao et al. 2022):
//   p = exp(scale q.k + bias - lse);  dv += p^T do;  dp = do v^T;  ds = p (dp - do.o);
//   dq += scale ds k;  dk += scale ds^T q;  dbias[bucket] += ds
//
// A thread owns a (sequence, kv head): its dk and dv are summed in f32 over the group's query
// heads, in ascending order, and added to the outputs once; its dq rows belong to no one else.
// Costly sequences go first. So no sum crosses threads (dbias: partial sums per sequence and head,
// added in order). Five products of 2 T S D flops a head, half of it under the causal rule. Tiles:
// QUERIES x KEYS; p^T and ds^T are written out for the products whose sum runs over queries.
//
// Owned memory of a thread: 3 packed copies of the keys and values, 2 sums: 5 n_k D floats.
#include "op_check.h"
#include "simd_attention.h"
#include "simd_math.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum {
  QUERIES = MICRO_ROWS * (VW == 16 ? 4 : 8),
  KEYS = 128,
};

typedef struct Back {
  Tensor dq, dk, dv, d_o, o, lse, q, k, v;
  const AttentionArgs *a;
  const float *bias;      // [H, distances] or NULL
  const int32_t *buckets; // [distances] or NULL
  int64_t distances;
  double *dbias; // [B, H, buckets] or NULL
} Back;

// A thread's scratch for one (sequence, kv head).
typedef struct Work {
  float *kt, *vt, *k;         // panels: K^T, V^T, K
  float *dk, *dv;             // [n_k rounded up, width]
  float *q, *d_o;             // [QUERIES][A_PITCH]; q is scaled
  float *q_panel, *d_o_panel; // [D / MICRO_COLS][QUERIES][MICRO_COLS]
  float *p, *ds;              // [QUERIES][A_PITCH]
  float *pt, *dst;            // [KEYS][A_PITCH]
  float *dq;                  // [QUERIES][width]
  int64_t n_k, pitch;
} Work;

static int64_t work_floats(int64_t n_k, int64_t width) {
  int64_t up = panel_up(n_k), pitch = panel_up(width);
  return 2 * up * width + n_k * pitch + 2 * up * pitch + 4 * QUERIES * A_PITCH +
         3 * QUERIES * pitch + 2 * KEYS * A_PITCH;
}

static float *take(float **from, int64_t n) {
  float *p = *from;
  *from += n;
  return p;
}

static Work work_of(float *scratch, int64_t n_k, int64_t width) {
  int64_t up = panel_up(n_k), pitch = panel_up(width);
  Work w = {.n_k = n_k, .pitch = pitch};
  w.kt = take(&scratch, up * width);
  w.vt = take(&scratch, up * width);
  w.k = take(&scratch, n_k * pitch);
  w.dk = take(&scratch, up * pitch);
  w.dv = take(&scratch, up * pitch);
  w.q = take(&scratch, QUERIES * A_PITCH);
  w.d_o = take(&scratch, QUERIES * A_PITCH);
  w.p = take(&scratch, QUERIES * A_PITCH);
  w.ds = take(&scratch, QUERIES * A_PITCH);
  w.q_panel = take(&scratch, QUERIES * pitch);
  w.d_o_panel = take(&scratch, QUERIES * pitch);
  w.dq = take(&scratch, QUERIES * pitch);
  w.pt = take(&scratch, KEYS * A_PITCH);
  w.dst = take(&scratch, KEYS * A_PITCH);
  return w;
}

static void pack_transposed(float *out, const Back *x, Tensor t, const AttentionSequence *seq,
                            int64_t n_k, int64_t col) {
  int64_t width = x->a->head_dim;
  float rows[MICRO_COLS * HEAD_MAX];
  for (int64_t j0 = 0; j0 < n_k; j0 += MICRO_COLS) {
    int64_t n = n_k - j0 < MICRO_COLS ? n_k - j0 : MICRO_COLS;
    for (int64_t j = 0; j < n; j++) rowio_load(rows + j * width, t, seq->k0 + j0 + j, col, width);
    if (n < MICRO_COLS)
      memset(rows + n * width, 0, (size_t)((MICRO_COLS - n) * width) * sizeof *rows);
    SIMD(micro_transpose)(out + j0 * width, MICRO_COLS, rows, width, MICRO_COLS, width);
  }
}

static float row_dot(const float *a, const float *b, int64_t n) {
  vf sum = (vf){0};
  SIMD_FOR(i, m, n) sum = vf_fma(row_load(a, DT_F32, i, m), row_load(b, DT_F32, i, m), sum);
  return vf_sum(sum);
}

// q (scaled), do and their panels of a block of queries; delta = do . o.
static void load_queries(const Back *x, const Work *w, float *delta, int64_t row0, int64_t rows,
                         int64_t col) {
  int64_t width = x->a->head_dim;
  float o[HEAD_MAX];
  for (int64_t i = 0; i < rows; i++) {
    float *q = w->q + i * A_PITCH, *d_o = w->d_o + i * A_PITCH;
    rowio_load(q, x->q, row0 + i, col, width);
    SIMD_FOR(c, n, width) row_store(q, DT_F32, c, row_load(q, DT_F32, c, n) * x->a->scale, n);
    rowio_load(d_o, x->d_o, row0 + i, col, width);
    rowio_load(o, x->o, row0 + i, col, width);
    delta[i] = row_dot(d_o, o, width);
    Tensor q_row = tensor_make(q, DT_F32, 1, width), d_o_row = tensor_make(d_o, DT_F32, 1, width);
    pack_row(w->q_panel, QUERIES, i, q_row, 0, 0, width);
    pack_row(w->d_o_panel, QUERIES, i, d_o_row, 0, 0, width);
  }
}

// Scores become p, dp becomes ds, in place; zeros where nothing is seen.
static void gradient_tile(const Back *x, const Work *w, const AttentionSequence *seq,
                          const float *delta, int64_t h, int64_t i0, int64_t rows, int64_t j0,
                          int64_t keys) {
  for (int64_t i = 0; i < rows; i++) {
    float *p = w->p + i * A_PITCH, *ds = w->ds + i * A_PITCH;
    float lse = ((const float *)row_at(x->lse, seq->q0 + i0 + i))[h];
    int64_t n = attention_visible(seq, i0 + i) - j0;
    n = n < 0 ? 0 : n < keys ? n : keys;
    if (x->bias != NULL) {
      const float *bias = x->bias + h * x->distances;
      for (int64_t j = 0; j < n; j++) p[j] += bias[attention_distance(seq, i0 + i, j0 + j)];
    }
    SIMD_FOR(j, m, n) {
      vf prob = vf_exp(row_load(p, DT_F32, j, m) - lse);
      row_store(p, DT_F32, j, prob, m);
      row_store(ds, DT_F32, j, prob * (row_load(ds, DT_F32, j, m) - delta[i]), m);
    }
    for (int64_t j = n; j < keys; j++) p[j] = ds[j] = 0;
    if (x->dbias == NULL) continue;
    double *sums = x->dbias + (seq->index * x->a->n_heads + h) * x->a->bias.rows;
    for (int64_t j = 0; j < n; j++)
      sums[x->buckets[attention_distance(seq, i0 + i, j0 + j)]] += ds[j];
  }
}

static void back_tile(const Back *x, const Work *w, const AttentionSequence *seq, int64_t h,
                      int64_t i0) {
  int64_t width = x->a->head_dim, pitch = w->pitch, step = MICRO_COLS * width;
  int64_t rows = seq->n_q - i0 < QUERIES ? seq->n_q - i0 : QUERIES;
  float delta[QUERIES];
  load_queries(x, w, delta, seq->q0 + i0, rows, h * width);
  memset(w->dq, 0, (size_t)(rows * pitch) * sizeof *w->dq);
  int64_t end = attention_visible(seq, i0 + rows - 1);
  for (int64_t j0 = 0; j0 < end; j0 += KEYS) {
    int64_t keys = end - j0 < KEYS ? end - j0 : KEYS;
    tile_product(w->p, A_PITCH, w->q, w->kt + j0 * width, step, rows, keys, width, false);
    tile_product(w->ds, A_PITCH, w->d_o, w->vt + j0 * width, step, rows, keys, width, false);
    gradient_tile(x, w, seq, delta, h, i0, rows, j0, keys);
    SIMD(micro_transpose)(w->pt, A_PITCH, w->p, A_PITCH, rows, keys);
    SIMD(micro_transpose)(w->dst, A_PITCH, w->ds, A_PITCH, rows, keys);
    int64_t panel = QUERIES * MICRO_COLS;
    tile_product(w->dv + j0 * pitch, pitch, w->pt, w->d_o_panel, panel, keys, width, rows, true);
    tile_product(w->dk + j0 * pitch, pitch, w->dst, w->q_panel, panel, keys, width, rows, true);
    tile_product(w->dq, pitch, w->ds, w->k + j0 * MICRO_COLS, w->n_k * MICRO_COLS, rows, width,
                 keys, true);
  }
  for (int64_t i = 0; i < rows; i++) {
    char *out = (char *)row_at(x->dq, seq->q0 + i0 + i) + dtype_bytes(x->dq.dtype, h * width);
    const float *in = w->dq + i * pitch;
    SIMD_BY_F(
        x->dq.dtype, F, SIMD_FOR(c, n, width) {
          row_store(out, F, c, row_load(out, F, c, n) + row_load(in, DT_F32, c, n) * x->a->scale,
                    n);
        });
  }
}

static void add_rows(Tensor t, int64_t row0, int64_t rows, int64_t col, const float *sums,
                     int64_t pitch, int64_t width) {
  for (int64_t i = 0; i < rows; i++) {
    char *out = (char *)row_at(t, row0 + i) + dtype_bytes(t.dtype, col);
    const float *in = sums + i * pitch;
    SIMD_BY_F(
        t.dtype, F, SIMD_FOR(c, n, width) {
          row_store(out, F, c, row_load(out, F, c, n) + row_load(in, DT_F32, c, n), n);
        });
  }
}

static void back_unit(const Back *x, const AttentionSequence *seq, int64_t kv, float *scratch) {
  if (seq->n_q == 0) return;
  int64_t width = x->a->head_dim, group = x->a->n_heads / x->a->n_kv_heads, col = kv * width;
  int64_t n_k = attention_visible(seq, seq->n_q - 1); // the other keys get nothing
  if (n_k == 0) return;
  Work w = work_of(scratch, n_k, width);
  pack_transposed(w.kt, x, x->k, seq, n_k, col);
  pack_transposed(w.vt, x, x->v, seq, n_k, col);
  for (int64_t j = 0; j < n_k; j++) pack_row(w.k, n_k, j, x->k, seq->k0 + j, col, width);
  memset(w.dk, 0, (size_t)(n_k * w.pitch) * sizeof *w.dk);
  memset(w.dv, 0, (size_t)(n_k * w.pitch) * sizeof *w.dv);
  for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
    for (int64_t i0 = 0; i0 < seq->n_q; i0 += QUERIES) back_tile(x, &w, seq, h, i0);
  }
  add_rows(x->dk, seq->k0, n_k, col, w.dk, w.pitch, width);
  add_rows(x->dv, seq->k0, n_k, col, w.dv, w.pitch, width);
}

static int64_t cost_of(const AttentionSequence *seq) {
  return seq->n_q * (seq->n_k + 1);
}

// The sequences, costly ones first.
static const int32_t *order_of(Backend *be, const Back *x) {
  int64_t n = x->a->n_seqs;
  int32_t *order = (int32_t *)cpu_scratch(be, SCRATCH_EXPAND, n);
  for (int64_t s = 0; s < n; s++) {
    AttentionSequence seq = attention_sequence(x->a, x->q, x->k, s);
    int64_t at = s;
    for (; at > 0; at--) {
      AttentionSequence before = attention_sequence(x->a, x->q, x->k, order[at - 1]);
      if (cost_of(&before) >= cost_of(&seq)) break;
      order[at] = order[at - 1];
    }
    order[at] = (int32_t)s;
  }
  return order;
}

static void prepare_bias(Backend *be, Back *x, bool gradient) {
  const AttentionArgs *a = x->a;
  int64_t heads = a->n_heads, n = x->distances = attention_distances(a, x->q, x->k);
  float *bias = cpu_scratch(be, SCRATCH_ROWS, heads * n + n);
  int32_t *buckets = (int32_t *)(bias + heads * n);
  for (int64_t d = 0; d < n; d++) {
    buckets[d] = (int32_t)attention_bias_bucket(d, a->bias.rows, a->bias_max_distance);
    for (int64_t h = 0; h < heads; h++) rowio_load(bias + h * n + d, a->bias, buckets[d], h, 1);
  }
  x->bias = bias;
  x->buckets = buckets;
  if (!gradient) return;
  int64_t sums = a->n_seqs * heads * a->bias.rows;
  x->dbias = (double *)cpu_scratch(be, SCRATCH_SUMS, 2 * sums);
  memset(x->dbias, 0, (size_t)sums * sizeof *x->dbias);
}

static void add_dbias(Tensor dbias, const Back *x) {
  int64_t heads = x->a->n_heads, buckets = dbias.rows;
  for (int64_t b = 0; b < buckets; b++) {
    for (int64_t h = 0; h < heads; h++) {
      double sum = 0;
      for (int64_t s = 0; s < x->a->n_seqs; s++) sum += x->dbias[(s * heads + h) * buckets + b];
      float *out = (float *)row_at(dbias, b) + h;
      *out = (float)((double)*out + sum);
    }
  }
}

static int64_t scratch_floats(int64_t max_k, int64_t width) {
  return (work_floats(max_k, width) + 15) / 16 * 16;
}

static void note_back(Backend *be, const AttentionArgs *a, bool bias_gradient) {
  cpu_scratch(be, SCRATCH_EXPAND, a->n_seqs);
  cpu_scratch(be, SCRATCH_THREADS, cpu_of(be)->threads * scratch_floats(a->max_k, a->head_dim));
  if (!tensor_given(a->bias)) return;
  cpu_scratch(be, SCRATCH_ROWS, (a->n_heads + 1) * (a->max_k + 1));
  if (bias_gradient) cpu_scratch(be, SCRATCH_SUMS, 2 * a->n_seqs * a->n_heads * a->bias.rows);
}

static void attention_back_acc(Backend *be, Tensor dq, Tensor dk, Tensor dv, Tensor dbias,
                               Tensor d_o, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                               const AttentionArgs *args) {
  if (!cpu_fast(q) || args->head_dim > HEAD_MAX) {
    if (!cpu_noting(be))
      cpu_of(be)->ref.attention_back_acc(be, dq, dk, dv, dbias, d_o, o, lse, q, k, v, args);
    return;
  }
  op_check_attention_back_acc(be, dq, dk, dv, dbias, d_o, o, lse, q, k, v, args);
  if (cpu_noting(be)) {
    note_back(be, args, tensor_given(dbias));
    return;
  }
  Back x = {.dq = dq,
            .dk = dk,
            .dv = dv,
            .d_o = d_o,
            .o = o,
            .lse = lse,
            .q = q,
            .k = k,
            .v = v,
            .a = args};
  if (args->n_seqs == 0) return;
  if (tensor_given(args->bias)) prepare_bias(be, &x, tensor_given(dbias));
  int64_t n = args->n_seqs * args->n_kv_heads, max_k = 0, work = 0;
  for (int64_t s = 0; s < args->n_seqs; s++) {
    AttentionSequence seq = attention_sequence(args, q, k, s);
    max_k = seq.n_k > max_k ? seq.n_k : max_k;
    work += cost_of(&seq) * args->head_dim;
  }
  const int32_t *order = order_of(be, &x);
  int64_t size = scratch_floats(max_k, args->head_dim);
  float *scratch = cpu_scratch(be, SCRATCH_THREADS, cpu_of(be)->threads * size);
#pragma omp parallel for schedule(dynamic, 1) num_threads(cpu_team(be, work))
  for (int64_t i = 0; i < n; i++) {
    AttentionSequence seq = attention_sequence(args, q, k, order[i / args->n_kv_heads]);
    back_unit(&x, &seq, i % args->n_kv_heads, scratch + omp_get_thread_num() * size);
  }
  if (tensor_given(dbias)) add_dbias(dbias, &x);
}

void SIMD(simd_install_attention_back)(Backend *be) {
  be->attention_back_acc = attention_back_acc;
}
