#include "checkpoint_state.h"

#include "checkpoint_folder.h"
#include "file_hash.h"
#include "json_items.h"
#include "mapped_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_VERSION = 1, STATE_BYTES_MAX = 1 << 20 };

Status checkpoint_state_write(const CheckpointState *state, const char *folder, Error *err) {
  Status status = STATUS_OK;
  char hash[SHA256_HEX];
  json_t *root = NULL;
  char *text = NULL, *config = NULL;
  char *tensors = text_format("%s/" CHECKPOINT_TENSORS, folder);
  char *path = text_format("%s/" CHECKPOINT_STATE, folder);
  TRY(file_hash(tensors, hash, err));
  config = config_dump(&state->config, false);
  if (config != NULL) {
    root =
        json_pack("{s:i, s:s, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s}",
                  "version", STATE_VERSION, "vma_version", VMA_VERSION, "step",
                  (json_int_t)state->step, "epoch", (json_int_t)state->epoch, "in_epoch",
                  (json_int_t)state->in_epoch, "evaluated", state->evaluated, "skipped",
                  (json_int_t)state->skipped, "skipped_in_row", (json_int_t)state->skipped_in_row,
                  "threads", (json_int_t)state->threads, "gemm_path", state->gemm_path,
                  "data_sha256", state->data_sha256, "template_sha256", state->template_sha256,
                  "base_hash", state->base_hash, "trainer_sha256", hash, "config", config);
    if (root != NULL && state->best_step > 0) {
      json_object_set_new(root, "best",
                          json_pack("{s:I, s:f, s:I}", "step", (json_int_t)state->best_step,
                                    "eval_loss", state->best_loss, "waited",
                                    (json_int_t)state->waited));
    }
  }
  if (root != NULL) text = json_dumps(root, JSON_INDENT(2));
  if (text == NULL) TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  TRY(file_write(path, text, (int64_t)strlen(text), err));
done:
  free(text);
  free(config);
  json_decref(root);
  free(tensors);
  free(path);
  return status;
}

static Status damaged(const char *path, Error *err, const char *what) {
  return error_set(err, STATUS_DATA, "%s: the checkpoint is damaged: %s", path, what);
}

static Status read_fields(CheckpointState *state, const char *path, json_t *root,
                          const char **config, const char **hash, Error *err) {
  json_int_t step = 0, epoch = 0, in_epoch = 0, threads = 0, skipped = 0, in_row = 0;
  json_int_t best_step = 0, waited = 0;
  double best_loss = 0;
  const char *gemm = NULL, *data = NULL, *base = NULL, *template = "";
  int version = 0, evaluated = 0;
  if (json_unpack(root,
                  "{s:i, s:I, s:I, s:I, s:I, s?b, s?I, s?I, s:s, s:s, s?s, s:s, s:s, s:s, s?{s:I, "
                  "s:f, s:I}}",
                  "version", &version, "step", &step, "epoch", &epoch, "in_epoch", &in_epoch,
                  "threads", &threads, "evaluated", &evaluated, "skipped", &skipped,
                  "skipped_in_row", &in_row, "gemm_path", &gemm, "data_sha256", &data,
                  "template_sha256", &template, "base_hash", &base, "trainer_sha256", hash,
                  "config", config, "best", "step", &best_step, "eval_loss", &best_loss, "waited",
                  &waited) != 0)
    return damaged(path, err, CHECKPOINT_STATE " lacks a field or has one of another type");
  if (version != STATE_VERSION) {
    return error_set(err, STATUS_DATA,
                     "%s: a checkpoint of version %d; this program reads version %d", path, version,
                     STATE_VERSION);
  }
  if (strlen(data) != 64 || (template[0] != '\0' && strlen(template) != 64) || strlen(base) != 64 ||
      strlen(*hash) != 64 || strlen(gemm) >= sizeof state->gemm_path || step < 0 || skipped < 0 ||
      skipped > step || in_row < 0 || in_row > skipped || best_step < 0 || best_step > step ||
      waited < 0)
    return damaged(path, err, CHECKPOINT_STATE " has a field that is out of range");
  *state = (CheckpointState){.step = step,
                             .epoch = epoch,
                             .in_epoch = in_epoch,
                             .threads = threads,
                             .evaluated = evaluated != 0,
                             .skipped = skipped,
                             .skipped_in_row = in_row,
                             .best_loss = best_loss,
                             .best_step = best_step,
                             .waited = waited};
  snprintf(state->gemm_path, sizeof state->gemm_path, "%s", gemm);
  snprintf(state->data_sha256, sizeof state->data_sha256, "%s", data);
  snprintf(state->template_sha256, sizeof state->template_sha256, "%s", template);
  snprintf(state->base_hash, sizeof state->base_hash, "%s", base);
  return STATUS_OK;
}

Status checkpoint_read(CheckpointState *state, const char *path, Error *err) {
  Status status = STATUS_OK;
  char found[SHA256_HEX];
  const char *config = NULL, *hash = NULL;
  json_t *root = NULL;
  char *file = text_format("%s/" CHECKPOINT_STATE, path);
  char *tensors = text_format("%s/" CHECKPOINT_TENSORS, path);
  TRY(json_document_load(&root, file, STATE_BYTES_MAX, err));
  TRY(read_fields(state, path, root, &config, &hash, err));
  config_defaults(&state->config);
  if (config_read_text(&state->config, file, config, (int64_t)strlen(config), err) != STATUS_OK) {
    error_prefix(err, "%s: the config in it cannot be read", path);
    TRY(err->status = STATUS_DATA);
  }
  TRY(file_hash(tensors, found, err));
  if (strcmp(found, hash) != 0)
    TRY(damaged(path, err,
                CHECKPOINT_TENSORS " has another SHA-256 than " CHECKPOINT_STATE " says"));
done:
  json_decref(root);
  free(file);
  free(tensors);
  return status;
}
