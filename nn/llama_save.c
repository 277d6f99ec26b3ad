#include "llama_save.h"

#include "bf16.h"
#include "check.h"
#include "llama_save_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Status no_memory(const char *path, Error *err) {
  return error_set(err, STATUS_MEMORY, "%s: no memory", path);
}

void llama_save_values(void *dst, DType dtype, const float *values, int64_t n) {
  if (dtype == DT_F32) {
    memcpy(dst, values, (size_t)n * sizeof *values);
    return;
  }
  bf16 *out = dst;
  for (int64_t i = 0; i < n; i++) out[i] = bf16_from_f32(values[i]);
}

static void put_quoted(FILE *out, const char *text) {
  fputc('"', out);
  for (; *text != '\0'; text++) {
    if (*text == '"' || *text == '\\') fputc('\\', out);
    fputc((unsigned char)*text < 0x20 ? ' ' : *text, out);
  }
  fputc('"', out);
}

// README.md as the hub reads it: a YAML head, then text. A path of this machine is of no use to
// others: only its last part is named.
static char *card_text(const LlamaSave *save) {
  char *text = NULL;
  size_t size;
  const char *base = save->base;
  if (base != NULL && (base[0] == '/' || base[0] == '.' || strstr(base, ".gguf") != NULL)) {
    const char *slash = strrchr(base, '/');
    if (slash != NULL && slash[1] != '\0') base = slash + 1;
  }
  FILE *out = open_memstream(&text, &size);
  if (out == NULL) return NULL;
  fputs("---\n", out);
  if (base != NULL) {
    fputs("base_model: ", out);
    put_quoted(out, base);
    fputs("\n", out);
  }
  fputs("library_name: transformers\npipeline_tag: text-generation\ntags:\n- vma\n---\n\n", out);
  fprintf(out, "# Model card\n\nA LLaMA-family model%s%s, written by vma " VMA_VERSION " in %s.\n",
          base != NULL ? " made from " : "", base != NULL ? base : "",
          save->dtype == DT_BF16 ? "bfloat16" : "float32");
  if (save->about != NULL) fprintf(out, "\n%s\n", save->about);
  if (save->template_name != NULL && save->template_name[0] == '{') {
    fputs("\nPrompts are made with a template of its own: vma_template in the weights' metadata.\n",
          out);
  } else if (save->template_name != NULL) {
    fprintf(out, "\nPrompts are made with the template `%s`.\n", save->template_name);
  }
  fputs("\nThe terms of use of the model and of the data that it was made from apply.\n", out);
  if (fclose(out) != 0) {
    free(text);
    return NULL;
  }
  return text;
}

Status llama_save_folder(const Llama *model, const char *path, const LlamaSave *save,
                         SafetensorsFill fill, LlamaSaveItems *source, Error *err) {
  Status status = STATUS_OK;
  const ParamTable *table = &model->params;
  SafetensorsPair metadata[2] = {{"vma_version", VMA_VERSION}, {0}};
  ModelFolder folder = {.config = &model->config,
                        .dtype = save->dtype,
                        .fill = fill,
                        .fill_context = source,
                        .shard_bytes = save->shard_bytes,
                        .metadata = metadata,
                        .n_metadata = 1,
                        .add_files = save->add_files,
                        .add_context = save->add_context,
                        .progress = save->progress,
                        .progress_context = save->progress_context};
  char *card = card_text(save), *template_name = NULL;
  SafetensorsItem *items = calloc((size_t)table->n + 1, sizeof *items);
  source->params = calloc((size_t)table->n + 1, sizeof *source->params);
  if (items == NULL || source->params == NULL || card == NULL) TRY(no_memory(path, err));
  if (save->template_name != NULL) {
    template_name = strdup(save->template_name);
    if (template_name == NULL) TRY(no_memory(path, err));
    metadata[folder.n_metadata++] = (SafetensorsPair){"vma_template", template_name};
  }
  for (int64_t i = 0; i < table->n; i++) {
    const Param *p = &table->items[i];
    if (p->adapter) continue;
    SafetensorsItem *item = &items[folder.n_items];
    *item = (SafetensorsItem){.name = p->name, .dtype = save->dtype, .ndim = p->n_dims};
    for (int d = 0; d < p->n_dims; d++) item->shape[d] = p->shape[d];
    source->params[folder.n_items++] = p;
  }
  folder.items = items;
  folder.card = card;
  TRY(model_folder_write(path, &folder, err));
done:
  free(template_name);
  free(source->params);
  source->params = NULL;
  free(items);
  free(card);
  return status;
}

// ---- the weights of a run ----

typedef struct Reading {
  LlamaSaveItems items; // first: what the fill is given
  Backend *be;
  DType dtype;
  float *values; // of one range
  int64_t capacity;
} Reading;

// Elements [first, first + count) of a weight: whole rows, or a part of its one row.
static Tensor range_of(Tensor t, int64_t first, int64_t count) {
  if (t.rows == 1) return tensor_cols(t, first, count);
  CHECK(first % t.cols == 0 && count % t.cols == 0, "%lld elements from %lld", (long long)count,
        (long long)first);
  return tensor_rows(t, first / t.cols, count / t.cols);
}

static Status read_weight(void *context, int64_t item, int64_t first, int64_t count, void *dst,
                          Error *err) {
  Reading *r = context;
  const Param *p = r->items.params[item];
  // Of a trained bf16 weight the f32 values, of which it is the rounding.
  bool exact = r->dtype == DT_F32 && tensor_given(p->master);
  Tensor range = range_of(exact ? p->master : p->value.t, first, count);
  if (range.dtype == r->dtype) {
    r->be->copy_out(r->be, dst, range);
    return STATUS_OK;
  }
  if (count > r->capacity) {
    free(r->values);
    r->values = malloc((size_t)count * sizeof *r->values);
    r->capacity = r->values != NULL ? count : 0;
    if (r->values == NULL) return no_memory(p->name, err);
  }
  param_read(r->be, r->values, range);
  llama_save_values(dst, r->dtype, r->values, count);
  return STATUS_OK;
}

Status llama_save(const Llama *model, Backend *be, const char *path, const LlamaSave *save,
                  Error *err) {
  Reading reading = {.be = be, .dtype = save->dtype};
  Status status = llama_save_folder(model, path, save, read_weight, &reading.items, err);
  free(reading.values);
  return status;
}
