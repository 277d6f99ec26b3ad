#include "op_check.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

enum {
  ANY = -1, // rows or columns that the argument itself decides
  F32 = 1 << DT_F32,
  F64 = 1 << DT_F64,
  I32 = 1 << DT_I32,
  I64 = 1 << DT_I64,
  ACTIVATIONS = F32 | F64 | 1 << DT_BF16,
  FLOATS = ACTIVATIONS | 1 << DT_F16,
  QUANTISED = 1 << DT_Q8_0 | 1 << DT_Q4_0 | 1 << DT_Q4_1 | 1 << DT_Q4_K | 1 << DT_Q6_K,
};

static void text_add(char *text, size_t size, const char *part) {
  size_t used = strlen(text);
  snprintf(text + used, size - used, "%s", part);
}

static void dtypes_text(char *text, size_t size, int dtypes) {
  text[0] = 0;
  for (int i = 0; i < DT_COUNT; i++) {
    if (!(dtypes >> i & 1)) continue;
    if (text[0]) text_add(text, size, "|");
    text_add(text, size, dtype_info((DType)i)->name);
  }
}

static void extent_text(char *text, size_t size, int64_t n) {
  if (n == ANY) {
    snprintf(text, size, "any");
  } else {
    snprintf(text, size, "%lld", (long long)n);
  }
}

// Ends the program unless t is given, of one of the dtypes, [rows, cols], with a stride that holds
// its rows.
static void need(const char *op, const char *name, Tensor t, int dtypes, int64_t rows,
                 int64_t cols) {
  bool right = tensor_given(t) && t.dtype >= 0 && t.dtype < DT_COUNT && (dtypes >> t.dtype & 1) &&
               t.rows >= 0 && t.cols >= 0 && (rows == ANY || t.rows == rows) &&
               (cols == ANY || t.cols == cols) && (t.stride >= t.cols || t.rows <= 1);
  if (right) return;
  char kinds[96], r[24], c[24];
  dtypes_text(kinds, sizeof kinds, dtypes);
  extent_text(r, sizeof r, rows);
  extent_text(c, sizeof c, cols);
  CHECK(tensor_given(t), "%s: %s is not given; expected %s [%s,%s]", op, name, kinds, r, c);
  CHECK(right, "%s: %s is %s [%lld,%lld] of stride %lld; expected %s [%s,%s]", op, name,
        dtype_info(t.dtype)->name, (long long)t.rows, (long long)t.cols, (long long)t.stride, kinds,
        r, c);
}

static void need_none(const char *op, const char *name, Tensor t) {
  CHECK(!tensor_given(t), "%s: %s is given; it must not be here", op, name);
}

static void may(const char *op, const char *name, Tensor t, int dtypes, int64_t rows,
                int64_t cols) {
  if (tensor_given(t)) need(op, name, t, dtypes, rows, cols);
}

// The activation dtype of a call, fixed by its first tensor marked F.
static int f_of(const char *op, const char *name, Tensor t) {
  need(op, name, t, ACTIVATIONS, ANY, ANY);
  return 1 << t.dtype;
}

// What "f32" means in a call whose activations are f.
static int stat_of(int f) {
  return f == F64 ? F64 : F32;
}

// Constants and scalars that need not become f64 in the gradient tests.
static int scalar_of(int f) {
  return f == F64 ? F64 | F32 : F32;
}

static void same(const char *op, const char *name, Tensor t, int dtypes, Tensor as) {
  need(op, name, t, dtypes, as.rows, as.cols);
}

static void launched(Backend *be) {
  be->counts.launches++;
}

static void need_activation(const char *op, Activation kind) {
  CHECK(kind >= ACT_SILU && kind <= ACT_QUICK_GELU, "%s: activation %d", op, (int)kind);
}

static void need_dropout(const char *op, const Dropout *d, int64_t rows) {
  CHECK(d != NULL, "%s: dropout is not given", op);
  CHECK(d->p >= 0 && d->p < 1, "%s: dropout of p = %g; expected 0 <= p < 1", op, (double)d->p);
  if (d->p == 0) return;
  need(op, "dropout.step", d->step, I32, 1, 1);
  need(op, "dropout.sequences", d->sequences, I32, 1, rows);
  need(op, "dropout.positions", d->positions, I32, 1, rows);
}

// ---- element-wise ----

void op_check_fill(Backend *be, Tensor y) {
  launched(be);
  need("fill", "y", y, FLOATS | I32, ANY, ANY);
}

void op_check_cast(Backend *be, Tensor y, Tensor x) {
  launched(be);
  need("cast", "x", x, FLOATS | QUANTISED, ANY, ANY);
  same("cast", "y", y, FLOATS, x);
}

void op_check_add(Backend *be, Tensor y, Tensor a, Tensor b) {
  launched(be);
  int f = f_of("add", "y", y);
  same("add", "a", a, f, y);
  same("add", "b", b, f, y);
}

// Of scale and scale_acc.
void op_check_scale(Backend *be, const char *op, Tensor y, Tensor x, Tensor a) {
  launched(be);
  int f = f_of(op, "y", y);
  same(op, "x", x, f, y);
  need(op, "a", a, scalar_of(f), 1, 1);
}

void op_check_dropout_acc(Backend *be, Tensor y, Tensor x, const Dropout *dropout) {
  launched(be);
  int f = f_of("dropout_acc", "y", y);
  same("dropout_acc", "x", x, f, y);
  need_dropout("dropout_acc", dropout, y.rows);
}

void op_check_act(Backend *be, Tensor y, Tensor x, Activation kind) {
  launched(be);
  int f = f_of("act", "y", y);
  same("act", "x", x, f, y);
  need_activation("act", kind);
}

void op_check_act_back_acc(Backend *be, Tensor dx, Tensor dy, Tensor x, Activation kind) {
  launched(be);
  int f = f_of("act_back_acc", "dx", dx);
  same("act_back_acc", "dy", dy, f, dx);
  same("act_back_acc", "x", x, f, dx);
  need_activation("act_back_acc", kind);
}

void op_check_glu(Backend *be, Tensor y, Tensor gu, Activation kind) {
  launched(be);
  int f = f_of("glu", "y", y);
  need("glu", "gu", gu, f, y.rows, 2 * y.cols);
  need_activation("glu", kind);
}

void op_check_glu_back_acc(Backend *be, Tensor dgu, Tensor dy, Tensor gu, Activation kind) {
  launched(be);
  int f = f_of("glu_back_acc", "dy", dy);
  need("glu_back_acc", "dgu", dgu, f, dy.rows, 2 * dy.cols);
  same("glu_back_acc", "gu", gu, f, dgu);
  need_activation("glu_back_acc", kind);
}

// ---- rows ----

void op_check_embedding(Backend *be, Tensor y, Tensor table, Tensor ids) {
  launched(be);
  int f = f_of("embedding", "y", y);
  need("embedding", "table", table, f | QUANTISED, ANY, y.cols);
  need("embedding", "ids", ids, I32, 1, y.rows);
}

void op_check_embedding_back_acc(Backend *be, Tensor dtable, Tensor dy, Tensor ids) {
  launched(be);
  int f = f_of("embedding_back_acc", "dy", dy);
  need("embedding_back_acc", "dtable", dtable, f | stat_of(f), ANY, dy.cols);
  need("embedding_back_acc", "ids", ids, I32, 1, dy.rows);
}

void op_check_gather_rows(Backend *be, Tensor y, Tensor x, Tensor rows) {
  launched(be);
  int f = f_of("gather_rows", "y", y);
  need("gather_rows", "x", x, f, ANY, y.cols);
  need("gather_rows", "rows", rows, I32, 1, y.rows);
}

void op_check_scatter_rows_acc(Backend *be, Tensor dx, Tensor dy, Tensor rows) {
  launched(be);
  int f = f_of("scatter_rows_acc", "dy", dy);
  need("scatter_rows_acc", "dx", dx, f, ANY, dy.cols);
  need("scatter_rows_acc", "rows", rows, I32, 1, dy.rows);
}

void op_check_patchify(Backend *be, Tensor y, Tensor pixels, const PatchArgs *args) {
  launched(be);
  const char *op = "patchify";
  int64_t size = args->size, channels = args->channels;
  CHECK(size > 0 && channels > 0, "%s: patches of %lld x %lld pixels of %lld channels", op,
        (long long)size, (long long)size, (long long)channels);
  int f = f_of(op, "y", y);
  need(op, "y", y, f, ANY, size * size * channels);
  need(op, "pixels", pixels, f | stat_of(f), ANY, ANY);
  CHECK(pixels.cols % channels == 0, "%s: lines of %lld values; expected a multiple of %lld", op,
        (long long)pixels.cols, (long long)channels);
  need(op, "tops", args->tops, I32, 1, y.rows);
  need(op, "lefts", args->lefts, I32, 1, y.rows);
}

// ---- norms ----

static int norm_forward(const char *op, Tensor z, Tensor y, Tensor rstd, Tensor x, Tensor d,
                        Tensor w) {
  int f = f_of(op, "y", y);
  same(op, "x", x, f, y);
  CHECK(y.cols > 0 || y.rows == 0, "%s: y is [%lld,0]", op, (long long)y.rows);
  if (tensor_given(d)) {
    same(op, "d", d, f, y);
    same(op, "z", z, f, y);
  } else {
    need_none(op, "z (without d)", z);
  }
  need(op, "rstd", rstd, stat_of(f), 1, y.rows);
  need(op, "w", w, f, 1, y.cols);
  return f;
}

static int norm_backward(const char *op, Tensor dx, Tensor dw, Tensor dy, Tensor z, Tensor rstd,
                         Tensor w) {
  int f = f_of(op, "dy", dy);
  may(op, "dx", dx, f, dy.rows, dy.cols);
  may(op, "dw", dw, f | stat_of(f), 1, dy.cols);
  same(op, "z", z, f, dy);
  need(op, "rstd", rstd, stat_of(f), 1, dy.rows);
  need(op, "w", w, f, 1, dy.cols);
  return f;
}

void op_check_rmsnorm(Backend *be, Tensor z, Tensor y, Tensor rstd, Tensor x, Tensor d, Tensor w) {
  launched(be);
  norm_forward("rmsnorm", z, y, rstd, x, d, w);
}

void op_check_rmsnorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor dy, Tensor z, Tensor rstd,
                               Tensor w) {
  launched(be);
  norm_backward("rmsnorm_back_acc", dx, dw, dy, z, rstd, w);
}

void op_check_layernorm(Backend *be, Tensor z, Tensor y, Tensor mean, Tensor rstd, Tensor x,
                        Tensor d, Tensor w, Tensor b) {
  launched(be);
  int f = norm_forward("layernorm", z, y, rstd, x, d, w);
  need("layernorm", "mean", mean, stat_of(f), 1, y.rows);
  need("layernorm", "b", b, f, 1, y.cols);
}

void op_check_layernorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor db, Tensor dy, Tensor z,
                                 Tensor mean, Tensor rstd, Tensor w) {
  launched(be);
  int f = norm_backward("layernorm_back_acc", dx, dw, dy, z, rstd, w);
  may("layernorm_back_acc", "db", db, f | stat_of(f), 1, dy.cols);
  need("layernorm_back_acc", "mean", mean, stat_of(f), 1, dy.rows);
}

// ---- attention ----

static void need_heads(const char *op, int64_t heads, int64_t kv_heads, int64_t head_dim) {
  CHECK(heads > 0 && kv_heads > 0 && heads % kv_heads == 0 && head_dim > 0 && head_dim % 8 == 0,
        "%s: %lld heads, %lld kv heads of width %lld; expected heads %% kv heads == 0 and a width "
        "that is a multiple of 8",
        op, (long long)heads, (long long)kv_heads, (long long)head_dim);
}

static void rope_args(const char *op, const RopeArgs *a, int64_t rows, int f) {
  may(op, "inv_freq", a->inv_freq, scalar_of(f), 1, a->head_dim / 2);
  if (tensor_given(a->inv_freq)) need(op, "positions", a->positions, I32, 1, rows);
}

void op_check_rope_split(Backend *be, Tensor q, Tensor k, Tensor v, Tensor qkv,
                         const RopeArgs *args) {
  launched(be);
  const char *op = "rope_split";
  need_heads(op, args->n_heads, args->n_kv_heads, args->head_dim);
  int64_t q_width = args->n_heads * args->head_dim, k_width = args->n_kv_heads * args->head_dim;
  int f = f_of(op, "qkv", qkv);
  bool moved = tensor_given(args->slots);
  need(op, "qkv", qkv, f, ANY, q_width + 2 * k_width);
  need(op, "q", q, f, qkv.rows, q_width);
  need(op, "k", k, f, moved ? ANY : qkv.rows, k_width);
  need(op, "v", v, f, moved ? ANY : qkv.rows, k_width);
  may(op, "slots", args->slots, I32, 1, qkv.rows);
  rope_args(op, args, qkv.rows, f);
}

void op_check_rope_split_back_acc(Backend *be, Tensor dqkv, Tensor dq, Tensor dk, Tensor dv,
                                  const RopeArgs *args) {
  launched(be);
  const char *op = "rope_split_back_acc";
  need_heads(op, args->n_heads, args->n_kv_heads, args->head_dim);
  int64_t q_width = args->n_heads * args->head_dim, k_width = args->n_kv_heads * args->head_dim;
  int f = f_of(op, "dqkv", dqkv);
  need(op, "dqkv", dqkv, f, ANY, q_width + 2 * k_width);
  need(op, "dq", dq, f, dqkv.rows, q_width);
  need(op, "dk", dk, f, dqkv.rows, k_width);
  need(op, "dv", dv, f, dqkv.rows, k_width);
  need_none(op, "slots", args->slots);
  rope_args(op, args, dqkv.rows, f);
}

static int attention_inputs(const char *op, Tensor q, Tensor k, Tensor v, const AttentionArgs *a) {
  need_heads(op, a->n_heads, a->n_kv_heads, a->head_dim);
  CHECK(a->n_seqs >= 0 && a->max_q >= 0 && a->max_k >= 0,
        "%s: %lld sequences, lengths up to %lld and %lld", op, (long long)a->n_seqs,
        (long long)a->max_q, (long long)a->max_k);
  int f = f_of(op, "q", q);
  need(op, "q", q, f, ANY, a->n_heads * a->head_dim);
  need(op, "k", k, f, ANY, a->n_kv_heads * a->head_dim);
  same(op, "v", v, f, k);
  need(op, "cu_q", a->cu_q, I32, 1, a->n_seqs + 1);
  if (tensor_given(a->pages)) {
    need(op, "pages", a->pages, I32, a->n_seqs, ANY);
    need(op, "k_lens", a->k_lens, I32, 1, a->n_seqs);
    CHECK(a->page_size > 0, "%s: page_size %lld", op, (long long)a->page_size);
  } else {
    need(op, "cu_k", a->cu_k, I32, 1, a->n_seqs + 1);
    may(op, "k_lens", a->k_lens, I32, 1, a->n_seqs);
  }
  may(op, "offset", a->offset, I32, 1, a->n_seqs);
  may(op, "prefix", a->prefix, I32, 1, a->n_seqs);
  if (tensor_given(a->bias)) {
    need(op, "bias", a->bias, f, ANY, a->n_heads);
    CHECK(a->bias.rows >= 2 && a->bias_max_distance > a->bias.rows / 2,
          "%s: %lld bias buckets up to distance %lld", op, (long long)a->bias.rows,
          (long long)a->bias_max_distance);
  }
  return f;
}

void op_check_attention(Backend *be, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                        const AttentionArgs *args) {
  launched(be);
  int f = attention_inputs("attention", q, k, v, args);
  same("attention", "o", o, f, q);
  may("attention", "lse", lse, stat_of(f), q.rows, args->n_heads);
}

void op_check_attention_back_acc(Backend *be, Tensor dq, Tensor dk, Tensor dv, Tensor dbias,
                                 Tensor d_o, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                                 const AttentionArgs *args) {
  launched(be);
  const char *op = "attention_back_acc";
  int f = attention_inputs(op, q, k, v, args);
  need_none(op, "pages", args->pages);
  same(op, "dq", dq, f, q);
  same(op, "dk", dk, f, k);
  same(op, "dv", dv, f, v);
  same(op, "d_o", d_o, f, q);
  same(op, "o", o, f, q);
  need(op, "lse", lse, stat_of(f), q.rows, args->n_heads);
  if (!tensor_given(dbias)) return;
  CHECK(tensor_given(args->bias), "%s: dbias without bias", op);
  need(op, "dbias", dbias, stat_of(f), args->bias.rows, args->n_heads);
}

// ---- linear ----

void op_check_linear(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias) {
  launched(be);
  int f = f_of("linear", "x", x);
  need("linear", "w", w, f | QUANTISED, ANY, x.cols);
  need("linear", "y", y, f | stat_of(f), x.rows, w.rows);
  may("linear", "bias", bias, f, 1, w.rows);
}

void op_check_linear_back_x_acc(Backend *be, Tensor dx, Tensor dy, Tensor w) {
  launched(be);
  int f = f_of("linear_back_x_acc", "dx", dx);
  need("linear_back_x_acc", "w", w, f | QUANTISED, ANY, dx.cols);
  need("linear_back_x_acc", "dy", dy, f, dx.rows, w.rows);
}

void op_check_linear_back_w_acc(Backend *be, Tensor dw, Tensor db, Tensor dy, Tensor x) {
  launched(be);
  int f = f_of("linear_back_w_acc", "x", x);
  need("linear_back_w_acc", "dy", dy, f, x.rows, ANY);
  may("linear_back_w_acc", "dw", dw, f | stat_of(f), dy.cols, x.cols);
  may("linear_back_w_acc", "db", db, f | stat_of(f), 1, dy.cols);
}

// ---- LoRA ----

void op_check_lora_down(Backend *be, Tensor t, Tensor x, Tensor a, RowSelect select,
                        const Dropout *dropout) {
  launched(be);
  int f = f_of("lora_down", "x", x);
  need("lora_down", "a", a, stat_of(f), ANY, x.cols);
  need("lora_down", "t", t, stat_of(f), x.rows, a.rows);
  may("lora_down", "adapters", select.adapters, I32, 1, x.rows);
  need_dropout("lora_down", dropout, x.rows);
}

void op_check_lora_up_acc(Backend *be, Tensor y, Tensor t, Tensor b, RowSelect select) {
  launched(be);
  int f = f_of("lora_up_acc", "y", y);
  need("lora_up_acc", "b", b, stat_of(f), y.cols, ANY);
  need("lora_up_acc", "t", t, stat_of(f), y.rows, b.cols);
  may("lora_up_acc", "adapters", select.adapters, I32, 1, y.rows);
}

void op_check_lora_back_acc(Backend *be, Tensor dx, Tensor da, Tensor db, Tensor dt, Tensor dy,
                            Tensor t, Tensor x, Tensor a, Tensor b, RowSelect select,
                            const Dropout *dropout) {
  launched(be);
  const char *op = "lora_back_acc";
  int f = f_of(op, "x", x), stat = stat_of(f);
  need(op, "a", a, stat, ANY, x.cols);
  need(op, "b", b, stat, ANY, a.rows);
  need(op, "t", t, stat, x.rows, a.rows);
  need(op, "dt", dt, stat, x.rows, a.rows);
  need(op, "dy", dy, f, x.rows, b.rows);
  may(op, "dx", dx, f, x.rows, x.cols);
  may(op, "da", da, stat, a.rows, a.cols);
  may(op, "db", db, stat, b.rows, b.cols);
  may(op, "adapters", select.adapters, I32, 1, x.rows);
  need_dropout(op, dropout, x.rows);
}

// ---- losses ----

void op_check_cross_entropy(Backend *be, Tensor loss, Tensor logits, Tensor targets,
                            const CrossEntropyArgs *args) {
  launched(be);
  int f = f_of("cross_entropy", "logits", logits);
  need("cross_entropy", "loss", loss, stat_of(f), 1, logits.rows);
  need("cross_entropy", "targets", targets, I32, 1, logits.rows);
  CHECK(args->smoothing >= 0 && args->smoothing < 1, "cross_entropy: smoothing %g",
        (double)args->smoothing);
  if (args->grad) need("cross_entropy", "inv_count", args->inv_count, scalar_of(f), 1, 1);
}

void op_check_log_probs(Backend *be, Tensor log_probs, Tensor best, Tensor logits, Tensor targets) {
  launched(be);
  int f = f_of("log_probs", "logits", logits);
  need("log_probs", "log_probs", log_probs, stat_of(f), 1, logits.rows);
  need("log_probs", "best", best, I32, 1, logits.rows);
  need("log_probs", "targets", targets, I32, 1, logits.rows);
}

// ---- reductions and the optimizer ----

void op_check_sum_acc(Backend *be, Tensor out, Tensor x) {
  launched(be);
  need("sum_acc", "x", x, ACTIVATIONS, ANY, ANY);
  need("sum_acc", "out", out, F64, 1, 1);
}

void op_check_sum_squares(Backend *be, Tensor out, Tensor x) {
  launched(be);
  need("sum_squares", "x", x, ACTIVATIONS, ANY, ANY);
  need("sum_squares", "out", out, F64, 1, 1);
}

void op_check_clip_factor(Backend *be, Tensor clip, Tensor sums, Tensor guard) {
  may("clip_factor", "guard", guard, F64, 1, 1);
  launched(be);
  need("clip_factor", "clip", clip, F32 | F64, 1, 2);
  need("clip_factor", "sums", sums, F64, 1, ANY);
}

static void dense_count(const char *name, Tensor t, int dtypes, int64_t count) {
  need("adamw", name, t, dtypes, ANY, ANY);
  CHECK(tensor_count(t) == count && (t.stride == t.cols || t.rows <= 1),
        "adamw: %s is [%lld,%lld] of stride %lld; expected %lld dense elements as w", name,
        (long long)t.rows, (long long)t.cols, (long long)t.stride, (long long)count);
}

void op_check_adamw(Backend *be, Tensor w, Tensor master, Tensor m, Tensor v, Tensor g,
                    const AdamArgs *args) {
  launched(be);
  int f = f_of("adamw", "w", w), stat = stat_of(f);
  int64_t n = tensor_count(w);
  dense_count("w", w, f, n);
  if (w.dtype == DT_BF16) {
    dense_count("master (of bf16 weights)", master, F32, n);
  } else if (tensor_given(master)) {
    dense_count("master", master, stat, n);
  }
  dense_count("m", m, stat, n);
  dense_count("v", v, stat, n);
  dense_count("g", g, f == F64 ? F64 : F32 | 1 << DT_BF16, n);
  need("adamw", "lr", args->lr, scalar_of(f), 1, 1);
  need("adamw", "step", args->step, I32, 1, 1);
  need("adamw", "clip", args->clip, scalar_of(f), 1, 2);
}

// ---- choosing tokens ----

static void need_seen(const char *op, const SeenIds *seen, int64_t rows, int scalar) {
  if (!tensor_given(seen->ids)) return;
  need(op, "seen.ids", seen->ids, I32, rows, ANY);
  need(op, "seen.lengths", seen->lengths, I32, 1, rows);
  need(op, "seen.penalty", seen->penalty, scalar, 1, rows);
}

void op_check_sample(Backend *be, Tensor ids, Tensor logits, const SampleArgs *args) {
  launched(be);
  int f = f_of("sample", "logits", logits);
  int64_t rows = logits.rows;
  CHECK(logits.cols > 0, "sample: logits without columns");
  need("sample", "ids", ids, I32, 1, rows);
  need("sample", "temperature", args->temperature, scalar_of(f), 1, rows);
  need("sample", "top_k", args->top_k, I32, 1, rows);
  need("sample", "top_p", args->top_p, scalar_of(f), 1, rows);
  need("sample", "seeds", args->seeds, I64, 1, rows);
  need("sample", "draws", args->draws, I64, 1, rows);
  need_seen("sample", &args->seen, rows, scalar_of(f));
}

void op_check_beam_step(Backend *be, Tensor scores, Tensor parents, Tensor ids, Tensor logits,
                        const BeamArgs *args) {
  launched(be);
  int f = f_of("beam_step", "logits", logits);
  need("beam_step", "scores", scores, stat_of(f), ANY, ANY);
  CHECK(args->beams > 0 && scores.cols > 0 && logits.cols > 0,
        "beam_step: %lld candidates of %lld beams over %lld ids", (long long)scores.cols,
        (long long)args->beams, (long long)logits.cols);
  int64_t texts = scores.rows, all = texts * args->beams;
  need("beam_step", "parents", parents, I32, texts, scores.cols);
  need("beam_step", "ids", ids, I32, texts, scores.cols);
  need("beam_step", "sums", args->sums, stat_of(f), texts, args->beams);
  if (tensor_given(args->rows)) {
    need("beam_step", "rows", args->rows, I32, 1, all);
  } else {
    need("beam_step", "logits", logits, f, all, ANY);
  }
  need_seen("beam_step", &args->seen, all, scalar_of(f));
}
