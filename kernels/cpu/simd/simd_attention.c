// Attention forward.
//
// Tiles (more than DECODE_QUERIES queries): per (sequence, kv head) K^T and V are expanded to f32
// panels once; then each thread takes (sequence, head, QUERIES queries) and goes over the keys in
// blocks of KEYS with the online softmax (Milakov & Gimelshein 2018; tiled as Dao et al. 2022).
// Keys beyond the last query's view are never touched, and the longest blocks of queries go first.
// Scores live in a tile of the thread's cache. 4 T S D flops a head, half of it under the causal
// rule; the micro product runs them, exp costs about 15 instructions a vector of scores.
//
// Measured at 4 x 512 tokens, 9 heads of 64: 95 GFLOP/s a thread where FMAs reach 168 (counting
// only visible pairs; tools/bench/bench_ops.c, threads=1); a quarter of the time is exp and its
// sums, a sixth goes into pairs of the diagonal's tiles that nobody sees.
//
// Decode: per (sequence, head) and query, one pass over the keys as they lie in the cache; bytes of
// K and V decide.
//
// Every query's sums run in an order that only lengths fix; threads change no bit.
#include "simd_attention.h"
#include "op_check.h"
#include "simd_math.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum {
  QUERIES = MICRO_ROWS * (VW == 16 ? 4 : 8),
  KEYS = 256,
  DECODE_QUERIES = 4,
  WAVE_FLOATS = 8 << 20, // packed keys and values that exist at a time
};

typedef struct Attend {
  Tensor o, lse, q, k, v;
  const AttentionArgs *a;
  const float *bias; // [H, distances] or NULL
  int64_t distances;
} Attend;

static void bias_row(float *scores, const Attend *x, const AttentionSequence *seq, int64_t h,
                     int64_t i, int64_t j0, int64_t n) {
  const float *bias = x->bias + h * x->distances;
  for (int64_t j = 0; j < n; j++) scores[j] += bias[attention_distance(seq, i, j0 + j)];
}

// The bias of each head by distance.
static const float *bias_by_distance(Backend *be, const AttentionArgs *a, int64_t distances) {
  float *out = cpu_scratch(be, SCRATCH_ROWS, a->n_heads * distances);
  for (int64_t d = 0; d < distances; d++) {
    int64_t bucket = attention_bias_bucket(d, a->bias.rows, a->bias_max_distance);
    for (int64_t h = 0; h < a->n_heads; h++)
      rowio_load(out + h * distances + d, a->bias, bucket, h, 1);
  }
  return out;
}

// exp(scores - top) in place for n of them; returns their sum.
static float exp_row(float *scores, int64_t n, float top) {
  vf sum = (vf){0};
  int64_t j = 0;
  for (; j + VW <= n; j += VW) {
    vf p = vf_exp(vf_load(scores + j) - top);
    vf_store(scores + j, p);
    sum += p;
  }
  float total = vf_sum(sum);
  if (j < n) {
    float p[VW];
    vf_store(p, vf_exp(vf_load_part(scores + j, n - j) - top));
    for (int64_t i = 0; j < n; i++, j++) {
      scores[j] = p[i];
      total += p[i];
    }
  }
  return total;
}

static float max_row(const float *scores, int64_t n) {
  vf top = vf_set(-INFINITY);
  int64_t j = 0;
  for (; j + VW <= n; j += VW) top = vf_max(top, vf_load(scores + j));
  float largest = vf_largest(top);
  for (; j < n; j++) largest = scores[j] > largest ? scores[j] : largest;
  return largest;
}

static void scale_row(float *x, int64_t n, float factor) {
  SIMD_FOR(i, m, n) row_store(x, DT_F32, i, row_load(x, DT_F32, i, m) * factor, m);
}

static void finish_row(const Attend *x, int64_t row, int64_t h, float *out, float top, float sum) {
  int64_t width = x->a->head_dim;
  scale_row(out, width, sum > 0 || isnan(sum) ? 1 / sum : 0);
  rowio_store(x->o, row, h * width, out, width);
  if (tensor_given(x->lse)) {
    ((float *)row_at(x->lse, row))[h] = sum > 0 || isnan(sum) ? top + logf(sum) : -INFINITY;
  }
}

// ---- tiles ----

// A (sequence, kv head) of a wave and its packed panels.
typedef struct Unit {
  AttentionSequence seq;
  int64_t kv, n_k; // keys that any query sees
  float *kt, *v;   // [n_k / MICRO_COLS][D][MICRO_COLS], [D / MICRO_COLS][n_k][MICRO_COLS]
} Unit;

enum { UNITS = 64 };

static void pack_unit(const Attend *x, const Unit *u, int64_t j0, int64_t n) {
  int64_t width = x->a->head_dim, col = u->kv * width;
  float rows[MICRO_COLS * HEAD_MAX];
  for (int64_t j = 0; j < n; j++) {
    int64_t row = attention_key_row(x->a, x->k, &u->seq, j0 + j);
    rowio_load(rows + j * width, x->k, row, col, width);
    pack_row(u->v, u->n_k, j0 + j, x->v, row, col, width);
  }
  if (n < MICRO_COLS)
    memset(rows + n * width, 0, (size_t)((MICRO_COLS - n) * width) * sizeof *rows);
  SIMD(micro_transpose)(u->kt + j0 * width, MICRO_COLS, rows, width, MICRO_COLS, width);
}

// Adds one block of keys to the online softmax of the queries: scores become probabilities.
static void softmax_tile(float *scores, float *out, int64_t out_pitch, float *top, float *sum,
                         const Attend *x, const AttentionSequence *seq, int64_t h, int64_t i0,
                         int64_t rows, int64_t j0, int64_t keys) {
  for (int64_t i = 0; i < rows; i++) {
    float *s = scores + i * A_PITCH;
    int64_t n = attention_visible(seq, i0 + i) - j0;
    n = n < 0 ? 0 : n < keys ? n : keys;
    if (n > 0) {
      if (x->bias != NULL) bias_row(s, x, seq, h, i0 + i, j0, n);
      float block = max_row(s, n), now = block > top[i] ? block : top[i];
      float keep = expf(top[i] - now);
      float added = exp_row(s, n, now);
      sum[i] = sum[i] * keep + added;
      if (keep != 1) scale_row(out + i * out_pitch, x->a->head_dim, keep);
      top[i] = now;
    }
    for (int64_t j = n; j < keys; j++) s[j] = 0;
  }
}

static void attend_tile(const Attend *x, const Unit *u, int64_t h, int64_t i0, float *scratch) {
  const AttentionSequence *seq = &u->seq;
  int64_t width = x->a->head_dim, pitch = panel_up(width);
  int64_t rows = seq->n_q - i0 < QUERIES ? seq->n_q - i0 : QUERIES;
  float *q = scratch, *scores = q + QUERIES * A_PITCH, *out = scores + QUERIES * A_PITCH;
  float top[QUERIES], sum[QUERIES];
  for (int64_t i = 0; i < rows; i++) {
    top[i] = -INFINITY;
    sum[i] = 0;
    rowio_load(q + i * A_PITCH, x->q, seq->q0 + i0 + i, h * width, width);
    scale_row(q + i * A_PITCH, width, x->a->scale);
  }
  memset(out, 0, (size_t)(rows * pitch) * sizeof *out);
  int64_t end = attention_visible(seq, i0 + rows - 1);
  for (int64_t j0 = 0; j0 < end; j0 += KEYS) {
    int64_t keys = end - j0 < KEYS ? end - j0 : KEYS;
    tile_product(scores, A_PITCH, q, u->kt + j0 * width, MICRO_COLS * width, rows, keys, width,
                 false);
    softmax_tile(scores, out, pitch, top, sum, x, seq, h, i0, rows, j0, keys);
    tile_product(out, pitch, scores, u->v + j0 * MICRO_COLS, u->n_k * MICRO_COLS, rows, width, keys,
                 true);
  }
  for (int64_t i = 0; i < rows; i++) {
    finish_row(x, seq->q0 + i0 + i, h, out + i * pitch, top[i], sum[i]);
  }
}

static void attend_wave(Backend *be, const Attend *x, const Unit *units, int64_t n, int64_t max_k,
                        int64_t max_q) {
  int64_t width = x->a->head_dim, group = x->a->n_heads / x->a->n_kv_heads;
  int64_t size = 2 * QUERIES * A_PITCH + QUERIES * panel_up(width);
  float *tiles = cpu_scratch(be, SCRATCH_THREADS, cpu_of(be)->threads * size);
  int64_t k_panels = (max_k + MICRO_COLS - 1) / MICRO_COLS,
          q_blocks = (max_q + QUERIES - 1) / QUERIES;
#pragma omp parallel num_threads(cpu_team(be, n *max_k *max_q *width / 32))
  {
    float *scratch = tiles + omp_get_thread_num() * size;
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < n * k_panels; i++) {
      const Unit *u = &units[i / k_panels];
      int64_t j0 = i % k_panels * MICRO_COLS, left = u->n_k - j0;
      if (left > 0) pack_unit(x, u, j0, left < MICRO_COLS ? left : MICRO_COLS);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < q_blocks * n * group; i++) { // later queries see more: they go first
      const Unit *u = &units[i / group % n];
      int64_t i0 = (q_blocks - 1 - i / (n * group)) * QUERIES;
      if (i0 < u->seq.n_q) attend_tile(x, u, u->kv * group + i % group, i0, scratch);
    }
  }
}

// Waves of units, as many as fit into the budget of packed panels; at least one.
static void attend_tiles(Backend *be, const Attend *x) {
  int64_t width = x->a->head_dim, n_units = x->a->n_seqs * x->a->n_kv_heads, next = 0;
  while (next < n_units) {
    Unit units[UNITS];
    int64_t n = 0, used = 0, max_k = 0, max_q = 0;
    for (; next < n_units && n < UNITS; next++) {
      Unit u = {.seq = attention_sequence(x->a, x->q, x->k, next / x->a->n_kv_heads),
                .kv = next % x->a->n_kv_heads};
      if (u.seq.n_q == 0) continue;
      u.n_k = attention_visible(&u.seq, u.seq.n_q - 1);
      int64_t size = panel_up(u.n_k) * width + u.n_k * panel_up(width);
      if (n > 0 && used + size > WAVE_FLOATS) break;
      used += size;
      max_k = u.n_k > max_k ? u.n_k : max_k;
      max_q = u.seq.n_q > max_q ? u.seq.n_q : max_q;
      units[n++] = u;
    }
    float *packed = cpu_scratch(be, SCRATCH_SHARED, used);
    for (int64_t i = 0; i < n; i++) {
      units[i].kt = packed;
      units[i].v = packed + panel_up(units[i].n_k) * width;
      packed = units[i].v + units[i].n_k * panel_up(width);
    }
    if (n > 0) attend_wave(be, x, units, n, max_k, max_q);
  }
}

// For units of any lengths within the call's bounds.
static void note_tiles(Backend *be, const AttentionArgs *a, Tensor k) {
  int64_t width = a->head_dim, pitch = panel_up(width), n_units = a->n_seqs * a->n_kv_heads;
  int64_t largest = panel_up(a->max_k) * width + a->max_k * pitch, keys = a->n_seqs * a->max_k;
  if (!tensor_given(a->pages) && k.rows < keys) keys = k.rows;
  int64_t all = a->n_kv_heads * (keys * (width + pitch) + a->n_seqs * MICRO_COLS * width);
  int64_t wave = largest > WAVE_FLOATS ? largest : WAVE_FLOATS;
  if (all > wave) all = wave;
  if (all > (n_units < UNITS ? n_units : UNITS) * largest)
    all = (n_units < UNITS ? n_units : UNITS) * largest;
  cpu_scratch(be, SCRATCH_SHARED, all);
  cpu_scratch(be, SCRATCH_THREADS, cpu_of(be)->threads * (2 * QUERIES * A_PITCH + QUERIES * pitch));
}

// ---- decode ----

SIMD_INLINE float dot_row(const float *a, const void *b, DType F, int64_t width) {
  vf sum = (vf){0};
  SIMD_FOR(c, n, width) sum = vf_fma(row_load(a, DT_F32, c, n), row_load(b, F, c, n), sum);
  return vf_sum(sum);
}

SIMD_INLINE void add_row(float *out, const void *v, DType F, float p, int64_t width) {
  SIMD_FOR(c, n, width) {
    row_store(out, DT_F32, c, vf_fma(vf_set(p), row_load(v, F, c, n), row_load(out, DT_F32, c, n)),
              n);
  }
}

static void attend_query(const Attend *x, const AttentionSequence *seq, int64_t h, int64_t i,
                         float *scores) {
  int64_t width = x->a->head_dim, col = h / (x->a->n_heads / x->a->n_kv_heads) * width;
  int64_t n = attention_visible(seq, i), bytes = dtype_bytes(x->k.dtype, col);
  float q[HEAD_MAX], out[HEAD_MAX] = {0};
  rowio_load(q, x->q, seq->q0 + i, h * width, width);
  scale_row(q, width, x->a->scale);
  for (int64_t j = 0; j < n; j++) {
    const char *key = (const char *)row_at(x->k, attention_key_row(x->a, x->k, seq, j)) + bytes;
    SIMD_BY_F(x->k.dtype, F, scores[j] = dot_row(q, key, F, width));
  }
  if (x->bias != NULL) bias_row(scores, x, seq, h, i, 0, n);
  float top = max_row(scores, n), sum = exp_row(scores, n, top);
  for (int64_t j = 0; j < n; j++) {
    const char *value = (const char *)row_at(x->v, attention_key_row(x->a, x->k, seq, j)) + bytes;
    SIMD_BY_F(x->v.dtype, F, add_row(out, value, F, scores[j], width));
  }
  finish_row(x, seq->q0 + i, h, out, top, sum);
}

static void attend_decode(Backend *be, const Attend *x) {
  int64_t heads = x->a->n_heads, max_k = 0;
  for (int64_t s = 0; s < x->a->n_seqs; s++) {
    int64_t n_k = attention_sequence(x->a, x->q, x->k, s).n_k;
    max_k = n_k > max_k ? n_k : max_k;
  }
  int64_t size = max_k + VW;
  float *all = cpu_scratch(be, SCRATCH_THREADS, cpu_of(be)->threads * size);
#pragma omp parallel for schedule(dynamic, 1)                                                      \
    num_threads(cpu_team(be, x->a->n_seqs *heads *max_k * x->a->head_dim))
  for (int64_t i = 0; i < x->a->n_seqs * heads; i++) {
    AttentionSequence seq = attention_sequence(x->a, x->q, x->k, i / heads);
    for (int64_t r = 0; r < seq.n_q; r++) {
      attend_query(x, &seq, i % heads, r, all + omp_get_thread_num() * size);
    }
  }
}

// Rows before the first sequence and after the last: zeros.
static void clear_rows(const Attend *x, int64_t from, int64_t to) {
  for (int64_t r = from; r < to; r++) {
    memset(row_at(x->o, r), 0, (size_t)dtype_bytes(x->o.dtype, x->o.cols));
    if (!tensor_given(x->lse)) continue;
    for (int64_t h = 0; h < x->lse.cols; h++) ((float *)row_at(x->lse, r))[h] = -INFINITY;
  }
}

static void attention(Backend *be, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                      const AttentionArgs *args) {
  if (!cpu_fast(q) || args->head_dim > HEAD_MAX) {
    if (!cpu_noting(be)) cpu_of(be)->ref.attention(be, o, lse, q, k, v, args);
    return;
  }
  op_check_attention(be, o, lse, q, k, v, args);
  if (cpu_noting(be)) { // few queries come even where many may
    note_tiles(be, args, k);
    cpu_scratch(be, SCRATCH_THREADS, cpu_of(be)->threads * (args->max_k + VW));
    if (tensor_given(args->bias)) cpu_scratch(be, SCRATCH_ROWS, args->n_heads * (args->max_k + 1));
    return;
  }
  Attend x = {.o = o, .lse = lse, .q = q, .k = k, .v = v, .a = args};
  if (args->n_seqs == 0) {
    clear_rows(&x, 0, q.rows);
    return;
  }
  clear_rows(&x, 0, attention_i32(args->cu_q, 0, 0));
  clear_rows(&x, attention_i32(args->cu_q, args->n_seqs, 0), q.rows);
  if (tensor_given(args->bias)) {
    x.distances = attention_distances(args, q, k);
    x.bias = bias_by_distance(be, args, x.distances);
  }
  if (args->max_q <= DECODE_QUERIES) {
    attend_decode(be, &x);
  } else {
    attend_tiles(be, &x);
  }
}

void SIMD(simd_install_attention)(Backend *be) {
  be->attention = attention;
}
