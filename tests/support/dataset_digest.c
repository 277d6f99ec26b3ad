#include "dataset_digest.h"

#include "json_items.h"
#include "sha256.h"
#include "test.h"

static void add_i32(Sha256 *sha, int32_t value) {
  uint32_t v = (uint32_t)value;
  uint8_t bytes[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
  sha256_add(sha, bytes, 4);
}

int32_t first_label(const Dataset *d, int64_t example) {
  const Example *e = &d->examples[example];
  int32_t start = e->n - e->n_labels;
  for (int32_t i = 0; i < e->n; i++) {
    EXPECT(token_is_label(d->tokens[e->first + i]) == (i >= start), "item %d: token %d of %d, %d",
           e->item, i, e->n, start);
  }
  return start;
}

static void digest_of(const Dataset *d, char hex[SHA256_HEX]) {
  Sha256 sha;
  uint8_t digest[SHA256_BYTES];
  sha256_init(&sha);
  for (int64_t i = 0; i < d->n; i++) {
    const Example *e = &d->examples[i];
    add_i32(&sha, first_label(d, i));
    for (int32_t k = 0; k < e->n; k++) add_i32(&sha, token_id(d->tokens[e->first + k]));
  }
  sha256_finish(&sha, digest);
  sha256_to_hex(digest, hex);
}

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text != NULL ? text : "";
}

static int64_t integer_of(const json_t *object, const char *key) {
  return json_integer_value(json_object_get(object, key));
}

static const json_t *find_entry(const json_t *root, const char *vocabulary, const char *name) {
  const json_t *entry;
  size_t i;
  json_array_foreach(json_object_get(root, "files"), i, entry) {
    if (strcmp(text_of(entry, "tokenizer"), vocabulary) != 0) continue;
    if (strcmp(text_of(entry, "path"), name) == 0) return entry;
    if (strcmp(text_of(entry, "shared"), name) == 0) return entry;
  }
  return NULL;
}

void dataset_digest_check(const char *vocabulary, const char *name, const char *tokenizer_path,
                          const char *data) {
  Error err = {0};
  json_t *root = NULL;
  Tokenizer *tokenizer = NULL;
  EXPECT(json_document_load(&root, "tests/golden/dataset/expected.json", 1 << 22, &err) ==
             STATUS_OK,
         "%s", err.message);
  const json_t *entry = find_entry(root, vocabulary, name);
  EXPECT(entry != NULL, "no entry of %s by %s", name, vocabulary);
  EXPECT(tokenizer_open(&tokenizer, tokenizer_path, &err) == STATUS_OK, "%s", err.message);
  if (entry == NULL || tokenizer == NULL) exit(test_done());
  DatasetOptions options = {
      .template = template_builtin(template_kind_from_name(text_of(entry, "template"))),
      .cutoff_len = integer_of(entry, "cutoff_len"),
  };
  Dataset d;
  EXPECT(dataset_load(&d, data, tokenizer, &options, &err) == STATUS_OK, "%s", err.message);
  const DatasetStats *s = &d.stats;
  char hex[SHA256_HEX];
  digest_of(&d, hex);
  printf("%s: %lld items, %lld tokens, %lld labels; lengths %d to %d, median %d\n", name,
         (long long)s->items, (long long)s->tokens, (long long)s->label_tokens, s->shortest,
         s->longest, s->median);
  EXPECT(s->items == integer_of(entry, "items") && s->tokens == integer_of(entry, "tokens"));
  EXPECT(s->label_tokens == integer_of(entry, "label_tokens"));
  EXPECT(strcmp(hex, text_of(entry, "sha256")) == 0, "%s", hex);
  dataset_free(&d);
  tokenizer_close(tokenizer);
  json_decref(root);
}
