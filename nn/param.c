#include "param.h"

#include "bf16.h"
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void param_table_init(ParamTable *table, int64_t capacity) {
  *table = (ParamTable){.capacity = capacity};
  table->items = calloc((size_t)capacity, sizeof *table->items);
  CHECK(table->items != NULL, "no memory for %lld parameters", (long long)capacity);
}

void param_table_free(ParamTable *table) {
  for (int64_t i = 0; i < table->n_buckets; i++) free(table->buckets[i].ranges);
  free(table->buckets);
  free(table->items);
  *table = (ParamTable){0};
}

Param *param_declare(ParamTable *table, DType dtype, int bucket, int group, bool decayed,
                     int n_dims, const int64_t *shape, const char *fmt, ...) {
  CHECK(table->n < table->capacity, "more than %lld parameters", (long long)table->capacity);
  CHECK(n_dims >= 1 && n_dims <= PARAM_MAX_DIMS, "%d dimensions", n_dims);
  Param *p = &table->items[table->n++];
  *p = (Param){
      .dtype = dtype, .bucket = bucket, .group = group, .decayed = decayed, .n_dims = n_dims};
  va_list args;
  va_start(args, fmt);
  int length = vsnprintf(p->name, sizeof p->name, fmt, args);
  va_end(args);
  CHECK(length > 0 && length < PARAM_NAME_MAX, "name %s", p->name);
  CHECK(param_find(table, p->name) == p, "%s is declared twice", p->name);
  int64_t rows = n_dims == 1 ? 1 : shape[0], cols = n_dims == 1 ? shape[0] : 1;
  for (int i = 0; i < n_dims; i++) p->shape[i] = shape[i];
  for (int i = 1; i < n_dims; i++) cols *= shape[i];
  p->value.t = tensor_make(NULL, dtype, rows, cols);
  return p;
}

Param *param_find(const ParamTable *table, const char *name) {
  for (int64_t i = 0; i < table->n; i++) {
    if (strcmp(table->items[i].name, name) == 0) return &table->items[i];
  }
  return NULL;
}

int64_t param_count(const ParamTable *table, bool trainable_only) {
  int64_t count = 0;
  for (int64_t i = 0; i < table->n; i++) {
    if (table->items[i].trainable || !trainable_only)
      count += tensor_count(table->items[i].value.t);
  }
  return count;
}

// ---- the order of memory ----

// The first of the run of params with the same group that holds items[i]; a lone param is its own
// run.
static int64_t group_end(const ParamTable *table, int64_t i) {
  const Param *first = &table->items[i];
  int64_t end = i + 1;
  while (first->group > 0 && end < table->n && table->items[end].group == first->group &&
         table->items[end].bucket == first->bucket &&
         table->items[end].trainable == first->trainable) {
    CHECK(table->items[end].dtype == first->dtype, "%s: its group has another dtype",
          table->items[end].name);
    end++;
  }
  return end;
}

static int64_t group_start(const ParamTable *table, int64_t last) {
  int64_t i = last;
  while (i > 0 && group_end(table, i - 1) > last) i--;
  return i;
}

typedef void (*Visit)(ParamTable *table, Bucket *bucket, Param *param, int64_t offset);

// Visits those of one rate from `offset` on; returns where the next rate's begin.
static int64_t rate_walk(ParamTable *table, Bucket *bucket, RateGroup rate, int64_t offset,
                         Visit visit) {
  for (int64_t last = table->n - 1; last >= 0; last--) {
    int64_t start = group_start(table, last);
    const Param *first = &table->items[start];
    if (first->trainable && first->bucket == bucket->number && first->rate == rate) {
      for (int64_t i = start; i <= last; i++) {
        if (visit != NULL) visit(table, bucket, &table->items[i], offset);
        offset += tensor_count(table->items[i].value.t);
      }
    }
    last = start;
  }
  return offset;
}

// Visits the trainable params of a bucket in their order of memory; returns the elements they take,
// unpadded.
static int64_t bucket_walk(ParamTable *table, Bucket *bucket, Visit visit) {
  int64_t offset = 0;
  for (int rate = 0; rate < RATE_GROUPS; rate++)
    offset = rate_walk(table, bucket, (RateGroup)rate, offset, visit);
  return offset;
}

static void add_range(ParamTable *table, Bucket *bucket, Param *param, int64_t offset) {
  (void)table;
  int64_t count = tensor_count(param->value.t);
  BucketRange *newest = bucket->n_ranges > 0 ? &bucket->ranges[bucket->n_ranges - 1] : NULL;
  if (newest != NULL && newest->decayed == param->decayed && newest->rate == param->rate) {
    newest->count += count;
    return;
  }
  bucket->ranges = realloc(bucket->ranges, (size_t)(bucket->n_ranges + 1) * sizeof *bucket->ranges);
  CHECK(bucket->ranges != NULL, "no memory for bucket ranges");
  bucket->ranges[bucket->n_ranges++] = (BucketRange){offset, count, param->decayed, param->rate};
}

Bucket *param_bucket(const ParamTable *table, int number) {
  for (int64_t i = 0; i < table->n_buckets; i++) {
    if (table->buckets[i].number == number) return &table->buckets[i];
  }
  return NULL;
}

void param_make_buckets(ParamTable *table) {
  CHECK(table->n_buckets == 0, "the buckets exist already");
  for (int64_t i = 0; i < table->n; i++) {
    if (!table->items[i].trainable || param_bucket(table, table->items[i].bucket) != NULL) continue;
    table->buckets =
        realloc(table->buckets, (size_t)(table->n_buckets + 1) * sizeof *table->buckets);
    CHECK(table->buckets != NULL, "no memory for buckets");
    table->buckets[table->n_buckets++] = (Bucket){.number = table->items[i].bucket};
  }
  for (int64_t i = 0; i < table->n_buckets; i++) {
    Bucket *b = &table->buckets[i];
    int64_t count = bucket_walk(table, b, add_range);
    b->count = (count + BUCKET_PAD - 1) / BUCKET_PAD * BUCKET_PAD;
  }
}

static DType bucket_dtype(const ParamTable *table, const Bucket *bucket) {
  DType dtype = DT_COUNT;
  for (int64_t i = 0; i < table->n; i++) {
    const Param *p = &table->items[i];
    if (!p->trainable || p->bucket != bucket->number) continue;
    CHECK(dtype == DT_COUNT || dtype == p->dtype, "%s: bucket %d mixes dtypes", p->name,
          bucket->number);
    dtype = p->dtype;
  }
  return dtype;
}

static Tensor slice(Tensor flat, int64_t offset, Tensor like) {
  Tensor t = tensor_cols(flat, offset, tensor_count(like));
  t.rows = like.rows;
  t.cols = t.stride = like.cols;
  return t;
}

static void place_trainable(ParamTable *table, Bucket *bucket, Param *p, int64_t offset) {
  (void)table;
  p->value.t = slice(bucket->w, offset, p->value.t);
  p->value.grad = slice(bucket->g, offset, p->value.t);
  p->value.needs_grad = true;
  p->master = TENSOR_NONE;
  if (tensor_given(bucket->master)) p->master = slice(bucket->master, offset, p->value.t);
}

static void place_frozen(ParamTable *table, Arena *weights) {
  for (int64_t i = 0; i < table->n;) {
    int64_t end = group_end(table, i), bytes = 0;
    if (!table->items[i].trainable) {
      for (int64_t j = i; j < end; j++) {
        Tensor t = table->items[j].value.t;
        bytes += dtype_bytes(t.dtype, t.rows * t.cols);
      }
      char *at = arena_alloc(weights, ARENA_LOW, bytes, table->items[i].name);
      for (int64_t j = i; j < end; j++) {
        Value *v = &table->items[j].value;
        *v = (Value){.t = tensor_make(at, v->t.dtype, v->t.rows, v->t.cols)};
        at += dtype_bytes(v->t.dtype, v->t.rows * v->t.cols);
      }
    }
    i = end;
  }
}

void param_place(ParamTable *table, Arena *weights, Arena *state) {
  place_frozen(table, weights);
  for (int64_t i = 0; i < table->n_buckets; i++) {
    Bucket *b = &table->buckets[i];
    DType dtype = bucket_dtype(table, b), moments = dtype == DT_F64 ? DT_F64 : DT_F32;
    DType gradients = dtype == DT_BF16 ? table->grad_dtype : dtype;
    b->w = arena_tensor(weights, ARENA_LOW, dtype, 1, b->count, "trainable weights");
    b->g = arena_tensor(state, ARENA_LOW, gradients, 1, b->count, "gradients");
    b->m = arena_tensor(state, ARENA_LOW, moments, 1, b->count, "first moments");
    b->v = arena_tensor(state, ARENA_LOW, moments, 1, b->count, "second moments");
    b->master = TENSOR_NONE;
    if (dtype == DT_BF16)
      b->master = arena_tensor(state, ARENA_LOW, DT_F32, 1, b->count, "master weights");
    bucket_walk(table, b, place_trainable);
  }
}

void param_plan(const ParamTable *table, int64_t *weights_bytes, int64_t *state_bytes) {
  Arena weights, state;
  arena_init(&weights, "weights", (void *)(uintptr_t)ARENA_ALIGN, INT64_MAX / 2);
  arena_init(&state, "state", (void *)(uintptr_t)ARENA_ALIGN, INT64_MAX / 2);
  ParamTable copy = *table; // placed on a range that does not exist, to count
  copy.items = malloc((size_t)table->n * sizeof *copy.items);
  copy.buckets = malloc((size_t)(table->n_buckets + 1) * sizeof *copy.buckets);
  CHECK(copy.items != NULL && copy.buckets != NULL, "no memory for the plan of the weights");
  memcpy(copy.items, table->items, (size_t)table->n * sizeof *copy.items);
  if (table->n_buckets > 0) {
    memcpy(copy.buckets, table->buckets, (size_t)table->n_buckets * sizeof *copy.buckets);
  }
  param_place(&copy, &weights, &state);
  *weights_bytes = weights.peak;
  *state_bytes = state.peak;
  free(copy.items);
  free(copy.buckets);
}

// ---- groups ----

static Tensor side_by_side(const Param *first, int n, bool grad) {
  Tensor all = grad ? first->value.grad : first->value.t;
  for (int i = 1; i < n; i++) {
    Tensor next = grad ? first[i].value.grad : first[i].value.t;
    if (!tensor_given(next) || !tensor_given(all)) return TENSOR_NONE;
    char *end = (char *)all.data + dtype_bytes(all.dtype, all.rows * all.cols);
    bool fits = (char *)next.data == end && next.dtype == all.dtype;
    if (all.rows == 1 && next.rows == 1) { // biases
      all.cols = all.stride = all.cols + next.cols;
    } else {
      fits = fits && next.cols == all.cols;
      all.rows += next.rows;
    }
    CHECK(fits, "%s does not lie beside %s", first[i].name, first->name);
  }
  return all;
}

Tensor param_group_tensor(const Param *first, int n) {
  return side_by_side(first, n, false);
}

Tensor param_group_grad(const Param *first, int n) {
  for (int i = 0; i < n; i++) {
    if (!first[i].trainable) return TENSOR_NONE;
  }
  return side_by_side(first, n, true);
}

void param_zero_grads(ParamTable *table, Backend *be) {
  for (int64_t i = 0; i < table->n_buckets; i++) be->fill(be, table->buckets[i].g, 0);
}

void param_round_masters(ParamTable *table, Backend *be) {
  for (int64_t i = 0; i < table->n_buckets; i++) {
    const Bucket *b = &table->buckets[i];
    if (!tensor_given(b->master) || b->n_ranges == 0) continue;
    const BucketRange *last = &b->ranges[b->n_ranges - 1]; // nothing is behind it but padding
    int64_t n = last->offset + last->count;
    be->cast(be, tensor_cols(b->w, 0, n), tensor_cols(b->master, 0, n));
  }
}

// ---- values ----

// Room for a tensor's elements as the backend copies them.
static void *host_copy(Tensor t) {
  void *memory = malloc((size_t)dtype_bytes(t.dtype, tensor_count(t)) + 1);
  CHECK(memory != NULL, "no memory for a copy of %lld values", (long long)tensor_count(t));
  return memory;
}

void param_read(Backend *be, float *out, Tensor t) {
  if (t.dtype == DT_F32) {
    be->copy_out(be, out, t);
    return;
  }
  CHECK(t.dtype == DT_BF16 || t.dtype == DT_F64, "a weight in %s", dtype_info(t.dtype)->name);
  void *memory = host_copy(t);
  be->copy_out(be, memory, t);
  for (int64_t i = 0; i < tensor_count(t); i++) {
    out[i] = t.dtype == DT_F64 ? (float)((double *)memory)[i] : bf16_to_f32(((bf16 *)memory)[i]);
  }
  free(memory);
}

void param_write(Backend *be, Tensor t, const float *values) {
  if (t.dtype == DT_F32) {
    be->copy_in(be, t, values);
    return;
  }
  CHECK(t.dtype == DT_BF16 || t.dtype == DT_F64, "a weight in %s", dtype_info(t.dtype)->name);
  void *memory = host_copy(t);
  for (int64_t i = 0; i < tensor_count(t); i++) {
    if (t.dtype == DT_F64) {
      ((double *)memory)[i] = values[i];
    } else {
      ((bf16 *)memory)[i] = bf16_from_f32(values[i]);
    }
  }
  be->copy_in(be, t, memory);
  free(memory);
}
