// Attention and its gradient against the reference: causal, prefix, full and cross attention, own
// key lengths, offsets, pages, relative bias with its gradient, grouped heads, widths that fill no
// vector.
// devices: 3090 h100
#include "parity.h"
#include "test.h"

#include <math.h>

static const DType floats[] = {DT_F32, DT_BF16};

enum { MAX_SEQS = 64, BUCKETS = 8, MAX_DISTANCE = 24, PAGES = 12, POOL = 64 };

typedef struct Shape {
  const char *name;
  int64_t heads, kv_heads, width, n_seqs;
  int32_t q[MAX_SEQS], k[MAX_SEQS];           // lengths; k all zero: as q
  int32_t offset[MAX_SEQS], prefix[MAX_SEQS]; // all zero: not given
  int64_t spare;                              // rows of no sequence, at the end
  int64_t page;                               // rows of a page; 0: no pages
  int64_t max_k;                              // said to be the most keys; 0: what they are
  bool k_lens;
  int64_t buckets; // of the bias; 0: none
  float scale;     // 0: 1.5 / sqrt(width)
} Shape;

// Rows that begin anywhere: kernels without vector loads. f32 and bf16.
static const Shape shapes[] = {
    {"no sequence", 2, 1, 8, 0, .spare = 3},
    {"one token", 1, 1, 8, 1, .q = {1}},
    {"causal", 3, 1, 64, 3, .q = {5, 1, 9}, .spare = 2},
    {"causal tiles", 2, 2, 24, 2, .q = {61, 133}},
    {"causal long", 2, 1, 16, 1, .q = {300}},
    {"empty between", 2, 1, 8, 3, .q = {7, 0, 19}},
    {"prefix", 4, 2, 40, 2, .q = {9, 20}, .prefix = {4, 13}},
    {"full", 2, 2, 16, 2, .q = {17, 3}, .prefix = {17, 3}, .spare = 1},
    {"cross", 2, 1, 32, 2, .q = {7, 12}, .k = {40, 3}, .prefix = {40, 3}},
    {"key lengths", 2, 1, 8, 2, .q = {6, 18}, .k = {9, 21}, .offset = {3, 3}, .k_lens = true},
    {"prefix beyond the keys", 2, 1, 8, 3, .q = {6, 8, 2}, .k = {4, 8, 0}, .prefix = {9, 30, 1},
     .k_lens = true},
    {"unseen keys", 2, 1, 8, 2, .q = {6, 18}, .k = {9, 25}},
    {"nothing seen", 2, 1, 8, 2, .q = {6, 18}, .k = {9, 11}, .offset = {-4, -20}},
    {"decode key lengths", 2, 1, 8, 2, .q = {6, 8}, .k = {9, 11}, .offset = {3, 3}, .k_lens = true},
    {"decode unseen keys", 2, 1, 8, 2, .q = {6, 8}, .k = {9, 11}},
    {"decode nothing seen", 2, 1, 8, 2, .q = {6, 8}, .k = {9, 11}, .offset = {-4, -20}},
    {"bias", 3, 3, 16, 2, .q = {30, 41}, .buckets = BUCKETS},
    {"40 buckets", 2, 1, 8, 1, .q = {33}, .buckets = 40},
    {"bias cross", 2, 1, 8, 2, .q = {5, 40}, .k = {21, 9}, .prefix = {21, 9}, .buckets = BUCKETS},
    {"pages decode", 3, 1, 64, 3, .q = {1, 1, 1}, .k = {9, 1, 16}, .offset = {8, 0, 15}, .page = 4,
     .k_lens = true},
    {"decode by threads", 4, 2, 64, 2, .q = {1, 3}, .k = {150, 97}, .offset = {149, 94}},
    {"pages few", 2, 2, 24, 2, .q = {3, 4}, .k = {7, 4}, .offset = {4, 0}, .page = 4,
     .k_lens = true, .buckets = BUCKETS},
    {"pages prefill", 4, 2, 16, 2, .q = {30, 11}, .k = {37, 11}, .offset = {7, 0}, .page = 4,
     .k_lens = true},
    // A width of each kernel's instance, whose last columns not all lanes have, in every form.
    {"24 columns", 4, 2, 24, 4, .q = {0, 18, 1, 3}, .k = {2, 18, 2, 6}, .offset = {0, 0, 0, 2},
     .prefix = {0, 3, 0, 0}, .k_lens = true, .buckets = BUCKETS, .spare = 1},
    {"72 columns", 2, 1, 72, 4, .q = {0, 17, 1, 3}, .k = {2, 18, 2, 6}, .offset = {0, 1, 0, 2},
     .prefix = {0, 3, 0, 0}, .k_lens = true, .buckets = BUCKETS, .spare = 1},
    {"136 columns", 2, 1, 136, 4, .q = {0, 17, 1, 3}, .k = {2, 18, 2, 6}, .offset = {0, 1, 0, 2},
     .prefix = {0, 3, 0, 0}, .k_lens = true, .buckets = BUCKETS, .spare = 1},
    {"wide", 1, 1, 392, 1, .q = {5}},
    {"width 256", 2, 1, 256, 1, .q = {60}},
    {"32 heads, scalar", 32, 4, 8, 2, .q = {18, 1}},
};

// Rows as the models lay them out, at multiples of 16 bytes, in bf16: what tensor cores take, 64
// queries and 64 keys at a time.
static const Shape tile_shapes[] = {
    {"tile", 2, 1, 64, 3, .q = {63, 64, 65}, .spare = 3},
    {"tile of 128 columns", 2, 1, 128, 3, .q = {65, 63, 64}, .spare = 1},
    {"two tiles", 1, 1, 64, 2, .q = {127, 129}, .spare = 1},
    {"one token and long", 3, 1, 64, 5, .q = {1, 70, 1, 1, 17}},
    {"one token and long, 128 columns", 2, 2, 128, 4, .q = {1, 66, 1, 20}},
    {"64 sequences", 1, 1, 64, 64,
     .q = {[0] = 1,
           [1] = 18,
           [2] = 1,
           [3] = 2,
           [5] = 67,
           [6] = 1,
           [30] = 20,
           [31] = 3,
           [61] = 1,
           [63] = 9}},
    {"32 heads", 32, 8, 64, 2, .q = {33, 1}, .spare = 2},
    {"32 heads of 128 columns", 32, 32, 128, 1, .q = {18}},
    {"tile prefix", 2, 1, 64, 2, .q = {80, 66}, .prefix = {70, 3}},
    {"tile full", 2, 2, 128, 2, .q = {65, 20}, .prefix = {65, 20}},
    {"tile cross", 4, 2, 64, 3, .q = {65, 20, 1}, .k = {129, 3, 64}, .prefix = {129, 3, 64}},
    {"tile key lengths", 2, 1, 64, 2, .q = {66, 20}, .k = {70, 64}, .offset = {4, 44},
     .k_lens = true},
    {"tile nothing seen", 2, 1, 64, 3, .q = {70, 20, 18}, .k = {70, 20, 1}, .offset = {-66, -30, 0},
     .k_lens = true},
    {"tile scale 1", 2, 1, 64, 1, .q = {65}, .scale = 1.0f},
    {"tile scale 1, 128 columns", 1, 1, 128, 1, .q = {65}, .scale = 1.0f},
};

// Few queries a sequence, forward only, in f32 and bf16, rows at multiples of 16 bytes. Keys are
// cut every 512, or every 1024 where there may be more than 16,384.
static const Shape decode_shapes[] = {
    {"decode", 4, 2, 64, 3, .q = {1, 16, 3}, .k = {513, 600, 3}, .offset = {512, 584, 0},
     .page = 64, .k_lens = true, .spare = 2},
    {"decode, 128 columns", 4, 1, 128, 2, .q = {1, 1}, .k = {512, 700}, .offset = {511, 699},
     .page = 64, .k_lens = true},
    {"decode, a head alone", 2, 2, 128, 3, .q = {1, 1, 1}, .k = {1, 511, 130},
     .offset = {0, 510, 129}},
    {"decode, 64 sequences", 3, 1, 64, 64,
     .q = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
           1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
           1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
     .k = {1, 38, 75, 22, 59, 530, 43, 80, 27, 64, 11, 48, 85, 32, 69, 16, 53, 90, 37,  74, 21, 58,
           5, 42, 79, 26, 63, 10,  47, 84, 31, 68, 15, 52, 89, 36, 73, 20, 57, 4,  512, 78, 25, 62,
           9, 46, 83, 30, 67, 14,  51, 88, 35, 72, 19, 56, 3,  40, 77, 24, 61, 8,  45,  82},
     .offset = {0,  37, 74, 21, 58, 529, 42, 79, 26,  63, 10, 47, 84, 31, 68, 15,
                52, 89, 36, 73, 20, 57,  4,  41, 78,  25, 62, 9,  46, 83, 30, 67,
                14, 51, 88, 35, 72, 19,  56, 3,  511, 77, 24, 61, 8,  45, 82, 29,
                66, 13, 50, 87, 34, 71,  18, 55, 2,   39, 76, 23, 60, 7,  44, 81}},
    {"decode, 512 columns", 2, 1, 512, 1, .q = {2}, .k = {530}, .offset = {528}, .page = 128,
     .k_lens = true},
    // A width of each instance that not all lanes share, for one row of a kv head and for several;
    // the first sequence sees nothing.
    {"decode, 24 columns, a head alone", 2, 2, 24, 3, .q = {1, 1, 1}, .k = {0, 40, 1},
     .offset = {0, 39, 0}},
    {"decode, 72 columns, a head alone", 2, 2, 72, 2, .q = {1, 1}, .k = {0, 3}, .offset = {0, 2}},
    {"decode, 136 columns, a head alone", 1, 1, 136, 2, .q = {1, 1}, .k = {0, 3}, .offset = {0, 2}},
    {"decode, 320 columns, a head alone", 1, 1, 320, 2, .q = {1, 1}, .k = {40, 1},
     .offset = {39, 0}},
    {"decode, 24 columns", 2, 2, 24, 3, .q = {1, 3, 1}, .k = {0, 5, 2}},
    {"decode, 72 columns", 2, 2, 72, 3, .q = {1, 3, 1}, .k = {0, 5, 2}},
    {"decode, 136 columns", 2, 2, 136, 3, .q = {1, 3, 1}, .k = {0, 5, 2}},
    {"decode, may be long", 1, 1, 8, 1, .q = {2}, .k = {1100}, .offset = {1098}, .max_k = 16385},
    {"decode bias", 2, 2, 64, 2, .q = {2, 1}, .k = {40, 520}, .offset = {38, 519},
     .buckets = BUCKETS},
    {"decode cross", 4, 2, 64, 2, .q = {2, 5}, .k = {40, 3}, .prefix = {40, 3}},
};

// So many partial sums that the sequences are worked off one after the other.
static const Shape many_sums = {"decode, one by one",
                                8,
                                2,
                                512,
                                4,
                                .q = {16, 2, 16, 1},
                                .k = {18, 2, 16, 5},
                                .offset = {2, 0, 0, 4},
                                .max_k = 16384,
                                .spare = 1};

// The same through pages, forward only: a prompt behind what is in the cache already.
static const Shape page_shapes[] = {
    {"tile pages", 4, 2, 64, 3, .q = {20, 65, 1}, .k = {150, 65, 129}, .offset = {130, 0, 128},
     .page = 16, .k_lens = true},
    {"tile pages, 128 columns", 2, 1, 128, 2, .q = {65, 17}, .k = {66, 81}, .offset = {1, 64},
     .prefix = {0, 70}, .page = 64, .k_lens = true},
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

static int32_t keys(const Shape *s, int64_t i) {
  for (int64_t n = 0; n < s->n_seqs; n++) {
    if (s->k[n] != 0) return s->k[i];
  }
  return s->q[i];
}

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
                     .scale = s->scale > 0 ? s->scale : 1.5f / (float)sqrt((double)s->width),
                     .n_seqs = s->n_seqs,
                     .cu_q = info[0],
                     .cu_k = info[1],
                     .k_lens = s->k_lens ? info[2] : TENSOR_NONE,
                     .offset = any(s->offset) ? info[3] : TENSOR_NONE,
                     .prefix = any(s->prefix) ? info[4] : TENSOR_NONE,
                     .pages = s->page > 0 ? info[5] : TENSOR_NONE,
                     .page_size = s->page,
                     .bias = s->buckets > 0 ? info[6] : TENSOR_NONE,
                     .bias_max_distance = MAX_DISTANCE};
  a.max_k = s->max_k;
  for (int64_t i = 0; i < s->n_seqs; i++) {
    a.max_q = s->q[i] > a.max_q ? s->q[i] : a.max_q;
    a.max_k = keys(s, i) > a.max_k ? keys(s, i) : a.max_k;
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
  int64_t size = x->a.page_size;
  int32_t page = ((const int32_t *)x->a.pages.data)[x->s * x->a.pages.stride + j / size];
  return page * size + j % size;
}

static int64_t naive_bucket(const Naive *x, int64_t j) {
  return attention_bias_bucket(entry(x->a.offset, x->s, 0) + x->i - j, x->a.bias.rows,
                               MAX_DISTANCE);
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
  if (s->page > 0) return POOL * s->page;
  int64_t n = s->spare;
  for (int64_t i = 0; i < s->n_seqs; i++) n += keys(s, i);
  return n;
}

static void add_info(ParityCase *c, const Shape *s, DType f) {
  int32_t cu_q[MAX_SEQS + 1] = {0}, cu_k[MAX_SEQS + 1] = {0};
  for (int64_t i = 0; i < s->n_seqs; i++) {
    cu_q[i + 1] = cu_q[i] + s->q[i];
    cu_k[i + 1] = cu_k[i] + keys(s, i);
  }
  parity_add_i32(c, "cu_q", cu_q, s->n_seqs + 1, 0);
  parity_add_i32(c, "cu_k", cu_k, s->n_seqs + 1, 0);
  int32_t lens[MAX_SEQS] = {0};
  for (int32_t i = 0; i < s->n_seqs; i++) {
    int32_t n = keys(s, i);
    lens[i] = s->page > 0 ? n : n > i ? n - i : 0;
  }
  parity_add_i32(c, "k_lens", lens, s->n_seqs, 0);
  parity_add_i32(c, "offset", s->offset, s->n_seqs, 0);
  parity_add_i32(c, "prefix", s->prefix, s->n_seqs, 0);
  int pages = parity_add(c, "pages", PARITY_IN, DT_I32, s->n_seqs, PAGES, 1, 0);
  Tensor t = c->tensors[pages].t;
  for (int64_t i = 0; i < s->n_seqs; i++) {
    for (int64_t p = 0; p < PAGES; p++) parity_set(t, i, p, (double)((i * PAGES + p) * 23 % POOL));
  }
  parity_add(c, "bias", PARITY_IN, f, s->buckets, s->heads, 1, 1);
}

// aligned: rows begin at multiples of 16 bytes, though not one behind the other.
static void add_qkv(ParityCase *c, const Shape *s, DType f, bool aligned) {
  int64_t q = query_rows(s), k = key_rows(s), kv = s->kv_heads * s->width;
  parity_add(c, "q", PARITY_IN, f, q, s->heads * s->width, aligned ? 16 : 1, 2);
  parity_add(c, "k", PARITY_IN, f, k, kv, aligned ? 8 : 2, 1);
  parity_add(c, "v", PARITY_IN, f, k, kv, aligned ? 0 : 1, 1);
  add_info(c, s, f);
}

static void run_forward(const Shape *s, DType f, bool aligned, bool lse) {
  User user = {.shape = s, .lse = lse};
  ParityCase c = {.call = call_forward, .naive = naive_forward, .user = &user};
  snprintf(c.name, sizeof c.name, "attention %s %s%s", s->name, dtype_info(f)->name,
           lse ? "" : " without lse");
  int64_t rows = query_rows(s);
  parity_add(&c, "o", PARITY_OUT, f, rows, s->heads * s->width, aligned ? 8 : 3, 1);
  parity_add(&c, "lse", lse ? PARITY_OUT : PARITY_ACC, DT_F32, rows, s->heads, 1, 1);
  add_qkv(&c, s, f, aligned);
  parity_run(&c);
}

static void test_forward(void) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    for (int f = 0; f < 2; f++) run_forward(&shapes[i], floats[f], false, true);
  }
  run_forward(shape_named("causal"), DT_F32, false, false);
  run_forward(shape_named("pages decode"), DT_BF16, false, false);
}

static void test_forward_tiles(void) {
  for (size_t i = 0; i < sizeof tile_shapes / sizeof *tile_shapes; i++)
    run_forward(&tile_shapes[i], DT_BF16, true, true);
  for (size_t i = 0; i < sizeof page_shapes / sizeof *page_shapes; i++)
    run_forward(&page_shapes[i], DT_BF16, true, i == 0);
}

static void test_decode(void) {
  for (size_t i = 0; i < sizeof decode_shapes / sizeof *decode_shapes; i++) {
    for (int f = 0; f < 2; f++) run_forward(&decode_shapes[i], floats[f], true, i % 2 == 0);
  }
  run_forward(&many_sums, DT_BF16, true, true);
}

// ---- the bucket of every distance ----

enum { DISTANCES = 1500 };

typedef struct Buckets {
  int64_t buckets, max_distance;
} Buckets;

// One key a query, at every distance: lse is the bias of its bucket, to the bit.
static void call_buckets(Backend *be, const Tensor *t, const void *user) {
  const Buckets *u = user;
  AttentionArgs args = {.n_heads = 1,
                        .n_kv_heads = 1,
                        .head_dim = 8,
                        .scale = 1,
                        .n_seqs = DISTANCES,
                        .max_q = 1,
                        .max_k = 1,
                        .cu_q = t[5],
                        .cu_k = t[5],
                        .offset = t[6],
                        .bias = t[7],
                        .bias_max_distance = u->max_distance};
  be->attention(be, t[0], t[1], t[2], t[3], t[4], &args);
}

static void test_buckets(void) {
  static const Buckets all[] = {{32, 128}, {8, 20},    {8, 64}, {16, 2048},
                                {12, 96},  {64, 1400}, {2, 3}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    ParityCase c = {.call = call_buckets, .user = &all[i], .exact = true};
    snprintf(c.name, sizeof c.name, "%lld buckets up to distance %lld", (long long)all[i].buckets,
             (long long)all[i].max_distance);
    parity_add(&c, "o", PARITY_OUT, DT_F32, DISTANCES, 8, 0, 1);
    parity_add(&c, "lse", PARITY_OUT, DT_F32, DISTANCES, 1, 0, 1);
    parity_add(&c, "q", PARITY_IN, DT_F32, DISTANCES, 8, 0, 0);
    parity_add(&c, "k", PARITY_IN, DT_F32, DISTANCES, 8, 0, 0);
    parity_add(&c, "v", PARITY_IN, DT_F32, DISTANCES, 8, 0, 1);
    int cu = parity_add_i32(&c, "cu", NULL, DISTANCES + 1, 1),
        offset = parity_add_i32(&c, "offset", NULL, DISTANCES, 1);
    for (int32_t d = 0; d <= DISTANCES; d++) parity_i32(&c, cu)[d] = d;
    for (int32_t d = 0; d < DISTANCES; d++) parity_i32(&c, offset)[d] = d;
    int bias = parity_add(&c, "bias", PARITY_IN, DT_F32, all[i].buckets, 1, 0, 1);
    for (int64_t b = 0; b < all[i].buckets; b++) parity_set(c.tensors[bias].t, b, 0, (double)b);
    parity_run(&c);
  }
}

static void run_back(const Shape *s, DType f, bool aligned, bool dbias) {
  User user = {.shape = s, .lse = true, .dbias = dbias};
  ParityCase forward = {.call = call_forward, .user = &user};
  ParityCase c = {.call = call_back, .naive = naive_back, .user = &user};
  snprintf(c.name, sizeof c.name, "attention_back_acc %s %s%s", s->name, dtype_info(f)->name,
           dbias ? " with dbias" : "");
  int64_t q = query_rows(s), k = key_rows(s), heads = s->heads * s->width,
          kv = s->kv_heads * s->width;
  parity_add(&c, "dq", PARITY_ACC, f, q, heads, aligned ? 8 : 3, 1);
  parity_add(&c, "dk", PARITY_ACC, f, k, kv, aligned ? 0 : 1, 1);
  parity_add(&c, "dv", PARITY_ACC, f, k, kv, aligned ? 8 : 2, 1);
  parity_add(&c, "dbias", PARITY_ACC, DT_F32, s->buckets, s->heads, 1, 1);
  parity_add(&c, "d_o", PARITY_IN, f, q, heads, aligned ? 0 : 1, 1);
  int o = parity_add(&c, "o", PARITY_IN, f, q, heads, aligned ? 8 : 2, 1);
  parity_add(&c, "lse", PARITY_IN, DT_F32, q, s->heads, 1, 1);
  add_qkv(&c, s, f, aligned);
  // o and lse as the forward leaves them.
  Tensor t[12] = {0};
  t[0] = c.tensors[o].t;
  for (int i = 1; i < 12; i++) t[i] = c.tensors[o + i].t;
  forward.call(parity_reference(), t, &user);
  parity_run(&c);
}

static void test_back(void) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    if (shapes[i].page > 0) continue;
    for (int f = 0; f < 2; f++) run_back(&shapes[i], floats[f], false, shapes[i].buckets > 0);
  }
  run_back(shape_named("bias"), DT_F32, false, false);
}

static void test_back_tiles(void) {
  for (size_t i = 0; i < sizeof tile_shapes / sizeof *tile_shapes; i++)
    run_back(&tile_shapes[i], DT_BF16, true, false);
}

int main(void) {
  RUN(test_forward);
  RUN(test_forward_tiles);
  RUN(test_decode);
  RUN(test_buckets);
  RUN(test_back);
  RUN(test_back_tiles);
  return test_done();
}
