// labels: quick
// 100,000 generated strings against the reference, by one hash for each 1,000: the tiny tokenizers
// of the tree, of every kind that is read, and the real vocabularies of shared/data where it is.
#include "test.h"
#include "token_strings.h"

#define GOLDEN "tests/golden/tokenizer/"

// Under a sanitizer this is several times slower: there every tenth block does.
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 10 };
#else
enum { STRIDE = 1 };
#endif

static void recipe(void) {
  token_strings_check_recipe();
}

static void check_all(const char *const *names, int n, const char *format) {
  for (int i = 0; i < n; i++) {
    char path[1024], name[64];
    // A name like "gguf_smollm" has its file under the second part.
    const char *file = strchr(names[i], '_');
    snprintf(name, sizeof name, "%s", names[i]);
    snprintf(path, sizeof path, format, file == NULL ? names[i] : file + 1);
    token_strings_check(name, path, STRIDE);
  }
}

static void json(void) {
  static const char *const names[] = {"bytes", "llama3", "prefix", "legacy", "metaspace", "words"};
  check_all(names, 6, GOLDEN "%s/tokenizer.json");
}

static void model(void) {
  static const char *const names[] = {"spm", "plain", "bare", "across", "unused"};
  check_all(names, 5, GOLDEN "%s/tokenizer.model");
}

static void gguf(void) {
  static const char *const names[] = {"gguf_default", "gguf_gpt-2", "gguf_smollm", "gguf_starcoder",
                                      "gguf_llama-bpe"};
  check_all(names, 5, GOLDEN "gguf/%s.gguf");
  token_strings_check("spm", GOLDEN "gguf/spm.gguf", STRIDE);
  token_strings_check("bare", GOLDEN "gguf/bare.gguf", STRIDE);
}

static void shared(void) {
  const char *folder = test_shared_data();
  char path[1024];
  if (folder == NULL) {
    printf("shared/data is absent: its vocabularies were not compared\n");
    return;
  }
  static const struct {
    const char *name, *file;
  } items[] = {{"shared_gpt-2", "gpt-2.gguf"},
               {"shared_starcoder", "starcoder.gguf"},
               {"shared_llama", "llama.tokenizer.model"},
               {"shared_llama", "llama-spm.gguf"}};
  for (int i = 0; i < 4; i++) {
    snprintf(path, sizeof path, "%s/tokenizers/%s", folder, items[i].file);
    token_strings_check(items[i].name, path, STRIDE);
  }
}

int main(void) {
  RUN(recipe);
  RUN(json);
  RUN(model);
  RUN(gguf);
  RUN(shared);
  return test_done();
}
