// Saving and restoring; state.json is in checkpoint_state.c.
#include "checkpoint.h"

#include "check.h"
#include "checkpoint_folder.h"
#include "checkpoint_state.h"
#include "mapped_file.h"
#include "safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char kind_letters[STATE_KINDS + 1] = "wmv";

static int64_t trainable_params(const ParamTable *table) {
  int64_t n = 0;
  for (int64_t i = 0; i < table->n; i++) n += table->items[i].trainable;
  return n;
}

// ---- saving ----

// What the file asks for, in its own order.
typedef struct Source {
  Backend *be;
  Tensor *tensors; // by item
} Source;

static Status fill(void *context, int64_t item, int64_t first, int64_t count, void *dst,
                   Error *err) {
  const Source *source = context;
  (void)err;
  source->be->copy_out(source->be, dst, tensor_cols(source->tensors[item], first, count));
  return STATUS_OK;
}

static Status write_tensors(const char *path, const ParamTable *table, Backend *be, Error *err) {
  Status status = STATUS_OK;
  int64_t n = trainable_params(table) * STATE_KINDS, item = 0;
  SafetensorsItem *items = calloc((size_t)n + 1, sizeof *items);
  Source source = {.be = be, .tensors = calloc((size_t)n + 1, sizeof *source.tensors)};
  if (items == NULL || source.tensors == NULL)
    TRY(error_set(err, STATUS_MEMORY, "%s: no memory", path));
  for (int64_t i = 0; i < table->n; i++) {
    const Param *p = &table->items[i];
    for (int kind = 0; p->trainable && kind < STATE_KINDS; kind++, item++) {
      Tensor t = source.tensors[item] = optimizer_state(table, p, (StateKind)kind);
      CHECK(t.dtype == DT_F32, "%s: checkpoints hold f32", p->name);
      items[item] = (SafetensorsItem){
          .name = text_format("%c:%s[0:%" PRId64 "]", kind_letters[kind], p->name, t.cols),
          .dtype = DT_F32,
          .ndim = 1,
          .shape = {t.cols}};
    }
  }
  TRY(safetensors_write_stream(path, items, n, NULL, 0, fill, &source, err));
done:
  for (int64_t i = 0; i < item; i++) free((char *)items[i].name);
  free(items);
  free(source.tensors);
  return status;
}

static Status remove_oldest(const char *folder, int64_t newest, int64_t keep, Error *err) {
  Status status = STATUS_OK;
  int64_t *steps = NULL, n = 0, seen = 0;
  char *path = NULL, *hidden = NULL;
  TRY(checkpoint_list(folder, &steps, &n, err));
  for (int64_t i = 0; i < n && keep > 0; i++) {
    if (steps[i] > newest || ++seen <= keep) continue;
    path = checkpoint_path(folder, steps[i]);
    hidden = text_format("%s/.old-step-%06" PRId64, folder, steps[i]);
    // First out of sight: a folder that is half removed must not look like a checkpoint.
    if (rename(path, hidden) != 0)
      TRY(error_set(err, STATUS_IO, "%s: cannot be removed: %s", path, strerror(errno)));
    TRY(folder_remove(hidden, err));
    free(path);
    free(hidden);
    path = hidden = NULL;
  }
done:
  free(path);
  free(hidden);
  free(steps);
  return status;
}

Status checkpoint_save(const char *folder, const CheckpointState *state, const ParamTable *table,
                       Backend *be, const PeftAdapter *adapter, int64_t keep, Error *err) {
  Status status = STATUS_OK;
  char *path = checkpoint_path(folder, state->step);
  char *temp = text_format("%s/.new-step-%06" PRId64, folder, state->step);
  char *tensors = text_format("%s/" CHECKPOINT_TENSORS, temp);
  TRY(file_make_folders(folder, err));
  TRY(folder_remove(temp, err));
  TRY(file_make_folders(temp, err));
  TRY(write_tensors(tensors, table, be, err));
  if (adapter != NULL) TRY(peft_adapter_write(adapter, temp, err));
  TRY(checkpoint_state_write(state, temp, err)); // last: it holds the hash of the tensors
  TRY(folder_replace(temp, path, err));
  TRY(remove_oldest(folder, state->step, keep, err));
done:
  if (status != STATUS_OK) folder_remove(temp, NULL);
  free(path);
  free(temp);
  free(tensors);
  return status;
}

// ---- restoring ----

// Where a tensor's name says that it belongs.
static Status parse_name(const char *path, const SafeTensor *tensor, const ParamTable *table,
                         Tensor *to, Error *err) {
  char name[PARAM_NAME_MAX];
  const char *bracket = strrchr(tensor->name, '[');
  const char *kind = strchr(kind_letters, tensor->name[0]);
  int64_t first = 0, end = 0;
  int used = 0;
  bool sound = tensor->name[0] != '\0' && kind != NULL && tensor->name[1] == ':' &&
               bracket != NULL && bracket - tensor->name - 2 < PARAM_NAME_MAX &&
               sscanf(bracket, "[%" SCNd64 ":%" SCNd64 "]%n", &first, &end, &used) == 2 &&
               used > 0 && bracket[used] == '\0';
  if (sound) {
    snprintf(name, sizeof name, "%.*s", (int)(bracket - tensor->name - 2), tensor->name + 2);
    const Param *p = param_find(table, name);
    sound = p != NULL && p->trainable && first >= 0 && first < end &&
            end <= tensor_count(p->value.t) && tensor->dtype == DT_F32 && tensor->ndim == 1 &&
            tensor->shape[0] == end - first;
    if (sound) {
      Tensor flat = optimizer_state(table, p, (StateKind)(kind - kind_letters));
      *to = tensor_cols(flat, first, end - first);
    }
  }
  if (!sound) {
    return error_set(err, STATUS_DATA,
                     "%s: %s does not belong to what is trained here, or has another shape", path,
                     tensor->name);
  }
  return STATUS_OK;
}

Status checkpoint_restore(const char *path, ParamTable *table, Backend *be, Error *err) {
  Status status = STATUS_OK;
  Safetensors file = {0};
  char *tensors = text_format("%s/" CHECKPOINT_TENSORS, path);
  int64_t found = 0, expected = STATE_KINDS * param_count(table, true);
  TRY(safetensors_open(&file, tensors, err));
  for (int64_t i = 0; i < file.n_tensors; i++) {
    const SafeTensor *tensor = &file.tensors[i];
    Tensor to;
    TRY(parse_name(tensors, tensor, table, &to, err));
    be->copy_in(be, to, file.data + tensor->offset);
    found += to.cols;
  }
  if (found != expected) {
    TRY(error_set(err, STATUS_DATA, "%s: holds %" PRId64 " values, expected %" PRId64, tensors,
                  found, expected));
  }
  TRY(file_check(&file.file, err));
  param_round_masters(table, be);
done:
  safetensors_close(&file);
  free(tensors);
  return status;
}

// ---- folders ----

char *checkpoint_path(const char *folder, int64_t step) {
  return text_format("%s/step-%06" PRId64, folder, step);
}

static int newest_first(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x < y) - (x > y);
}

// The step of "step-000012"; -1 for any other name.
static int64_t step_of_name(const char *name) {
  int64_t step = -1;
  int used = 0;
  if (strncmp(name, "step-", 5) != 0 || strspn(name + 5, "0123456789") != strlen(name + 5) ||
      strlen(name) > 5 + 18)
    return -1;
  return sscanf(name, "step-%" SCNd64 "%n", &step, &used) == 1 && name[used] == '\0' ? step : -1;
}

Status checkpoint_list(const char *folder, int64_t **steps, int64_t *n, Error *err) {
  Status status = STATUS_OK;
  int64_t capacity = 0;
  *steps = NULL;
  *n = 0;
  DIR *dir = opendir(folder);
  if (dir == NULL) {
    if (errno == ENOENT) return STATUS_OK;
    return error_set(err, STATUS_IO, "%s: cannot be read: %s", folder, strerror(errno));
  }
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    int64_t step = step_of_name(entry->d_name);
    if (step < 0) continue;
    if (*n == capacity) {
      capacity = capacity * 2 + 16;
      int64_t *more = realloc(*steps, (size_t)capacity * sizeof **steps);
      if (more == NULL) TRY(error_set(err, STATUS_MEMORY, "%s: no memory", folder));
      *steps = more;
    }
    (*steps)[(*n)++] = step;
  }
  if (*n > 0) qsort(*steps, (size_t)*n, sizeof **steps, newest_first);
done:
  closedir(dir);
  return status;
}

void checkpoint_sweep(const char *folder) {
  DIR *dir = opendir(folder);
  if (dir == NULL) return;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (strncmp(entry->d_name, ".new-step-", 10) != 0 &&
        strncmp(entry->d_name, ".old-step-", 10) != 0)
      continue;
    char *path = text_format("%s/%s", folder, entry->d_name);
    folder_remove(path, NULL);
    free(path);
  }
  closedir(dir);
}
