#include "config_options.h"

#include "check.h"
#include "mapped_file.h"
#include "quote.h"

#include <stdlib.h>
#include <string.h>

void config_defaults(RunConfig *config) {
  memset(config, 0, sizeof *config);
  for (int i = 0; i < config_n_options; i++) {
    const ConfigOption *option = &config_options[i];
    Error err = {0};
    Status status = option_set(option, config, option->default_text,
                               (int64_t)strlen(option->default_text), "default", &err);
    CHECK(status == STATUS_OK, "%s", err.message);
  }
}

Status config_override(RunConfig *config, const char *key_value, Error *err) {
  char place[160];
  snprintf(place, sizeof place, "command line: %s", quote_text(key_value).text);
  const char *equals = strchr(key_value, '=');
  if (equals == NULL || equals == key_value) {
    return error_set(err, STATUS_USAGE, "%s: expected key=value, for example train.lr=1e-4", place);
  }
  char key[2 * CONFIG_KEY_BYTES];
  snprintf(key, sizeof key, "%.*s",
           (int)(equals - key_value < CONFIG_KEY_BYTES ? equals - key_value : CONFIG_KEY_BYTES),
           key_value);
  const ConfigOption *option = config_option_find(key);
  if (option == NULL) return config_unknown_key(place, key, err);
  return option_set(option, config, equals + 1, (int64_t)strlen(equals + 1), place, err);
}

// Whether all required keys but one (NULL: all) are there.
static Status check_required(const RunConfig *config, const char *but, Error *err) {
  for (int i = 0; i < config_n_options; i++) {
    const ConfigOption *option = &config_options[i];
    const char *text = (const char *)config + option->offset;
    if (!option->required || text[0] != '\0') continue;
    if (but != NULL && strcmp(option->key, but) == 0) continue;
    return error_set(err, STATUS_USAGE,
                     "the key '%s' is missing: set it in the config file, or give %s=... on the "
                     "command line",
                     option->key, option->key);
  }
  return STATUS_OK;
}

Status config_check(const RunConfig *config, Error *err) {
  return check_required(config, NULL, err);
}

Status config_check_data(const RunConfig *config, Error *err) {
  return check_required(config, "output.dir", err);
}

Status config_check_plan(const RunConfig *config, Error *err) {
  if (config->model.preset[0] != '\0' || config->model.path[0] != '\0') return STATUS_OK;
  return error_set(err, STATUS_USAGE,
                   "a plan needs a model: model.path=... (its files), or model.preset=llama-7b (a "
                   "model's sizes, without files)");
}

Status config_read_file(RunConfig *config, const char *path, Error *err) {
  Status status = STATUS_OK;
  char *text = NULL;
  int64_t size;
  status = file_read_all(&text, &size, path, CONFIG_FILE_BYTES_MAX, err);
  if (status == STATUS_DATA) { // too long to be a config
    status = STATUS_USAGE;
    if (err != NULL) err->status = status;
  }
  TRY(status);
  TRY(config_read_text(config, path, text, size, err));
done:
  free(text);
  return status;
}

Status config_read(RunConfig *config, const char *path, const char *const *overrides, int n,
                   Error *err) {
  Status status = STATUS_OK;
  config_defaults(config);
  if (path != NULL) TRY(config_read_file(config, path, err));
  for (int i = 0; i < n; i++) TRY(config_override(config, overrides[i], err));
done:
  return status;
}

Status config_load(RunConfig *config, const char *path, const char *const *overrides, int n,
                   Error *err) {
  Status status = config_read(config, path, overrides, n, err);
  return status == STATUS_OK ? config_check(config, err) : status;
}

static void print_cut(char *out, size_t room, const ConfigOption *option, const RunConfig *config) {
  char *text = NULL;
  size_t size = 0;
  FILE *stream = open_memstream(&text, &size);
  CHECK(stream != NULL, "no memory for a config's value");
  option_print(option, config, stream);
  CHECK(fclose(stream) == 0, "no memory for a config's value");
  size_t n = 0; // whole characters only
  while (n < size) {
    int length = utf8_character_length((const uint8_t *)text + n, (int64_t)(size - n));
    if (length < 1) length = 1;
    if (n + (size_t)length >= room) break;
    n += (size_t)length;
  }
  memcpy(out, text, n);
  out[n] = '\0';
  free(text);
}

const char *config_difference(const RunConfig *before, const RunConfig *now,
                              ConfigDifference *texts) {
  for (int i = 0; i < config_n_options; i++) {
    const ConfigOption *option = &config_options[i];
    const char *a = (const char *)before + option->offset, *b = (const char *)now + option->offset;
    if (!option->decides || memcmp(a, b, (size_t)option->bytes) == 0) continue;
    print_cut(texts->before, sizeof texts->before, option, before);
    print_cut(texts->now, sizeof texts->now, option, now);
    return option->key;
  }
  return NULL;
}
