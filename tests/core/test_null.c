// The null backend: its addresses, and what it counts, op by op against figures worked out by hand.
#include "backend.h"
#include "test.h"

static Backend *be;
static BackendCounts before;

static Tensor tensor(DType dtype, int64_t rows, int64_t cols) {
  void *memory = NULL;
  Error err;
  EXPECT(be->mem_alloc(be, dtype_bytes(dtype, rows * cols), &memory, &err) == STATUS_OK);
  return tensor_make(memory, dtype, rows, cols);
}

// What the ops since the last call have counted.
static void counted(int line, double flops, double bytes) {
  BackendCounts now = be->counts;
  int64_t launches = now.launches - before.launches;
  double f = now.flops - before.flops, b = now.bytes - before.bytes;
  EXPECT(launches == 1, "line %d: %lld launches", line, (long long)launches);
  EXPECT(f == flops, "line %d: %.0f flops, expected %.0f", line, f, flops);
  EXPECT(b == bytes, "line %d: %.0f bytes, expected %.0f", line, b, bytes);
  before = now;
}
#define COUNTED(flops, bytes) counted(__LINE__, flops, bytes)

static void every_op_is_there(void) {
  // All members behind the counts are function pointers.
  const char *from = (const char *)&be->close, *to = (const char *)(be + 1);
  for (const char *p = from; p < to; p += sizeof(void (*)(void))) {
    void (*op)(void);
    if (p == (const char *)&be->mem_info || p == (const char *)&be->forget) continue; // of others
    memcpy(&op, p, sizeof op);
    EXPECT(op != NULL, "member at byte %lld", (long long)(p - from));
  }
  EXPECT(strcmp(be->name, "null") == 0);
}

static void addresses_are_distinct(void) {
  Error err;
  void *a = NULL, *b = NULL, *c = NULL;
  EXPECT(be->mem_alloc(be, INT64_C(1) << 44, &a, &err) == STATUS_OK);
  EXPECT(be->mem_alloc(be, 1, &b, &err) == STATUS_OK);
  EXPECT(be->mem_alloc(be, 4096, &c, &err) == STATUS_OK);
  EXPECT(a != NULL && (uintptr_t)a % 256 == 0 && (uintptr_t)b % 256 == 0);
  EXPECT((uintptr_t)b >= (uintptr_t)a + (UINT64_C(1) << 44), "ranges overlap");
  EXPECT((uintptr_t)c > (uintptr_t)b, "ranges overlap");
  be->mem_free(be, c, 4096);
  void *d = NULL;
  EXPECT(be->mem_alloc(be, 4096, &d, &err) == STATUS_OK);
  EXPECT(d != c, "an address given out twice");
  EXPECT(be->mem_alloc(be, INT64_MAX, &d, &err) == STATUS_OK, "a range as large as a count goes");
  EXPECT(be->mem_alloc(be, INT64_MAX, &d, &err) == STATUS_MEMORY, "more than there are addresses");
}

static void copies_count_bytes_only(void) {
  float host[12];
  for (int i = 0; i < 12; i++) host[i] = 1;
  Tensor t = tensor_cols(tensor(DT_F32, 3, 8), 2, 4); // strided: its 12 elements count
  before = be->counts;
  be->copy_in(be, t, host);
  EXPECT(be->counts.bytes - before.bytes == 48 && be->counts.launches == before.launches);
  be->copy_out(be, host, t);
  EXPECT(be->counts.bytes - before.bytes == 96 && be->counts.launches == before.launches);
  for (int i = 0; i < 12; i++) EXPECT(host[i] == 0, "element %d read back as %g", i, host[i]);
  be->sync(be);
  before = be->counts;
}

enum { R = 6, C = 8, N = 16 };

static void elementwise(void) {
  Tensor a = tensor(DT_F32, R, C), b = tensor(DT_F32, R, C), c = tensor(DT_F32, R, C),
         wide = tensor(DT_F32, R, 2 * C), half = tensor(DT_BF16, R, C), one = tensor(DT_F32, 1, 1);
  Dropout off = {.p = 0}, on = {.p = 0.5f,
                                .step = tensor(DT_I32, 1, 1),
                                .sequences = tensor(DT_I32, 1, R),
                                .positions = tensor(DT_I32, 1, R)};
  const double rc = 4 * R * C;
  be->fill(be, a, 1), COUNTED(0, rc);
  be->cast(be, half, a), COUNTED(0, 1.5 * rc);
  be->add(be, a, b, c), COUNTED(0, 3 * rc);
  be->scale(be, a, b, one), COUNTED(0, 2 * rc + 4);
  be->scale_acc(be, a, b, one), COUNTED(0, 3 * rc + 4);
  be->dropout_acc(be, a, b, &off), COUNTED(0, 3 * rc);
  be->dropout_acc(be, a, b, &on), COUNTED(0, 3 * rc + 4 + 8 * R);
  be->act(be, a, b, ACT_GELU), COUNTED(0, 2 * rc);
  be->act_back_acc(be, a, b, c, ACT_GELU), COUNTED(0, 4 * rc);
  be->glu(be, a, wide, ACT_SILU), COUNTED(0, 3 * rc);
  be->glu_back_acc(be, wide, a, wide, ACT_SILU), COUNTED(0, 7 * rc);
}

static void rows(void) {
  Tensor table = tensor(DT_F32, 50, C), small = tensor(DT_F32, 2, C), y = tensor(DT_F32, R, C),
         ids = tensor(DT_I32, 1, R), q8 = tensor(DT_Q8_0, 50, 32), y32 = tensor(DT_F32, R, 32);
  const double rc = 4 * R * C, i = 4 * R;
  be->embedding(be, y, table, ids), COUNTED(0, 2 * rc + i);
  be->embedding(be, y, small, ids), COUNTED(0, rc + 4 * 2 * C + i);
  be->embedding(be, y32, q8, ids), COUNTED(0, 4 * R * 32 + R * 34 + i);
  be->embedding_back_acc(be, table, y, ids), COUNTED(0, 3 * rc + i);
  be->gather_rows(be, y, table, ids), COUNTED(0, 2 * rc + i);
  be->scatter_rows_acc(be, table, y, ids), COUNTED(0, 3 * rc + i);
  PatchArgs patches = {.size = 2, .channels = 3, .tops = ids, .lefts = ids};
  Tensor pixels = tensor(DT_F32, 9, 30), y12 = tensor(DT_BF16, R, 12);
  be->patchify(be, y12, pixels, &patches), COUNTED(0, (2 + 4) * R * 12 + 2 * i);
}

static void norms(void) {
  Tensor z = tensor(DT_F32, R, C), y = tensor(DT_F32, R, C), x = tensor(DT_F32, R, C),
         d = tensor(DT_F32, R, C), w = tensor(DT_F32, 1, C), b = tensor(DT_F32, 1, C),
         rstd = tensor(DT_F32, 1, R), mean = tensor(DT_F32, 1, R), none = TENSOR_NONE;
  const double rc = 4 * R * C, r = 4 * R, c = 4 * C;
  be->rmsnorm(be, none, y, rstd, x, none, w, 1e-5f), COUNTED(0, 2 * rc + r + c);
  be->rmsnorm(be, z, y, rstd, x, d, w, 1e-5f), COUNTED(0, 4 * rc + r + c);
  be->rmsnorm_back_acc(be, x, none, y, z, rstd, w), COUNTED(0, 4 * rc + r + c);
  be->rmsnorm_back_acc(be, x, w, y, z, rstd, w), COUNTED(0, 4 * rc + r + 3 * c);
  be->layernorm(be, z, y, mean, rstd, x, d, w, b, 1e-5f), COUNTED(0, 4 * rc + 2 * r + 2 * c);
  be->layernorm_back_acc(be, x, w, b, y, z, mean, rstd, w), COUNTED(0, 4 * rc + 2 * r + 5 * c);
}

static void attention(void) {
  enum { H = 4, K = 2, D = 8, B = 2 };
  Tensor qkv = tensor(DT_F32, R, (H + 2 * K) * D), q = tensor(DT_F32, R, H * D),
         k = tensor(DT_F32, R, K * D), o = tensor(DT_F32, R, H * D), lse = tensor(DT_F32, R, H),
         cu = tensor(DT_I32, 1, B + 1), per_seq = tensor(DT_I32, 1, B),
         positions = tensor(DT_I32, 1, R), freq = tensor(DT_F32, 1, D / 2);
  const double qb = 4 * R * H * D, kb = 4 * R * K * D;
  RopeArgs rope = {.n_heads = H, .n_kv_heads = K, .head_dim = D, .positions = positions};
  be->rope_split(be, q, k, k, qkv, &rope), COUNTED(0, 2 * (qb + 2 * kb));
  rope.inv_freq = freq;
  be->rope_split(be, q, k, k, qkv, &rope), COUNTED(0, 2 * (qb + 2 * kb) + 4 * R + 2 * D);
  be->rope_split_back_acc(be, qkv, q, k, k, &rope), COUNTED(0, 3 * (qb + 2 * kb) + 4 * R + 2 * D);

  AttentionArgs a = {.n_heads = H, .n_kv_heads = K, .head_dim = D, .scale = 1, .n_seqs = B};
  a.max_q = a.max_k = 3; // two sequences of three: exact
  a.cu_q = a.cu_k = cu;
  const double causal = H * B * (1 + 2 + 3), cb = 4 * (B + 1);
  be->attention(be, o, lse, q, k, k, &a);
  COUNTED(4 * D * causal, 2 * qb + 4 * R * H + 2 * kb + 2 * cb);
  be->attention_back_acc(be, q, k, k, TENSOR_NONE, o, o, lse, q, k, k, &a);
  COUNTED(10 * D * causal, 5 * qb + 4 * R * H + 6 * kb + 2 * cb);
  a.prefix = per_seq; // may be full: every key counts
  be->attention(be, o, TENSOR_NONE, q, k, k, &a);
  COUNTED(4 * D * H * R * 3, 2 * qb + 2 * kb + 2 * cb + 4 * B);

  Tensor cache = tensor(DT_F32, 4 * 64, K * D);
  a = (AttentionArgs){.n_heads = H, .n_kv_heads = K, .head_dim = D, .scale = 1, .n_seqs = B};
  a.max_q = 3, a.max_k = 70, a.cu_q = cu, a.offset = a.k_lens = per_seq, a.page_size = 64;
  a.pages = tensor(DT_I32, B, 2);
  be->attention(be, o, TENSOR_NONE, q, cache, cache, &a);
  COUNTED(4 * D * H * R * 70, 2 * qb + 2 * 4 * 140 * K * D + cb + 8 * B + 8 * B);
}

static void linear(void) {
  Tensor y = tensor(DT_F32, R, N), x = tensor(DT_F32, R, C), w = tensor(DT_F32, N, C),
         bias = tensor(DT_F32, 1, N), none = TENSOR_NONE;
  const double gemm = 2 * R * N * C, yb = 4 * R * N, xb = 4 * R * C, wb = 4 * N * C, nb = 4 * N;
  be->linear(be, y, x, w, none, false), COUNTED(gemm, yb + xb + wb);
  be->linear(be, y, x, w, bias, true), COUNTED(gemm, 2 * yb + xb + wb + nb);
  be->linear_back_x_acc(be, x, y, w), COUNTED(gemm, 2 * xb + yb + wb);
  be->linear_back_w_acc(be, w, none, y, x), COUNTED(gemm, 2 * wb + yb + xb);
  be->linear_back_w_acc(be, none, bias, y, x), COUNTED(0, 2 * nb + yb);
  Tensor x32 = tensor(DT_F32, R, 32), q4 = tensor(DT_Q4_0, N, 32); // 18 bytes a block of 32
  be->linear(be, y, x32, q4, none, false), COUNTED(2 * R * N * 32, yb + 4 * R * 32 + N * 18);
}

static void lora(void) {
  enum { RANK = 2 };
  Tensor t = tensor(DT_F32, R, RANK), x = tensor(DT_F32, R, C), y = tensor(DT_F32, R, N),
         a = tensor(DT_F32, RANK, C), b = tensor(DT_F32, N, RANK), none = TENSOR_NONE,
         adapters = tensor(DT_I32, 1, R);
  RowSelect all = {.id = 0}, some = {.adapters = adapters, .id = 1};
  Dropout off = {.p = 0};
  const double down = 2 * R * C * RANK, up = 2 * R * N * RANK, tb = 4 * R * RANK, xb = 4 * R * C,
               yb = 4 * R * N, ab = 4 * RANK * C, bb = 4 * N * RANK;
  be->lora_down(be, t, x, a, all, &off), COUNTED(down, tb + xb + ab);
  be->lora_up_acc(be, y, t, b, 2, some), COUNTED(up, 2 * yb + tb + bb + 4 * R);
  be->lora_back_acc(be, x, a, b, t, y, t, x, a, b, 2, all, &off);
  COUNTED(2 * up + 2 * down, 2 * xb + 2 * ab + 2 * bb + tb + yb + bb + tb + xb + ab);
  be->lora_back_acc(be, x, none, none, t, y, t, x, a, b, 2, all, &off);
  COUNTED(up + down, 2 * xb + tb + yb + bb + ab);
}

static void losses_and_optimizer(void) {
  enum { V = 11, COUNT = 100 };
  Tensor logits = tensor(DT_F32, R, V), per_row = tensor(DT_F32, 1, R), ids = tensor(DT_I32, 1, R),
         one = tensor(DT_F32, 1, 1), sum = tensor(DT_F64, 1, 1), sums = tensor(DT_F64, 1, 3),
         clip = tensor(DT_F32, 1, 2), none = TENSOR_NONE;
  const double lb = 4 * R * V, r = 4 * R;
  CrossEntropyArgs args = {.inv_count = one, .grad = false};
  be->cross_entropy(be, per_row, logits, ids, &args), COUNTED(0, lb + 2 * r);
  args.grad = true;
  be->cross_entropy(be, per_row, logits, ids, &args), COUNTED(0, 2 * lb + 2 * r + 4);
  be->log_probs(be, per_row, ids, logits, ids), COUNTED(0, lb + 3 * r);
  be->sum_acc(be, sum, logits), COUNTED(0, 16 + lb);
  be->sum_squares(be, sum, logits), COUNTED(0, 8 + lb);
  be->clip_factor(be, clip, sums, none, 1), COUNTED(0, 8 + 24);
  be->clip_factor(be, clip, sums, sum, 1), COUNTED(0, 8 + 24 + 8);
  Tensor w = tensor(DT_F32, 1, COUNT), m = tensor(DT_F32, 1, COUNT), v = tensor(DT_F32, 1, COUNT),
         g = tensor(DT_F32, 1, COUNT), half = tensor(DT_BF16, 1, COUNT);
  AdamArgs adam = {.lr = one, .step = tensor(DT_I32, 1, 1), .clip = clip};
  be->adamw(be, w, none, m, v, g, &adam), COUNTED(0, 7 * 4 * COUNT + 16);
  be->adamw(be, half, w, m, v, g, &adam), COUNTED(0, 7 * 4 * COUNT + 2 * COUNT + 16);
}

static void choices(void) {
  enum { V = 11, TEXTS = 2, BEAMS = 3, KEEP = 6, SEEN = 5 };
  Tensor logits = tensor(DT_F32, R, V), i32 = tensor(DT_I32, 1, R), f32 = tensor(DT_F32, 1, R),
         i64 = tensor(DT_I64, 1, R);
  const double lb = 4 * R * V, r = 4 * R;
  SampleArgs args = {.temperature = f32, .top_k = i32, .top_p = f32, .seeds = i64, .draws = i64};
  be->sample(be, i32, logits, &args), COUNTED(0, lb + 4 * r + 6 * r);
  args.seen = (SeenIds){.ids = tensor(DT_I32, R, SEEN), .lengths = i32, .penalty = f32};
  be->sample(be, i32, logits, &args), COUNTED(0, lb + 12 * r + SEEN * r);
  Tensor scores = tensor(DT_F32, TEXTS, KEEP), ids = tensor(DT_I32, TEXTS, KEEP),
         beams = tensor(DT_F32, TEXTS * BEAMS, V), one = tensor(DT_F32, 1, V);
  BeamArgs beam = {.beams = BEAMS, .sums = tensor(DT_F32, TEXTS, BEAMS)};
  const double out = 3 * 4 * TEXTS * KEEP, sums = 4 * TEXTS * BEAMS;
  be->beam_step(be, scores, ids, ids, beams, &beam), COUNTED(0, out + sums + 4 * TEXTS * BEAMS * V);
  beam.rows = tensor(DT_I32, 1, TEXTS * BEAMS); // they may read the same row
  be->beam_step(be, scores, ids, ids, one, &beam), COUNTED(0, out + 2 * sums + 4 * V);
}

// ---- prices ----

static const OpCost *cost_of(OpKind kind) {
  return &backend_costs(be)[kind];
}

// Of all ops so far, those of the tests above.
static void costs_add_up_to_the_counts(void) {
  OpCost sum = {0};
  for (int kind = 0; kind < OP_KINDS; kind++) {
    const OpCost *c = cost_of((OpKind)kind);
    EXPECT(c->bytes > 0, "no op was booked as %s", op_kind_name((OpKind)kind));
    EXPECT(c->seconds == 0, "%s has a price without rates", op_kind_name((OpKind)kind));
    sum.launches += c->launches;
    sum.flops += c->flops;
    sum.bytes += c->bytes;
  }
  EXPECT(sum.launches == be->counts.launches, "%lld launches", (long long)sum.launches);
  EXPECT(sum.flops == be->counts.flops && sum.bytes == be->counts.bytes);
}

static void an_op_takes_its_roofline(void) {
  Tensor x = tensor(DT_F32, R, C), y = tensor(DT_F32, R, N), w = tensor(DT_F32, N, C),
         hx = tensor(DT_BF16, R, C), hy = tensor(DT_BF16, R, N), hw = tensor(DT_BF16, N, C);
  const double flops = 2.0 * R * N * C, bytes = 4 * (R * C + R * N + N * C);
  OpRates rates = {.launch = 0.5};
  rates.kind[OP_GEMM] = (OpRate){.flops = {flops / 3, flops / 7}, .bytes = bytes};
  rates.kind[OP_NORM].bytes = 1;
  backend_null_price(be, &rates);
  backend_costs_clear(be);
  be->linear(be, y, x, w, TENSOR_NONE, false); // 3 s of arithmetic, 1 s of traffic
  EXPECT(cost_of(OP_GEMM)->seconds == 3.5 && cost_of(OP_GEMM)->compute_seconds == 3.5);
  be->linear(be, hy, hx, hw, TENSOR_NONE, false); // 7 s, by the other rate
  EXPECT(cost_of(OP_GEMM)->seconds == 11 && cost_of(OP_GEMM)->launches == 2);
  rates.kind[OP_GEMM].bytes = bytes / 10;
  backend_null_price(be, &rates);
  be->linear(be, y, x, w, TENSOR_NONE, false); // 10 s of traffic
  EXPECT(cost_of(OP_GEMM)->seconds == 21.5 && cost_of(OP_GEMM)->compute_seconds == 11);
  be->linear_back_x_acc(be, x, y, w); // a kind without rates: the launch alone
  EXPECT(cost_of(OP_GEMM_BACK_X)->seconds == 0.5 && cost_of(OP_NORM)->launches == 0);
}

// The same counts as null, the same values as the backend below.
static void a_meter_runs_what_it_counts(void) {
  Error err;
  Backend *cpu = NULL, *meter = NULL, *null = be;
  CpuOptions options = {.threads = 1, .gemm = "own"};
  EXPECT(backend_cpu_open(&cpu, &options, &err) == STATUS_OK, "%s", err.message);
  EXPECT(backend_meter_open(&meter, cpu, CLOCK_MONOTONIC, &err) == STATUS_OK);
  float xs[R * C], ws[N * C], ys[R * N], expected[R * N];
  for (int i = 0; i < R * C; i++) xs[i] = (float)(i % 5) - 2;
  for (int i = 0; i < N * C; i++) ws[i] = (float)(i % 7) - 3;
  be = meter; // tensors of its memory
  Tensor x = tensor(DT_F32, R, C), y = tensor(DT_F32, R, N), w = tensor(DT_F32, N, C);
  be = null;
  meter->copy_in(meter, x, xs);
  meter->copy_in(meter, w, ws);
  meter->linear(meter, y, x, w, TENSOR_NONE, false);
  meter->copy_out(meter, ys, y);
  cpu->fill(cpu, y, 0);
  cpu->linear(cpu, y, x, w, TENSOR_NONE, false);
  cpu->copy_out(cpu, expected, y);
  EXPECT(memcmp(ys, expected, sizeof ys) == 0 && expected[1] != 0);
  const OpCost *cost = &backend_costs(meter)[OP_GEMM];
  EXPECT(cost->launches == 1 && cost->flops == 2.0 * R * N * C && cost->seconds > 0);
  EXPECT(backend_costs(meter)[OP_COPY].bytes == 4 * (R * C + N * C + R * N));
  meter->mem_free(meter, x.data, 4 * R * C);
  meter->mem_free(meter, y.data, 4 * R * N);
  meter->mem_free(meter, w.data, 4 * N * C);
  meter->close(meter);
  cpu->close(cpu);
}

int main(void) {
  Error err;
  if (backend_null_open(&be, &err) != STATUS_OK) {
    printf("%s\n", err.message);
    return 1;
  }
  RUN(every_op_is_there);
  RUN(copies_count_bytes_only);
  RUN(elementwise);
  RUN(rows);
  RUN(norms);
  RUN(attention);
  RUN(linear);
  RUN(lora);
  RUN(losses_and_optimizer);
  RUN(choices);
  RUN(costs_add_up_to_the_counts);
  RUN(an_op_takes_its_roofline);
  RUN(a_meter_runs_what_it_counts);
  RUN(addresses_are_distinct); // last: it uses the addresses up
  be->close(be);
  return test_done();
}
