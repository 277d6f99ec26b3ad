// vma-model diff: how far two models' or adapters' tensors are apart.
#include "check.h"
#include "mapped_file.h"
#include "model_commands.h"
#include "peft_adapter.h"
#include "quote.h"
#include "tensor_store.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_VALUES = 1 << 20 };

typedef struct DiffOptions {
  ModelArguments common;
  const char *tolerance;
  bool json;
} DiffOptions;

static const struct argp_option table[] = {
    {"tolerance", 't', "X", 0,
     "the largest absolute difference that still counts as equal (default: 0)", 0},
    {"json", 'j', 0, 0, "one JSON object instead of the table", 0},
    {0}};

static const char doc[] =
    "Compares the tensors of two models or two LoRA adapters by name, as f32.\v"
    "A and B are Hugging Face folders, .safetensors files, GGUF files or adapter folders; formats "
    "may be mixed. A tensor's relative difference is |a - b| / max(|a|, |b|), the largest of its "
    "elements. Tensors that differ are listed, and those that only one side has or that have "
    "another shape. Two NaN are equal; quantised types that are not read here are equal when "
    "their bytes are.\n"
    "\n"
    "Exit status 0: equal within the tolerance; 1: different.\n"
    "\n"
    "Examples:\n"
    "  vma-model diff base merged\n"
    "  vma-model diff model.gguf model/ --tolerance 1e-2 --json";

static error_t parse(int key, char *text, struct argp_state *state) {
  DiffOptions *o = state->input;
  if (key == 't') {
    o->tolerance = text;
  } else if (key == 'j') {
    o->json = true;
  } else {
    return model_argument(&o->common, key, text, state);
  }
  return 0;
}

// One side: a store, and of an adapter what scales its matrices.
typedef struct Side {
  const char *path;
  TensorStore *store;
  PeftAdapter adapter;
  bool is_adapter;
} Side;

// How one tensor of both sides compares.
typedef struct Distance {
  const char *name;
  const StoreTensor *a, *b;
  bool shapes; // the shapes differ: no more is known
  double max_abs, max_rel;
  int64_t at; // the element of max_abs, -1: none differs
} Distance;

typedef struct Diff {
  Side sides[2];
  double tolerance;
  Distance *shared; // of both sides, by name
  int64_t n_shared;
  const StoreTensor **only[2];
  int64_t n_only[2];
  int64_t scale_differs; // modules of adapters whose scale differs; the last of them and its scales
  const char *scale_module;
  double scales[2];
  bool equal;
} Diff;

static Status open_side(Side *side, const char *path, Error *err) {
  Status status = STATUS_OK;
  char *config = NULL, *weights = NULL;
  side->path = path;
  if (asprintf(&config, "%s/adapter_config.json", path) < 0) config = NULL;
  if (asprintf(&weights, "%s/adapter_model.safetensors", path) < 0) weights = NULL;
  if (config == NULL || weights == NULL) TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  side->is_adapter = file_is_folder(path) && file_exists(config);
  if (side->is_adapter) TRY(peft_adapter_read(&side->adapter, path, err));
  TRY(store_open(&side->store, side->is_adapter ? weights : path, err));
done:
  free(config);
  free(weights);
  return status;
}

// ---- one tensor ----

static bool same_shape(const StoreTensor *a, const StoreTensor *b) {
  if (a->ndim != b->ndim) return false;
  for (int d = 0; d < a->ndim; d++) {
    if (a->shape[d] != b->shape[d]) return false;
  }
  return true;
}

static void compare_values(Distance *d, const float *a, const float *b, int64_t n, int64_t first) {
  for (int64_t i = 0; i < n; i++) {
    if (a[i] == b[i] || (isnan(a[i]) && isnan(b[i]))) continue;
    double x = a[i], y = b[i], gap = fabs(x - y), largest = fmax(fabs(x), fabs(y));
    double relative = gap / largest;
    if (!isfinite(x) || !isfinite(y)) gap = relative = INFINITY;
    if (gap > d->max_abs) {
      d->max_abs = gap;
      d->at = first + i;
    }
    if (relative > d->max_rel) d->max_rel = relative;
  }
}

// What cannot be converted can still be the same.
static void compare_bytes(Distance *d, const Diff *diff) {
  const StoreTensor *a = d->a, *b = d->b;
  bool same = strcmp(a->dtype_name, b->dtype_name) == 0 && a->bytes == b->bytes &&
              memcmp(store_bytes(diff->sides[0].store, a), store_bytes(diff->sides[1].store, b),
                     (size_t)a->bytes) == 0;
  if (same) return;
  d->max_abs = d->max_rel = INFINITY;
  d->at = 0;
}

static Status compare_tensor(Distance *d, const Diff *diff, float *values, int64_t capacity,
                             Error *err) {
  Status status = STATUS_OK;
  const StoreTensor *both[] = {d->a, d->b};
  d->at = -1;
  d->shapes = !same_shape(d->a, d->b);
  if (d->shapes) return STATUS_OK;
  if (d->a->dtype == DT_COUNT || d->b->dtype == DT_COUNT) {
    compare_bytes(d, diff);
    return STATUS_OK;
  }
  int64_t rows = d->a->rows, cols = d->a->cols, step = cols > 0 ? capacity / cols : rows;
  for (int64_t row = 0; row < rows && cols > 0; row += step) {
    int64_t n = rows - row < step ? rows - row : step;
    for (int k = 0; k < 2; k++) {
      TRY(store_read_rows(diff->sides[k].store, both[k], row, n, DT_F32, values + k * capacity,
                          cols, err));
    }
    compare_values(d, values, values + capacity, n * cols, row * cols);
  }
done:
  return status;
}

// ---- all ----

// The lists of what both sides have and of what only one has; names are sorted on both.
static Status pair_up(Diff *diff, Error *err) {
  const TensorStore *a = diff->sides[0].store, *b = diff->sides[1].store;
  int64_t i = 0, j = 0, n = store_count(a), m = store_count(b);
  diff->shared = calloc((size_t)n + 1, sizeof *diff->shared);
  diff->only[0] = calloc((size_t)n + 1, sizeof *diff->only[0]);
  diff->only[1] = calloc((size_t)m + 1, sizeof *diff->only[1]);
  if (diff->shared == NULL || diff->only[0] == NULL || diff->only[1] == NULL)
    return error_set(err, STATUS_MEMORY, "%s: no memory", diff->sides[0].path);
  while (i < n || j < m) {
    const StoreTensor *x = i < n ? store_at(a, i) : NULL, *y = j < m ? store_at(b, j) : NULL;
    int order = x == NULL ? 1 : y == NULL ? -1 : strcmp(x->name, y->name);
    if (order == 0) diff->shared[diff->n_shared++] = (Distance){.name = x->name, .a = x, .b = y};
    if (order < 0) diff->only[0][diff->n_only[0]++] = x;
    if (order > 0) diff->only[1][diff->n_only[1]++] = y;
    i += order <= 0;
    j += order >= 0;
  }
  return STATUS_OK;
}

static void compare_scales(Diff *diff) {
  const PeftAdapter *a = &diff->sides[0].adapter, *b = &diff->sides[1].adapter;
  if (!diff->sides[0].is_adapter || !diff->sides[1].is_adapter) return;
  for (int64_t i = 0; i < a->n_pairs; i++) {
    for (int64_t k = 0; k < b->n_pairs; k++) {
      if (strcmp(a->pairs[i].module, b->pairs[k].module) != 0) continue;
      double x = peft_adapter_scale(a, &a->pairs[i]), y = peft_adapter_scale(b, &b->pairs[k]);
      if (x == y) continue;
      diff->scale_differs++;
      diff->scale_module = a->pairs[i].module;
      diff->scales[0] = x;
      diff->scales[1] = y;
    }
  }
}

static Status compare_all(Diff *diff, Error *err) {
  Status status = STATUS_OK;
  int64_t capacity = CHUNK_VALUES, all = 1, done = 0;
  float *values = NULL;
  char doing[] = "comparing";
  for (int64_t i = 0; i < diff->n_shared; i++) { // one row at least
    if (diff->shared[i].a->cols > capacity) capacity = diff->shared[i].a->cols;
    all += diff->shared[i].a->bytes;
  }
  values = malloc((size_t)capacity * 2 * sizeof *values);
  if (values == NULL) TRY(error_set(err, STATUS_MEMORY, "%s: no memory", diff->sides[0].path));
  diff->equal = diff->n_only[0] + diff->n_only[1] == 0;
  for (int64_t i = 0; i < diff->n_shared; i++) {
    Distance *d = &diff->shared[i];
    TRY(compare_tensor(d, diff, values, capacity, err));
    if (d->shapes || d->max_abs > diff->tolerance) diff->equal = false;
    store_release_pages(diff->sides[0].store, d->a);
    store_release_pages(diff->sides[1].store, d->b);
    done += d->a->bytes;
    model_progress(doing, done, all);
  }
  for (int k = 0; k < 2; k++) TRY(store_check(diff->sides[k].store, err));
  compare_scales(diff);
  if (diff->scale_differs > 0) diff->equal = false;
done:
  model_progress(doing, all, all);
  free(values);
  return status;
}

// ---- what is shown ----

static void shape_text(char *text, size_t size, const StoreTensor *t) {
  size_t used = (size_t)snprintf(text, size, "[");
  for (int d = 0; d < t->ndim && used < size; d++)
    used += (size_t)snprintf(text + used, size - used, "%s%lld", d > 0 ? ", " : "",
                             (long long)t->shape[d]);
  if (used < size) snprintf(text + used, size - used, "]");
}

// A name as it is where it is harmless on a terminal.
static Quote shown(const char *name) {
  Quote quote = quote_text(name);
  size_t n = strlen(name);
  if (strlen(quote.text) == n + 2 && n > 0) { // nothing was escaped or cut: only the marks go
    memmove(quote.text, quote.text + 1, n);
    quote.text[n] = '\0';
  }
  return quote;
}

static void print_table(const Diff *diff) {
  char a[128], b[128];
  int64_t differ = 0;
  const Distance *worst = NULL;
  for (int64_t i = 0; i < diff->n_shared; i++) {
    const Distance *d = &diff->shared[i];
    shape_text(a, sizeof a, d->a);
    shape_text(b, sizeof b, d->b);
    if (!d->shapes && d->at < 0) continue;
    if (differ++ == 0) printf("%-52s %12s %12s\n", "tensor", "max |a-b|", "relative");
    if (d->shapes) {
      printf("%-52s %s in A, %s in B\n", shown(d->name).text, a, b);
      continue;
    }
    printf("%-52s %12.4g %12.4g\n", shown(d->name).text, d->max_abs, d->max_rel);
    if (worst == NULL || d->max_abs > worst->max_abs) worst = d;
  }
  for (int k = 0; k < 2; k++) {
    for (int64_t i = 0; i < diff->n_only[k]; i++)
      printf("only in %c: %s\n", 'A' + k, shown(diff->only[k][i]->name).text);
  }
  if (diff->scale_differs > 0) {
    printf("the scale of %lld modules differs, of %s: %g in A, %g in B\n",
           (long long)diff->scale_differs, shown(diff->scale_module).text, diff->scales[0],
           diff->scales[1]);
  }
  printf("%lld tensors compared, %lld differ", (long long)diff->n_shared, (long long)differ);
  if (worst != NULL) printf(", by at most %g (%s)", worst->max_abs, shown(worst->name).text);
  printf("; %lld only in A, %lld only in B: %s\n", (long long)diff->n_only[0],
         (long long)diff->n_only[1], diff->equal ? "equal" : "different");
}

static void put(json_t *object, const char *key, json_t *value) {
  CHECK(value != NULL && json_object_set_new(object, key, value) == 0, "no memory for '%s'", key);
}

static void add(json_t *list, json_t *value) {
  CHECK(value != NULL && json_array_append_new(list, value) == 0, "no memory for a list");
}

// JSON has no infinity.
static json_t *number(double value) {
  return isfinite(value) ? json_real(value) : json_string("inf");
}

static json_t *shape_list(const StoreTensor *t) {
  json_t *list = json_array();
  for (int d = 0; d < t->ndim; d++) add(list, json_integer(t->shape[d]));
  return list;
}

// Names are UTF-8: they come from JSON, or from GGUF, where they are ASCII.
static json_t *name_of(const char *name) {
  json_t *text = json_string(name);
  return text != NULL ? text : json_string(quote_text(name).text);
}

static Status print_json(const Diff *diff, Error *err) {
  json_t *root = json_object(), *tensors = json_array(), *shapes = json_array();
  double max_abs = 0, max_rel = 0;
  for (int64_t i = 0; i < diff->n_shared; i++) {
    const Distance *d = &diff->shared[i];
    json_t *item = json_object();
    put(item, "name", name_of(d->name));
    put(item, d->shapes ? "a" : "shape", shape_list(d->a));
    if (d->shapes) {
      put(item, "b", shape_list(d->b));
      add(shapes, item);
      continue;
    }
    put(item, "max_abs", number(d->max_abs));
    put(item, "max_rel", number(d->max_rel));
    put(item, "at", d->at < 0 ? json_null() : json_integer(d->at));
    add(tensors, item);
    max_abs = fmax(max_abs, d->max_abs);
    max_rel = fmax(max_rel, d->max_rel);
  }
  put(root, "a", name_of(diff->sides[0].path));
  put(root, "b", name_of(diff->sides[1].path));
  put(root, "equal", json_boolean(diff->equal));
  put(root, "tolerance", json_real(diff->tolerance));
  put(root, "max_abs", number(max_abs));
  put(root, "max_rel", number(max_rel));
  put(root, "scales_differ", json_integer(diff->scale_differs));
  for (int k = 0; k < 2; k++) {
    json_t *names = json_array();
    for (int64_t i = 0; i < diff->n_only[k]; i++) add(names, name_of(diff->only[k][i]->name));
    put(root, k == 0 ? "only_in_a" : "only_in_b", names);
  }
  put(root, "other_shape", shapes);
  put(root, "tensors", tensors);
  char *text = json_dumps(root, JSON_INDENT(1));
  json_decref(root);
  if (text == NULL) return error_set(err, STATUS_MEMORY, "no memory for the JSON");
  printf("%s\n", text);
  free(text);
  return STATUS_OK;
}

static Status read_options(const DiffOptions *o, double *tolerance, Error *err) {
  char *end = NULL;
  if (o->common.model == NULL || o->common.second == NULL)
    return error_set(err, STATUS_USAGE, "diff: give two paths, A and B");
  if (o->tolerance == NULL) return STATUS_OK;
  *tolerance = strtod(o->tolerance, &end);
  if (end != o->tolerance && *end == '\0' && *tolerance >= 0 && isfinite(*tolerance))
    return STATUS_OK;
  return error_set(err, STATUS_USAGE, "--tolerance: expected a number of 0 or more, found %s",
                   quote_text(o->tolerance).text);
}

Status model_diff(int argc, char **argv, Error *err) {
  Status status = STATUS_OK;
  DiffOptions o = {.common = {.free_arguments = 2, .err = err}};
  Diff diff = {0};
  const struct argp argp = {table, parse, "A B", doc, 0, 0, 0};
  TRY(model_parse(&argp, argc, argv, &o.common));
  TRY(read_options(&o, &diff.tolerance, err));
  TRY(open_side(&diff.sides[0], o.common.model, err));
  TRY(open_side(&diff.sides[1], o.common.second, err));
  TRY(pair_up(&diff, err));
  TRY(compare_all(&diff, err));
  if (o.json) {
    TRY(print_json(&diff, err));
  } else {
    print_table(&diff);
  }
  if (!diff.equal) status = STATUS_FAILED;
done:
  for (int k = 0; k < 2; k++) {
    free(diff.only[k]);
    store_close(diff.sides[k].store);
    peft_adapter_free(&diff.sides[k].adapter);
  }
  free(diff.shared);
  return status;
}
