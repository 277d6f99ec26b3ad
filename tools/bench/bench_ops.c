// Every op of a LoRA step (r8 on q and v, 4 x 512 tokens) and of a decode step of SmolLM2-135M on
// random data: the best of some runs, its rate, and that rate against the ceilings seen in the same
// run (a loop of FMAs in registers, memcpy). The last lines add up what the ops of a whole step
// take.
//
//   bench_ops [threads=N] [dtype=f32|bf16] [gemm=own|onednn-f32|onednn-bf16] [isa=...] [seconds=S]
//
// With one thread the clock is the process's CPU time, which other processes do not disturb; with
// more it is the wall's.
#include "backend.h"
#include "bf16.h"
#include "rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

enum {
  C = 576,
  F = 1536,
  H = 9,
  K = 3,
  D = 64,
  R = 2048,
  V = 49152,
  LAYERS = 30,
  RANK = 8,
  CHUNK = 512,
  CACHED = 512
};

typedef struct Bench {
  Backend *be;
  DType dtype;
  int threads;
  double seconds;      // of measuring an op
  double peak, copy;   // GFLOP/s and GB/s
  double step, decode; // seconds so far
} Bench;

static double now(const Bench *b) {
  struct timespec t;
  clock_gettime(b->threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- ceilings ----

#ifdef __x86_64__
__attribute__((target("avx512f"))) static float fma_avx512(int64_t n) {
  __m512 x[12], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1e-3f);
#pragma GCC unroll 12
  for (int i = 0; i < 12; i++) x[i] = _mm512_set1_ps((float)i);
  for (int64_t k = 0; k < n; k++) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++) x[i] = _mm512_fmadd_ps(x[i], a, b);
  }
#pragma GCC unroll 12
  for (int i = 1; i < 12; i++) x[0] = _mm512_add_ps(x[0], x[i]);
  return _mm512_reduce_add_ps(x[0]);
}

__attribute__((target("avx2,fma"))) static float fma_avx2(int64_t n) {
  __m256 x[12], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1e-3f);
#pragma GCC unroll 12
  for (int i = 0; i < 12; i++) x[i] = _mm256_set1_ps((float)i);
  for (int64_t k = 0; k < n; k++) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++) x[i] = _mm256_fmadd_ps(x[i], a, b);
  }
#pragma GCC unroll 12
  for (int i = 1; i < 12; i++) x[0] = _mm256_add_ps(x[0], x[i]);
  return _mm256_cvtss_f32(x[0]);
}
#endif

static float fma_plain(int64_t n) {
  float x[48];
  for (int i = 0; i < 48; i++) x[i] = (float)i;
  for (int64_t k = 0; k < n; k++) {
    for (int i = 0; i < 48; i++) x[i] = x[i] * 0.999f + 1e-3f;
  }
  float sum = 0;
  for (int i = 0; i < 48; i++) sum += x[i];
  return sum;
}

static volatile float sink;

// n steps of 12 vectors; returns the flops of one thread.
static double fma_loop(int64_t n) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f")) {
    sink = fma_avx512(n);
    return 2.0 * 12 * 16 * (double)n;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    sink = fma_avx2(n);
    return 2.0 * 12 * 8 * (double)n;
  }
#endif
  sink = fma_plain(n);
  return 2.0 * 48 * (double)n;
}

static void measure_ceilings(Bench *b) {
  enum { COPY = 64 << 20, STEPS = 2000000 };
  char *from = malloc(COPY), *to = malloc(COPY);
  if (from == NULL || to == NULL) exit(1);
  memset(from, 1, COPY);
  memset(to, 2, COPY);
  for (int run = 0; run < 8; run++) {
    double flops = 0, start = now(b);
#pragma omp parallel num_threads(b->threads) reduction(+ : flops)
    flops += fma_loop(STEPS);
    b->peak = fmax(b->peak, 1e-9 * flops / (now(b) - start));
    start = now(b);
#pragma omp parallel for num_threads(b->threads)
    for (int i = 0; i < 16; i++) memcpy(to + i * (COPY / 16), from + i * (COPY / 16), COPY / 16);
    b->copy = fmax(b->copy, 2e-9 * COPY / (now(b) - start));
  }
  free(from);
  free(to);
}

// ---- ops ----

static Tensor make(DType dtype, int64_t rows, int64_t cols, double scale) {
  Tensor t = tensor_make(NULL, dtype, rows, cols);
  t.data = aligned_alloc(256, (size_t)(dtype_bytes(dtype, rows * cols) + 511) / 256 * 256);
  if (t.data == NULL) exit(1);
  Rng rng = {.key = 5};
  float ring[4096];
  for (int i = 0; i < 4096; i++) ring[i] = (float)(scale * rng_normal(&rng));
  for (int64_t i = 0; i < rows * cols; i++) {
    float x = ring[(i + i / 4096 * 37) % 4096];
    if (dtype == DT_F32) ((float *)t.data)[i] = x;
    if (dtype == DT_BF16) ((bf16 *)t.data)[i] = bf16_from_f32(x);
    if (dtype == DT_I32) ((int32_t *)t.data)[i] = (int32_t)(i % 512);
    if (dtype == DT_F64) ((double *)t.data)[i] = 0;
  }
  return t;
}

// The tensors of all ops; wide enough for the largest.
typedef struct Data {
  Tensor x, y, z, w_c, rstd, qkv, dqkv, q, k, v, dq, dk, dv, lse, gu, dgu, ffn;
  Tensor w_qkv, w_o, w_gu, w_down, head, logits, loss, labels, inv_count;
  Tensor lora_a, lora_b, da, db, t, dt, positions, sequences, cu, freq, offset, k_lens, ones;
  Tensor k_cache, v_cache;
} Data;

static Data make_data(DType f) {
  Data d = {
      .x = make(f, R, C, 1), .y = make(f, R, C, 1), .z = make(f, R, C, 1), .w_c = make(f, 1, C, 1)};
  d.rstd = make(DT_F32, 1, R, 1);
  d.qkv = make(f, R, (H + 2 * K) * D, 1);
  d.dqkv = make(f, R, (H + 2 * K) * D, 1);
  d.q = make(f, R, H * D, 1);
  d.k = make(f, R, K * D, 1);
  d.v = make(f, R, K * D, 1);
  d.dq = make(f, R, H * D, 1);
  d.dk = make(f, R, K * D, 1);
  d.dv = make(f, R, K * D, 1);
  d.lse = make(DT_F32, R, H, 1);
  d.gu = make(f, R, 2 * F, 1);
  d.dgu = make(f, R, 2 * F, 1);
  d.ffn = make(f, R, F, 1);
  d.w_qkv = make(f, (H + 2 * K) * D, C, 0.04);
  d.w_o = make(f, C, H * D, 0.04);
  d.w_gu = make(f, 2 * F, C, 0.04);
  d.w_down = make(f, C, F, 0.04);
  d.head = make(f, V, C, 0.04);
  d.logits = make(f, CHUNK, V, 1);
  d.loss = make(DT_F32, 1, CHUNK, 1);
  d.labels = make(DT_I32, 1, CHUNK, 1);
  d.inv_count = make(DT_F32, 1, 1, 1);
  d.lora_a = make(DT_F32, RANK, C, 0.1);
  d.lora_b = make(DT_F32, H * D, RANK, 0.1);
  d.da = make(DT_F32, RANK, C, 0);
  d.db = make(DT_F32, H * D, RANK, 0);
  d.t = make(DT_F32, R, RANK, 1);
  d.dt = make(DT_F32, R, RANK, 1);
  d.positions = make(DT_I32, 1, R, 1);
  d.sequences = make(DT_I32, 1, R, 1);
  d.cu = make(DT_I32, 1, 5, 1);
  for (int i = 0; i < 5; i++) ((int32_t *)d.cu.data)[i] = i * (R / 4);
  d.freq = make(DT_F32, 1, D / 2, 0.1);
  d.offset = make(DT_I32, 1, 1, 0);
  d.k_lens = make(DT_I32, 1, 1, 0);
  *(int32_t *)d.offset.data = CACHED - 1;
  *(int32_t *)d.k_lens.data = CACHED;
  d.k_cache = make(f, CACHED, K * D, 1);
  d.v_cache = make(f, CACHED, K * D, 1);
  return d;
}

typedef void (*Op)(Backend *be, const Data *d, float dropout);

// One line: the best run, its rate; `per_step` and `per_token` calls are added to the sums. flops
// or bytes: 0 if the other is what bounds it.
static void line(Bench *b, const Data *d, const char *name, Op op, float dropout, double flops,
                 double bytes, double per_step, double per_token) {
  double best = INFINITY, began = now(b);
  for (int i = 0; i < 3 || now(b) - began < b->seconds; i++) {
    double start = now(b);
    op(b->be, d, dropout);
    best = fmin(best, now(b) - start);
  }
  b->step += per_step * best;
  b->decode += per_token * best;
  printf("  %-26s %9.3f ms", name, 1e3 * best);
  if (flops > 0)
    printf("  %7.1f GFLOP/s %4.0f %%", 1e-9 * flops / best, 1e-7 * flops / best / b->peak);
  if (bytes > 0)
    printf("  %7.1f GB/s    %4.0f %%", 1e-9 * bytes / best, 1e-7 * bytes / best / b->copy);
  if (per_step > 0) printf("   x %g: %6.1f ms a step", per_step, 1e3 * best * per_step);
  printf("\n");
}

static RopeArgs rope_args(const Data *d) {
  return (RopeArgs){
      .n_heads = H, .n_kv_heads = K, .head_dim = D, .positions = d->positions, .inv_freq = d->freq};
}

static AttentionArgs attention_args(const Data *d) {
  return (AttentionArgs){.n_heads = H,
                         .n_kv_heads = K,
                         .head_dim = D,
                         .scale = 0.125f,
                         .n_seqs = 4,
                         .max_q = R / 4,
                         .max_k = R / 4,
                         .cu_q = d->cu,
                         .cu_k = d->cu};
}

static Dropout dropout_of(const Data *d, float p) {
  return (Dropout){.p = p,
                   .seed = 3,
                   .tensor_id = 1,
                   .step = tensor_cols(d->positions, 0, 1),
                   .sequences = d->sequences,
                   .positions = d->positions};
}

#define OP(name, ...)                                                                              \
  static void name(Backend *be, const Data *d, float dropout) {                                    \
    (void)dropout;                                                                                 \
    __VA_ARGS__;                                                                                   \
  }

OP(op_qkv, be->linear(be, d->qkv, d->x, d->w_qkv, TENSOR_NONE, false))
OP(op_o, be->linear(be, d->y, d->q, d->w_o, TENSOR_NONE, false))
OP(op_gate_up, be->linear(be, d->gu, d->x, d->w_gu, TENSOR_NONE, false))
OP(op_down, be->linear(be, d->y, d->ffn, d->w_down, TENSOR_NONE, false))
OP(op_head, be->linear(be, d->logits, tensor_rows(d->x, 0, CHUNK), d->head, TENSOR_NONE, false))
OP(op_qkv_back, be->linear_back_x_acc(be, d->y, d->qkv, d->w_qkv))
OP(op_o_back, be->linear_back_x_acc(be, d->dq, d->y, d->w_o))
OP(op_gate_up_back, be->linear_back_x_acc(be, d->y, d->gu, d->w_gu))
OP(op_down_back, be->linear_back_x_acc(be, d->ffn, d->x, d->w_down))
OP(op_head_back, be->linear_back_x_acc(be, tensor_rows(d->y, 0, CHUNK), d->logits, d->head))
OP(op_loss, CrossEntropyArgs a = {.inv_count = d->inv_count, .grad = true};
   be->cross_entropy(be, d->loss, d->logits, d->labels, &a))
OP(op_rmsnorm, be->rmsnorm(be, d->z, d->y, d->rstd, d->x, d->q, d->w_c, 1e-5f))
OP(op_rmsnorm_back, be->rmsnorm_back_acc(be, d->z, TENSOR_NONE, d->y, d->x, d->rstd, d->w_c))
OP(op_rope, RopeArgs a = rope_args(d); be->rope_split(be, d->q, d->k, d->v, d->qkv, &a))
OP(op_rope_back, RopeArgs a = rope_args(d);
   be->rope_split_back_acc(be, d->dqkv, d->dq, d->dk, d->dv, &a))
OP(op_attention, AttentionArgs a = attention_args(d);
   be->attention(be, d->y, d->lse, d->q, d->k, d->v, &a))
OP(op_attention_back, AttentionArgs a = attention_args(d);
   be->attention_back_acc(be, d->dq, d->dk, d->dv, TENSOR_NONE, d->z, d->y, d->lse, d->q, d->k,
                          d->v, &a))
OP(op_glu, be->glu(be, d->ffn, d->gu, ACT_SILU))
OP(op_glu_back, be->glu_back_acc(be, d->dgu, d->ffn, d->gu, ACT_SILU))
OP(op_add, be->add(be, d->z, d->x, d->y))
OP(op_fill, be->fill(be, d->gu, 0))
OP(op_lora_down, Dropout p = dropout_of(d, dropout);
   be->lora_down(be, d->t, d->x, d->lora_a, (RowSelect){{0}, 0}, &p))
OP(op_lora_up, be->lora_up_acc(be, d->y, d->t, d->lora_b, 1e-3f, (RowSelect){{0}, 0}))
OP(op_lora_back, Dropout p = dropout_of(d, dropout);
   be->lora_back_acc(be, d->z, d->da, d->db, d->dt, d->y, d->t, d->x, d->lora_a, d->lora_b, 1e-3f,
                     (RowSelect){{0}, 0}, &p))
OP(op_qkv_1,
   be->linear(be, tensor_rows(d->qkv, 0, 1), tensor_rows(d->x, 0, 1), d->w_qkv, TENSOR_NONE, false))
OP(op_o_1,
   be->linear(be, tensor_rows(d->y, 0, 1), tensor_rows(d->q, 0, 1), d->w_o, TENSOR_NONE, false))
OP(op_gate_up_1,
   be->linear(be, tensor_rows(d->gu, 0, 1), tensor_rows(d->x, 0, 1), d->w_gu, TENSOR_NONE, false))
OP(op_down_1, be->linear(be, tensor_rows(d->y, 0, 1), tensor_rows(d->ffn, 0, 1), d->w_down,
                         TENSOR_NONE, false))
OP(op_head_1, be->linear(be, tensor_rows(d->logits, 0, 1), tensor_rows(d->x, 0, 1), d->head,
                         TENSOR_NONE, false))
OP(op_attention_1, AttentionArgs a = attention_args(d); a.n_seqs = a.max_q = 1; a.max_k = CACHED;
   a.cu_q = tensor_cols(d->positions, 0, 2); a.cu_k = tensor_cols(d->cu, 0, 2);
   a.offset = d->offset; a.k_lens = d->k_lens;
   be->attention(be, tensor_rows(d->y, 0, 1), TENSOR_NONE, tensor_rows(d->q, 0, 1), d->k_cache,
                 d->v_cache, &a))

static double gemm_flops(double m, double n, double k) {
  return 2 * m * n * k;
}

static void step_lines(Bench *b, const Data *d) {
  double e = b->dtype == DT_F32 ? 4 : 2, rc = e * R * C, l = LAYERS;
  double attention = 4.0 * D * H * 4 * (R / 4) * (R / 4) / 2; // under the causal rule
  printf("a LoRA step, 4 x 512 tokens\n");
  line(b, d, "linear qkv", op_qkv, 0, gemm_flops(R, 960, C), 0, l, 0);
  line(b, d, "linear o", op_o, 0, gemm_flops(R, C, C), 0, l, 0);
  line(b, d, "linear gate_up", op_gate_up, 0, gemm_flops(R, 2 * F, C), 0, l, 0);
  line(b, d, "linear down", op_down, 0, gemm_flops(R, C, F), 0, l, 0);
  line(b, d, "linear_back_x qkv", op_qkv_back, 0, gemm_flops(R, 960, C), 0, l, 0);
  line(b, d, "linear_back_x o", op_o_back, 0, gemm_flops(R, C, C), 0, l, 0);
  line(b, d, "linear_back_x gate_up", op_gate_up_back, 0, gemm_flops(R, 2 * F, C), 0, l, 0);
  line(b, d, "linear_back_x down", op_down_back, 0, gemm_flops(R, C, F), 0, l, 0);
  line(b, d, "linear head, 512 rows", op_head, 0, gemm_flops(CHUNK, V, C), 0, R / CHUNK, 0);
  line(b, d, "linear_back_x head", op_head_back, 0, gemm_flops(CHUNK, V, C), 0, R / CHUNK, 0);
  line(b, d, "cross_entropy, 512 rows", op_loss, 0, 0, 2 * e * CHUNK * V, R / CHUNK, 0);
  line(b, d, "attention", op_attention, 0, attention, 0, l, 0);
  line(b, d, "attention_back_acc", op_attention_back, 0, 2.5 * attention, 0, l, 0);
  line(b, d, "rope_split", op_rope, 0, 0, 2 * e * R * 960, l, 0);
  line(b, d, "rope_split_back_acc", op_rope_back, 0, 0, 3 * e * R * 960, l, 0);
  line(b, d, "rmsnorm of a sum", op_rmsnorm, 0, 0, 4 * rc, 2 * l, 0);
  line(b, d, "rmsnorm_back_acc", op_rmsnorm_back, 0, 0, 4 * rc, 2 * l, 0);
  line(b, d, "glu", op_glu, 0, 0, 3 * e * R * F, l, 0);
  line(b, d, "glu_back_acc", op_glu_back, 0, 0, 7 * e * R * F, l, 0);
  line(b, d, "add", op_add, 0, 0, 3 * rc, l, 0);
  line(b, d, "fill [R,2F]", op_fill, 0, 0, 2 * e * R * F, 2 * l, 0);
  line(b, d, "lora_down", op_lora_down, 0, 0, rc, 2 * l, 0);
  line(b, d, "lora_up_acc", op_lora_up, 0, 0, 2 * rc, 2 * l, 0);
  line(b, d, "lora_back_acc", op_lora_back, 0, 0, 5 * rc, 2 * l, 0);
  line(b, d, "lora_down, dropout", op_lora_down, 0.05f, 0, rc, 0, 0);
  line(b, d, "lora_back_acc, dropout", op_lora_back, 0.05f, 0, 5 * rc, 0, 0);
  printf("  the ops of a step: %.3f s, %.0f tokens/s\n", b->step, R / b->step);
}

static void decode_lines(Bench *b, const Data *d) {
  double e = b->dtype == DT_F32 ? 4 : 2, l = LAYERS;
  printf("decoding one token, %d cached\n", CACHED);
  line(b, d, "linear qkv", op_qkv_1, 0, 0, e * 960 * C, 0, l);
  line(b, d, "linear o", op_o_1, 0, 0, e * C * C, 0, l);
  line(b, d, "linear gate_up", op_gate_up_1, 0, 0, e * 2 * F * C, 0, l);
  line(b, d, "linear down", op_down_1, 0, 0, e * C * F, 0, l);
  line(b, d, "attention", op_attention_1, 0, 0, 2 * e * CACHED * K * D, 0, l);
  line(b, d, "linear head", op_head_1, 0, 0, e * V * C, 0, 1);
  printf("  the large ops of a token: %.2f ms, %.0f tokens/s\n", 1e3 * b->decode, 1 / b->decode);
}

int main(int argc, char **argv) {
  Bench b = {.dtype = DT_BF16, .threads = 2, .seconds = 0.3};
  CpuOptions options = {0};
  for (int i = 1; i < argc; i++) {
    const char *value = strchr(argv[i], '=');
    if (value == NULL) value = "=";
    value++;
    if (strncmp(argv[i], "threads=", 8) == 0) b.threads = (int)strtol(value, NULL, 10);
    if (strncmp(argv[i], "seconds=", 8) == 0) b.seconds = strtod(value, NULL);
    if (strncmp(argv[i], "dtype=", 6) == 0) b.dtype = dtype_from_name(value);
    if (strncmp(argv[i], "gemm=", 5) == 0) options.gemm = value;
    if (strncmp(argv[i], "isa=", 4) == 0) options.isa = value;
  }
  if (b.threads < 1 || (b.dtype != DT_F32 && b.dtype != DT_BF16)) {
    fprintf(stderr, "bench_ops [threads=N] [dtype=f32|bf16] [gemm=own|onednn-f32|onednn-bf16] "
                    "[isa=...] [seconds=S]\n");
    return 2;
  }
  Error err;
  options.threads = b.threads;
  if (backend_cpu_open(&b.be, &options, &err) != STATUS_OK) {
    fprintf(stderr, "bench_ops: %s\n", err.message);
    return (int)err.status;
  }
  measure_ceilings(&b);
  printf("%s, %s, %d threads; ceilings: FMA %.0f GFLOP/s, memcpy %.1f GB/s (read and written)\n",
         b.be->gemm_path, dtype_info(b.dtype)->name, b.threads, b.peak, b.copy);
  Data d = make_data(b.dtype);
  step_lines(&b, &d);
  decode_lines(&b, &d);
  b.be->close(b.be);
  return 0;
}
