// Reference: the one attention, written from its visibility rule.
#include "check.h"
#include "cpu_reference.h"
#include "op_check.h"
#include "ref_values.h"

#include <math.h>
#include <stdlib.h>

// One sequence of a call.
typedef struct Sequence {
  int64_t index;
  int64_t q0, n_q, n_k;
  int64_t offset, prefix;
} Sequence;

static Sequence sequence_of(const AttentionArgs *a, Tensor q, Tensor k, int64_t s) {
  Sequence seq = {.index = s,
                  .q0 = ref_i32(a->cu_q, s, 0),
                  .offset = ref_i32(a->offset, s, 0),
                  .prefix = ref_i32(a->prefix, s, 0)};
  seq.n_q = ref_i32(a->cu_q, s + 1, 0) - seq.q0;
  CHECK(seq.q0 >= 0 && seq.n_q >= 0 && seq.q0 + seq.n_q <= q.rows,
        "attention: queries [%lld, +%lld) of sequence %lld in %lld rows", (long long)seq.q0,
        (long long)seq.n_q, (long long)s, (long long)q.rows);
  if (tensor_given(a->pages)) {
    seq.n_k = ref_i32(a->k_lens, s, 0);
    CHECK(seq.n_k >= 0 && seq.n_k <= a->pages.cols * a->page_size,
          "attention: %lld keys of sequence %lld in %lld pages", (long long)seq.n_k, (long long)s,
          (long long)a->pages.cols);
    return seq;
  }
  int64_t k0 = ref_i32(a->cu_k, s, 0);
  seq.n_k = ref_i32(a->k_lens, s, ref_i32(a->cu_k, s + 1, 0) - (int32_t)k0);
  CHECK(k0 >= 0 && seq.n_k >= 0 && k0 + seq.n_k <= k.rows,
        "attention: keys [%lld, +%lld) of sequence %lld in %lld rows", (long long)k0,
        (long long)seq.n_k, (long long)s, (long long)k.rows);
  return seq;
}

static int64_t key_row(const AttentionArgs *a, Tensor k, const Sequence *seq, int64_t j) {
  if (!tensor_given(a->pages)) return ref_i32(a->cu_k, seq->index, 0) + j;
  const int32_t *pages = (const int32_t *)a->pages.data + seq->index * a->pages.stride;
  int64_t row = pages[j / a->page_size] * a->page_size + j % a->page_size;
  CHECK(row >= 0 && row < k.rows, "attention: page %d of sequence %lld in %lld rows",
        pages[j / a->page_size], (long long)seq->index, (long long)k.rows);
  return row;
}

// How many keys query i sees: they are the first ones.
static int64_t visible_keys(const Sequence *seq, int64_t i) {
  int64_t n = seq->offset + i + 1 > seq->prefix ? seq->offset + i + 1 : seq->prefix;
  if (n < 0) n = 0;
  return n < seq->n_k ? n : seq->n_k;
}

static int64_t bucket_of(const AttentionArgs *a, const Sequence *seq, int64_t i, int64_t j) {
  return attention_bias_bucket(seq->offset + i - j, a->bias.rows, a->bias_max_distance);
}

static double dot(const double *a, const double *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

// scale q.k + bias of query i of head h with its n visible keys; k_head are the columns of its kv
// head.
static void query_scores(double *scores, int64_t n, const AttentionArgs *a, Tensor k,
                         const Sequence *seq, int64_t i, int64_t h, const double *query,
                         const double *k_head, int64_t k_stride) {
  for (int64_t j = 0; j < n; j++) {
    const double *key = k_head + key_row(a, k, seq, j) * k_stride;
    scores[j] = (double)a->scale * dot(query, key, a->head_dim);
    if (tensor_given(a->bias)) scores[j] += ref_get(a->bias, bucket_of(a, seq, i, j), h);
  }
}

static void attention(Backend *be, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                      const AttentionArgs *a) {
  op_check_attention(be, o, lse, q, k, v, a);
  int64_t width = a->head_dim, group = a->n_heads / a->n_kv_heads;
  double *q_all = ref_load(q), *k_all = ref_load(k), *v_all = ref_load(v);
  // Rows of no sequence (a rounded-up R) stay at zero.
  double *o_all = ref_scratch(o.rows * o.cols), *lse_all = ref_scratch(q.rows * a->n_heads);
  for (int64_t i = 0; i < q.rows * a->n_heads; i++) lse_all[i] = -INFINITY;
#pragma omp parallel for schedule(static)
  for (int64_t h = 0; h < a->n_heads; h++) {
    double *scores = ref_scratch(k.rows);
    int64_t kv_col = h / group * width;
    for (int64_t s = 0; s < a->n_seqs; s++) {
      Sequence seq = sequence_of(a, q, k, s);
      if (seq.n_k > k.rows) scores = realloc(scores, (size_t)seq.n_k * sizeof *scores);
      CHECK(scores != NULL, "no memory for %lld scores", (long long)seq.n_k);
      for (int64_t i = 0; i < seq.n_q; i++) {
        int64_t n = visible_keys(&seq, i), r = seq.q0 + i;
        query_scores(scores, n, a, k, &seq, i, h, q_all + r * q.cols + h * width, k_all + kv_col,
                     k.cols);
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) top = fmax(top, scores[j]);
        for (int64_t j = 0; j < n; j++) sum += exp(scores[j] - top);
        if (n > 0) lse_all[r * a->n_heads + h] = top + log(sum);
        double *out = o_all + r * o.cols + h * width;
        for (int64_t j = 0; j < n; j++) {
          double p = exp(scores[j] - top) / sum;
          const double *value = v_all + key_row(a, k, &seq, j) * v.cols + kv_col;
          for (int64_t c = 0; c < width; c++) out[c] += p * value[c];
        }
      }
    }
    free(scores);
  }
  ref_store(o, o_all);
  if (tensor_given(lse)) ref_store(lse, lse_all);
  free(q_all);
  free(k_all);
  free(v_all);
  free(o_all);
  free(lse_all);
}

// Everything of a backward call as dense doubles.
typedef struct BackwardValues {
  double *q, *k, *v, *o, *d_o, *lse;
  double *dq, *dk, *dv, *dbias;
} BackwardValues;

// One query head of one sequence.
//   p = exp(s - lse);  dv += p do;  ds = p (do.v - do.o);  dq += scale ds k;  dk += scale ds q
static void head_back(const BackwardValues *x, double *scores, const AttentionArgs *a, Tensor q,
                      Tensor k, const Sequence *seq, int64_t h) {
  int64_t width = a->head_dim, kv_col = h / (a->n_heads / a->n_kv_heads) * width;
  for (int64_t i = 0; i < seq->n_q; i++) {
    int64_t n = visible_keys(seq, i), r = seq->q0 + i, at = r * q.cols + h * width;
    query_scores(scores, n, a, k, seq, i, h, x->q + at, x->k + kv_col, k.cols);
    double total = dot(x->d_o + at, x->o + at, width);
    for (int64_t j = 0; j < n; j++) {
      int64_t key = key_row(a, k, seq, j) * k.cols + kv_col;
      double p = exp(scores[j] - x->lse[r * a->n_heads + h]);
      double ds = p * (dot(x->d_o + at, x->v + key, width) - total);
      for (int64_t c = 0; c < width; c++) {
        x->dv[key + c] += p * x->d_o[at + c];
        x->dq[at + c] += (double)a->scale * ds * x->k[key + c];
        x->dk[key + c] += (double)a->scale * ds * x->q[at + c];
      }
      if (x->dbias != NULL) x->dbias[bucket_of(a, seq, i, j) * a->n_heads + h] += ds;
    }
  }
}

static void attention_back_acc(Backend *be, Tensor dq, Tensor dk, Tensor dv, Tensor dbias,
                               Tensor d_o, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                               const AttentionArgs *a) {
  op_check_attention_back_acc(be, dq, dk, dv, dbias, d_o, o, lse, q, k, v, a);
  BackwardValues x = {.q = ref_load(q),
                      .k = ref_load(k),
                      .v = ref_load(v),
                      .o = ref_load(o),
                      .d_o = ref_load(d_o),
                      .lse = ref_load(lse),
                      .dq = ref_load(dq),
                      .dk = ref_load(dk),
                      .dv = ref_load(dv),
                      .dbias = tensor_given(dbias) ? ref_load(dbias) : NULL};
  int64_t group = a->n_heads / a->n_kv_heads;
#pragma omp parallel for schedule(static)
  for (int64_t kv = 0; kv < a->n_kv_heads; kv++) { // a kv head's gradients belong to one thread
    double *scores = ref_scratch(k.rows);
    for (int64_t s = 0; s < a->n_seqs; s++) {
      Sequence seq = sequence_of(a, q, k, s);
      for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
        head_back(&x, scores, a, q, k, &seq, h);
      }
    }
    free(scores);
  }
  ref_store(dq, x.dq);
  ref_store(dk, x.dk);
  ref_store(dv, x.dv);
  if (tensor_given(dbias)) ref_store(dbias, x.dbias);
  double *all[] = {x.q, x.k, x.v, x.o, x.d_o, x.lse, x.dq, x.dk, x.dv, x.dbias};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

void ref_install_attention(Backend *be) {
  be->attention = attention;
  be->attention_back_acc = attention_back_acc;
}
