// Weights: each is declared once, by its Hugging Face name, and everything else goes through the
// name: loading, saving, LoRA targets, buckets, tests, gradient dumps.
//
// Frozen weights lie in the `weights` arena. Trainable ones lie in flat buckets: the trainable
// weights of one block (one `bucket` number) in the order of declaration reversed, which is the
// order in which the backward finishes them, padded to BUCKET_PAD elements; gradients, moments and
// masters have the same layout, so norms, clipping and AdamW run over a few large ranges. Weights
// with another learning rate (LoRA+: B) lie behind the others of their bucket. Weights of one group
// (q|k|v, gate|up) lie side by side as one matrix, in order of declaration.
#ifndef VMA_PARAM_H
#define VMA_PARAM_H

#include "tape.h"

// Learning rates that a run can have at a time: the run's own, and that of LoRA+'s B matrices.
typedef enum RateGroup { RATE_BASE, RATE_PLUS } RateGroup;
enum { RATE_GROUPS = 2 };

enum { BUCKET_PAD = 2048, PARAM_NAME_MAX = 160, PARAM_MAX_DIMS = 4 };

typedef struct Param {
  char name[PARAM_NAME_MAX]; // "model.layers.0.self_attn.q_proj.weight"
  int n_dims;                // as in files
  int64_t shape[PARAM_MAX_DIMS];
  DType dtype; // of the resident form
  bool trainable, decayed;
  bool adapter;   // part of a LoRA adapter, not of the model's file
  RateGroup rate; // set before param_make_buckets; one for all weights of a group
  int bucket;     // block number: which bucket when trainable
  int group;      // > 0: side by side with the neighbours of the same number
  Value value;    // t: [rows, cols] = [shape[0], product of the rest], or [1, n] for one dimension
  Tensor master;  // f32, t's shape: of a trainable bf16 weight; else none
} Param;

// A stretch of a bucket that AdamW treats alike.
typedef struct BucketRange {
  int64_t offset, count; // elements; count without the padding
  bool decayed;
  RateGroup rate;
} BucketRange;

typedef struct Bucket {
  int number;
  int64_t count;     // elements, padded
  Tensor w, g, m, v; // [1, count]: weights, gradients, first and second moments (f32)
  Tensor master;     // f32 [1, count]: of bf16 weights, which are its values rounded; else none
  int n_ranges;
  BucketRange *ranges;
} Bucket;

typedef struct ParamTable {
  Param *items; // NOT moved by param_declare once param_table_init has fixed the capacity
  int64_t n, capacity;
  Bucket *buckets;
  int64_t n_buckets;
  DType grad_dtype; // of the gradients of bf16 weights: DT_F32 (as initialised) or DT_BF16
} ParamTable;

void param_table_init(ParamTable *table, int64_t capacity);
void param_table_free(ParamTable *table);

// Adds a weight; the pointer stays valid for the table's life.
Param *param_declare(ParamTable *table, DType dtype, int bucket, int group, bool decayed,
                     int n_dims, const int64_t *shape, const char *fmt, ...)
    __attribute__((format(printf, 8, 9)));

// NULL when there is none of that name.
Param *param_find(const ParamTable *table, const char *name);

// Freezes the weights of the model's file whose names match one of the n patterns: '*' stands for
// any characters, '?' for one. STATUS_USAGE, with the nearest names, for a pattern that matches no
// weight; and when nothing is left to train. Before param_make_buckets.
Status param_freeze(ParamTable *table, const char *const *patterns, int n, Error *err);

// Makes the buckets of what is trainable now. Call once, after all declarations and `trainable`
// flags are set.
void param_make_buckets(ParamTable *table);

// Gives every weight its memory: frozen ones and the buckets' weights in `weights`; gradients,
// moments and masters in `state` (which may be NULL when nothing is trainable). May be called again
// with other arenas: a rehearsal on the null backend first, then the real ones.
void param_place(ParamTable *table, Arena *weights, Arena *state);

// Bytes that param_place will take of each arena.
void param_plan(const ParamTable *table, int64_t *weights_bytes, int64_t *state_bytes);

// The bucket of that number, or NULL when nothing in it is trainable.
Bucket *param_bucket(const ParamTable *table, int number);

// The rows of a group as one matrix: from the first of n params that lie side by side.
Tensor param_group_tensor(const Param *first, int n);

// The same for their gradients; TENSOR_NONE unless all are trainable.
Tensor param_group_grad(const Param *first, int n);

// Zeroes all gradients.
void param_zero_grads(ParamTable *table, Backend *be);

// Rounds the masters of all buckets into their weights: after the masters have been set.
void param_round_masters(ParamTable *table, Backend *be);

// Values of a weight (value.t) or of its gradient (value.grad), dense, as floats of this process:
// f32 and f64 are converted, bf16 is rounded to nearest even. For loading, saving and tests: they
// wait for the backend, and take memory of their own for anything but f32.
void param_read(Backend *be, float *out, Tensor t);
void param_write(Backend *be, Tensor t, const float *values);

int64_t param_count(const ParamTable *table, bool trainable_only);

#endif
