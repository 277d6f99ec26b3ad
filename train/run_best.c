// The best held-out loss of a run: its weights are kept in output.dir/best, and when it does not
// improve any more the run may end. The loss before step 1 does not count.
#include "run_parts.h"

#include "checkpoint_folder.h"
#include "json_items.h"
#include "mapped_file.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BEST_NOTE "best.json"
enum { NOTE_BYTES_MAX = 4096, COPY_PIECE = 1 << 20 };

static Status write_note(const Run *run, const char *folder, Error *err) {
  char text[160];
  char *path = text_format("%s/" BEST_NOTE, folder);
  int n = snprintf(text, sizeof text, "{\"step\": %" PRId64 ", \"eval_loss\": %.17g}\n",
                   run->best.step, run->best.loss);
  Status status = file_write(path, text, n, err);
  free(path);
  return status;
}

// The step of a folder of best weights; -1: it is none.
static int64_t step_of(const char *folder) {
  json_t *root = NULL;
  json_int_t step = -1;
  char *path = text_format("%s/" BEST_NOTE, folder);
  if (json_document_load(&root, path, NOTE_BYTES_MAX, NULL) != STATUS_OK ||
      json_unpack(root, "{s:I}", "step", &step) != 0)
    step = -1;
  json_decref(root);
  free(path);
  return step;
}

static Status write_best(const Run *run, Error *err) {
  Status status = STATUS_OK;
  char *path = text_format("%s/best", run->config.output.dir);
  char *temp = text_format("%s/.new-best", run->config.output.dir);
  TRY(folder_remove(temp, err));
  TRY(run_write_weights(run, temp, err)); // makes it
  TRY(write_note(run, temp, err));        // last: what it stands in is whole
  TRY(folder_replace(temp, path, err));
done:
  if (status != STATUS_OK) folder_remove(temp, NULL);
  free(path);
  free(temp);
  return status;
}

Status run_consider_best(Run *run, double loss, Error *err) {
  RunBest *best = &run->best;
  if (run->step == 0) return STATUS_OK;
  bool better = isfinite(loss) && (best->step == 0 || loss < best->loss);
  if (!better) {
    best->waited++;
    return STATUS_OK;
  }
  *best = (RunBest){.loss = loss, .step = run->step};
  return run->config.output.best ? write_best(run, err) : STATUS_OK;
}

bool run_stops_early(const Run *run) {
  int64_t patience = run->config.train.early_stop;
  return patience > 0 && run->best.waited >= patience;
}

// ---- going on ----

static Status copy_file(const char *from, const char *to, Error *err) {
  MappedFile file = {.fd = -1};
  FileWriter writer = {.fd = -1};
  Status status = STATUS_OK;
  TRY(file_map(&file, from, err));
  TRY(file_writer_open(&writer, to, err));
  for (int64_t at = 0, n; at < file.size; at += n) { // a mapped page read is memory of the process
    n = file.size - at < COPY_PIECE ? file.size - at : COPY_PIECE;
    TRY(file_writer_put(&writer, file.data + at, n, err));
    file_release_pages(&file, at, n);
  }
  TRY(file_check(&file, err));
  TRY(file_writer_commit(&writer, err));
done:
  file_writer_abort(&writer);
  file_unmap(&file);
  return status;
}

static Status copy_folder(const char *from, const char *temp, const char *to, Error *err) {
  Status status = STATUS_OK;
  char *source = NULL, *target = NULL;
  DIR *dir = opendir(from);
  if (dir == NULL) TRY(error_set(err, STATUS_NO_INPUT, "%s: cannot be read", from));
  TRY(folder_remove(temp, err));
  TRY(file_make_folders(temp, err));
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    source = text_format("%s/%s", from, entry->d_name);
    target = text_format("%s/%s", temp, entry->d_name);
    TRY(copy_file(source, target, err));
    free(source);
    free(target);
    source = target = NULL;
  }
  TRY(folder_replace(temp, to, err));
done:
  if (status != STATUS_OK) folder_remove(temp, NULL);
  if (dir != NULL) closedir(dir);
  free(source);
  free(target);
  return status;
}

Status run_restore_best(Run *run, Error *err) {
  Status status = STATUS_OK;
  const char *dir = run->config.output.dir;
  char *path = text_format("%s/best", dir), *old = text_format("%s/.old-best", dir);
  char *temp = text_format("%s/.new-best", dir), *beside = NULL;
  // A replacement that was cut short between its two renames.
  if (!file_exists(path) && file_exists(old)) rename(old, path);
  folder_remove(old, NULL);
  if (run->resume_path == NULL) TRY(folder_remove(path, err));
  if (run->resume_path == NULL || run->best.step == 0 || !run->config.output.best) goto done;
  // One of a later step will be reached again.
  if (step_of(path) >= run->best.step) goto done;
  // Of another run's folder X, whose checkpoint X/checkpoints/step-N is.
  beside = text_format("%s/../../best", run->resume_path);
  if (step_of(beside) == run->best.step) {
    TRY(copy_folder(beside, temp, path, err));
  } else if (run->best.step == run->step) {
    TRY(write_best(run, err));
  } else {
    run->best.lost = true;
    TRY(folder_remove(path, err));
  }
done:
  free(beside);
  free(path);
  free(old);
  free(temp);
  return status;
}
