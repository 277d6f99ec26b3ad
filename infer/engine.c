#include "engine.h"

#include "check.h"
#include "open_device.h"
#include "quote.h"
#include "template_encode.h"
#include "template_file.h"
#include "weight_forms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- opening ----

static void open_tokenizer(Engine *e) {
  const Gguf *gguf = store_gguf(e->store);
  Status status = gguf != NULL
                      ? tokenizer_from_gguf(&e->tokenizer, gguf, &e->tokenizer_error)
                      : tokenizer_open(&e->tokenizer, store_folder(e->store), &e->tokenizer_error);
  if (status != STATUS_OK) e->tokenizer = NULL;
}

// By name, or its text, which is a template file's.
static Status find_template(EngineAdapter *a, Error *err) {
  const char *said = a->peft.template_name;
  if (said == NULL) return STATUS_OK;
  if (said[0] == '{') {
    Status status = template_parse(&a->own_template, a->folder, said, (int64_t)strlen(said), err);
    if (status != STATUS_OK) error_prefix(err, "the template in its metadata");
    a->template = a->own_template;
    return status;
  }
  TemplateKind kind = template_kind_from_name(said);
  if (kind == TEMPLATE_COUNT) {
    return error_set(err, STATUS_DATA,
                     "%s: its metadata name a template %s that this program does not know",
                     a->folder, quote_text(said).text);
  }
  a->template = template_builtin(kind);
  return STATUS_OK;
}

// The file says which weights and which template an adapter was made for; other tools' adapters
// do not say.
static Status check_origin(const Engine *e, EngineAdapter *a, Error *err) {
  Status status = STATUS_OK;
  TRY(find_template(a, err));
  if (a->peft.base_hash != NULL) {
    char hash[65];
    TRY(store_hash(e->store, hash, err));
    if (strcmp(hash, a->peft.base_hash) != 0) {
      snprintf(a->warning, sizeof a->warning,
               "adapter %s was made for other weights than %s (base hash %.12s..., here %.12s...): "
               "answers may be poor",
               a->folder, store_path(e->store), a->peft.base_hash, hash);
    }
  }
done:
  return status;
}

static Status open_adapter(Engine *e, const AdapterSource *source, Error *err) {
  Status status = STATUS_OK;
  int index = e->n_adapters++;
  EngineAdapter *a = &e->adapters[index];
  TRY(peft_adapter_read(&a->peft, source->folder, err));
  a->folder = strdup(source->folder);
  a->name = source->name != NULL ? strdup(source->name) : NULL;
  if (a->folder == NULL || (source->name != NULL && a->name == NULL))
    return error_set(err, STATUS_MEMORY, "%s: no memory", source->folder);
  TRY(check_origin(e, a, err));
  LoraSpec spec = lora_spec_of(&a->peft);
  status = llama_attach_lora(&e->model, &spec, index, false, err);
  if (status == STATUS_OK) status = lora_check(&e->model.params, &a->peft, index, err);
  if (status != STATUS_OK) {
    error_prefix(err, "%s does not fit %s", a->folder, store_path(e->store));
    status = STATUS_DATA; // of the adapter's file, no key of a config
  }
done:
  return status;
}

static Status open_backend(Engine *e, const EngineOptions *options, Error *err) {
  const char *device = options->device != NULL ? options->device : "cpu";
  Status status = device_open_cuda(&e->be, device, NULL, err);
  if (status != STATUS_OK) error_prefix(err, "--device %s", device);
  if (status != STATUS_OK || e->be != NULL) return status;
  CpuOptions cpu = {.threads = options->threads, .reference = options->reference};
  return backend_cpu_open(&e->be, &cpu, err);
}

Status engine_open(Engine *e, const EngineOptions *options, Error *err) {
  Status status = STATUS_OK;
  LlamaConfig config;
  *e = (Engine){.warn = options->warn, .say = options->say};
  TRY(store_open(&e->store, options->model, err));
  TRY(llama_config_load(&config, e->store, err));
  open_tokenizer(e);
  TRY(open_backend(e, options, err));
  llama_init(&e->model, &config, options->dtype);
  for (int i = 0; i < options->n_adapters; i++) TRY(open_adapter(e, &options->adapters[i], err));
  param_make_buckets(&e->model.params);
done:
  if (status != STATUS_OK) engine_close(e);
  return status;
}

void engine_close(Engine *e) {
  memory_close(&e->memory);
  llama_free(&e->model);
  for (int i = 0; i < e->n_adapters; i++) {
    peft_adapter_free(&e->adapters[i].peft);
    template_free(e->adapters[i].own_template);
    free(e->adapters[i].name);
    free(e->adapters[i].folder);
  }
  tokenizer_close(e->tokenizer);
  store_close(e->store);
  if (e->be != NULL) e->be->close(e->be);
  *e = (Engine){0};
}

Status engine_need_tokenizer(const Engine *e, Error *err) {
  if (e->tokenizer != NULL) return STATUS_OK;
  return error_set(err, e->tokenizer_error.status, "%s", e->tokenizer_error.message);
}

// ---- memory and weights ----

static Ctx make_ctx(const Llama *model, Memory *memory) {
  return (Ctx){
      .be = memory->be, .step = &memory->step, .host = &memory->host, .dtype = model->dtype};
}

static Status plan_memory(Engine *e, Rehearsal rehearsal, const void *args, MemoryPlan *plan,
                          Error *err) {
  Status status = STATUS_OK;
  Backend *null_backend = NULL;
  Memory memory = {0};
  TRY(backend_null_open(&null_backend, err));
  null_backend->shadow = e->be->shadow;
  null_backend->row_multiple = e->be->row_multiple;
  null_backend->few_rows = e->be->few_rows;
  TRY(memory_open_rehearsal(&memory, null_backend, err));
  llama_place(&e->model, null_backend, &memory.weights, &memory.state);
  Ctx ctx = make_ctx(&e->model, &memory);
  rehearsal(&ctx, &e->model, &memory.cache, args);
  *plan = memory_peak(&memory);
done:
  memory_close(&memory);
  if (null_backend != NULL) null_backend->close(null_backend);
  return status;
}

static void say_part(const Engine *e, const char *name, int64_t bytes, const char *what) {
  char line[256];
  if (bytes == 0) return;
  snprintf(line, sizeof line, "%-8s %9.1f MiB  %s", name, (double)bytes / (1 << 20), what);
  e->say(line);
}

static void say_memory(const Engine *e, const MemoryPlan *p) {
  if (e->say == NULL) return;
  say_part(e, "weights", p->weights, dtype_info(e->model.dtype)->name);
  WeightForms forms = weight_forms(e->store, &e->model.config, e->model.dtype);
  for (int i = 0; i < forms.n; i++) {
    char name[32], text[WEIGHT_FORM_BYTES];
    snprintf(name, sizeof name, "  %s", forms.items[i].from);
    weight_form_text(text, &forms.items[i]);
    say_part(e, name, forms.items[i].bytes, text);
  }
  say_part(e, "step", p->step, "activations");
  say_part(e, "cache", p->cache, "keys and values");
  say_part(e, "scratch", p->scratch, "operands of the backend's ops");
  say_part(e, "host", p->host, "beside it");
}

// Refused before a weight is read: a GPU has no memory to fall back on.
static Status check_size(const Engine *e, const MemoryPlan *p, Error *err) {
  int64_t left = 0, all = 0;
  if (e->be->mem_info == NULL) return STATUS_OK;
  int64_t need = p->weights + p->state + p->step + p->cache + p->scratch + MEMORY_LATE_CODE;
  e->be->mem_info(e->be, &left, &all);
  if (need <= left) return STATUS_OK;
  return error_set(err, STATUS_MEMORY,
                   "this takes %.2f GiB of %s (%.2f of weights, %.2f of steps, %.2f of cached "
                   "keys), of whose %.2f GiB %.2f are free; --dtype bf16, a shorter context or "
                   "fewer texts at a time take less",
                   (double)need / (1 << 30), e->be->device, (double)p->weights / (1 << 30),
                   (double)(p->step + p->scratch) / (1 << 30), (double)p->cache / (1 << 30),
                   (double)all / (1 << 30), (double)left / (1 << 30));
}

Status engine_load(Engine *e, Rehearsal rehearsal, const void *args, Error *err) {
  Status status = STATUS_OK;
  MemoryPlan plan;
  TRY(plan_memory(e, rehearsal, args, &plan, err));
  say_memory(e, &plan);
  TRY(check_size(e, &plan, err));
  TRY(memory_open(&e->memory, e->be, &plan, err));
  llama_place(&e->model, e->be, &e->memory.weights, &e->memory.state);
  TRY(llama_load(&e->model, e->be, e->store, err));
  for (int i = 0; i < e->n_adapters; i++)
    TRY(lora_load(&e->model.params, e->be, &e->adapters[i].peft, i, err));
  e->ctx = make_ctx(&e->model, &e->memory);
  // Not before: an adapter that cannot serve at all is one error, and no poor answers.
  for (int i = 0; i < e->n_adapters && e->warn != NULL; i++) {
    if (e->adapters[i].warning[0] != '\0') e->warn(e->adapters[i].warning);
  }
done:
  return status;
}

// ---- adapters and ids ----

int engine_adapter(const Engine *e, const char *name) {
  for (int i = 0; i < e->n_adapters; i++) {
    const char *other = e->adapters[i].name;
    if (name == NULL ? other == NULL : other != NULL && strcmp(name, other) == 0) return i;
  }
  return -1;
}

static int add_id(int32_t *ids, int n, int64_t id) {
  if (id < 0) return n;
  for (int i = 0; i < n; i++) {
    if (ids[i] == id) return n;
  }
  ids[n] = (int32_t)id;
  return n + 1;
}

int engine_stop_ids(const Engine *e, const Template *template, int32_t *ids) {
  int n = 0;
  for (int i = 0; i < e->model.config.n_eos; i++) n = add_id(ids, n, e->model.config.eos_ids[i]);
  if (e->tokenizer == NULL) return n;
  n = add_id(ids, n, tokenizer_eos(e->tokenizer));
  n = add_id(ids, n, template_end_id(e->tokenizer, template));
  return n;
}

Status engine_check_ids(const Engine *e, const int32_t *ids, int64_t n, Error *err) {
  int64_t vocab = e->model.config.vocab;
  for (int64_t i = 0; i < n; i++) {
    if (ids[i] >= 0 && ids[i] < vocab) continue;
    return error_set(err, STATUS_DATA,
                     "%s: its tokenizer gives id %d, its vocabulary has %lld: the tokenizer "
                     "belongs to another model",
                     store_path(e->store), ids[i], (long long)vocab);
  }
  return STATUS_OK;
}
