// Lists of items and JSONL, as they are or compressed.
#include "fuzz.h"
#include "json_items.h"
#include "tmp_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  JsonItems *items;
  int64_t done, total;
  tmp_put("items", data, (int64_t)size);
  if (json_items_open(&items, tmp_path("items"), &err) != STATUS_OK) return 0;
  for (;;) {
    JsonItem item;
    if (json_items_next(items, &item, &err) != STATUS_OK || item.value == NULL) break;
    json_items_error(items, &item, &err, "item of %lld bytes", (long long)item.size);
    json_items_progress(items, &done, &total);
  }
  json_items_close(items);
  return 0;
}
