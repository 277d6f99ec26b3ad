// A run's YAML config: what is read prints as YAML that reads back to the same.
#include "check.h"
#include "config.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static RunConfig config, again;
  Error err;
  config_defaults(&config);
  if (config_read_text(&config, "fuzz.yaml", data, (int64_t)size, &err) != STATUS_OK) return 0;
  config_check(&config, &err);
  for (int explain = 0; explain < 2; explain++) {
    char *text = config_dump(&config, explain);
    CHECK(text != NULL, "no memory");
    config_defaults(&again);
    Status status = config_read_text(&again, "again.yaml", text, (int64_t)strlen(text), &err);
    CHECK(status == STATUS_OK, "%s", err.message);
    CHECK(memcmp(&config, &again, sizeof config) == 0, "%s", text);
    free(text);
  }
  return 0;
}
