// A model ready to run: its files, tokenizer and adapters opened, its memory planned and its
// weights loaded.
//
// Two steps, so that what is wrong with a prompt or an input file is said before the weights are
// read: engine_open reads headers only; engine_load rehearses the largest steps on the null
// backend, which gives every arena's exact size, allocates once and loads.
#ifndef VMA_ENGINE_H
#define VMA_ENGINE_H

#include "backend.h"
#include "config.h"
#include "llama.h"
#include "memory.h"
#include "peft_adapter.h"
#include "template.h"
#include "tokenizer.h"

typedef struct AdapterSource {
  const char *name;   // by which requests choose it; NULL: it serves those that choose none
  const char *folder; // of PEFT's files
} AdapterSource;

typedef struct EngineOptions {
  const char *model;                    // a folder, a .safetensors or a .gguf file
  AdapterSource adapters[MAX_ADAPTERS]; // of distinct names
  int n_adapters;
  DType dtype;        // of weights and activations: DT_F32 or DT_BF16
  const char *device; // "auto", "cpu", "cuda", "cuda:N"; NULL: the CPU
  int threads;        // 0: one a core
  bool reference;     // the plain C ops: tests
  void (*warn)(
      const char *message); // gets the adapters' warnings once all has loaded; NULL: nobody
  // Gets the plan of memory, line by line, before it is taken; NULL: nobody.
  void (*say)(const char *line);
} EngineOptions;

typedef struct EngineAdapter {
  PeftAdapter peft;
  char *name, *folder;
  const Template *template; // that it was trained with; NULL: it does not say
  Template *own_template;   // the same where it brings its own
  char warning[1200];       // "" or what a user should know: it was made for other weights
} EngineAdapter;

typedef struct Engine {
  Backend *be;
  TensorStore *store;
  Llama model;
  EngineAdapter adapters[MAX_ADAPTERS]; // adapter i of the model
  int n_adapters;
  Tokenizer *tokenizer; // NULL: none, and tokenizer_error says why
  Error tokenizer_error;
  void (*warn)(const char *message); // of the options
  void (*say)(const char *line);
  Memory memory;
  Ctx ctx; // of the loaded model; not recording
} Engine;

// Opens everything but the weights; an adapter that does not fit the model's shapes is found out
// here. A tokenizer that cannot be opened is no error here
// (engine_need_tokenizer): scoring ids needs none. On failure nothing is left open.
Status engine_open(Engine *engine, const EngineOptions *options, Error *err);
void engine_close(Engine *engine);

// The error with which the tokenizer could not be opened.
Status engine_need_tokenizer(const Engine *engine, Error *err);

// Runs the largest steps to come on the given context; `cache` is the arena for a KvCache.
typedef void (*Rehearsal)(Ctx *ctx, Llama *model, Arena *cache, const void *args);

// Afterwards engine->ctx runs the model, and engine->memory.cache has room for what the rehearsal
// took of it.
Status engine_load(Engine *engine, Rehearsal rehearsal, const void *args, Error *err);

// The number of the adapter of that name (NULL: the one without); -1: there is none.
int engine_adapter(const Engine *engine, const char *name);

// The ids that end a text: the model's, the tokenizer's EOS and what ends the template's answers.
// Returns how many; at most ENGINE_STOPS_MAX.
enum { ENGINE_STOPS_MAX = LLAMA_EOS_MAX + 2 };
int engine_stop_ids(const Engine *engine, const Template *template, int32_t *ids);

// OK when every id is a row of the model's vocabulary. STATUS_DATA: the tokenizer is another
// model's.
Status engine_check_ids(const Engine *engine, const int32_t *ids, int64_t n, Error *err);

#endif
