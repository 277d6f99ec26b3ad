// The null backend: every op checks its arguments and is counted; nothing is computed and no memory
// is behind the addresses. A rehearsal of a step on it gives the step's exact peak memory, and its
// flops and bytes, with a device's rates, the time that the device will take. As a meter it counts
// the same and hands every op on to a backend that computes.
//
// What is counted
//   launches  ops; copies are none
//   flops     2 R N K of every matrix product (of LoRA too), 4 D of a forward and 10 D of a
//   backward
//             pair of query and key (2 and 5 products); nothing else
//   bytes     each operand read once, each result written once, what is added to both; copies by
//             their size. Tables are counted by the rows that are read. Selected rows, lengths and
//             pages are values in tensors, which null does not have: all rows count as selected,
//             and an attention counts, by its arguments,
//               pairs  rows of q * H * max_k; without prefix and offset (causal, no cache)
//                      rows of q * H * min(max_k, (max_q + 1) / 2)
//               keys   min(rows of k, n_seqs * max_k)
//             which is exact when all sequences are of the largest length and an upper bound else.
#include "op_check.h"
#include "read_tickets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct NullBackend {
  Backend base;
  uintptr_t next;       // the next address that was never given out
  Backend *below;       // runs the ops; NULL: nothing does
  clockid_t clock;      // that measures them
  BackendCounts booked; // what is in `costs` already
  OpRates rates;
  OpCost costs[OP_KINDS];
  ReadTickets tickets;
} NullBackend;

// Far above what a process can own, so that an access faults instead of hitting somebody's memory.
static const uintptr_t first_address = (uintptr_t)1 << 58;
static const uintptr_t address_gap = 4096; // ranges do not touch: an overrun is no neighbour

// ---- counting ----

static double size_of(Tensor t) {
  return tensor_given(t) ? (double)t.rows * (double)dtype_bytes(t.dtype, t.cols) : 0;
}

// At most `rows` rows of a table.
static double size_of_rows(Tensor table, int64_t rows) {
  return size_of(tensor_rows(table, 0, rows < table.rows ? rows : table.rows));
}

static void count_bytes(Backend *be, const Tensor *tensors, size_t n) {
  for (size_t i = 0; i < n; i++) be->counts.bytes += size_of(tensors[i]);
}

// Each of the tensors crosses the memory bus once.
#define MOVES(be, ...)                                                                             \
  count_bytes(be, (const Tensor[]){__VA_ARGS__},                                                   \
              sizeof((const Tensor[]){__VA_ARGS__}) / sizeof(Tensor))

static void count_gemm(Backend *be, int64_t rows, int64_t n, int64_t k) {
  be->counts.flops += 2.0 * (double)rows * (double)n * (double)k;
}

static void count_dropout(Backend *be, const Dropout *d) {
  if (d->p > 0) MOVES(be, d->step, d->sequences, d->positions);
}

static double seconds_now(const NullBackend *null) {
  struct timespec t;
  clock_gettime(null->clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Books what was counted since the last op under its kind.
static void book(NullBackend *null, OpKind kind, DType dtype, double start) {
  BackendCounts *now = &null->base.counts, *booked = &null->booked;
  OpCost *cost = &null->costs[kind];
  const OpRate *rate = &null->rates.kind[kind];
  int64_t launches = now->launches - booked->launches;
  double flops = now->flops - booked->flops, bytes = now->bytes - booked->bytes;
  double per_second = rate->flops[dtype == DT_BF16 ? 1 : 0];
  double compute = per_second > 0 ? flops / per_second : 0;
  double traffic = rate->bytes > 0 ? bytes / rate->bytes : 0;
  double seconds = fmax(compute, traffic) + (double)launches * null->rates.launch;
  if (null->below != NULL) seconds = seconds_now(null) - start;
  cost->launches += launches;
  cost->flops += flops;
  cost->bytes += bytes;
  cost->seconds += seconds;
  if (compute > traffic) cost->compute_seconds += seconds;
  *booked = *now;
}

// The end of every op, with its counts made: runs it where a backend is below, and books it. `f` is
// the tensor whose dtype is that of the arithmetic.
#define RUN(be, kind, f, op, ...)                                                                  \
  do {                                                                                             \
    NullBackend *null_ = (NullBackend *)(be);                                                      \
    double start_ = null_->below != NULL ? seconds_now(null_) : 0;                                 \
    Backend *shadow_ = null_->base.shadow;                                                         \
    if (null_->below != NULL) null_->below->op(null_->below, __VA_ARGS__);                         \
    if (shadow_ != NULL && shadow_->op != NULL) shadow_->op(shadow_, __VA_ARGS__);                 \
    book(null_, kind, (f).dtype, start_);                                                          \
  } while (0)

// ---- life and memory ----

static void null_close(Backend *be) {
  read_tickets_free(&((NullBackend *)be)->tickets);
  free(be);
}

static Status null_mem_alloc(Backend *be, int64_t bytes, void **out, Error *err) {
  NullBackend *null = (NullBackend *)be;
  if (null->below != NULL) return null->below->mem_alloc(null->below, bytes, out, err);
  uintptr_t room = UINTPTR_MAX - null->next;
  if (bytes < 0 || (uintptr_t)bytes > room - 2 * address_gap) {
    return error_set(err, STATUS_MEMORY, "no %lld bytes of addresses are left", (long long)bytes);
  }
  *out = (void *)null->next;
  null->next += ((uintptr_t)bytes + 2 * address_gap - 1) / address_gap * address_gap;
  return STATUS_OK;
}

static void null_mem_free(Backend *be, void *memory, int64_t bytes) {
  Backend *below = ((NullBackend *)be)->below; // fake addresses are not given out twice
  if (below != NULL) below->mem_free(below, memory, bytes);
}

static void null_copy_in(Backend *be, Tensor dst, const void *src) {
  MOVES(be, dst);
  RUN(be, OP_COPY, dst, copy_in, dst, src);
}

static void null_copy_out(Backend *be, void *dst, Tensor src) {
  MOVES(be, src);
  size_t bytes = (size_t)size_of(src);
  if (bytes > 0) memset(dst, 0, bytes); // what is read back is at least always the same
  RUN(be, OP_COPY, src, copy_out, dst, src);
}

// Through copy_out, which counts and hands on.
static int64_t null_read_begin(Backend *be, Tensor src) {
  return read_tickets_begin(&((NullBackend *)be)->tickets, be, src);
}

static void null_read_end(Backend *be, void *dst, int64_t ticket) {
  read_tickets_end(&((NullBackend *)be)->tickets, dst, ticket);
}

static void null_sync(Backend *be) {
  Backend *below = ((NullBackend *)be)->below;
  if (below != NULL) below->sync(below);
}

static Status null_reserve(Backend *be, Error *err) {
  Backend *below = ((NullBackend *)be)->below;
  return below != NULL ? below->reserve(below, err) : STATUS_OK;
}

// ---- element-wise ----

static void null_fill(Backend *be, Tensor y, double value) {
  op_check_fill(be, y);
  MOVES(be, y);
  RUN(be, OP_ELEMENT, y, fill, y, value);
}

static void null_cast(Backend *be, Tensor y, Tensor x) {
  op_check_cast(be, y, x);
  MOVES(be, y, x);
  RUN(be, OP_ELEMENT, y, cast, y, x);
}

static void null_add(Backend *be, Tensor y, Tensor a, Tensor b) {
  op_check_add(be, y, a, b);
  MOVES(be, y, a, b);
  RUN(be, OP_ELEMENT, y, add, y, a, b);
}

static void null_scale(Backend *be, Tensor y, Tensor x, Tensor a) {
  op_check_scale(be, "scale", y, x, a);
  MOVES(be, y, x, a);
  RUN(be, OP_ELEMENT, y, scale, y, x, a);
}

static void null_scale_acc(Backend *be, Tensor y, Tensor x, Tensor a) {
  op_check_scale(be, "scale_acc", y, x, a);
  MOVES(be, y, y, x, a);
  RUN(be, OP_ELEMENT, y, scale_acc, y, x, a);
}

static void null_dropout_acc(Backend *be, Tensor y, Tensor x, const Dropout *dropout) {
  op_check_dropout_acc(be, y, x, dropout);
  MOVES(be, y, y, x);
  count_dropout(be, dropout);
  RUN(be, OP_ELEMENT, y, dropout_acc, y, x, dropout);
}

static void null_act(Backend *be, Tensor y, Tensor x, Activation kind) {
  op_check_act(be, y, x, kind);
  MOVES(be, y, x);
  RUN(be, OP_ACT, y, act, y, x, kind);
}

static void null_act_back_acc(Backend *be, Tensor dx, Tensor dy, Tensor x, Activation kind) {
  op_check_act_back_acc(be, dx, dy, x, kind);
  MOVES(be, dx, dx, dy, x);
  RUN(be, OP_ACT, dx, act_back_acc, dx, dy, x, kind);
}

static void null_glu(Backend *be, Tensor y, Tensor gu, Activation kind) {
  op_check_glu(be, y, gu, kind);
  MOVES(be, y, gu);
  RUN(be, OP_ACT, y, glu, y, gu, kind);
}

static void null_glu_back_acc(Backend *be, Tensor dgu, Tensor dy, Tensor gu, Activation kind) {
  op_check_glu_back_acc(be, dgu, dy, gu, kind);
  MOVES(be, dgu, dgu, dy, gu);
  RUN(be, OP_ACT, dgu, glu_back_acc, dgu, dy, gu, kind);
}

// ---- rows ----

static void null_embedding(Backend *be, Tensor y, Tensor table, Tensor ids) {
  op_check_embedding(be, y, table, ids);
  MOVES(be, y, ids);
  be->counts.bytes += size_of_rows(table, y.rows);
  RUN(be, OP_ROWS, y, embedding, y, table, ids);
}

static void null_embedding_back_acc(Backend *be, Tensor dtable, Tensor dy, Tensor ids) {
  op_check_embedding_back_acc(be, dtable, dy, ids);
  MOVES(be, dy, ids);
  be->counts.bytes += 2 * size_of_rows(dtable, dy.rows);
  RUN(be, OP_ROWS, dtable, embedding_back_acc, dtable, dy, ids);
}

static void null_gather_rows(Backend *be, Tensor y, Tensor x, Tensor rows) {
  op_check_gather_rows(be, y, x, rows);
  MOVES(be, y, rows);
  be->counts.bytes += size_of_rows(x, y.rows);
  RUN(be, OP_ROWS, y, gather_rows, y, x, rows);
}

static void null_scatter_rows_acc(Backend *be, Tensor dx, Tensor dy, Tensor rows) {
  op_check_scatter_rows_acc(be, dx, dy, rows);
  MOVES(be, dy, rows);
  be->counts.bytes += 2 * size_of_rows(dx, dy.rows);
  RUN(be, OP_ROWS, dx, scatter_rows_acc, dx, dy, rows);
}

// Of the pixels, those of the patches: all of them where these cover the images once.
static void null_patchify(Backend *be, Tensor y, Tensor pixels, const PatchArgs *args) {
  op_check_patchify(be, y, pixels, args);
  MOVES(be, y, args->tops, args->lefts);
  be->counts.bytes += (double)tensor_count(y) * (double)dtype_bytes(pixels.dtype, 1);
  RUN(be, OP_ROWS, y, patchify, y, pixels, args);
}

// ---- norms ----

static void null_rmsnorm(Backend *be, Tensor z, Tensor y, Tensor rstd, Tensor x, Tensor d, Tensor w,
                         float eps) {
  op_check_rmsnorm(be, z, y, rstd, x, d, w);
  MOVES(be, z, y, rstd, x, d, w);
  RUN(be, OP_NORM, z, rmsnorm, z, y, rstd, x, d, w, eps);
}

static void null_rmsnorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor dy, Tensor z,
                                  Tensor rstd, Tensor w) {
  op_check_rmsnorm_back_acc(be, dx, dw, dy, z, rstd, w);
  MOVES(be, dx, dx, dw, dw, dy, z, rstd, w);
  RUN(be, OP_NORM, dx, rmsnorm_back_acc, dx, dw, dy, z, rstd, w);
}

static void null_layernorm(Backend *be, Tensor z, Tensor y, Tensor mean, Tensor rstd, Tensor x,
                           Tensor d, Tensor w, Tensor b, float eps) {
  op_check_layernorm(be, z, y, mean, rstd, x, d, w, b);
  MOVES(be, z, y, mean, rstd, x, d, w, b);
  RUN(be, OP_NORM, z, layernorm, z, y, mean, rstd, x, d, w, b, eps);
}

static void null_layernorm_back_acc(Backend *be, Tensor dx, Tensor dw, Tensor db, Tensor dy,
                                    Tensor z, Tensor mean, Tensor rstd, Tensor w) {
  op_check_layernorm_back_acc(be, dx, dw, db, dy, z, mean, rstd, w);
  MOVES(be, dx, dx, dw, dw, db, db, dy, z, mean, rstd, w);
  RUN(be, OP_NORM, dx, layernorm_back_acc, dx, dw, db, dy, z, mean, rstd, w);
}

// ---- attention ----

static void count_rope(Backend *be, const RopeArgs *args) {
  MOVES(be, args->inv_freq, args->slots);
  if (tensor_given(args->inv_freq)) MOVES(be, args->positions);
}

static void null_rope_split(Backend *be, Tensor q, Tensor k, Tensor v, Tensor qkv,
                            const RopeArgs *args) {
  op_check_rope_split(be, q, k, v, qkv, args);
  MOVES(be, q, qkv);
  be->counts.bytes += size_of_rows(k, qkv.rows) + size_of_rows(v, qkv.rows);
  count_rope(be, args);
  RUN(be, OP_ROPE, q, rope_split, q, k, v, qkv, args);
}

static void null_rope_split_back_acc(Backend *be, Tensor dqkv, Tensor dq, Tensor dk, Tensor dv,
                                     const RopeArgs *args) {
  op_check_rope_split_back_acc(be, dqkv, dq, dk, dv, args);
  MOVES(be, dqkv, dqkv, dq, dk, dv);
  count_rope(be, args);
  RUN(be, OP_ROPE, dq, rope_split_back_acc, dqkv, dq, dk, dv, args);
}

static double attention_pairs(Tensor q, const AttentionArgs *a) {
  double keys = (double)a->max_k, causal = ((double)a->max_q + 1) / 2;
  bool is_causal = !tensor_given(a->prefix) && !tensor_given(a->offset);
  if (is_causal && causal < keys) keys = causal;
  return (double)q.rows * (double)a->n_heads * keys;
}

static int64_t attention_keys(Tensor k, const AttentionArgs *a) {
  int64_t keys = a->n_seqs * a->max_k;
  return keys < k.rows ? keys : k.rows;
}

static void count_attention_args(Backend *be, const AttentionArgs *a) {
  MOVES(be, a->cu_q, a->k_lens, a->offset, a->prefix, a->pages, a->bias);
  if (!tensor_given(a->pages)) MOVES(be, a->cu_k);
}

static void null_attention(Backend *be, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                           const AttentionArgs *args) {
  op_check_attention(be, o, lse, q, k, v, args);
  MOVES(be, o, lse, q);
  int64_t keys = attention_keys(k, args);
  be->counts.bytes += size_of_rows(k, keys) + size_of_rows(v, keys);
  count_attention_args(be, args);
  be->counts.flops += 4.0 * (double)args->head_dim * attention_pairs(q, args);
  RUN(be, OP_ATTENTION, q, attention, o, lse, q, k, v, args);
}

static void null_attention_back_acc(Backend *be, Tensor dq, Tensor dk, Tensor dv, Tensor dbias,
                                    Tensor d_o, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                                    const AttentionArgs *args) {
  op_check_attention_back_acc(be, dq, dk, dv, dbias, d_o, o, lse, q, k, v, args);
  MOVES(be, dq, dq, dbias, dbias, d_o, o, lse, q);
  int64_t keys = attention_keys(k, args);
  be->counts.bytes += 3 * (size_of_rows(k, keys) + size_of_rows(v, keys));
  count_attention_args(be, args);
  be->counts.flops += 10.0 * (double)args->head_dim * attention_pairs(q, args);
  RUN(be, OP_ATTENTION_BACK, q, attention_back_acc, dq, dk, dv, dbias, d_o, o, lse, q, k, v, args);
}

// ---- linear ----

static void null_linear(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias, bool acc) {
  op_check_linear(be, y, x, w, bias);
  MOVES(be, y, acc ? y : TENSOR_NONE, x, w, bias);
  count_gemm(be, x.rows, w.rows, w.cols);
  RUN(be, OP_GEMM, x, linear, y, x, w, bias, acc);
}

static void null_linear_back_x_acc(Backend *be, Tensor dx, Tensor dy, Tensor w) {
  op_check_linear_back_x_acc(be, dx, dy, w);
  MOVES(be, dx, dx, dy, w);
  count_gemm(be, dy.rows, w.rows, w.cols);
  RUN(be, OP_GEMM_BACK_X, dy, linear_back_x_acc, dx, dy, w);
}

static void null_linear_back_w_acc(Backend *be, Tensor dw, Tensor db, Tensor dy, Tensor x) {
  op_check_linear_back_w_acc(be, dw, db, dy, x);
  MOVES(be, dw, dw, db, db, dy);
  if (tensor_given(dw)) {
    MOVES(be, x);
    count_gemm(be, dy.rows, dy.cols, x.cols);
  }
  RUN(be, OP_GEMM_BACK_W, dy, linear_back_w_acc, dw, db, dy, x);
}

// ---- LoRA ----

static void null_lora_down(Backend *be, Tensor t, Tensor x, Tensor a, RowSelect select,
                           const Dropout *dropout) {
  op_check_lora_down(be, t, x, a, select, dropout);
  MOVES(be, t, x, a, select.adapters);
  count_dropout(be, dropout);
  count_gemm(be, x.rows, a.rows, a.cols);
  RUN(be, OP_LORA, x, lora_down, t, x, a, select, dropout);
}

static void null_lora_up_acc(Backend *be, Tensor y, Tensor t, Tensor b, float scale,
                             RowSelect select) {
  op_check_lora_up_acc(be, y, t, b, select);
  MOVES(be, y, y, t, b, select.adapters);
  count_gemm(be, y.rows, b.rows, b.cols);
  RUN(be, OP_LORA, y, lora_up_acc, y, t, b, scale, select);
}

static void null_lora_back_acc(Backend *be, Tensor dx, Tensor da, Tensor db, Tensor dt, Tensor dy,
                               Tensor t, Tensor x, Tensor a, Tensor b, float scale,
                               RowSelect select, const Dropout *dropout) {
  op_check_lora_back_acc(be, dx, da, db, dt, dy, t, x, a, b, select, dropout);
  MOVES(be, dx, dx, da, da, db, db, dt, dy, b, select.adapters);
  count_dropout(be, dropout);
  count_gemm(be, dy.rows, b.rows, b.cols);
  if (tensor_given(db)) {
    MOVES(be, t);
    count_gemm(be, dy.rows, b.rows, b.cols);
  }
  if (tensor_given(da)) {
    MOVES(be, x);
    count_gemm(be, x.rows, a.rows, a.cols);
  }
  if (tensor_given(dx)) {
    MOVES(be, a);
    count_gemm(be, x.rows, a.rows, a.cols);
  }
  RUN(be, OP_LORA, dy, lora_back_acc, dx, da, db, dt, dy, t, x, a, b, scale, select, dropout);
}

// ---- losses ----

static void null_cross_entropy(Backend *be, Tensor loss, Tensor logits, Tensor targets,
                               const CrossEntropyArgs *args) {
  op_check_cross_entropy(be, loss, logits, targets, args);
  MOVES(be, loss, logits, targets);
  if (args->grad) MOVES(be, logits, args->inv_count);
  RUN(be, OP_LOSS, logits, cross_entropy, loss, logits, targets, args);
}

static void null_log_probs(Backend *be, Tensor log_probs, Tensor best, Tensor logits,
                           Tensor targets) {
  op_check_log_probs(be, log_probs, best, logits, targets);
  MOVES(be, log_probs, best, logits, targets);
  RUN(be, OP_LOSS, logits, log_probs, log_probs, best, logits, targets);
}

// ---- reductions and the optimizer ----

static void null_sum_acc(Backend *be, Tensor out, Tensor x) {
  op_check_sum_acc(be, out, x);
  MOVES(be, out, out, x);
  RUN(be, OP_LOSS, out, sum_acc, out, x);
}

static void null_sum_squares(Backend *be, Tensor out, Tensor x) {
  op_check_sum_squares(be, out, x);
  MOVES(be, out, x);
  RUN(be, OP_OPTIMIZER, out, sum_squares, out, x);
}

static void null_clip_factor(Backend *be, Tensor clip, Tensor sums, Tensor guard, float max_norm) {
  op_check_clip_factor(be, clip, sums, guard);
  MOVES(be, clip, sums, guard);
  RUN(be, OP_OPTIMIZER, clip, clip_factor, clip, sums, guard, max_norm);
}

static void null_adamw(Backend *be, Tensor w, Tensor master, Tensor m, Tensor v, Tensor g,
                       const AdamArgs *args) {
  op_check_adamw(be, w, master, m, v, g, args);
  MOVES(be, w, m, m, v, v, g, args->lr, args->step, args->clip);
  if (tensor_given(master)) {
    MOVES(be, master, master); // the weight itself is written only
  } else {
    MOVES(be, w);
  }
  RUN(be, OP_OPTIMIZER, w, adamw, w, master, m, v, g, args);
}

// ---- choosing tokens ----

static void count_seen(Backend *be, const SeenIds *seen) {
  if (tensor_given(seen->ids)) MOVES(be, seen->ids, seen->lengths, seen->penalty);
}

static void null_sample(Backend *be, Tensor ids, Tensor logits, const SampleArgs *args) {
  op_check_sample(be, ids, logits, args);
  MOVES(be, ids, logits, args->temperature, args->top_k, args->top_p, args->seeds, args->draws,
        args->draws);
  count_seen(be, &args->seen);
  RUN(be, OP_CHOICE, logits, sample, ids, logits, args);
}

static void null_beam_step(Backend *be, Tensor scores, Tensor parents, Tensor ids, Tensor logits,
                           const BeamArgs *args) {
  op_check_beam_step(be, scores, parents, ids, logits, args);
  MOVES(be, scores, parents, ids, args->rows, args->sums);
  be->counts.bytes += size_of_rows(logits, scores.rows * args->beams);
  count_seen(be, &args->seen);
  RUN(be, OP_CHOICE, logits, beam_step, scores, parents, ids, logits, args);
}

static const Backend null_ops = {
    .name = "null",
    .gemm_path = "none",
    .close = null_close,
    .mem_alloc = null_mem_alloc,
    .mem_free = null_mem_free,
    .copy_in = null_copy_in,
    .copy_out = null_copy_out,
    .sync = null_sync,
    .read_begin = null_read_begin,
    .read_end = null_read_end,
    .reserve = null_reserve,
    .fill = null_fill,
    .cast = null_cast,
    .add = null_add,
    .scale = null_scale,
    .scale_acc = null_scale_acc,
    .dropout_acc = null_dropout_acc,
    .act = null_act,
    .act_back_acc = null_act_back_acc,
    .glu = null_glu,
    .glu_back_acc = null_glu_back_acc,
    .embedding = null_embedding,
    .embedding_back_acc = null_embedding_back_acc,
    .gather_rows = null_gather_rows,
    .scatter_rows_acc = null_scatter_rows_acc,
    .patchify = null_patchify,
    .rmsnorm = null_rmsnorm,
    .rmsnorm_back_acc = null_rmsnorm_back_acc,
    .layernorm = null_layernorm,
    .layernorm_back_acc = null_layernorm_back_acc,
    .rope_split = null_rope_split,
    .rope_split_back_acc = null_rope_split_back_acc,
    .attention = null_attention,
    .attention_back_acc = null_attention_back_acc,
    .linear = null_linear,
    .linear_back_x_acc = null_linear_back_x_acc,
    .linear_back_w_acc = null_linear_back_w_acc,
    .lora_down = null_lora_down,
    .lora_up_acc = null_lora_up_acc,
    .lora_back_acc = null_lora_back_acc,
    .cross_entropy = null_cross_entropy,
    .log_probs = null_log_probs,
    .sum_acc = null_sum_acc,
    .sum_squares = null_sum_squares,
    .clip_factor = null_clip_factor,
    .adamw = null_adamw,
    .sample = null_sample,
    .beam_step = null_beam_step,
};

Status backend_meter_open(Backend **out, Backend *below, clockid_t clock, Error *err) {
  NullBackend *null = malloc(sizeof *null);
  if (null == NULL) return error_set(err, STATUS_MEMORY, "no memory for the null backend");
  *null = (NullBackend){.base = null_ops, .next = first_address, .below = below, .clock = clock};
  if (below != NULL) {
    null->base.name = below->name;
    null->base.gemm_path = below->gemm_path;
    null->base.row_multiple = below->row_multiple;
    null->base.few_rows = below->few_rows;
  }
  *out = &null->base;
  return STATUS_OK;
}

Status backend_null_open(Backend **out, Error *err) {
  return backend_meter_open(out, NULL, CLOCK_MONOTONIC, err);
}

void backend_null_price(Backend *be, const OpRates *rates) {
  ((NullBackend *)be)->rates = *rates;
}

const OpCost *backend_costs(const Backend *be) {
  return ((const NullBackend *)be)->costs;
}

void backend_costs_clear(Backend *be) {
  NullBackend *null = (NullBackend *)be;
  memset(null->costs, 0, sizeof null->costs);
  null->booked = be->counts;
}

const char *op_kind_name(OpKind kind) {
  static const char *const names[OP_KINDS] = {
      [OP_GEMM] = "GEMM forward",   [OP_GEMM_BACK_X] = "GEMM dx",
      [OP_GEMM_BACK_W] = "GEMM dw", [OP_LORA] = "LoRA",
      [OP_ATTENTION] = "attention", [OP_ATTENTION_BACK] = "attention back",
      [OP_NORM] = "norm",           [OP_ROPE] = "rotary",
      [OP_ACT] = "activation",      [OP_LOSS] = "loss",
      [OP_ROWS] = "rows",           [OP_ELEMENT] = "element-wise",
      [OP_OPTIMIZER] = "optimizer", [OP_CHOICE] = "token choice",
      [OP_COPY] = "copies",
  };
  return names[kind];
}
