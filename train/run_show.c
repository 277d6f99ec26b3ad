// What a run shows before its first step.
#include "run_parts.h"

#include "length_groups.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

Status show_config(const RunConfig *config, Error *err) {
  char *text = config_dump(config, false);
  if (text == NULL) return error_set(err, STATUS_MEMORY, "no memory for the config's text");
  printf("# config\n%s\n", text);
  fflush(stdout);
  free(text);
  return STATUS_OK;
}

// What a framework that pads would spend on it; packed sequences spend none.
static void print_padding(const Run *run, FILE *to) {
  int64_t batch = run->config.train.batch_size, n = run->epoch_size;
  double share[2];
  for (int grouped = 0; grouped < 2; grouped++) {
    run_epoch_order(run->order, n, &run->config, &run->data, &run->split, 0, grouped);
    share[grouped] = length_groups_padding(run->order, n, &run->data, batch);
  }
  fprintf(to,
          "padding          none; batches of %" PRId64
          " padded to their longest would be %.1f %% padding, grouped by length %.1f %%\n",
          batch, 100 * share[0], 100 * share[1]);
}

static void print_files(const Run *run, FILE *to) {
  const Dataset *d = &run->data;
  const ConfigReals *weights = &run->config.data.weights;
  for (int64_t i = 0; d->n_files > 1 && i < d->n_files; i++) {
    const DatasetFile *f = &d->files[i];
    fprintf(to,
            "file             %s: %" PRId64 " items, %" PRId64 " examples, %" PRId64
            " tokens (%" PRId64 " labels), taken %g times an epoch\n",
            f->path, f->items, f->examples, f->tokens, f->label_tokens,
            weights->n > 0 ? weights->values[i] : 1.0);
  }
}

void print_data(const Run *run, FILE *to) {
  const DatasetStats *s = &run->data.stats;
  fprintf(to, "# data: %s\n", run->config.data.path);
  print_files(run, to);
  fprintf(to, "items            %" PRId64 " (%" PRId64 " with an input)\n", s->items,
          s->with_input);
  fprintf(to, "examples         %" PRId64 ": %" PRId64 " to train on, %" PRId64 " held out\n",
          s->examples, run->split.n_train, run->split.n_held_out);
  fprintf(to,
          "too long         %" PRId64 " cut, %" PRId64 " dropped at %" PRId64 " tokens; %" PRId64
          " lost what ends their answer\n",
          s->cut, s->dropped, run->config.data.cutoff_len, s->lost_end);
  fprintf(to, "without a label  %" PRId64 " (left out)\n", s->no_label);
  fprintf(to, "duplicates       %" PRId64 " (kept)\n", s->duplicates);
  if (s->unanswered > 0) {
    fprintf(to, "unanswered       %" PRId64 " last questions (left out)\n", s->unanswered);
  }
  fprintf(to, "tokens           %" PRId64 ", of which %" PRId64 " are labels%s\n", s->tokens,
          s->label_tokens, run->data.cached ? " (kept from an earlier run)" : "");
  fprintf(to, "length           shortest %d, median %d, 90 %% %d, 99 %% %d, longest %d\n",
          s->shortest, s->median, s->p90, s->p99, s->longest);
  print_padding(run, to);
  fprintf(to, "steps            %" PRId64 ", %" PRId64 " an epoch, %" PRId64 " of warm-up\n",
          run->total, run->per_epoch, run->warmup);
}
