// The tape: values, what an op needs for its backward, and segments whose forward may run again
// (Chen et al. 2016).
//
// Ops (ops.h) run their forward at once and, while recording, push a record that says how to run
// backward. Activations live in the two-ended step arena: what a backward needs is kept at the low
// end, everything else is temporary at the high end and dies with its segment. Gradients are made
// at first touch, at the high end, zeroed; ops only ever add. Records and Value structs live in the
// host arena. Nothing here allocates anything else.
//
// Training and inference run the same model code: inference does not record, so each segment gives
// back all it used.
#ifndef VMA_TAPE_H
#define VMA_TAPE_H

#include "arena.h"
#include "backend.h"

typedef struct Value {
  Tensor t;
  Tensor grad;     // t's shape; data is NULL until first touched; a parameter's own is set for good
  bool needs_grad; // something trainable lies upstream
  int64_t made_by; // serial number of the op that produced it
  int64_t last_use; // serial number of the last op that read it so far (the residual rule is
                    // checked with it)
} Value;

// Where an op's output goes: KEEP when a later backward reads it (the caller knows: ops.h,
// linear_input_life).
typedef enum Life { TEMP, KEEP } Life;

typedef struct Ctx Ctx;
typedef struct Record Record;

// The backward has written the last gradient of a bucket of weights (param.h).
typedef void (*BucketDone)(void *user, int bucket);

struct Record {
  Record *before;
  void (*backward)(Ctx *ctx, Record *record); // each op's record struct starts with this header
};

struct Ctx {
  Backend *be;
  Arena *step; // activations, two-ended
  Arena *host; // records and values; memory of this process
  DType dtype; // of activations: f32 or bf16 (f64 on the reference variants)
  bool recording;
  bool training;  // dropout is on
  Record *last;   // the newest record
  int64_t serial; // counts ops
  uint64_t dropout_seed;
  Tensor dropout_step;    // i32 [1,1] on the device
  BucketDone bucket_done; // NULL, or told of each bucket once in a backward: see tape_bucket
  void *bucket_user;
};

// f32, or f64 where activations are f64: the dtype of statistics.
DType ctx_stat_dtype(const Ctx *ctx);

// Memory of the step arena.
Tensor ctx_tensor(Ctx *ctx, Life life, DType dtype, int64_t rows, int64_t cols, const char *name);

// A new value with an uninitialised tensor of the activation dtype.
Value *value_new(Ctx *ctx, Life life, int64_t rows, int64_t cols, const char *name);

// A new value over a tensor that exists.
Value *value_wrap(Ctx *ctx, Tensor t, bool needs_grad);

// The gradient buffer of v, made and zeroed at first touch.
Tensor value_grad(Ctx *ctx, Value *v);

// Ops call this first: gives the op its serial number and notes that it reads the n inputs (NULL
// ones are passed over). Returns whether any of them needs a gradient.
bool tape_reads(Ctx *ctx, Value *const *inputs, int n);

// A zeroed record of `size` bytes on the tape, whose header is filled in. Only while
// ctx->recording.
void *tape_push(Ctx *ctx, size_t size, void (*backward)(Ctx *, Record *));

// An add of a branch to its trunk, z = x + d, calls this in place of tape_reads. In the backward z,
// x and d will share one gradient buffer (tape_share_residual), which is sound only if nothing but
// the add reads d, and if neither the op that made d nor anything after it reads x: their backward
// would add to the buffer while it is still read as dd. Checked while recording.
bool tape_reads_residual(Ctx *ctx, Value *x, Value *d);

// The backward of z = x + d: dz's buffer becomes that of x and d as well, without a copy. Neither
// may have one already (it would be read by an op after the add): checked.
void tape_share_residual(Ctx *ctx, Value *z, Value *x, Value *d);

// Runs all records backward, newest first, and forgets them. The caller has put gradients into the
// last values. A segment that kept its values gives back, when its backward is done, everything
// that the step arena's low end and the host arena took since it began: read later outputs before.
void tape_backward(Ctx *ctx);

// Says that from here on, and only from here on, ops touch the gradients of that bucket of weights.
// When the backward comes back to this place, ctx->bucket_done is told. While not recording it does
// nothing.
void tape_bucket(Ctx *ctx, int bucket);

typedef struct Segment {
  void (*run)(Ctx *ctx, void *args); // the forward; reads `in`, fills the tensors of `out`
  void *args;                        // must stay as they are until the backward is done
  Value *in[4];
  Value *out[2]; // made by the caller, below the segment's own memory
  int n_in, n_out;
  bool checkpoint; // keep the inputs only and run the forward again in the backward
  bool residual;   // in[0]'s gradient will be out[0]'s buffer (tape_share_residual)
} Segment;

void tape_segment(Ctx *ctx, const Segment *segment);

#endif
