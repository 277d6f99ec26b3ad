// The library GEMM: oneDNN's matmul primitive, made once for each weight's shape and kept. The
// number of rows is left open in it (measured: as fast as a primitive for each number): they differ
// from micro-batch to micro-batch, and a primitive for each would take memory as long as a run
// lasts.
//
// f32 arithmetic: operands in bf16 or quantised are expanded to f32 scratch first. bf16 arithmetic
// (products of bf16, sums in f32): bf16 operands as they lie; anything else goes the f32 way. A
// bf16 result is rounded from f32 scratch. Rows too few for it go to the own GEMM. The library
// splits long sums between threads as it likes: here, and only here, the number of threads may
// change bits.
//
// What the library takes itself (generated code, panels that it packs and gives back) is not
// scratch of this backend: a few MiB, taken by cpu_library_warm.
//
// Measured by tools/bench/bench_ops.c (threads=1, gemm=..., 2026-11-25, an Intel server part with
// AVX-512 BF16 and no AMX), 2048 x 960 x 576 over bf16 storage, GFLOP/s: f32 132, bf16 83, the own
// GEMM 150. There the bf16 dot instruction runs at half the rate of f32 FMA; on other CPUs at
// twice, and with AMX far above.
#include "check.h"
#include "cpu_backend.h"
#include "op_check.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

enum { FEW_ROWS = 8 };

// One matmul: c[m,n] = or += a[m,k] b[k,n] + bias[n].
typedef struct Product {
  Tensor c;
  Tensor a, b;                     // as they lie
  bool a_transposed, b_transposed; // a lies as [k,m], b as [n,k]
  Tensor bias;
  bool acc;
} Product;

enum { OPEN = -1 }; // an extent that each call decides

typedef struct Key { // compared as bytes: no padding
  int64_t m, n, k;   // m or k is OPEN: the one that counts rows
  int64_t a_stride, b_stride, c_stride;
  int32_t a_dtype, b_dtype, c_dtype, bias_dtype; // bias: -1 for none
  int32_t a_transposed, b_transposed, acc, unused;
} Key;

typedef struct Primitive {
  Key key;
  dnnl_primitive_t matmul;
} Primitive;

struct CpuLibrary {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  Primitive *primitives;
  int n, capacity;
};

static void need(dnnl_status_t status, const char *what) {
  CHECK(status == dnnl_success, "oneDNN: %s: status %d", what, (int)status);
}

static dnnl_data_type_t type_of(int32_t dtype) {
  return dtype == DT_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_memory_desc_t matrix(int64_t rows, int64_t cols, int64_t stride, bool transposed,
                                 int32_t dtype) {
  dnnl_memory_desc_t desc;
  dnnl_dims_t dims = {rows == OPEN ? DNNL_RUNTIME_DIM_VAL : rows,
                      cols == OPEN ? DNNL_RUNTIME_DIM_VAL : cols};
  dnnl_dims_t strides = {transposed ? 1 : stride, transposed ? stride : 1};
  need(dnnl_memory_desc_init_by_strides(&desc, 2, dims, type_of(dtype), strides),
       "memory descriptor");
  return desc;
}

// The descriptors of a, b, c and, with one, bias.
enum { A, B, C, BIAS };
static void describe(dnnl_memory_desc_t desc[4], const Key *key) {
  desc[A] = matrix(key->m, key->k, key->a_stride, key->a_transposed, key->a_dtype);
  desc[B] = matrix(key->k, key->n, key->b_stride, key->b_transposed, key->b_dtype);
  desc[C] = matrix(key->m, key->n, key->c_stride, false, key->c_dtype);
  if (key->bias_dtype >= 0) desc[BIAS] = matrix(1, key->n, key->n, false, key->bias_dtype);
}

// STATUS of making the primitive: dnnl_unimplemented where this CPU has no such arithmetic.
static dnnl_status_t make_primitive(const CpuLibrary *library, const Key *key, Primitive *out) {
  dnnl_memory_desc_t desc[4];
  describe(desc, key);
  dnnl_matmul_desc_t matmul;
  need(dnnl_matmul_desc_init(&matmul, &desc[A], &desc[B], key->bias_dtype >= 0 ? &desc[BIAS] : NULL,
                             &desc[C]),
       "matmul descriptor");
  dnnl_primitive_attr_t attr;
  dnnl_post_ops_t post;
  need(dnnl_primitive_attr_create(&attr), "attributes");
  need(dnnl_post_ops_create(&post), "post-ops");
  if (key->acc) need(dnnl_post_ops_append_sum(post, 1), "sum");
  need(dnnl_primitive_attr_set_post_ops(attr, post), "attributes");
  dnnl_primitive_desc_t made;
  dnnl_status_t status = dnnl_primitive_desc_create(&made, &matmul, attr, library->engine, NULL);
  need(dnnl_post_ops_destroy(post), "post-ops");
  need(dnnl_primitive_attr_destroy(attr), "attributes");
  if (status != dnnl_success) return status;
  *out = (Primitive){.key = *key};
  need(dnnl_primitive_create(&out->matmul, made), "matmul");
  need(dnnl_primitive_desc_destroy(made), "matmul");
  return dnnl_success;
}

static Key key_of(const Product *p) {
  return (Key){.m = p->c.rows,
               .n = p->c.cols,
               .k = p->a_transposed ? p->a.rows : p->a.cols,
               .a_stride = p->a.stride,
               .b_stride = p->b.stride,
               .c_stride = p->c.stride,
               .a_dtype = (int32_t)p->a.dtype,
               .b_dtype = (int32_t)p->b.dtype,
               .c_dtype = (int32_t)p->c.dtype,
               .bias_dtype = tensor_given(p->bias) ? (int32_t)p->bias.dtype : -1,
               .a_transposed = p->a_transposed,
               .b_transposed = p->b_transposed,
               .acc = p->acc};
}

static const Primitive *find_primitive(CpuLibrary *library, const Key *key) {
  for (int i = 0; i < library->n; i++) {
    if (memcmp(&library->primitives[i].key, key, sizeof *key) == 0) return &library->primitives[i];
  }
  if (library->n == library->capacity) {
    library->capacity = library->capacity > 0 ? 2 * library->capacity : 32;
    library->primitives =
        realloc(library->primitives, (size_t)library->capacity * sizeof *library->primitives);
    CHECK(library->primitives != NULL, "no memory for %d primitives", library->capacity);
  }
  need(make_primitive(library, key, &library->primitives[library->n]), "matmul of this shape");
  return &library->primitives[library->n++];
}

// The primitive of a key whose open extent is set.
static const Primitive *primitive_of(CpuBackend *cpu, Key key) {
  omp_set_num_threads(cpu->threads);
  if (key.a_transposed) {
    key.k = OPEN;
  } else {
    key.m = OPEN;
  }
  return find_primitive(cpu->library, &key);
}

static void run_primitive(CpuBackend *cpu, const Key *key, void *const data[4]) {
  static const int names[4] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS};
  const CpuLibrary *library = cpu->library;
  const Primitive *made = primitive_of(cpu, *key);
  int n = key->bias_dtype >= 0 ? 4 : 3;
  dnnl_memory_desc_t desc[4];
  dnnl_exec_arg_t args[4];
  describe(desc, key);
  for (int i = 0; i < n; i++) {
    args[i].arg = names[i];
    need(dnnl_memory_create(&args[i].memory, &desc[i], library->engine, data[i]), "memory");
  }
  need(dnnl_primitive_execute(made->matmul, library->stream, n, args), "matmul");
  need(dnnl_stream_wait(library->stream), "matmul");
  for (int i = 0; i < n; i++) need(dnnl_memory_destroy(args[i].memory), "memory");
}

static void multiply(CpuBackend *cpu, const Product *p) {
  Key key = key_of(p);
  if (cpu->noting) {
    primitive_of(cpu, key);
    return;
  }
  run_primitive(cpu, &key, (void *const[4]){p->a.data, p->b.data, p->c.data, p->bias.data});
}

// ---- operands in the arithmetic's dtype ----

// What t takes in f32 scratch.
static int64_t floats_of(Tensor t) {
  return !tensor_given(t) || t.dtype == DT_F32 ? 0 : tensor_count(t);
}

// A dense f32 copy of t in *scratch, which moves on; t itself where it is f32 already.
static Tensor expanded(CpuBackend *cpu, Tensor t, float **scratch) {
  if (t.dtype == DT_F32 || !tensor_given(t)) return t;
  Tensor out = tensor_make(*scratch, DT_F32, t.rows, t.cols);
  *scratch += tensor_count(t);
  if (!cpu->noting) cpu->own.cast(&cpu->be, out, t);
  return out;
}

static void run_product(CpuBackend *cpu, Product p) {
  int64_t launches = cpu->be.counts.launches; // what helps here is not a launch
  bool as_they_lie = cpu->library_bf16 && p.a.dtype == DT_BF16 && p.b.dtype == DT_BF16;
  Tensor c = p.c;
  int64_t floats = floats_of(c);
  if (!as_they_lie) floats += floats_of(p.a) + floats_of(p.b) + floats_of(p.bias);
  float *scratch = cpu_scratch(&cpu->be, SCRATCH_EXPAND, floats);
  if (!as_they_lie) {
    p.a = expanded(cpu, p.a, &scratch);
    p.b = expanded(cpu, p.b, &scratch);
    p.bias = expanded(cpu, p.bias, &scratch);
  }
  if (c.dtype != DT_F32) {
    p.c = tensor_make(scratch, DT_F32, c.rows, c.cols);
    if (p.acc && !cpu->noting) cpu->own.cast(&cpu->be, p.c, c);
  }
  multiply(cpu, &p);
  if (c.dtype != DT_F32 && !cpu->noting) cpu->own.cast(&cpu->be, c, p.c);
  cpu->be.counts.launches = launches;
}

// ---- the ops ----

static void linear(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias, bool acc) {
  CpuBackend *cpu = cpu_of(be);
  bool few = !cpu_fast(x) || x.rows <= FEW_ROWS || x.cols == 0 || w.rows == 0;
  if (cpu->noting && !few) // few rows may come where there are many
    cpu->own.linear(be, tensor_rows(y, 0, FEW_ROWS), tensor_rows(x, 0, FEW_ROWS), w, bias, acc);
  if (few) {
    cpu->own.linear(be, y, x, w, bias, acc);
    return;
  }
  op_check_linear(be, y, x, w, bias);
  run_product(cpu,
              (Product){.c = y, .a = x, .b = w, .b_transposed = true, .bias = bias, .acc = acc});
}

static void linear_back_x_acc(Backend *be, Tensor dx, Tensor dy, Tensor w) {
  CpuBackend *cpu = cpu_of(be);
  bool few = !cpu_fast(dx) || dx.rows <= FEW_ROWS || w.rows == 0 || w.cols == 0;
  if (cpu->noting && !few)
    cpu->own.linear_back_x_acc(be, tensor_rows(dx, 0, FEW_ROWS), tensor_rows(dy, 0, FEW_ROWS), w);
  if (few) {
    cpu->own.linear_back_x_acc(be, dx, dy, w);
    return;
  }
  op_check_linear_back_x_acc(be, dx, dy, w);
  run_product(cpu, (Product){.c = dx, .a = dy, .b = w, .acc = true});
}

static void linear_back_w_acc(Backend *be, Tensor dw, Tensor db, Tensor dy, Tensor x) {
  CpuBackend *cpu = cpu_of(be);
  if (!cpu_fast(x) || !tensor_given(dw) || x.rows == 0 || tensor_count(dw) == 0) {
    cpu->own.linear_back_w_acc(be, dw, db, dy, x);
    return;
  }
  cpu->own.linear_back_w_acc(be, TENSOR_NONE, db, dy, x); // checks, counts, and sums db
  run_product(cpu, (Product){.c = dw, .a = dy, .a_transposed = true, .b = x, .acc = true});
}

bool cpu_library_install(CpuBackend *cpu, bool bf16) {
  if (cpu->library == NULL) {
    cpu->library = calloc(1, sizeof *cpu->library);
    CHECK(cpu->library != NULL, "no memory for the library GEMM");
    need(dnnl_engine_create(&cpu->library->engine, dnnl_cpu, 0), "engine");
    need(dnnl_stream_create(&cpu->library->stream, cpu->library->engine, dnnl_stream_default_flags),
         "stream");
  }
  if (bf16) { // is there such arithmetic?
    Key key = {.m = OPEN,
               .n = 16,
               .k = 16,
               .a_stride = 16,
               .b_stride = 16,
               .c_stride = 16,
               .bias_dtype = -1};
    key.a_dtype = key.b_dtype = key.c_dtype = DT_BF16;
    Primitive probe;
    if (make_primitive(cpu->library, &key, &probe) != dnnl_success) return false;
    dnnl_primitive_destroy(probe.matmul);
  }
  cpu->library_bf16 = bf16;
  cpu->be.linear = linear;
  cpu->be.linear_back_x_acc = linear_back_x_acc;
  cpu->be.linear_back_w_acc = linear_back_w_acc;
  return true;
}

static void warm(CpuBackend *cpu, Key key, int64_t rows) {
  const int64_t most = 1 << 22;
  if (key.m == OPEN) key.m = rows;
  if (key.k == OPEN) key.k = rows;
  int64_t a = (key.a_transposed ? key.k : key.m) * key.a_stride,
          b = (key.b_transposed ? key.n : key.k) * key.b_stride, c = key.m * key.c_stride;
  if (c > most || a + b > 2 * most) return;
  float *memory = calloc((size_t)(a + b + c + key.n), sizeof *memory);
  CHECK(memory != NULL, "no memory for a product of %lld floats", (long long)(a + b + c));
  run_primitive(cpu, &key,
                (void *const[4]){memory, memory + a, memory + a + b, memory + a + b + c});
  free(memory);
}

// Few rows and some through every primitive, but those of the largest operands (a vocabulary's):
// the code that they need is that of the others.
void cpu_library_warm(CpuBackend *cpu) {
  static const int64_t rows[] = {1, 9, 64};
  for (int i = 0; cpu->library != NULL && i < cpu->library->n; i++) {
    Key key = cpu->library->primitives[i].key; // the table may move
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) warm(cpu, key, rows[k]);
  }
}

void cpu_library_close(CpuBackend *cpu) {
  if (cpu->library == NULL) return;
  for (int i = 0; i < cpu->library->n; i++)
    dnnl_primitive_destroy(cpu->library->primitives[i].matmul);
  free(cpu->library->primitives);
  dnnl_stream_destroy(cpu->library->stream);
  dnnl_engine_destroy(cpu->library->engine);
  free(cpu->library);
  cpu->library = NULL;
}
