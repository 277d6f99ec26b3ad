// The own GEMM: y = or += op(a) op(b)^T in f32 arithmetic over f32, bf16 and quantised operands,
// and the product of a few rows, which reads the weight as it lies.
//
// Large (more than GEMV_ROWS rows). For a range of at most MAX_DEPTH of the sum and as many columns
// as make a packed panel of PANEL floats:
//   1. all threads pack b: expanded to f32, in panels [k block][column panel][kc][MICRO_COLS]
//   2. a thread takes a tile of BLOCK_ROWS x up to BLOCK_COLS of y: for each k block it expands its
//   rows of a and
//      adds to the tile, which stays in its L2 cache; the finished tile goes to y with bias, old
//      content and one rounding.
// A y in bf16 whose sum takes more than one range is summed in f32 scratch. The order of every sum
// hangs on the shape and the instruction set alone, so the number of threads changes no bit.
//
// 2 M N K flops; packing costs 2 to 3 instructions an element of b for M multiply-adds, expanding a
// the same for N / BLOCK_COLS passes. Weights are expanded anew in each call: at M = 2048 that is
// under 2 % of the time, and keeping f32 copies would double or triple the memory of a bf16 model.
//
// Measured by tools/bench/bench_ops.c (threads=1, 2026-11-25, a shared Intel server part with
// AVX-512 and no AMX, 169 GFLOP/s of FMAs in the same run), bf16 storage, GFLOP/s: 2048 x 960 x 576
// 150, 2048 x 576 x 576 154, 2048 x 3072 x 576 146, 2048 x 576 x 1536 147, 512 x 49152 x 576 109;
// a minute before, with busier neighbours, 105, 108, 119, 110 and 131. Lost: panels of 4 M floats
// (the head slower: they go through L3 to memory), of 256 K (more ranges, each with two barriers).
//
// Small. A row of the weight is read once for all rows of x (which are f32 in scratch): bytes of w
// decide.
#include "check.h"
#include "op_check.h"
#include "simd_dots.h"
#include "simd_install.h"
#include "simd_micro.h"
#include "simd_rowio.h"

#include <omp.h>
#include <string.h>

enum {
  BLOCK_ROWS = MICRO_ROWS * (VW == 16 ? 8 : 16),
  BLOCK_COLS = 512,
  TILE_PITCH = BLOCK_COLS + 16,
  MAX_DEPTH = 4096,
  PANEL = 1 << 20,
  GEMV_ROWS = 8,
};

// An operand: along_sum, row i of t holds the sum's values for row (or column) i of y; else row k
// of t holds the values of all of them for step k.
typedef struct Operand {
  Tensor t;
  bool along_sum;
} Operand;

typedef struct Gemm {
  Tensor y, bias;
  Operand a, b;
  bool acc;
  int64_t m, n, depth;      // of the whole product
  int64_t n0, n1, k0, k1;   // the range that is packed
  int64_t block_k, block_n; // the steps of its blocks
  int64_t panels;           // column panels of the range
  float *packed;
  float *tiles; // BLOCK_ROWS * (A_PITCH + TILE_PITCH) of each thread
} Gemm;

static int64_t round_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

static int64_t at_most(int64_t n, int64_t limit) {
  return n < limit ? n : limit;
}

// n in equal steps of at most `limit`, each a multiple of `unit`.
static int64_t even_step(int64_t n, int64_t limit, int64_t unit) {
  int64_t parts = (n + limit - 1) / limit;
  return parts < 1 ? unit : round_up((n + parts - 1) / parts, unit);
}

// out[kc][MICRO_COLS] = columns n .. of steps k ..
static void pack_panel(float *out, const Gemm *g, int64_t n, int64_t k, int64_t kc) {
  int64_t cols = at_most(g->n1 - n, MICRO_COLS);
  if (g->b.along_sum) {
    float rows[MICRO_COLS * MICRO_DEPTH];
    for (int64_t i = 0; i < cols; i++) rowio_load(rows + i * kc, g->b.t, n + i, k, kc);
    if (cols < MICRO_COLS)
      memset(rows + cols * kc, 0, (size_t)((MICRO_COLS - cols) * kc) * sizeof *rows);
    SIMD(micro_transpose)(out, MICRO_COLS, rows, kc, MICRO_COLS, kc);
    return;
  }
  for (int64_t i = 0; i < kc; i++, out += MICRO_COLS) {
    rowio_load(out, g->b.t, k + i, n, cols);
    for (int64_t c = cols; c < MICRO_COLS; c++) out[c] = 0;
  }
}

// out[rows][A_PITCH] = rows m .. of steps k ..
static void load_rows(float *out, const Gemm *g, int64_t m, int64_t rows, int64_t k, int64_t kc) {
  if (g->a.along_sum) {
    for (int64_t i = 0; i < rows; i++) rowio_load(out + i * A_PITCH, g->a.t, m + i, k, kc);
    return;
  }
  enum { STEP = 16 };
  float part[STEP * BLOCK_ROWS];
  for (int64_t i = 0; i < kc; i += STEP) {
    int64_t n = at_most(kc - i, STEP);
    for (int64_t j = 0; j < n; j++) rowio_load(part + j * BLOCK_ROWS, g->a.t, k + i + j, m, rows);
    SIMD(micro_transpose)(out + i, A_PITCH, part, BLOCK_ROWS, n, rows);
  }
}

// The finished sums of a tile to y.
static void store_tile(const Gemm *g, const float *tile, int64_t m, int64_t rows, int64_t n,
                       int64_t cols) {
  for (int64_t i = 0; i < rows; i++, tile += TILE_PITCH) {
    char *y = row_at(g->y, m + i);
    SIMD_BY_F(
        g->y.dtype, F, SIMD_FOR(c, lanes, cols) {
          vf x = row_load(tile, DT_F32, c, lanes);
          if (tensor_given(g->bias)) {
            x += g->bias.dtype == DT_F32 ? row_load(g->bias.data, DT_F32, n + c, lanes)
                                         : row_load(g->bias.data, DT_BF16, n + c, lanes);
          }
          if (g->acc) x += row_load(y, F, n + c, lanes);
          row_store(y, F, n + c, x, lanes);
        });
  }
}

static void compute_tile(const Gemm *g, float *scratch, int64_t m, int64_t n) {
  int64_t rows = at_most(g->m - m, BLOCK_ROWS), cols = at_most(g->n1 - n, g->block_n);
  float *a = scratch, *tile = scratch + BLOCK_ROWS * A_PITCH;
  if (g->k0 == g->k1) memset(tile, 0, BLOCK_ROWS * TILE_PITCH * sizeof *tile); // an empty sum
  for (int64_t k = g->k0; k < g->k1; k += g->block_k) {
    int64_t kc = at_most(g->k1 - k, g->block_k);
    load_rows(a, g, m, rows, k, kc);
    const float *b = g->packed + (k - g->k0) * g->panels * MICRO_COLS + (n - g->n0) * kc;
    for (int64_t c = 0; c < cols; c += MICRO_COLS, b += MICRO_COLS * kc) {
      for (int64_t r = 0; r < rows; r += MICRO_ROWS) {
        SIMD(micro_tile)
        (tile + r * TILE_PITCH + c, TILE_PITCH, a + r * A_PITCH, b, kc, k > g->k0,
         at_most(rows - r, MICRO_ROWS));
      }
    }
  }
  store_tile(g, tile, m, rows, n, cols);
}

static void run_range(Backend *be, const Gemm *g) {
  int64_t k_blocks = (g->k1 - g->k0 + g->block_k - 1) / g->block_k;
  int64_t m_tiles = (g->m + BLOCK_ROWS - 1) / BLOCK_ROWS,
          n_tiles = (g->n1 - g->n0 + g->block_n - 1) / g->block_n;
#pragma omp parallel num_threads(cpu_team(be, g->m *(g->n1 - g->n0) * (g->k1 - g->k0) / 64))
  {
    float *scratch = g->tiles + omp_get_thread_num() * BLOCK_ROWS * (A_PITCH + TILE_PITCH);
#pragma omp for schedule(dynamic, 4)
    for (int64_t i = 0; i < k_blocks * g->panels; i++) {
      int64_t k = g->k0 + i / g->panels * g->block_k, kc = at_most(g->k1 - k, g->block_k);
      float *out =
          g->packed + (k - g->k0) * g->panels * MICRO_COLS + i % g->panels * MICRO_COLS * kc;
      pack_panel(out, g, g->n0 + i % g->panels * MICRO_COLS, k, kc);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < m_tiles * n_tiles; i++) {
      compute_tile(g, scratch, i / n_tiles * BLOCK_ROWS, g->n0 + i % n_tiles * g->block_n);
    }
  }
}

// y = or += sums of g->k0 .. g->k1, all columns.
static void run_depth(Backend *be, Gemm *g) {
  g->block_k = even_step(g->k1 - g->k0, MICRO_DEPTH, 4);
  int64_t limit = PANEL / (g->k1 - g->k0 > 0 ? g->k1 - g->k0 : 1) / BLOCK_COLS * BLOCK_COLS;
  if (limit < BLOCK_COLS) limit = BLOCK_COLS;
  int64_t step = even_step(g->n, limit, MICRO_COLS);
  g->block_n = even_step(at_most(step, g->n), BLOCK_COLS, MICRO_COLS);
  step = round_up(step, g->block_n);
  g->packed = cpu_scratch(be, SCRATCH_SHARED,
                          at_most(step, round_up(g->n, MICRO_COLS)) * (g->k1 - g->k0) + VW);
  for (g->n0 = 0; g->n0 < g->n; g->n0 = g->n1) {
    g->n1 = at_most(g->n0 + step, g->n);
    g->panels = (g->n1 - g->n0 + MICRO_COLS - 1) / MICRO_COLS;
    run_range(be, g);
  }
}

static void add_into(Backend *be, Tensor y, Tensor sums, bool acc) {
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(y)))
  for (int64_t r = 0; r < y.rows; r++) {
    char *out = row_at(y, r);
    const float *in = row_at(sums, r);
    SIMD_FOR(c, n, y.cols) {
      vf x = row_load(in, DT_F32, c, n);
      if (acc) x += row_load(out, DT_BF16, c, n);
      row_store(out, DT_BF16, c, x, n);
    }
  }
}

// As gemm and its ranges, for this shape and for any with fewer rows of x and dy: with the length
// of the sum, a panel's size goes up and down.
static void gemm_note(Backend *be, Tensor y, Operand a) {
  int64_t depth = a.along_sum ? a.t.cols : a.t.rows, most = round_up(MAX_DEPTH, MICRO_DEPTH);
  if (depth > MAX_DEPTH && y.dtype != DT_F32) cpu_scratch(be, SCRATCH_SUMS, y.rows * y.cols);
  cpu_scratch(be, SCRATCH_THREADS, cpu_of(be)->threads * BLOCK_ROWS * (A_PITCH + TILE_PITCH));
  depth = at_most(depth, most);
  int64_t panel = depth * BLOCK_COLS > PANEL ? depth * BLOCK_COLS : PANEL;
  cpu_scratch(be, SCRATCH_SHARED, at_most(round_up(y.cols, MICRO_COLS) * depth, panel) + VW);
}

static void gemm(Backend *be, Tensor y, Operand a, Operand b, Tensor bias, bool acc) {
  Gemm g = {.y = y, .a = a, .b = b, .m = y.rows, .n = y.cols};
  g.depth = a.along_sum ? a.t.cols : a.t.rows;
  if (g.m == 0 || g.n == 0) return;
  if (cpu_noting(be)) {
    gemm_note(be, y, a);
    return;
  }
  bool ranges = g.depth > MAX_DEPTH;
  if (ranges && y.dtype != DT_F32) {
    g.y = tensor_make(cpu_scratch(be, SCRATCH_SUMS, g.m * g.n), DT_F32, g.m, g.n);
  }
  g.tiles =
      cpu_scratch(be, SCRATCH_THREADS, cpu_of(be)->threads * BLOCK_ROWS * (A_PITCH + TILE_PITCH));
  g.acc = acc && g.y.data == y.data;
  g.bias = bias;
  int64_t step = even_step(g.depth, MAX_DEPTH, MICRO_DEPTH);
  do {
    g.k1 = at_most(g.k0 + step, g.depth);
    run_depth(be, &g);
    g.k0 = g.k1;
    g.acc = true;
    g.bias = TENSOR_NONE;
  } while (g.k0 < g.depth);
  if (g.y.data != y.data) add_into(be, y, g.y, acc);
}

// ---- a few rows ----

static void store_value(Tensor y, int64_t r, int64_t c, float x, bool acc) {
  if (y.dtype == DT_F32) {
    float *p = (float *)row_at(y, r) + c;
    *p = acc ? *p + x : x;
  } else {
    bf16 *p = (bf16 *)row_at(y, r) + c;
    *p = bf16_from_f32(acc ? bf16_to_f32(*p) + x : x);
  }
}

static void gemv(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias, bool acc) {
  enum { PART = 8 }; // rows of w that a thread takes at a time
  int64_t depth = x.cols, parts = (w.rows + PART - 1) / PART;
  bool expand = !cpu_fast(w);
  float *all = cpu_scratch(be, SCRATCH_ROWS, x.rows * depth + VW);
  float *weights =
      cpu_scratch(be, SCRATCH_THREADS, expand ? cpu_of(be)->threads * (depth + VW) : 1);
  if (cpu_noting(be)) return;
  for (int64_t r = 0; r < x.rows; r++) rowio_load(all + r * depth, x, r, 0, depth);
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, w.rows *depth))
  for (int64_t p = 0; p < parts; p++) {
    for (int64_t n = p * PART; n < at_most(w.rows, (p + 1) * PART); n++) {
      float sums[GEMV_ROWS];
      if (expand) {
        float *row = weights + omp_get_thread_num() * (depth + VW);
        rowio_load(row, w, n, 0, depth);
        dots_of(sums, all, depth, row, DT_F32, depth, x.rows);
      } else {
        SIMD_BY_F(w.dtype, F, dots_of(sums, all, depth, row_at(w, n), F, depth, x.rows));
      }
      float b = 0;
      if (tensor_given(bias)) rowio_load(&b, bias, 0, n, 1);
      for (int64_t r = 0; r < x.rows; r++) store_value(y, r, n, sums[r] + b, acc);
    }
  }
}

// ---- the ops ----

static void linear(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias, bool acc) {
  if (!cpu_fast(x)) {
    if (!cpu_noting(be)) cpu_of(be)->ref.linear(be, y, x, w, bias, acc);
    return;
  }
  op_check_linear(be, y, x, w, bias);
  if (x.rows <= GEMV_ROWS || cpu_noting(be)) {
    int64_t rows = at_most(x.rows, GEMV_ROWS);
    if (rows > 0) gemv(be, tensor_rows(y, 0, rows), tensor_rows(x, 0, rows), w, bias, acc);
    if (x.rows <= GEMV_ROWS) return;
  }
  gemm(be, y, (Operand){x, true}, (Operand){w, true}, bias, acc);
}

static void linear_back_x_acc(Backend *be, Tensor dx, Tensor dy, Tensor w) {
  if (!cpu_fast(dx)) {
    if (!cpu_noting(be)) cpu_of(be)->ref.linear_back_x_acc(be, dx, dy, w);
    return;
  }
  op_check_linear_back_x_acc(be, dx, dy, w);
  gemm(be, dx, (Operand){dy, true}, (Operand){w, false}, TENSOR_NONE, true);
}

// db += sum of the rows of dy, in pieces of 64 rows.
static void bias_grad(Backend *be, Tensor db, Tensor dy) {
  enum { COLS = 4 * VW, PIECE = 64 };
#pragma omp parallel for schedule(static) num_threads(cpu_team(be, tensor_count(dy)))
  for (int64_t c0 = 0; c0 < dy.cols; c0 += COLS) {
    for (int64_t c = c0; c < at_most(dy.cols, c0 + COLS); c += VW) {
      int64_t n = at_most(dy.cols - c, VW);
      vf total = (vf){0};
      for (int64_t r0 = 0; r0 < dy.rows; r0 += PIECE) {
        vf piece = (vf){0};
        for (int64_t r = r0; r < at_most(dy.rows, r0 + PIECE); r++) {
          SIMD_BY_F(dy.dtype, F, piece += row_load(row_at(dy, r), F, c, n));
        }
        total += piece;
      }
      SIMD_BY_F(db.dtype, F, row_store(db.data, F, c, row_load(db.data, F, c, n) + total, n));
    }
  }
}

static void linear_back_w_acc(Backend *be, Tensor dw, Tensor db, Tensor dy, Tensor x) {
  if (!cpu_fast(x)) {
    if (!cpu_noting(be)) cpu_of(be)->ref.linear_back_w_acc(be, dw, db, dy, x);
    return;
  }
  op_check_linear_back_w_acc(be, dw, db, dy, x);
  if (tensor_given(dw) && x.rows > 0) {
    gemm(be, dw, (Operand){dy, false}, (Operand){x, false}, TENSOR_NONE, true);
  }
  if (tensor_given(db) && !cpu_noting(be)) bias_grad(be, db, dy);
}

void SIMD(simd_install_gemm)(Backend *be) {
  be->linear = linear;
  be->linear_back_x_acc = linear_back_x_acc;
  be->linear_back_w_acc = linear_back_w_acc;
}
