// The op table: all arithmetic on tensors that nn asks for, implemented by cpu (twice: a fast
// variant and a plain C reference), null (counts, computes nothing) and cuda. The only kernels
// header that nn may include.
//
// Contract of every op:
//
// Outputs are fully overwritten, unless the name ends in `_acc`: then they are added to. An output
// never aliases an input unless the op says so. Arguments stand in the order outputs, inputs,
// scalars.
//
// Tensors are rows of any stride with unit stride along a row. "F" below is the activation dtype of
// the call: f32 or bf16, the same for all tensors marked F. The plain C variants also take f64 as F
// (gradient tests), and then every tensor marked f32 is f64 too (inv_freq, inv_count, lr and clip
// may stay f32). Sums, norms and softmax accumulate in f32 or better; a bf16 result is rounded
// once, at the store. f32 means IEEE f32.
//
// Same inputs, same bits, whatever the schedule: no unordered sums. A backend may document that the
// number of threads changes bits (cpu: only through the library GEMM).
//
// Ops are queued; only copy_out and sync wait. Whatever may differ between two launches of one
// shape is a device tensor, never a host argument: positions, lengths, ids, pages, step numbers,
// learning rate, clip factor.
//
// A wrong shape or dtype is our mistake: CHECK. Ops cannot fail otherwise. Empty tensors (0 rows)
// are legal everywhere and touch nothing.
#ifndef VMA_BACKEND_H
#define VMA_BACKEND_H

#include "arena.h"
#include "error.h"
#include "tensor.h"

#include <time.h>

typedef struct Backend Backend;

typedef enum Activation {
  ACT_SILU,       // x * sigmoid(x)
  ACT_GELU,       // 0.5 x (1 + erf(x / sqrt 2))
  ACT_GELU_TANH,  // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))      "gelu_new"
  ACT_QUICK_GELU, // x * sigmoid(1.702 x)
} Activation;

// Which rows of a batch an adapter applies to: those r with adapters[r] == id; all when `adapters`
// is not given.
typedef struct RowSelect {
  Tensor adapters; // i32 [1,R] or none
  int32_t id;
} RowSelect;

// A dropout mask that is never stored: element (row r, column c) is kept iff
//   philox4x32(key = seed + step * 0x9E3779B97F4A7C15, c / 4, positions[r], sequences[r],
//   tensor_id).v[c % 4] >= p * 2^32
// (threshold = (uint32_t)(p * 4294967296.0)) and then multiplied by 1 / (1 - p). p == 0 switches it
// off; the tensors are then not read. The mask hangs on the global batch, so neither micro-batches
// nor ranks nor recomputation change it.
typedef struct Dropout {
  float p; // in [0, 1)
  uint64_t seed;
  uint32_t tensor_id;
  Tensor step;      // i32 [1,1] optimizer step
  Tensor sequences; // i32 [1,R] index of the row's sequence in the global batch
  Tensor positions; // i32 [1,R]
} Dropout;

typedef struct RopeArgs {
  int64_t n_heads, n_kv_heads, head_dim; // H, K, D
  Tensor positions;                      // i32 [1,R]
  Tensor inv_freq;                       // f32 [1,D/2]; none = split only
  Tensor slots; // i32 [1,R] row of k and v that each row is written to, -1: nowhere; none = row r
  int64_t max_position; // upper bound of the positions, for the plan; not exact
} RopeArgs;

// Query i of sequence s sees key j iff j < max(prefix[s], offset[s] + i + 1) and j < length of the
// keys of s. prefix 0: causal (LLaMA). prefix = n_image: GIT. prefix = number of keys: full (ViT,
// encoders, cross-attention).
typedef struct AttentionArgs {
  // H, K, D; H % K == 0; query head h uses kv head h / (H / K)
  int64_t n_heads, n_kv_heads, head_dim;
  float scale;          // of q . k: 1/sqrt(D); Pix2Struct 1
  int64_t n_seqs;       // B
  int64_t max_q, max_k; // upper bounds of the lengths, for tiling and the plan; not exact
  Tensor cu_q;          // i32 [1,B+1] first query row of each sequence
  Tensor cu_k;          // i32 [1,B+1] first key row of each sequence; unused with pages
  Tensor k_lens;        // i32 [1,B] number of keys; none: cu_k[s+1] - cu_k[s]
  Tensor offset;        // i32 [1,B] o_s: keys that came before this call's first query; none: 0
  Tensor prefix;        // i32 [1,B]; none: 0
  // i32 [B,P]: key j of s is row pages[s][j / page_size] * page_size + j % page_size; none: row
  // cu_k[s] + j
  Tensor pages;
  int64_t page_size;         // 64; with pages only
  Tensor bias;               // F [buckets,H] relative-position bias, or none
  int64_t bias_max_distance; // T5: 128
} AttentionArgs;

// The T5 bucket (unidirectional) of distance n = max(0, query position - key position), query
// position = offset + i, with e = buckets / 2:
//   n < e: n;  else min(buckets - 1, e + floor(ln(n / e) / ln(max_distance / e) * (buckets - e)))
// in f32 as the reference computes it.
int64_t attention_bias_bucket(int64_t distance, int64_t buckets, int64_t max_distance);

// Which pixels each row of patches takes. A line of pixels is a row of width * channels values,
// channel fastest; images stand one below the other, each from column 0 on.
typedef struct PatchArgs {
  int64_t size;     // P: a patch is P x P pixels
  int64_t channels; // N
  // Where value (line i, column j, channel n) of a patch goes: column (n P + i) P + j, the order of
  // a flattened convolution weight [C,N,P,P] (Dosovitskiy et al. 2021); else (i P + j) N + n
  // (Pix2Struct).
  bool channels_first;
  Tensor tops, lefts; // i32 [1,R] line and column of the patch's first pixel
} PatchArgs;

typedef struct CrossEntropyArgs {
  Tensor inv_count; // f32 [1,1]: gradients are multiplied by it (1 / labels of the global batch)
  float smoothing;  // e: (1-e) nll + e mean_v(-log p_v)
  bool grad;        // overwrite logits by their gradient
} CrossEntropyArgs;

typedef struct AdamArgs {
  Tensor lr;   // f32 [1,1]
  Tensor step; // i32 [1,1] t, from 1
  Tensor clip; // f32 [1,2] {factor, norm} of clip_factor; a norm that is not finite: nothing is
               // written
  float beta1, beta2, eps, decay;
} AdamArgs;

// The ids that a row's text holds so far, for the repetition penalty. Ids that are no column of the
// logits are passed over.
typedef struct SeenIds {
  Tensor ids;     // i32 [R,S]; none: no penalty
  Tensor lengths; // i32 [1,R], at most S: row r holds ids[r][0 .. lengths[r])
  Tensor penalty; // f32 [1,R]; 1: off
} SeenIds;

// By row; kernels/core/token_choice.h says what they mean.
typedef struct SampleArgs {
  Tensor temperature; // f32 [1,B]; 0: greedy
  Tensor top_k;       // i32 [1,B]; 0: off
  Tensor top_p;       // f32 [1,B]; 1: off
  Tensor seeds;       // i64 [1,B] the key of the row's random numbers
  Tensor draws;       // i64 [1,B] how many were drawn; 1 is added where one is
  SeenIds seen;       // the id is appended while there is room; lengths then grow by 1
} SampleArgs;

typedef struct BeamArgs {
  int64_t beams; // n of each text
  Tensor rows;   // i32 [1,T*n] row of the logits that a beam reads; none: t * n + i
  Tensor sums;   // f32 [T,n] log probability of each running text
  SeenIds seen;  // of T*n texts; the penalty sees log probabilities here
} BeamArgs;

// What a backend has been asked to do since its creation. The null backend counts the first three,
// by the rules at the head of null_backend.c; the others count launches only.
typedef struct BackendCounts {
  int64_t launches;
  double flops; // of matrix products and attention
  double bytes; // least traffic: operands read once, results written once, what is added to both
  // Bytes that ops have taken for themselves and keep until close: packed panels, tiles of each
  // thread, tables. A shadow's: that the ops shown to it would take.
  int64_t scratch;
} BackendCounts;

struct Backend {
  const char *name; // "cpu", "cpu-reference", "null", "cuda"
  // Which GEMM was chosen: part of what decides the bits; recorded with a run.
  const char *gemm_path;
  BackendCounts counts;
  // A stand-in of this backend for rehearsals; NULL: its ops take no scratch. Its ops compute
  // nothing, read no tensor's data and note the scratch that a call of that shape, or of any with
  // fewer rows, shorter sequences and lower positions, would take. Belongs to the backend. On null:
  // the shadow of the backend that is rehearsed, which its owner sets; every op is shown to it.
  Backend *shadow;

  // Rows of a batch, and those of them with labels, are rounded up to a multiple of this by rows of
  // no sequence, so that products have few shapes; 0, 1: not. A shadow has that of its backend.
  int64_t row_multiple;
  // But for those of a step that reads on, through a cache, where they are at most so many:
  // `linear` has kernels of its own for them.
  int64_t few_rows;
  // The device that it is on, for people: "NVIDIA A100-SXM4-80GB"; NULL: the CPU.
  const char *device;
  // Bytes of the device's memory that opening took for the context and the libraries' code, beside
  // backend_cuda_fixed_bytes; -1: not known.
  int64_t context_bytes;

  // Told of every tensor of this backend's arenas; NULL: nobody wants to know. Installed in them by
  // memory_open.
  ArenaHook arena_hook;
  void *arena_hook_user;

  // ---- life and memory ----
  void (*close)(Backend *be);
  // Memory for an arena, ARENA_ALIGN-aligned; zero-filled pages or fake addresses. STATUS_MEMORY
  // when there is none.
  Status (*mem_alloc)(Backend *be, int64_t bytes, void **out, Error *err);
  void (*mem_free)(Backend *be, void *memory, int64_t bytes);
  // Bytes of the device's memory: what is free now, and all. NULL: it works in the host's memory.
  void (*mem_info)(Backend *be, int64_t *free_bytes, int64_t *all);
  // dst <- host rows, dense, dst's dtype and shape. The source may be reused on return.
  void (*copy_in)(Backend *be, Tensor dst, const void *src);
  // Host rows, dense <- src; waits.
  void (*copy_out)(Backend *be, void *dst, Tensor src);
  void (*sync)(Backend *be);
  // A tensor of at most 64 KiB as it is when the ops queued so far have run, to be fetched later:
  // read_end waits for that, gives the rows, dense, and closes the ticket. At most 64 are open.
  int64_t (*read_begin)(Backend *be, Tensor src);
  void (*read_end)(Backend *be, void *dst, int64_t ticket);
  // Takes all scratch that the shadow has noted: ops that it was shown take no more after that.
  Status (*reserve)(Backend *be, Error *err);
  // A shadow's only: forgets what it has noted.
  void (*forget)(Backend *shadow);

  // ---- element-wise ----
  // y = value.   y any float dtype or i32
  void (*fill)(Backend *be, Tensor y, double value);
  // y = x, converted: f32, bf16, f16, f64 and quantised (source only). Same shape.
  void (*cast)(Backend *be, Tensor y, Tensor x);
  // y = a + b.   all F [R,C]; y may alias a or b
  void (*add)(Backend *be, Tensor y, Tensor a, Tensor b);
  // y = a x.   y, x F [R,C], y may alias x; a f32 [1,1]
  void (*scale)(Backend *be, Tensor y, Tensor x, Tensor a);
  // y += a x: also the gradient of scale
  void (*scale_acc)(Backend *be, Tensor y, Tensor x, Tensor a);
  // y += dropout(x); with p = 0 a plain accumulation.   F [R,C]
  void (*dropout_acc)(Backend *be, Tensor y, Tensor x, const Dropout *dropout);
  // y = act(x).   F [R,C]
  void (*act)(Backend *be, Tensor y, Tensor x, Activation kind);
  // dx += dy * act'(x)
  void (*act_back_acc)(Backend *be, Tensor dx, Tensor dy, Tensor x, Activation kind);
  // y = act(g) * u, gu = [g | u] (Shazeer 2020).   y F [R,F], gu F [R,2F]
  void (*glu)(Backend *be, Tensor y, Tensor gu, Activation kind);
  // dgu += [dy * u * act'(g) | dy * act(g)];  y not needed: recomputed
  void (*glu_back_acc)(Backend *be, Tensor dgu, Tensor dy, Tensor gu, Activation kind);

  // ---- rows ----
  // y[r] = table[ids[r]]; zeros where ids[r] is -1, a row of no sequence.
  //   y F [R,C], table F or quantised [V,C], ids i32 [1,R] in [-1,V)
  void (*embedding)(Backend *be, Tensor y, Tensor table, Tensor ids);
  // dtable[ids[r]] += dy[r], rows in ascending r; an id of -1 adds nothing.   dtable F or f32
  void (*embedding_back_acc)(Backend *be, Tensor dtable, Tensor dy, Tensor ids);
  // y[i] = x[rows[i]]; zeros where rows[i] is -1.   rows i32 [1,L] in [-1,R)
  void (*gather_rows)(Backend *be, Tensor y, Tensor x, Tensor rows);
  // dx[rows[i]] += dy[i]; a row of -1 adds nothing.   rows ascending and distinct, those of -1 last
  void (*scatter_rows_acc)(Backend *be, Tensor dx, Tensor dy, Tensor rows);

  // y[r] = the pixels of patch r; zeros where tops[r] is -1, a row of no sequence. Pixels take no
  // gradient.
  //   y F [R,P*P*N]; pixels F or f32 [lines,width*N]; a patch lies within lines and width
  void (*patchify)(Backend *be, Tensor y, Tensor pixels, const PatchArgs *args);

  // ---- norms, fused with the residual add before them ----
  // z = x + d;  y[r,:] = z[r,:] * rstd[r] * w,  rstd[r] = 1 / sqrt(mean(z[r,:]^2) + eps)
  // (Zhang & Sennrich 2019, eq. 4). The sum is rounded to F before the norm.
  //   z F [R,C] or none when d is none (then z = x); may alias x or d
  //   y F [R,C]; rstd f32 [1,R]; x, d F [R,C]; w F [1,C]
  void (*rmsnorm)(Backend *be, Tensor z, Tensor y, Tensor rstd, Tensor x, Tensor d, Tensor w,
                  float eps);
  // dx += rstd * (w dy - z rstd^2 mean(w dy z));  dw += sum_r dy z rstd
  //   dx F, dw f32 or F; none: skipped
  void (*rmsnorm_back_acc)(Backend *be, Tensor dx, Tensor dw, Tensor dy, Tensor z, Tensor rstd,
                           Tensor w);
  // z = x + d;  y = (z - mean) * rstd * w + b,  rstd = 1 / sqrt(var + eps), biased variance
  // (Ba et al. 2016)
  //   as rmsnorm; mean f32 [1,R]; b F [1,C]
  void (*layernorm)(Backend *be, Tensor z, Tensor y, Tensor mean, Tensor rstd, Tensor x, Tensor d,
                    Tensor w, Tensor b, float eps);
  void (*layernorm_back_acc)(Backend *be, Tensor dx, Tensor dw, Tensor db, Tensor dy, Tensor z,
                             Tensor mean, Tensor rstd, Tensor w);

  // ---- attention ----
  // [q | k | v] = qkv; q and k rotated by pairs (i, i + D/2):
  //   out[i] = a cos - b sin, out[i+D/2] = b cos + a sin, with a = in[i], b = in[i+D/2] and the
  //   angle position * inv_freq[i] in f32 (Su et al. 2021, Hugging Face's pairing)
  //   q F [R,H*D]; k, v F [slots,K*D]: row r goes to row slots[r]; qkv F [R,(H+2K)*D]; D % 8 == 0
  void (*rope_split)(Backend *be, Tensor q, Tensor k, Tensor v, Tensor qkv, const RopeArgs *args);
  // dqkv += inverse rotation of [dq | dk | dv]; slots must be none
  void (*rope_split_back_acc)(Backend *be, Tensor dqkv, Tensor dq, Tensor dk, Tensor dv,
                              const RopeArgs *args);
  // o = softmax(scale * q k^T + bias) v over the visible keys; a query without any, and a row of no
  // sequence: zeros, lse = -inf.
  //   o F [R,H*D]; q F [R,H*D]; k, v F [*,K*D]
  //   lse f32 [R,H] natural logarithm of the sum of exponentials, none when no backward follows
  void (*attention)(Backend *be, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                    const AttentionArgs *args);
  //   dq as q; dk, dv as k, v; dbias f32 [buckets,H] or none. pages must be none.
  void (*attention_back_acc)(Backend *be, Tensor dq, Tensor dk, Tensor dv, Tensor dbias, Tensor d_o,
                             Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
                             const AttentionArgs *args);

  // ---- linear ----
  // y = x w^T + bias, or y += ... when acc.   y F or f32 [R,N]; x F [R,K]; w F or quantised [N,K];
  // bias F [1,N] or none
  void (*linear)(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias, bool acc);
  // dx += dy w.   dx F [R,K]; dy F [R,N]; w as above
  void (*linear_back_x_acc)(Backend *be, Tensor dx, Tensor dy, Tensor w);
  // dw += dy^T x;  db += sum_r dy.
  //   dw F or f32 [N,K] or none; db F or f32 [1,N] or none; dy F [R,N]; x F [R,K]
  void (*linear_back_w_acc)(Backend *be, Tensor dw, Tensor db, Tensor dy, Tensor x);

  // ---- LoRA (Hu et al. 2021): y += scale * (dropout(x) A^T) B^T for the selected rows ----
  // t = dropout(x) A^T; rows that are not selected become 0.   t f32 [R,r]; x F [R,K]; a f32 [r,K]
  void (*lora_down)(Backend *be, Tensor t, Tensor x, Tensor a, RowSelect select,
                    const Dropout *dropout);
  // y[r,:] += scale * t[r,:] B^T for the selected rows.   y F [R,N]; b f32 [N,r]
  void (*lora_up_acc)(Backend *be, Tensor y, Tensor t, Tensor b, float scale, RowSelect select);
  // dt = scale * dy B (scratch, overwritten);  db += scale * dy^T t;  da += dt^T dropout(x);
  // dx += mask(dt A), over the selected rows; dx, da, db none: skipped.
  //   dt f32 [R,r]; da, db f32; dx, dy, x F
  void (*lora_back_acc)(Backend *be, Tensor dx, Tensor da, Tensor db, Tensor dt, Tensor dy,
                        Tensor t, Tensor x, Tensor a, Tensor b, float scale, RowSelect select,
                        const Dropout *dropout);

  // ---- losses ----
  // loss[l] = cross entropy of row l;  with grad: logits <- inv_count * d loss[l] / d logits[l], in
  // place. A row without a label, target -1: loss 0, gradient zeros.
  //   loss f32 [1,L]; logits F [L,V]; targets i32 [1,L] in [-1,V)
  void (*cross_entropy)(Backend *be, Tensor loss, Tensor logits, Tensor targets,
                        const CrossEntropyArgs *args);
  // log_probs[l] = log softmax(logits[l])[targets[l]], 0 where the target is -1;  best[l] = argmax,
  // lowest index on ties.   f32, i32 [1,L]
  void (*log_probs)(Backend *be, Tensor log_probs, Tensor best, Tensor logits, Tensor targets);

  // ---- reductions and the optimizer ----
  // out += sum of x in f64, in a fixed order.   out f64 [1,1]; x F or f32
  void (*sum_acc)(Backend *be, Tensor out, Tensor x);
  // out = sum of squares in f64, in a fixed order.   out f64 [1,1]
  void (*sum_squares)(Backend *be, Tensor out, Tensor x);
  // norm = sqrt(sum of sums);  clip = {min(1, max_norm / (norm + 1e-6)), norm};  max_norm <= 0:
  // factor 1. A guard that is not finite (the loss, say) makes the norm NaN.
  //   clip f32 [1,2]; sums f64 [1,n]; guard f64 [1,1] or none
  void (*clip_factor)(Backend *be, Tensor clip, Tensor sums, Tensor guard, float max_norm);
  // AdamW with decoupled decay (Loshchilov & Hutter 2019), torch's form:
  //   g *= clip;  p *= 1 - lr decay;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;
  //   p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
  //   w f32, or bf16 with master f32; master none or f32; m, v f32; g f32 or bf16; all of one
  //   count, dense
  void (*adamw)(Backend *be, Tensor w, Tensor master, Tensor m, Tensor v, Tensor g,
                const AdamArgs *args);

  // ---- choosing tokens (kernels/core/token_choice.h) ----
  // ids[r] = the next id of row r; -1 where its logits hold a NaN or +inf: nothing is drawn or
  // appended then.
  //   ids i32 [1,B]; logits F [B,V], not changed
  void (*sample)(Backend *be, Tensor ids, Tensor logits, const SampleArgs *args);
  // Of each text the K likeliest ways on: those with the largest sums[t][i] + log softmax(logits of
  // beam i)[id], in order; the lowest beam, then id, wins ties. NaN sums come nowhere; where fewer
  // than K are left: score -inf, parent and id -1.
  //   scores f32, parents (beams of the text, from 0) and ids i32 [T,K]; logits F [*,V], not
  //   changed
  void (*beam_step)(Backend *be, Tensor scores, Tensor parents, Tensor ids, Tensor logits,
                    const BeamArgs *args);
};

// ---- the backends ----
typedef struct CpuOptions {
  int threads;      // 0 = the number of cores this process may use
  const char *isa;  // NULL = the best of the CPU; "base", "avx2", "avx512", "avx512bf16" force one
  const char *gemm; // NULL = measured at creation; "own", "onednn-f32", "onednn-bf16" force one
  bool reference;   // the plain C variants of every op
} CpuOptions;

Status backend_cpu_open(Backend **out, const CpuOptions *options, Error *err);

typedef struct CudaOptions {
  int device;         // as CUDA counts them
  const char *module; // path of libvma_cuda.so; NULL: $VMA_CUDA_MODULE, else beside the program
} CudaOptions;

// Opens the module and the device. STATUS_FAILED with one message for: no module, a library that is
// missing, no driver, a driver too old, no such device, one below compute capability 8.0, one that
// is in use exclusively. The module stays loaded.
Status backend_cuda_open(Backend **out, const CudaOptions *options, Error *err);

enum { CUDA_DEVICES_MAX = 16, CUDA_ROW_MULTIPLE = 128, CUDA_GRANULE = 2 << 20 };

typedef struct CudaDeviceInfo {
  char name[64];
  int major, minor, sms;
  int64_t memory, memory_free; // bytes; free -1: not known, the device cannot be opened
  const char *mode;            // "shared", "exclusive", "prohibited"
} CudaDeviceInfo;

// What the machine has, for people.
typedef struct CudaSystem {
  char module[512];    // path, empty: not found
  int driver, toolkit; // as CUDA numbers them: 13000 is 13.0; 0: none
  int64_t cublaslt;    // version, 0: none
  int n_devices;
  CudaDeviceInfo devices[CUDA_DEVICES_MAX];
  char problem[1200]; // why CUDA cannot be used; empty: it can
} CudaSystem;

void backend_cuda_describe(CudaSystem *system, const char *module);

// The shadow of a CUDA backend, for plans on any machine. Ops that take no scratch are NULL.
Status backend_cuda_shadow_open(Backend **out, Error *err);

// Bytes of device memory that an open CUDA backend takes besides arenas and scratch: cuBLASLt's
// workspace and the rings of small copies.
int64_t backend_cuda_fixed_bytes(void);

// ---- what ops cost ----

// Ops whose time goes by the same law.
typedef enum OpKind {
  OP_GEMM,           // linear
  OP_GEMM_BACK_X,    //
  OP_GEMM_BACK_W,    //
  OP_LORA,           // down, up, back
  OP_ATTENTION,      //
  OP_ATTENTION_BACK, //
  OP_NORM,           // both norms, forward and backward
  OP_ROPE,           // with the split
  OP_ACT,            // activations and gates
  OP_LOSS,           // cross entropy, log_probs, the loss's sum
  OP_ROWS,           // embedding, gather, scatter, patchify
  OP_ELEMENT,        // fill, cast, add, scale, dropout
  OP_OPTIMIZER,      // norms of gradients, clipping, AdamW
  OP_CHOICE,         // sampling and beam steps
  OP_COPY,           // copy_in, copy_out
  OP_KINDS
} OpKind;

// "GEMM", "norm", ...
const char *op_kind_name(OpKind kind);

// How fast a device is at one kind; 0: no bound.
typedef struct OpRate {
  double flops[2]; // a second, by the activations' dtype: DT_F32, DT_BF16
  double bytes;    // a second
} OpRate;

typedef struct OpRates {
  OpRate kind[OP_KINDS];
  double launch; // seconds that every op takes besides
} OpRates;

// All ops of a kind so far.
typedef struct OpCost {
  int64_t launches;
  double flops, bytes;    // as in BackendCounts
  double seconds;         // by the roofline, op by op: launch + max(flops / rate, bytes / rate)
  double compute_seconds; // of these, where flops were the bound
} OpCost;

// Distinct fake addresses, no memory, no arithmetic; counts launches, flops and bytes, and prices
// them once it has rates.
Status backend_null_open(Backend **out, Error *err);
void backend_null_price(Backend *null, const OpRates *rates);

// A null backend over another one, to measure it: the ops are counted and then run, `seconds` are
// those of the clock (CLOCK_MONOTONIC; CLOCK_PROCESS_CPUTIME_ID where one thread works, whom other
// processes then do not disturb). Does not close the other one.
Status backend_meter_open(Backend **out, Backend *below, clockid_t clock, Error *err);

// [OP_KINDS] of a null backend or a meter, and back to none.
const OpCost *backend_costs(const Backend *null);
void backend_costs_clear(Backend *null);

#endif
