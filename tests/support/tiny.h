// The tiny models of tests/golden on a backend: what the tests of models share.
#ifndef VMA_TINY_H
#define VMA_TINY_H

#include "batch.h"
#include "golden.h"
#include "llama.h"
#include "rig.h"

// ---- models ----

typedef struct TinyOptions {
  const char *variant; // folder of tests/golden/tiny_llama
  const char *path;    // or the path of any folder
  DType dtype;         // of weights and activations
  bool train_all;
  const char *freeze[4];   // patterns of what stays as it is with train_all
  DType grad_dtype;        // of bf16 weights
  const LoraSpec *lora[2]; // adapters 0 and 1, or NULL; the first one is trained
  bool train_lora;
  int64_t mib; // of each arena; 0: 16
  void (*change_config)(LlamaConfig *config);
} TinyOptions;

typedef struct Tiny {
  Rig rig;
  TensorStore *store;
  Llama model;
  ArenaMark step, host; // where a batch begins
} Tiny;

// Opens the model on the backend, in a rig of its own, loaded (the null backend too: it reads the
// files). Any failure ends the program.
void tiny_open(Tiny *tiny, Backend *be, const TinyOptions *options);
void tiny_close(Tiny *tiny);

// Values of a tensor of its backend, as floats. Freed by free().
float *tiny_read(Tiny *tiny, Tensor t);

// ||a - b||; b NULL: ||a||
double tiny_distance(const float *a, const float *b, int64_t n);

// Values of a weight by name, and back; doubles of any dtype. Freed by free().
float *tiny_weight(Tiny *tiny, const char *name);
void tiny_set_weight(Tiny *tiny, const char *name, const float *values);

// Everything taken from the step and host arenas since tiny_open.
void tiny_release(Tiny *tiny);

// ---- batches ----

// A packed batch on the host, with the arrays it points to.
typedef struct TinyBatch {
  Batch batch;
  int32_t *cu, *positions, *ids, *label_rows, *label_ids, *global_index, *adapters;
} TinyBatch;

// n sequences of the given lengths and ids; every row that has a next one is a label row, as is
// usual for text; global_index counts from 0.
TinyBatch tiny_batch(int64_t n, const int32_t *const *ids, const int64_t *lengths);

// Step k of a golden training file.
TinyBatch tiny_train_batch(const Safetensors *file, int k);

// Sequence s of a batch as a batch of its own, that keeps its global index.
TinyBatch tiny_split(const TinyBatch *from, int64_t s);
void tiny_batch_free(TinyBatch *batch);

// ---- running ----

// The logits [R,V] of all rows, not recorded. Freed by free().
float *tiny_logits(Tiny *tiny, const TinyBatch *batch, KvCache *cache);

// Adds the batch's loss to *loss and, when training, its gradients, scaled by inv_count, to those
// of the model.
void tiny_loss(Tiny *tiny, const TinyBatch *batch, float inv_count, bool training, double *loss);

// ---- the backends that a model is run on ----

// 0: the plain reference; 1: what a user gets; 2 and 3: the fast ops with either GEMM, one of which
// the user does not get.
enum { TINY_BACKENDS = 4 };
Backend *tiny_backend(int i);

#endif
