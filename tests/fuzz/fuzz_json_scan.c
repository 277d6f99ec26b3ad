// The JSON scanner against the parser of whole documents: what the parser takes, the scanner takes,
// too, and reads the same strings.
#include "check.h"
#include "fuzz.h"
#include "json_items.h"
#include "json_scan.h"

#include <stdlib.h>
#include <string.h>

// Walks the value and decodes every key and string; bounded by the scanner's own limit of depth.
static Status walk(JsonScan *scan, Error *err) {
  Status status = STATUS_OK;
  JsonString string;
  int64_t number, length;
  double real;
  bool more, flag;
  char *copy;
  JsonScan before = *scan;
  switch (json_scan_peek(scan)) {
  case JSON_KIND_OBJECT:
    TRY(json_scan_object(scan, err));
    for (;;) {
      TRY(json_scan_member(scan, &string, &more, err));
      if (!more) break;
      copy = json_string_copy(&string, &length);
      CHECK(copy != NULL && length <= string.size, "%lld", (long long)length);
      if ((int64_t)strlen(copy) == length) CHECK(json_string_is(&string, copy), "%s", copy);
      free(copy);
      TRY(walk(scan, err));
    }
    break;
  case JSON_KIND_ARRAY:
    TRY(json_scan_array(scan, err));
    for (;;) {
      TRY(json_scan_element(scan, &more, err));
      if (!more) break;
      TRY(walk(scan, err));
    }
    break;
  case JSON_KIND_STRING:
    return json_scan_string(scan, &string, err);
  case JSON_KIND_NUMBER:
    if (json_scan_int(scan, INT64_MIN, INT64_MAX, &number, err) == STATUS_OK) return STATUS_OK;
    *scan = before;
    return json_scan_number(scan, &real, err);
  case JSON_KIND_TRUE:
  case JSON_KIND_FALSE:
    return json_scan_bool(scan, &flag, err);
  default:
    return json_scan_skip(scan, err);
  }
done:
  return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Error err;
  json_t *root;
  JsonScan skip = json_scan_make("fuzz.json", data, (int64_t)size), step = skip;
  Status skipped = json_scan_skip(&skip, &err);
  Status walked = walk(&step, &err);
  CHECK(skipped == walked, "%d %d", (int)skipped, (int)walked);
  if (skipped == STATUS_OK) {
    CHECK(skip.pos == step.pos, "%lld %lld", (long long)skip.pos, (long long)step.pos);
    skipped = json_scan_end(&skip, &err);
  }
  if (json_document_parse(&root, "fuzz.json", data, (int64_t)size, &err) == STATUS_OK) {
    CHECK(skipped == STATUS_OK, "the parser takes what the scanner refuses");
    json_decref(root);
  }
  return 0;
}
