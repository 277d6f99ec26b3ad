#include "model_commands.h"

#include "quote.h"

#include <time.h>
#include <unistd.h>

error_t model_argument(ModelArguments *common, int key, char *text, struct argp_state *state) {
  (void)state;
  const char **to = &common->model;
  if (key != 'm' && key != ARGP_KEY_ARG) return ARGP_ERR_UNKNOWN;
  if (key == ARGP_KEY_ARG && common->free_arguments > 1 && common->model != NULL)
    to = &common->second;
  bool accepted = key == 'm' || (common->free_arguments > 0 && *to == NULL);
  if (accepted) {
    *to = text;
  } else if (common->status == STATUS_OK) {
    common->status = error_set(common->err, STATUS_USAGE, "unexpected %s", quote_text(text).text);
  }
  return 0;
}

Status model_parse(const struct argp *argp, int argc, char **argv, ModelArguments *input) {
  argp_parse(argp, argc, argv, 0, NULL, input);
  return input->status;
}

Status model_required(const char *command, const ModelArguments *common) {
  if (common->model != NULL && common->model[0] != '\0') return STATUS_OK;
  return error_set(common->err, STATUS_USAGE, "%s: of which model? give --model PATH", command);
}

void model_progress(void *context, int64_t done, int64_t all) {
  static double shown;
  struct timespec now;
  if (!isatty(STDERR_FILENO)) return;
  clock_gettime(CLOCK_MONOTONIC, &now);
  double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
  if (done < all && seconds < shown + 0.2) return;
  shown = seconds;
  if (done >= all) {
    fprintf(stderr, "\r\033[K");
    return;
  }
  fprintf(stderr, "\r\033[K%s %3.0f %% of %.1f MiB", (const char *)context,
          100.0 * (double)done / (double)all, (double)all / (1 << 20));
}
