#include "parity.h"

#include "bf16.h"
#include "check.h"
#include "parity_cuda.h"
#include "parity_mutate.h"
#include "rng.h"
#include "test.h"

#include <math.h>

const char *const parity_isas[4] = {"base", "avx2", "avx512", "avx512bf16"};

// ---- guarded memory ----

enum { GUARD = 256, GUARD_BYTE = 0xA5 };

typedef struct Block {
  unsigned char *memory;
  int64_t bytes; // of the memory, guards included
  Tensor t;
} Block;

static Block *blocks;
static int n_blocks;

static int64_t element_bytes(Tensor t, int64_t n) {
  return dtype_bytes(t.dtype, n);
}

// Calls f on every byte range that no element covers; all of them hold GUARD_BYTE.
static bool guards_are(const Block *b, bool write) {
  unsigned char *data = b->t.data;
  int64_t at = 0;
  for (int64_t r = 0; r <= b->t.rows; r++) {
    int64_t next = b->bytes;
    if (r < b->t.rows) next = data - b->memory + element_bytes(b->t, r * b->t.stride);
    if (write) memset(b->memory + at, GUARD_BYTE, (size_t)(next - at));
    for (int64_t i = at; i < next; i++) {
      if (b->memory[i] != GUARD_BYTE) return false;
    }
    at = next + element_bytes(b->t, b->t.cols);
  }
  return true;
}

Tensor parity_tensor(DType dtype, int64_t rows, int64_t cols, int64_t pad) {
  Tensor t = {.dtype = dtype, .rows = rows, .cols = cols, .stride = cols + pad};
  int64_t lead = pad % 2 ? element_bytes(t, dtype_info(dtype)->block_elements) : 0;
  int64_t bytes = 2 * GUARD + lead + tensor_bytes(t), whole = (bytes + GUARD - 1) / GUARD * GUARD;
  Block *grown = realloc(blocks, (size_t)(n_blocks + 1) * sizeof *blocks);
  unsigned char *memory = aligned_alloc(GUARD, (size_t)whole);
  CHECK(grown != NULL && memory != NULL, "no memory for a tensor of %lld bytes", (long long)bytes);
  blocks = grown;
  memset(memory, 0xFF, (size_t)whole);
  t.data = memory + GUARD + lead;
  blocks[n_blocks] = (Block){.memory = memory, .bytes = whole, .t = t};
  guards_are(&blocks[n_blocks++], true);
  return t;
}

bool parity_guards_intact(Tensor t) {
  for (int i = 0; i < n_blocks; i++) {
    if (blocks[i].t.data == t.data) return guards_are(&blocks[i], false);
  }
  CHECK(false, "not a guarded tensor");
}

void parity_release_all(void) {
  for (int i = 0; i < n_blocks; i++) free(blocks[i].memory);
  free(blocks);
  blocks = NULL;
  n_blocks = 0;
}

// ---- values ----

static void *at(Tensor t, int64_t row, int64_t col) {
  return (char *)t.data + (row * t.stride + col) * dtype_info(t.dtype)->block_bytes;
}

double parity_get(Tensor t, int64_t row, int64_t col) {
  const void *p = at(t, row, col);
  switch (t.dtype) {
  case DT_F32:
    return *(const float *)p;
  case DT_BF16:
    return bf16_to_f32(*(const bf16 *)p);
  case DT_F16:
    return f16_to_f32(*(const uint16_t *)p);
  case DT_F64:
    return *(const double *)p;
  case DT_I32:
    return *(const int32_t *)p;
  case DT_I64:
    return (double)*(const int64_t *)p;
  default:
    CHECK(false, "elements of %s", dtype_info(t.dtype)->name);
  }
}

void parity_set(Tensor t, int64_t row, int64_t col, double value) {
  void *p = at(t, row, col);
  switch (t.dtype) {
  case DT_F32:
    *(float *)p = (float)value;
    return;
  case DT_BF16:
    *(bf16 *)p = bf16_from_f32((float)value);
    return;
  case DT_F16:
    *(uint16_t *)p = f16_from_f32((float)value);
    return;
  case DT_F64:
    *(double *)p = value;
    return;
  case DT_I32:
    *(int32_t *)p = (int32_t)value;
    return;
  case DT_I64:
    *(int64_t *)p = (int64_t)value;
    return;
  default:
    CHECK(false, "elements of %s", dtype_info(t.dtype)->name);
  }
}

void parity_random(Tensor t, uint64_t seed, double scale) {
  Rng rng = {.key = seed};
  for (int64_t r = 0; r < t.rows; r++) {
    for (int64_t c = 0; c < t.cols; c++) parity_set(t, r, c, scale * rng_normal(&rng));
  }
}

static bool plain_float(DType dtype) {
  return dtype == DT_F32 || dtype == DT_BF16 || dtype == DT_F64;
}

Tensor parity_clone(Tensor t, DType dtype) {
  if (!plain_float(t.dtype)) dtype = t.dtype;
  Tensor out = parity_tensor(dtype, t.rows, t.cols, t.stride - t.cols);
  for (int64_t r = 0; r < t.rows; r++) {
    if (dtype == t.dtype) {
      memcpy((char *)out.data + element_bytes(t, r * t.stride),
             (char *)t.data + element_bytes(t, r * t.stride), (size_t)element_bytes(t, t.cols));
    } else {
      for (int64_t c = 0; c < t.cols; c++) parity_set(out, r, c, parity_get(t, r, c));
    }
  }
  return out;
}

typedef struct Worst {
  double distance;
  int64_t row, col;
} Worst;

static Worst worst_of(Tensor a, Tensor b) {
  Worst worst = {.distance = 0};
  for (int64_t r = 0; r < a.rows; r++) {
    for (int64_t c = 0; c < a.cols; c++) {
      double x = parity_get(a, r, c), y = parity_get(b, r, c);
      double d = x == y ? 0 : isnan(x - y) ? INFINITY : fabs(x - y);
      if (d > worst.distance) worst = (Worst){d, r, c};
    }
  }
  return worst;
}

double parity_distance(Tensor a, Tensor b) {
  return worst_of(a, b).distance;
}

double parity_largest(Tensor t) {
  double largest = 0;
  for (int64_t r = 0; r < t.rows; r++) {
    for (int64_t c = 0; c < t.cols; c++) {
      double x = fabs(parity_get(t, r, c));
      if (isfinite(x) && x > largest) largest = x;
    }
  }
  return largest;
}

static bool same_bytes(Tensor a, Tensor b) {
  for (int64_t r = 0; r < a.rows; r++) {
    int64_t offset = element_bytes(a, r * a.stride);
    if (memcmp((char *)a.data + offset, (char *)b.data + offset,
               (size_t)element_bytes(a, a.cols)) != 0) {
      return false;
    }
  }
  return true;
}

// ---- backends ----

Backend *parity_reference(void) {
  static Backend *be;
  if (be == NULL) {
    Error err;
    Status status = backend_cpu_open(&be, &(CpuOptions){.reference = true}, &err);
    CHECK(status == STATUS_OK, "%s", err.message);
  }
  return be;
}

Backend *parity_cpu(const char *isa, int threads, const char *gemm) {
  typedef struct Opened {
    const char *isa, *gemm;
    int threads;
    Backend *be;
  } Opened;
  static Opened opened[64];
  static int n;
  if (gemm == NULL) gemm = "own";
  for (int i = 0; i < n; i++) {
    if (strcmp(opened[i].isa, isa) == 0 && strcmp(opened[i].gemm, gemm) == 0 &&
        opened[i].threads == threads) {
      return opened[i].be;
    }
  }
  CHECK(n < 64, "too many backends");
  Error err;
  Backend *be = NULL;
  CpuOptions options = {.threads = threads, .isa = isa, .gemm = gemm};
  if (backend_cpu_open(&be, &options, &err) != STATUS_OK) {
    printf("  not on this CPU: %s (%s)\n", isa, err.message);
    be = NULL;
  }
  opened[n++] = (Opened){isa, gemm, threads, be};
  return be;
}

// ---- cases ----

int parity_add(ParityCase *c, const char *name, ParityRole role, DType dtype, int64_t rows,
               int64_t cols, int64_t pad, double scale) {
  CHECK(c->n < PARITY_MAX, "too many tensors in %s", c->name);
  Tensor t = parity_tensor(dtype, rows, cols, pad);
  if (dtype_info(dtype)->is_float && role != PARITY_OUT) {
    uint64_t seed = 1469598103934665603u + (uint64_t)c->n;
    for (const char *p = name; *p; p++) seed = (seed ^ (unsigned char)*p) * 1099511628211u;
    parity_random(t, seed, scale);
  } else if (role != PARITY_OUT) {
    for (int64_t r = 0; r < rows; r++) {
      memset((char *)t.data + element_bytes(t, r * t.stride), 0, (size_t)element_bytes(t, cols));
    }
  }
  c->tensors[c->n] = (ParityTensor){.name = name, .role = role, .t = t};
  return c->n++;
}

int32_t *parity_i32(ParityCase *c, int index) {
  CHECK(c->tensors[index].t.dtype == DT_I32, "%s is not i32", c->tensors[index].name);
  return c->tensors[index].t.data;
}

int parity_add_i32(ParityCase *c, const char *name, const int32_t *values, int64_t n,
                   int64_t below) {
  int index = parity_add(c, name, PARITY_IN, DT_I32, 1, n, 0, 0);
  Rng rng = {.key = (uint64_t)index + 77};
  for (int64_t i = 0; i < n; i++) {
    parity_i32(c, index)[i] =
        values != NULL ? values[i] : (int32_t)rng_below(&rng, (uint64_t)below);
  }
  return index;
}

void parity_quantised(ParityCase *c, int index) {
  Tensor t = c->tensors[index].t;
  int64_t block = dtype_info(t.dtype)->block_bytes;
  // Where the upper bytes of the IEEE halves d and m lie: 2^-6 to 2^-4, m of either sign. The K
  // formats multiply them by whole numbers up to 127: 2^-12 to 2^-10.
  int64_t at_d = t.dtype == DT_Q6_K ? 209 : 1;
  int64_t at_m = t.dtype == DT_Q4_1 || t.dtype == DT_Q4_K ? 3 : -1;
  int exponent = block > 100 ? 0x0c : 0x24;
  Rng rng = {.key = (uint64_t)index + 991};
  for (int64_t r = 0; r < t.rows; r++) {
    unsigned char *row = (unsigned char *)t.data + element_bytes(t, r * t.stride);
    for (int64_t i = 0; i < element_bytes(t, t.cols); i++) {
      int64_t at = i % block;
      row[i] = (unsigned char)rng_below(&rng, 256);
      if (at == at_d) row[i] = (unsigned char)(exponent + row[i] % 8);
      if (at == at_m) row[i] = (unsigned char)((exponent + row[i] % 8) | (row[i] & 0x80));
    }
  }
}

// Fresh tensors for one run, outputs poisoned; f64: floats converted.
static void fresh(const ParityCase *c, Tensor *t, bool f64) {
  for (int i = 0; i < c->n; i++) {
    Tensor from = c->tensors[i].t;
    DType dtype = f64 ? DT_F64 : from.dtype;
    if (c->tensors[i].role == PARITY_OUT) {
      if (!plain_float(from.dtype)) dtype = from.dtype;
      t[i] = parity_tensor(dtype, from.rows, from.cols, from.stride - from.cols);
    } else {
      t[i] = parity_clone(from, dtype);
    }
  }
}

typedef struct Expected {
  Tensor exact[PARITY_MAX], naive[PARITY_MAX];
  double tolerance[PARITY_MAX];
} Expected;

static void expect_within(const ParityCase *c, const char *isa, const Tensor *t,
                          const Expected *expected) {
  for (int i = 0; i < c->n; i++) {
    const ParityTensor *p = &c->tensors[i];
    EXPECT(parity_guards_intact(t[i]), "%s, %s: bytes beside %s were written", c->name, isa,
           p->name);
    if (p->role == PARITY_IN) {
      EXPECT(same_bytes(t[i], p->t), "%s, %s: input %s was changed", c->name, isa, p->name);
    } else if (c->exact) {
      EXPECT(same_bytes(t[i], expected->naive[i]), "%s, %s: %s differs from the reference", c->name,
             isa, p->name);
    } else {
      Worst w = worst_of(t[i], expected->exact[i]);
      EXPECT(w.distance <= expected->tolerance[i],
             "%s, %s: %s[%lld,%lld] is %.9g; expected %.9g within %.3g", c->name, isa, p->name,
             (long long)w.row, (long long)w.col, parity_get(t[i], w.row, w.col),
             parity_get(expected->exact[i], w.row, w.col), expected->tolerance[i]);
    }
  }
}

static void expect_same_bits(const ParityCase *c, const char *isa, const char *what,
                             const Tensor *t, const Tensor *first) {
  for (int i = 0; i < c->n; i++) {
    EXPECT(same_bytes(t[i], first[i]), "%s, %s: %s: another %s", c->name, isa, what,
           c->tensors[i].name);
  }
}

static void run_on_cuda(const ParityCase *c, const Expected *expected) {
  Tensor first[PARITY_MAX], t[PARITY_MAX];
  for (int run = 0; run < 2; run++) {
    ParityImage images[PARITY_MAX];
    fresh(c, t, false);
    for (int i = 0; i < c->n; i++) {
      const Block *b = &blocks[n_blocks - c->n + i];
      images[i] = (ParityImage){.memory = b->memory, .bytes = b->bytes, .t = b->t};
    }
    parity_cuda_call(c, images, run > 0);
    expect_within(c, "cuda", t, expected);
    if (run == 0) memcpy(first, t, sizeof first);
    if (parity_mutation_file() != NULL && test_failures > 0) return; // a mutant that is caught
    if (run > 0) expect_same_bits(c, "cuda", "another order and number of SMs", t, first);
  }
}

typedef struct OnCuda {
  const ParityCase *c;
  const Expected *expected;
} OnCuda;

static void run_case(const void *user) {
  const OnCuda *on_cuda = user;
  run_on_cuda(on_cuda->c, on_cuda->expected);
}

void parity_run(ParityCase *c) {
  Expected expected;
  Backend *reference = parity_reference();
  fresh(c, expected.naive, false);
  if (c->naive != NULL) {
    c->naive(expected.naive, c->user);
  } else {
    c->call(reference, expected.naive, c->user);
  }
  if (!c->exact) {
    fresh(c, expected.exact, true);
    c->call(reference, expected.exact, c->user);
    for (int i = 0; i < c->n; i++) {
      if (c->tensors[i].role == PARITY_IN) continue;
      double naive = parity_distance(expected.naive[i], expected.exact[i]);
      EXPECT(isfinite(naive), "%s: the naive %s is not finite where the exact is", c->name,
             c->tensors[i].name);
      expected.tolerance[i] = 2 * naive + 1e-6 * parity_largest(expected.exact[i]);
    }
  }
  if (parity_on_cuda()) {
    const SimControl *sim = parity_cuda_control();
    OnCuda on_cuda = {c, &expected};
    if (sim != NULL && parity_mutation_file() != NULL) {
      parity_cuda();
      parity_mutate(sim, run_case, &on_cuda);
    } else {
      run_case(&on_cuda);
    }
    parity_release_all();
    return;
  }
  static const int threads[] = {2, 2, 1, 3};
  for (int k = 0; k < 4; k++) {
    Tensor first[PARITY_MAX];
    for (int run = 0; run < 4; run++) {
      Backend *be = parity_cpu(parity_isas[k], threads[run], c->gemm);
      if (be == NULL) break;
      Tensor t[PARITY_MAX];
      fresh(c, t, false);
      c->call(be, t, c->user);
      be->sync(be);
      expect_within(c, parity_isas[k], t, &expected);
      if (run == 0) memcpy(first, t, sizeof first);
      if (run == 1) expect_same_bits(c, parity_isas[k], "a second run", t, first);
      if (run > 1 && !c->threads_change_bits) {
        expect_same_bits(c, parity_isas[k], "another number of threads", t, first);
      }
    }
  }
  parity_release_all();
}
