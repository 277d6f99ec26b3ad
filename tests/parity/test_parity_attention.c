// Attention and its gradient against the reference: causal, prefix, full and cross attention, own
// key lengths, offsets, pages, relative bias with its gradient, grouped heads, widths that fill no
// vector.
// devices: 3090 h100
#include "parity.h"
#include "test.h"

#include <math.h>

static const DType floats[] = {DT_F32, DT_BF16};

enum { MAX_SEQS = 4, BUCKETS = 8, MAX_DISTANCE = 20, PAGE = 4 };

typedef struct Shape {
  const char *name;
  int64_t heads, kv_heads, width, n_seqs;
  int32_t q[MAX_SEQS], k[MAX_SEQS];           // lengths
  int32_t offset[MAX_SEQS], prefix[MAX_SEQS]; // all zero: not given
  int64_t spare;                              // rows of no sequence, at the end
  bool k_lens, pages, bias;
} Shape;

static const Shape shapes[] = {
    {"no sequence", 2, 1, 8, 0, {0}, {0}, {0}, {0}, 3, false, false, false},
    {"one token", 1, 1, 8, 1, {1}, {1}, {0}, {0}, 0, false, false, false},
    {"causal", 3, 1, 64, 3, {5, 1, 9}, {5, 1, 9}, {0}, {0}, 2, false, false, false},
    {"causal tiles", 2, 2, 24, 2, {61, 133}, {61, 133}, {0}, {0}, 0, false, false, false},
    {"causal long", 2, 1, 16, 1, {300}, {300}, {0}, {0}, 0, false, false, false},
    {"empty between", 2, 1, 8, 3, {7, 0, 6}, {7, 0, 6}, {0}, {0}, 0, false, false, false},
    {"prefix", 4, 2, 40, 2, {9, 20}, {9, 20}, {0}, {4, 13}, 0, false, false, false},
    {"full", 2, 2, 16, 2, {17, 3}, {17, 3}, {0}, {17, 3}, 1, false, false, false},
    {"cross", 2, 1, 32, 2, {7, 12}, {40, 3}, {0}, {40, 3}, 0, false, false, false},
    {"key lengths", 2, 1, 8, 2, {6, 8}, {9, 11}, {3, 3}, {0}, 0, true, false, false},
    {"prefix beyond the keys",
     2,
     1,
     8,
     3,
     {6, 8, 2},
     {4, 8, 0},
     {0},
     {9, 30, 1},
     0,
     true,
     false,
     false},
    {"unseen keys", 2, 1, 8, 2, {6, 8}, {9, 11}, {0}, {0}, 0, false, false, false},
    {"nothing seen", 2, 1, 8, 2, {6, 8}, {9, 11}, {-4, -20}, {0}, 0, false, false, false},
    {"bias", 3, 3, 16, 2, {30, 41}, {30, 41}, {0}, {0}, 0, false, false, true},
    {"bias cross", 2, 1, 8, 2, {5, 40}, {21, 9}, {0}, {21, 9}, 0, false, false, true},
    {"pages decode", 3, 1, 64, 3, {1, 1, 1}, {9, 1, 16}, {8, 0, 15}, {0}, 0, true, true, false},
    {"decode by threads", 4, 2, 64, 2, {1, 3}, {150, 97}, {149, 94}, {0}, 0, false, false, false},
    {"pages few", 2, 2, 24, 2, {3, 4}, {7, 4}, {4, 0}, {0}, 0, true, true, true},
    {"pages prefill", 4, 2, 16, 2, {30, 11}, {37, 11}, {7, 0}, {0}, 0, true, true, false},
    {"wide", 1, 1, 392, 1, {5}, {5}, {0}, {0}, 0, false, false, false},
    {"width 256", 2, 1, 256, 1, {60}, {60}, {0}, {0}, 0, false, false, false},
};

static const Shape *shape_named(const char *name) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    if (strcmp(shapes[i].name, name) == 0) return &shapes[i];
  }
  test_fail(__FILE__, __LINE__, name, "no such shape");
  return &shapes[0];
}

typedef struct User {
  const Shape *shape;
  bool lse, dbias;
} User;

static bool any(const int32_t *values) {
  for (int i = 0; i < MAX_SEQS; i++) {
    if (values[i] != 0) return true;
  }
  return false;
}

// info: cu_q, cu_k, k_lens, offset, prefix, pages, bias
static AttentionArgs args_of(const Shape *s, const Tensor *info) {
  AttentionArgs a = {.n_heads = s->heads,
                     .n_kv_heads = s->kv_heads,
                     .head_dim = s->width,
                     .scale = 1.5f / (float)sqrt((double)s->width),
                     .n_seqs = s->n_seqs,
                     .cu_q = info[0],
                     .cu_k = info[1],
                     .k_lens = s->k_lens ? info[2] : TENSOR_NONE,
                     .offset = any(s->offset) ? info[3] : TENSOR_NONE,
                     .prefix = any(s->prefix) ? info[4] : TENSOR_NONE,
                     .pages = s->pages ? info[5] : TENSOR_NONE,
                     .page_size = PAGE,
                     .bias = s->bias ? info[6] : TENSOR_NONE,
                     .bias_max_distance = MAX_DISTANCE};
  for (int64_t i = 0; i < s->n_seqs; i++) {
    a.max_q = s->q[i] > a.max_q ? s->q[i] : a.max_q;
    a.max_k = s->k[i] > a.max_k ? s->k[i] : a.max_k;
  }
  return a;
}

static void call_forward(Backend *be, const Tensor *t, const void *user) {
  const User *u = user;
  AttentionArgs args = args_of(u->shape, t + 5);
  be->attention(be, t[0], u->lse ? t[1] : TENSOR_NONE, t[2], t[3], t[4], &args);
}

// dq dk dv dbias d_o o lse q k v, info
static void call_back(Backend *be, const Tensor *t, const void *user) {
  const User *u = user;
  AttentionArgs args = args_of(u->shape, t + 10);
  be->attention_back_acc(be, t[0], t[1], t[2], u->dbias ? t[3] : TENSOR_NONE, t[4], t[5], t[6],
                         t[7], t[8], t[9], &args);
}

// ---- the same naively: scores, sums and gradients in f32, one product after the other ----

static float value(Tensor t, int64_t r, int64_t c) {
  return (float)parity_get(t, r, c);
}

static int32_t entry(Tensor t, int64_t i, int32_t otherwise) {
  return t.data != NULL ? ((const int32_t *)t.data)[i] : otherwise;
}

typedef struct Naive {
  AttentionArgs a;
  Tensor q, k;
  int64_t s, i, h, row; // sequence, query within it, head, the query's row
  int64_t visible;
} Naive;

static int64_t naive_key(const Naive *x, int64_t j) {
  if (x->a.pages.data == NULL) return entry(x->a.cu_k, x->s, 0) + j;
  int32_t page = ((const int32_t *)x->a.pages.data)[x->s * x->a.pages.stride + j / PAGE];
  return page * PAGE + j % PAGE;
}

static int64_t naive_bucket(const Naive *x, int64_t j) {
  return attention_bias_bucket(entry(x->a.offset, x->s, 0) + x->i - j, BUCKETS, MAX_DISTANCE);
}

static float naive_score(const Naive *x, int64_t j) {
  int64_t width = x->a.head_dim, kv = x->h / (x->a.n_heads / x->a.n_kv_heads) * width;
  float sum = 0;
  for (int64_t c = 0; c < width; c++)
    sum += value(x->q, x->row, x->h * width + c) * value(x->k, naive_key(x, j), kv + c);
  sum *= x->a.scale;
  return x->a.bias.data != NULL ? sum + value(x->a.bias, naive_bucket(x, j), x->h) : sum;
}

// Calls f for every query and head.
static void naive_each(const AttentionArgs *a, Tensor q, Tensor k,
                       void (*f)(const Naive *, const Tensor *), const Tensor *t) {
  Naive x = {.a = *a, .q = q, .k = k};
  for (x.s = 0; x.s < a->n_seqs; x.s++) {
    int32_t first = entry(a->cu_q, x.s, 0), offset = entry(a->offset, x.s, 0);
    int64_t keys = entry(a->k_lens, x.s, entry(a->cu_k, x.s + 1, 0) - entry(a->cu_k, x.s, 0));
    for (x.i = 0; x.i < entry(a->cu_q, x.s + 1, 0) - first; x.i++) {
      x.row = first + x.i;
      x.visible =
          offset + x.i + 1 > entry(a->prefix, x.s, 0) ? offset + x.i + 1 : entry(a->prefix, x.s, 0);
      x.visible = x.visible < 0 ? 0 : x.visible < keys ? x.visible : keys;
      for (x.h = 0; x.h < a->n_heads; x.h++) f(&x, t);
    }
  }
}

static void naive_forward_query(const Naive *x, const Tensor *t) {
  int64_t width = x->a.head_dim, kv = x->h / (x->a.n_heads / x->a.n_kv_heads) * width;
  float *p = calloc((size_t)x->visible + 1, sizeof *p), top = -INFINITY, sum = 0;
  for (int64_t j = 0; j < x->visible; j++) {
    p[j] = naive_score(x, j);
    top = p[j] > top ? p[j] : top;
  }
  for (int64_t j = 0; j < x->visible; j++) sum += p[j] = expf(p[j] - top);
  for (int64_t c = 0; c < width; c++) {
    float out = 0;
    for (int64_t j = 0; j < x->visible; j++) out += p[j] * value(t[4], naive_key(x, j), kv + c);
    parity_set(t[0], x->row, x->h * width + c, x->visible > 0 ? (double)(out / sum) : 0);
  }
  if (x->visible > 0) parity_set(t[1], x->row, x->h, (double)(top + logf(sum)));
  free(p);
}

static void naive_forward(const Tensor *t, const void *user) {
  const User *u = user;
  AttentionArgs args = args_of(u->shape, t + 5);
  for (int64_t r = 0; r < t[0].rows; r++) {
    for (int64_t c = 0; c < t[0].cols; c++) parity_set(t[0], r, c, 0);
    for (int64_t h = 0; u->lse && h < t[1].cols; h++) parity_set(t[1], r, h, -INFINITY);
  }
  naive_each(&args, t[2], t[3], naive_forward_query, t);
}

static void naive_add(Tensor t, int64_t r, int64_t c, float x) {
  parity_set(t, r, c, (double)(value(t, r, c) + x));
}

// t: dq dk dv dbias (f32, or none) d_o o lse q k v
static void naive_back_query(const Naive *x, const Tensor *t) {
  int64_t width = x->a.head_dim, kv = x->h / (x->a.n_heads / x->a.n_kv_heads) * width,
          at = x->h * width;
  float delta = 0;
  for (int64_t c = 0; c < width; c++)
    delta += value(t[4], x->row, at + c) * value(t[5], x->row, at + c);
  for (int64_t j = 0; j < x->visible; j++) {
    int64_t key = naive_key(x, j);
    float p = expf(naive_score(x, j) - value(t[6], x->row, x->h)), dp = 0;
    for (int64_t c = 0; c < width; c++)
      dp += value(t[4], x->row, at + c) * value(t[9], key, kv + c);
    float ds = p * (dp - delta);
    for (int64_t c = 0; c < width; c++) {
      naive_add(t[2], key, kv + c, p * value(t[4], x->row, at + c));
      naive_add(t[0], x->row, at + c, x->a.scale * ds * value(t[8], key, kv + c));
      naive_add(t[1], key, kv + c, x->a.scale * ds * value(t[7], x->row, at + c));
    }
    if (t[3].data != NULL) naive_add(t[3], naive_bucket(x, j), x->h, ds);
  }
}

static void naive_back(const Tensor *t, const void *user) {
  const User *u = user;
  AttentionArgs args = args_of(u->shape, t + 10);
  Tensor sums[10];
  for (int i = 0; i < 10; i++)
    sums[i] = i < 3 ? parity_clone(t[i], DT_F32) : t[i]; // rounded once, at the end
  if (!u->dbias) sums[3] = TENSOR_NONE;
  naive_each(&args, t[7], t[8], naive_back_query, sums);
  for (int i = 0; i < 3; i++) {
    for (int64_t r = 0; r < t[i].rows; r++) {
      for (int64_t c = 0; c < t[i].cols; c++) parity_set(t[i], r, c, parity_get(sums[i], r, c));
    }
  }
}

static int64_t query_rows(const Shape *s) {
  int64_t n = s->spare;
  for (int64_t i = 0; i < s->n_seqs; i++) n += s->q[i];
  return n;
}

static int64_t key_rows(const Shape *s) {
  if (s->pages) return 64 * PAGE;
  int64_t n = s->spare;
  for (int64_t i = 0; i < s->n_seqs; i++) n += s->k[i];
  return n;
}

static void add_info(ParityCase *c, const Shape *s, DType f) {
  int32_t cu_q[MAX_SEQS + 1] = {0}, cu_k[MAX_SEQS + 1] = {0};
  for (int64_t i = 0; i < s->n_seqs; i++) {
    cu_q[i + 1] = cu_q[i] + s->q[i];
    cu_k[i + 1] = cu_k[i] + s->k[i];
  }
  parity_add_i32(c, "cu_q", cu_q, s->n_seqs + 1, 0);
  parity_add_i32(c, "cu_k", cu_k, s->n_seqs + 1, 0);
  int32_t lens[MAX_SEQS];
  for (int i = 0; i < MAX_SEQS; i++) lens[i] = s->pages || s->k[i] == 0 ? s->k[i] : s->k[i] - i;
  parity_add_i32(c, "k_lens", lens, s->n_seqs, 0);
  parity_add_i32(c, "offset", s->offset, s->n_seqs, 0);
  parity_add_i32(c, "prefix", s->prefix, s->n_seqs, 0);
  int pages = parity_add(c, "pages", PARITY_IN, DT_I32, s->n_seqs, 12, 1, 0);
  Tensor t = c->tensors[pages].t;
  for (int64_t i = 0; i < s->n_seqs; i++) {
    for (int64_t p = 0; p < 12; p++) parity_set(t, i, p, (double)((i * 12 + p) * 23 % 64));
  }
  parity_add(c, "bias", PARITY_IN, f, BUCKETS, s->heads, 1, 1);
}

static void run_forward(const Shape *s, DType f, bool lse) {
  User user = {.shape = s, .lse = lse};
  ParityCase c = {.call = call_forward, .naive = naive_forward, .user = &user};
  snprintf(c.name, sizeof c.name, "attention %s %s%s", s->name, dtype_info(f)->name,
           lse ? "" : " without lse");
  int64_t q = query_rows(s), k = key_rows(s), heads = s->heads * s->width,
          kv = s->kv_heads * s->width;
  parity_add(&c, "o", PARITY_OUT, f, q, heads, 3, 1);
  parity_add(&c, "lse", lse ? PARITY_OUT : PARITY_ACC, DT_F32, q, s->heads, 1, 1);
  parity_add(&c, "q", PARITY_IN, f, q, heads, 1, 2);
  parity_add(&c, "k", PARITY_IN, f, k, kv, 2, 1);
  parity_add(&c, "v", PARITY_IN, f, k, kv, 1, 1);
  add_info(&c, s, f);
  parity_run(&c);
}

static void test_forward(void) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    for (int f = 0; f < 2; f++) run_forward(&shapes[i], floats[f], true);
  }
  run_forward(shape_named("causal"), DT_F32, false);
  run_forward(shape_named("pages decode"), DT_BF16, false);
}

static void run_back(const Shape *s, DType f, bool dbias) {
  User user = {.shape = s, .lse = true, .dbias = dbias};
  ParityCase forward = {.call = call_forward, .user = &user};
  ParityCase c = {.call = call_back, .naive = naive_back, .user = &user};
  snprintf(c.name, sizeof c.name, "attention_back_acc %s %s%s", s->name, dtype_info(f)->name,
           dbias ? " with dbias" : "");
  int64_t q = query_rows(s), k = key_rows(s), heads = s->heads * s->width,
          kv = s->kv_heads * s->width;
  parity_add(&c, "dq", PARITY_ACC, f, q, heads, 3, 1);
  parity_add(&c, "dk", PARITY_ACC, f, k, kv, 1, 1);
  parity_add(&c, "dv", PARITY_ACC, f, k, kv, 2, 1);
  parity_add(&c, "dbias", PARITY_ACC, DT_F32, BUCKETS, s->heads, 1, 1);
  parity_add(&c, "d_o", PARITY_IN, f, q, heads, 1, 1);
  int o = parity_add(&c, "o", PARITY_IN, f, q, heads, 2, 1);
  parity_add(&c, "lse", PARITY_IN, DT_F32, q, s->heads, 1, 1);
  parity_add(&c, "q", PARITY_IN, f, q, heads, 1, 2);
  parity_add(&c, "k", PARITY_IN, f, k, kv, 2, 1);
  parity_add(&c, "v", PARITY_IN, f, k, kv, 1, 1);
  add_info(&c, s, f);
  // o and lse as the forward leaves them.
  Tensor t[12] = {0};
  t[0] = c.tensors[o].t;
  for (int i = 1; i < 12; i++) t[i] = c.tensors[o + i].t;
  forward.call(parity_reference(), t, &user);
  parity_run(&c);
}

static void test_back(void) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    if (shapes[i].pages) continue;
    for (int f = 0; f < 2; f++) run_back(&shapes[i], floats[f], shapes[i].bias);
  }
  run_back(shape_named("bias"), DT_F32, false);
}

int main(void) {
  RUN(test_forward);
  RUN(test_back);
  return test_done();
}
