// The weights of a model, whatever file they lie in, under their Hugging Face names: a folder with
// model.safetensors or its shards, one .safetensors file, or one GGUF file.
//
// GGUF names become Hugging Face names ("blk.0.attn_q.weight" -> "model.layers.0.self_attn.q_proj.
// weight"), shapes are in torch's order, and the rows of q and k, which llama.cpp stores with
// interleaved rotary pairs, come out in Hugging Face's order: GGUF row h*D + 2i+j is row
// h*D + j*D/2 + i (models of architecture "llama" only; all others are refused).
// "*.rotary_emb.inv_freq" of old files and GGUF's rope_freqs.weight are not listed.
#ifndef VMA_TENSOR_STORE_H
#define VMA_TENSOR_STORE_H

#include "error.h"
#include "gguf.h"
#include "sha256.h"
#include "tensor.h"

#include <stdbool.h>
#include <stdint.h>

enum { STORE_DIMS_MAX = 8 };

typedef struct TensorStore TensorStore;

typedef struct StoreTensor {
  const char *name;       // Hugging Face name
  const char *file_name;  // its name in the file
  const char *path;       // the file that holds it
  const char *dtype_name; // of the file, e.g. "BF16", "Q4_1", "F8_E4M3"
  DType dtype;            // of the file; DT_COUNT when store_read_rows cannot convert it
  int ndim;               // 0: a scalar
  int64_t shape[STORE_DIMS_MAX];
  int64_t rows, cols; // as a matrix: [shape[0], product of the rest]; one dimension: [1, shape[0]]
  int64_t offset;     // of the data in the file, bytes
  int64_t bytes;
} StoreTensor;

// Opens `path`: a folder, a .safetensors or a .gguf file. Checks the headers and that every tensor
// of an index is in the shard that it names; reads no weights.
Status store_open(TensorStore **store, const char *path, Error *err);

// May be given NULL.
void store_close(TensorStore *store);

// What was given to store_open.
const char *store_path(const TensorStore *store);

// The folder with the model's other files (config.json, ...): the path itself or the file's folder.
const char *store_folder(const TensorStore *store);

// NULL when the store is no GGUF file.
const Gguf *store_gguf(const TensorStore *store);

// Tensors sorted by name.
int64_t store_count(const TensorStore *store);
const StoreTensor *store_at(const TensorStore *store, int64_t index);

// NULL when there is none of this name.
const StoreTensor *store_find(const TensorStore *store, const char *name);

// dst[r,:] = the tensor's row row0 + r as f32 or bf16, for r < rows.
//   dst     rows of `cols` elements, `stride` elements apart; overwritten
//   dtype   DT_F32 or DT_BF16
// Values: f16 and bf16 are exact in f32. A quantised weight is q * d or q * d + m, each operation
// rounded to f32 (as the gguf package does). To bf16: rounded once, to nearest even, from the f32
// value. Runs on the OpenMP threads; the same bits for any number of them.
// STATUS_DATA when the file's type cannot be converted (named) or the file changed underneath.
Status store_read_rows(const TensorStore *store, const StoreTensor *tensor, int64_t row0,
                       int64_t rows, DType dtype, void *dst, int64_t stride, Error *err);

// The tensor's bytes as they lie in the file, of its own dtype and order (a GGUF file's q and k
// rows are not in Hugging Face's). store_check after the last use, before what was read counts:
// STATUS_DATA or STATUS_IO when a file changed underneath or could not be read.
const uint8_t *store_bytes(const TensorStore *store, const StoreTensor *tensor);
Status store_check(const TensorStore *store, Error *err);

// Adds the bytes to a hash, piece by piece: a page that is read counts as memory of the process
// until it is given back.
void store_hash_bytes(const TensorStore *store, const StoreTensor *tensor, Sha256 *sha);

// Gives the file pages of a tensor that was converted back to the system.
void store_release_pages(const TensorStore *store, const StoreTensor *tensor);

// The identity of the weights: SHA-256 over the names, file dtypes, shapes and stored bytes of all
// listed tensors, in the order of their names; 64 hex digits. One file or shards give the same
// hash, GGUF and safetensors of one model do not. Reads all data: about 1.5 GB/s a thread where the
// CPU has SHA instructions. Computed at the first call, kept after.
Status store_hash(TensorStore *store, char hex[65], Error *err);

#endif
