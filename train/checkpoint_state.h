// The file state.json of a checkpoint (checkpoint.h).
#ifndef VMA_CHECKPOINT_STATE_H
#define VMA_CHECKPOINT_STATE_H

#include "checkpoint.h"

#define CHECKPOINT_TENSORS "trainer.safetensors"
#define CHECKPOINT_STATE "state.json"

// Writes folder/state.json, with the SHA-256 of folder/trainer.safetensors.
Status checkpoint_state_write(const CheckpointState *state, const char *folder, Error *err);

#endif
