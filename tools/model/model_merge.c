// vma-model merge and export: a model as a Hugging Face folder, with LoRA adapters folded in.
#include "folder.h"
#include "llama_save.h"
#include "mapped_file.h"
#include "model_commands.h"
#include "quote.h"
#include "tokenizer_save.h"

#include <stdlib.h>
#include <string.h>

typedef struct MergeOptions {
  ModelArguments common;
  const char *adapters[MERGE_ADAPTERS_MAX];
  int64_t n_adapters;
  const char *output, *dtype, *shard_size;
  bool force, tokenizer_only;
} MergeOptions;

#define OUTPUT_OPTIONS                                                                             \
  {"output",                                                                                       \
   'o',                                                                                            \
   "FOLDER",                                                                                       \
   0,                                                                                              \
   "the new folder: it must not exist yet, and appears whole or not "                              \
   "at all",                                                                                       \
   0},                                                                                             \
      {"dtype", 'd', "bf16|f32", 0, "of the written weights (default: bf16)", 0}, {                \
    "shard-size", 's', "SIZE", 0, "largest weights file, as 5GB, 500MB or 100KB (default: 5GB)", 0 \
  }

static const struct argp_option merge_table[] = {
    MODEL_OPTION("the base: a Hugging Face folder or a GGUF file"),
    {"adapter", 'a', "FOLDER", 0,
     "a LoRA adapter of vma or PEFT; may be given again: their changes add up", 0},
    OUTPUT_OPTIONS,
    {"force", 'f', 0, 0, "merge an adapter that was made for other base weights", 0},
    {0}};

static const struct argp_option export_table[] = {
    MODEL_OPTION("a Hugging Face folder or a GGUF file"),
    OUTPUT_OPTIONS,
    {"tokenizer-only", 'k', 0, 0, "only the tokenizer's files; of a GGUF file of any architecture",
     0},
    {0}};

#define FOLDER_DOC                                                                                 \
  "The folder is what transformers opens: weights (in shards when they are large), config, "       \
  "generation config, tokenizer and a model card. The tokenizer's files are copied from the "      \
  "base; from a GGUF file they are made, with its chat template, and checked to give equal ids. "  \
  "A few MiB of weights are in memory at a time."

static const char merge_doc[] =
    "Folds LoRA adapters into their base: W + scale B A, computed in f64 and rounded "
    "once.\v" FOLDER_DOC "\n\nExamples:\n"
    "  vma-model merge -m llama-7b -a runs/med/adapter -o med-llama\n"
    "  vma-model merge -m model.gguf -a lora --dtype f32 -o merged\n"
    "\n"
    "An adapter of vma knows the hash of its base; one that was made for other weights, also for "
    "the same model in another format or precision, is refused without --force.";

static const char export_doc[] =
    "Writes a model as a Hugging Face folder, as it is or in another dtype.\v" FOLDER_DOC
    "\n\nExample:\n  vma-model export -m model.gguf -o model";

static error_t parse(int key, char *text, struct argp_state *state) {
  MergeOptions *o = state->input;
  switch (key) {
  case 'a':
    if (o->n_adapters == MERGE_ADAPTERS_MAX && o->common.status == STATUS_OK) {
      o->common.status =
          error_set(o->common.err, STATUS_USAGE, "merge: %d adapters at most", MERGE_ADAPTERS_MAX);
    } else {
      o->adapters[o->n_adapters++] = text;
    }
    return 0;
  case 'o':
    o->output = text;
    return 0;
  case 'd':
    o->dtype = text;
    return 0;
  case 's':
    o->shard_size = text;
    return 0;
  case 'f':
    o->force = true;
    return 0;
  case 'k':
    o->tokenizer_only = true;
    return 0;
  default:
    return model_argument(&o->common, key, text, state);
  }
}

// "5GB" as 5,000,000,000; powers of 1000, as transformers reads them.
static Status parse_size(int64_t *bytes, const char *text, Error *err) {
  static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
  char *end = NULL;
  double value = strtod(text, &end), unit = 1;
  for (int i = 0; i < 5; i++, unit *= 1000) {
    if (end == text || strcmp(end, units[i]) != 0) continue;
    value *= unit;
    if (!(value >= 1 && value < 1e15)) break;
    *bytes = (int64_t)value;
    return STATUS_OK;
  }
  return error_set(err, STATUS_USAGE, "--shard-size: expected a size like 5GB, found %s",
                   quote_text(text).text);
}

static Status read_options(const char *command, const MergeOptions *o, LlamaSave *save,
                           Error *err) {
  Status status = STATUS_OK;
  TRY(model_required(command, &o->common));
  if (o->output == NULL || o->output[0] == '\0')
    return error_set(err, STATUS_USAGE, "%s: where to? give --output FOLDER", command);
  if (o->dtype != NULL) {
    save->dtype = dtype_from_name(o->dtype);
    if (save->dtype != DT_F32 && save->dtype != DT_BF16)
      return error_set(err, STATUS_USAGE, "--dtype: expected bf16 or f32, found %s",
                       quote_text(o->dtype).text);
  }
  if (o->shard_size != NULL) TRY(parse_size(&save->shard_bytes, o->shard_size, err));
done:
  return status;
}

static Status check_base(TensorStore *base, const PeftAdapter *adapter, const char *folder,
                         bool force, Error *err) {
  char hash[65];
  if (force || adapter->base_hash == NULL) return STATUS_OK;
  Status status = store_hash(base, hash, err);
  if (status != STATUS_OK || strcmp(hash, adapter->base_hash) == 0) return status;
  return error_set(
      err, STATUS_DATA,
      "%s was made for other weights than %s (base hash %.12s..., here %.12s...): take "
      "its own base, or --force if this is the same model in another form",
      folder, store_path(base), adapter->base_hash, hash);
}

// The template that all adapters that name one agree in.
static const char *common_template(const PeftAdapter *adapters, int64_t n) {
  const char *name = NULL;
  for (int64_t i = 0; i < n; i++) {
    const char *its = adapters[i].template_name;
    if (its == NULL) continue;
    if (name != NULL && strcmp(name, its) != 0) return NULL;
    name = its;
  }
  return name;
}

static char *about_text(const MergeOptions *o) {
  char *text = NULL;
  size_t size;
  if (o->n_adapters == 0) return NULL;
  FILE *out = open_memstream(&text, &size);
  if (out == NULL) return NULL;
  fputs("LoRA adapters folded in:", out);
  for (int64_t i = 0; i < o->n_adapters; i++) {
    const char *path = o->adapters[i], *slash = strrchr(path, '/');
    fprintf(out, "%s `%s`", i > 0 ? "," : "", slash != NULL && slash[1] != '\0' ? slash + 1 : path);
  }
  fputs(".", out);
  fclose(out);
  return text;
}

static Status merge(const char *command, const MergeOptions *o, Error *err) {
  Status status = STATUS_OK;
  TensorStore *base = NULL;
  PeftAdapter adapters[MERGE_ADAPTERS_MAX] = {0};
  char *about = about_text(o);
  char doing[] = "writing";
  LlamaSave save = {.dtype = DT_BF16,
                    .base = o->common.model,
                    .about = about,
                    .add_files = tokenizer_save_base,
                    .add_context = (void *)o->common.model,
                    .progress = model_progress,
                    .progress_context = doing};
  TRY(read_options(command, o, &save, err));
  TRY(store_open(&base, o->common.model, err));
  for (int64_t i = 0; i < o->n_adapters; i++) {
    TRY(peft_adapter_read(&adapters[i], o->adapters[i], err));
    TRY(check_base(base, &adapters[i], o->adapters[i], o->force, err));
  }
  save.template_name = common_template(adapters, o->n_adapters);
  TRY(llama_merge(base, adapters, o->n_adapters, o->output, &save, err));
  printf("%s: %s in %s", o->output, o->common.model, dtype_info(save.dtype)->name);
  if (o->n_adapters > 0) {
    printf(" with %lld adapter%s folded in", (long long)o->n_adapters,
           o->n_adapters > 1 ? "s" : "");
  }
  printf("\n");
done:
  for (int64_t i = 0; i < o->n_adapters; i++) peft_adapter_free(&adapters[i]);
  store_close(base);
  free(about);
  return status;
}

Status model_merge(int argc, char **argv, Error *err) {
  Status status = STATUS_OK;
  MergeOptions o = {.common = {.err = err}};
  const struct argp argp = {merge_table, parse, NULL, merge_doc, 0, 0, 0};
  TRY(model_parse(&argp, argc, argv, &o.common));
  if (o.n_adapters == 0) {
    return error_set(err, STATUS_USAGE,
                     "merge: which adapter? give --adapter FOLDER (vma-model export writes a model "
                     "as it is)");
  }
  TRY(merge("merge", &o, err));
done:
  return status;
}

static bool has_file(const char *folder, const char *name) {
  char *path = NULL;
  if (asprintf(&path, "%s/%s", folder, name) < 0) return false;
  bool exists = file_exists(path);
  free(path);
  return exists;
}

static Status export_tokenizer(const MergeOptions *o, Error *err) {
  Status status = STATUS_OK;
  NewFolder folder = {0};
  LlamaSave save;
  TRY(read_options("export", o, &save, err));
  if (o->dtype != NULL || o->shard_size != NULL)
    return error_set(err, STATUS_USAGE, "--tokenizer-only: no weights are written");
  if (!file_exists(o->common.model))
    return error_set(err, STATUS_NO_INPUT, "%s: does not exist", o->common.model);
  TRY(new_folder_open(&folder, o->output, err));
  TRY(tokenizer_save(o->common.model, folder.temp, err));
  if (!has_file(folder.temp, "tokenizer.json") && !has_file(folder.temp, "tokenizer.model"))
    TRY(error_set(err, STATUS_NO_INPUT, "%s: there is no tokenizer", o->common.model));
  TRY(new_folder_commit(&folder, err));
  printf("%s: the tokenizer of %s\n", o->output, o->common.model);
done:
  new_folder_abort(&folder);
  return status;
}

Status model_export(int argc, char **argv, Error *err) {
  Status status = STATUS_OK;
  MergeOptions o = {.common = {.err = err}};
  const struct argp argp = {export_table, parse, NULL, export_doc, 0, 0, 0};
  TRY(model_parse(&argp, argc, argv, &o.common));
  TRY(o.tokenizer_only ? export_tokenizer(&o, err) : merge("export", &o, err));
done:
  return status;
}
