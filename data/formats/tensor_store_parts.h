// Private to tensor_store.c, store_*.c: how a TensorStore looks inside, and its parts.
#ifndef VMA_TENSOR_STORE_PARTS_H
#define VMA_TENSOR_STORE_PARTS_H

#include "safetensors.h"
#include "tensor_store.h"

typedef struct StoreShard {
  char *path;
  Safetensors st;         // not open when the store is a GGUF file
  const MappedFile *file; // of st or of the GGUF
  const uint8_t *data;    // the whole file's bytes
} StoreShard;

typedef struct StoreEntry {
  StoreTensor tensor; // first, so that a StoreTensor of this store is its entry
  char *name;         // tensor.name when it was made here, else NULL
  const StoreShard *shard;
  int64_t head_dim; // > 0: rows (of a bias: columns) in heads with interleaved rotary pairs
} StoreEntry;

struct TensorStore {
  char *path, *folder;
  Gguf *gguf;
  StoreShard *shards;
  int64_t n_shards;
  StoreEntry *entries; // sorted by name
  int64_t n_entries, capacity;
  char hash[65]; // "" until it is computed
};

// Fills shards and entries from a folder's shards and their index.
Status store_open_index(TensorStore *store, const char *index_path, Error *err);

// Opens one safetensors file as the shard and adds its tensors.
Status store_open_shard(TensorStore *store, StoreShard *shard, const char *path, Error *err);

// Fills shards and entries from a GGUF file.
Status store_open_gguf(TensorStore *store, Error *err);

// A new entry with the shape's rows and cols set; *entry stays valid until the next call.
Status store_add(TensorStore *store, const StoreShard *shard, const StoreTensor *tensor,
                 StoreEntry **entry, Error *err);

// The Hugging Face name of a llama tensor in a GGUF file, into name[room]; false when the name is
// none of llama's.
bool store_gguf_name(const char *gguf_name, char *name, int64_t room);

#endif
