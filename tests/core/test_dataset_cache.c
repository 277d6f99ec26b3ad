// labels: quick
// Token ids kept from one run to the next: the same data set comes out of the cache; all that
// decides the ids chooses another file; a damaged file is said, passed over and replaced; a folder
// that cannot be written is a warning; processes at once leave a sound file.
#include "dataset.h"
#include "mapped_file.h"
#include "test.h"
#include "tmp_file.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static Tokenizer *bpe, *spm;
static char folder[512], data[512], warning[2000];
static int warnings;

static void note_warning(const char *message) {
  warnings++;
  snprintf(warning, sizeof warning, "%s", message);
}

static DatasetOptions options_of(TemplateKind kind) {
  return (DatasetOptions){.template = template_builtin(kind),
                          .cutoff_len = 60,
                          .cache_dir = folder,
                          .warn = note_warning};
}

static Dataset load(const Tokenizer *tokenizer, DatasetOptions options) {
  Dataset d;
  Error err = {0};
  EXPECT(dataset_load(&d, data, tokenizer, &options, &err) == STATUS_OK, "%s", err.message);
  if (d.n == 0) exit(test_done());
  return d;
}

static void expect_same(const Dataset *a, const Dataset *b) {
  EXPECT(a->n == b->n && a->n_tokens == b->n_tokens && a->n_files == b->n_files);
  EXPECT(memcmp(a->tokens, b->tokens, (size_t)a->n_tokens * sizeof *a->tokens) == 0);
  EXPECT(memcmp(&a->stats, &b->stats, sizeof a->stats) == 0);
  EXPECT(strcmp(a->sha256, b->sha256) == 0);
  for (int64_t i = 0; i < a->n; i++) {
    const Example *x = &a->examples[i], *y = &b->examples[i];
    EXPECT(x->first == y->first && x->n == y->n && x->n_labels == y->n_labels &&
           x->item == y->item && x->cut == y->cut);
  }
  for (int64_t i = 0; i < a->n_files; i++) {
    const DatasetFile *x = &a->files[i], *y = &b->files[i];
    EXPECT(strcmp(x->path, y->path) == 0 && x->format == y->format && x->first == y->first);
    EXPECT(x->examples == y->examples && x->items == y->items && x->tokens == y->tokens &&
           x->label_tokens == y->label_tokens);
  }
}

// How many files there are; the path of one of them.
static int count_files(char path[800]) {
  int n = 0;
  DIR *dir = opendir(folder);
  if (dir == NULL) return 0;
  for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
    if (e->d_name[0] == '.') continue;
    if (path != NULL) snprintf(path, 800, "%s/%s", folder, e->d_name);
    n++;
  }
  closedir(dir);
  return n;
}

static void clear(void) {
  char path[800];
  while (count_files(path) > 0) EXPECT(unlink(path) == 0);
}

static void test_kept(void) {
  clear();
  snprintf(data, sizeof data, "%s,%s", tmp_path("a.json"), tmp_path("b.txt"));
  Dataset fresh = load(bpe, options_of(TEMPLATE_CHATML)), kept;
  EXPECT(!fresh.cached && count_files(NULL) == 1);
  kept = load(bpe, options_of(TEMPLATE_CHATML));
  EXPECT(kept.cached && count_files(NULL) == 1 && warnings == 0, "%s", warning);
  expect_same(&fresh, &kept);
  dataset_free(&kept);
  DatasetOptions off = options_of(TEMPLATE_CHATML);
  off.cache_dir = "off";
  kept = load(bpe, off);
  EXPECT(!kept.cached);
  expect_same(&fresh, &kept);
  dataset_free(&kept);
  dataset_free(&fresh);
}

static void expect_fresh(const char *what, const Tokenizer *tokenizer, DatasetOptions options) {
  int before = count_files(NULL);
  Dataset d = load(tokenizer, options);
  EXPECT(!d.cached && count_files(NULL) == before + 1, "%s", what);
  dataset_free(&d);
}

static void test_key(void) {
  clear();
  snprintf(data, sizeof data, "%s", tmp_path("a.json"));
  DatasetOptions o = options_of(TEMPLATE_NONE);
  expect_fresh("first", bpe, o);
  expect_fresh("tokenizer", spm, o);
  o.cutoff_len = 59;
  expect_fresh("cutoff_len", bpe, o);
  o = options_of(TEMPLATE_NONE);
  o.train_on_inputs = true;
  expect_fresh("train_on_inputs", bpe, o);
  o = options_of(TEMPLATE_NONE);
  o.over_length = OVER_LENGTH_DROP;
  expect_fresh("over_length", bpe, o);
  o = options_of(TEMPLATE_NONE);
  o.format = DATA_FORMAT_ALPACA;
  expect_fresh("format", bpe, o);
  expect_fresh("template", bpe, options_of(TEMPLATE_ALPACA_SHORT));
  Template own = *template_builtin(TEMPLATE_NONE);
  own.next = "\n\n";
  o = options_of(TEMPLATE_NONE);
  o.template = &own;
  expect_fresh("one text of a template", bpe, o);
  tmp_put_text("a.json", "{\"instruction\":\"What?\",\"output\":\"That!\"}");
  expect_fresh("data", bpe, options_of(TEMPLATE_NONE));
}

static void test_damaged(void) {
  clear();
  char path[800], *bytes = NULL;
  int64_t size, n = 0;
  Error err = {0};
  Dataset fresh = load(bpe, options_of(TEMPLATE_NONE));
  EXPECT(count_files(path) == 1);
  EXPECT(file_read_all(&bytes, &size, path, 1 << 24, &err) == STATUS_OK, "%s", err.message);
  for (int64_t at = 0; at < size; at += 7, n++) {
    bytes[at] ^= 0x10;
    int64_t left = n % 5 == 4 ? at : size; // every fifth is cut there instead
    unlink(path);
    EXPECT(file_write(path, bytes, left, &err) == STATUS_OK, "%s", err.message);
    bytes[at] ^= 0x10;
    warnings = 0;
    Dataset d = load(bpe, options_of(TEMPLATE_NONE));
    EXPECT(!d.cached && warnings == 1 && strstr(warning, "damaged; the data are") != NULL,
           "byte %lld: %d, %s", (long long)at, warnings, warning);
    expect_same(&fresh, &d);
    dataset_free(&d);
  }
  Dataset d = load(bpe, options_of(TEMPLATE_NONE)); // and replaced
  EXPECT(d.cached && n > 20, "%lld", (long long)n);
  dataset_free(&d);
  dataset_free(&fresh);
  free(bytes);
}

static void test_folders(void) {
  char before[sizeof folder], path[800];
  memcpy(before, folder, sizeof folder);
  snprintf(folder, sizeof folder, "%s/no/folder", tmp_path("a.json")); // below a file
  warnings = 0;
  Dataset d = load(bpe, options_of(TEMPLATE_NONE));
  EXPECT(!d.cached && warnings == 1 && strncmp(warning, "data.cache_dir: ", 16) == 0, "%s",
         warning);
  dataset_free(&d);
  memcpy(folder, before, sizeof folder);
  clear();
  // The user's own folder: for a MiB and more.
  snprintf(path, sizeof path, "%s", tmp_path("home"));
  setenv("XDG_CACHE_HOME", path, 1);
  DatasetOptions o = options_of(TEMPLATE_NONE);
  o.cache_dir = "";
  d = load(bpe, o);
  EXPECT(!file_exists(path));
  dataset_free(&d);
  enum { LARGE = 1 << 20 };
  char *text = malloc(LARGE);
  memset(text, 'x', LARGE);
  for (int i = 0; i < LARGE; i += 50) text[i] = '\n';
  tmp_put("large.txt", text, LARGE);
  free(text);
  snprintf(data, sizeof data, "%s", tmp_path("large.txt"));
  d = load(bpe, o);
  Dataset again = load(bpe, o);
  EXPECT(!d.cached && again.cached);
  expect_same(&d, &again);
  struct stat st;
  snprintf(folder, sizeof folder, "%s", tmp_path("home/vma"));
  EXPECT(count_files(path) == 1 && stat(path, &st) == 0 && (st.st_mode & 0777) == 0600,
         "others may read what was private: %o", st.st_mode & 0777);
  memcpy(folder, before, sizeof folder);
  dataset_free(&d);
  dataset_free(&again);
}

static void test_at_once(void) {
  clear();
  pid_t children[4];
  for (int i = 0; i < 4; i++) {
    children[i] = fork();
    if (children[i] == 0) {
      Dataset d = load(bpe, options_of(TEMPLATE_NONE));
      dataset_free(&d);
      _exit(warnings);
    }
  }
  for (int i = 0; i < 4; i++) {
    int code = -1;
    EXPECT(waitpid(children[i], &code, 0) == children[i] && code == 0, "%d", code);
  }
  Dataset d = load(bpe, options_of(TEMPLATE_NONE));
  EXPECT(d.cached && count_files(NULL) == 1);
  dataset_free(&d);
}

int main(void) {
  Error err = {0};
  if (tokenizer_open(&bpe, "tests/golden/dataset/bpe", &err) != STATUS_OK ||
      tokenizer_open(&spm, "tests/golden/dataset/spm", &err) != STATUS_OK) {
    printf("%s\n", err.message);
    return 1;
  }
  snprintf(folder, sizeof folder, "%s", tmp_path("cache"));
  snprintf(data, sizeof data, "%s", tmp_path("a.json"));
  tmp_put_text("a.json", "{\"instruction\":\"What?\",\"input\":\"x\",\"output\":\"That.\"}\n"
                         "{\"instruction\":\"What?\",\"input\":\"x\",\"output\":\"That.\"}\n");
  tmp_put_text("b.txt",
               "A text of some words that is longer than sixty tokens by this vocabulary.");
  RUN(test_at_once);
  RUN(test_kept);
  RUN(test_key);
  RUN(test_damaged);
  RUN(test_folders);
  tokenizer_close(bpe);
  tokenizer_close(spm);
  return test_done();
}
