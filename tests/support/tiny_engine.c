#include "tiny_engine.h"

#include "test.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static void link_all(const char *from, const char *to) {
  char here[1000];
  DIR *dir = opendir(from);
  struct dirent *entry;
  while (dir != NULL && getcwd(here, sizeof here) != NULL && (entry = readdir(dir)) != NULL) {
    if (entry->d_name[0] == '.') continue;
    char source[3000], target[1500];
    snprintf(source, sizeof source, "%s/%s/%s", here, from, entry->d_name);
    snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
    if (symlink(source, target) != 0) perror(target);
  }
  if (dir != NULL) closedir(dir);
}

const char *tiny_model_folder(const char *variant) {
  static char folder[1000];
  char golden[500];
  snprintf(folder, sizeof folder, "%s/%s", test_tmp_dir(), variant);
  snprintf(golden, sizeof golden, "tests/golden/tiny_llama/%s", variant);
  if (mkdir(folder, 0700) == 0) {
    link_all(golden, folder);
    link_all("tests/support/tiny_tokenizer", folder);
  }
  return folder;
}

void tiny_engine_open(Engine *engine, const char *variant, const char *adapter) {
  Error err = {0};
  EngineOptions options = {.model = tiny_model_folder(variant),
                           .adapters = {{.folder = adapter}},
                           .n_adapters = adapter != NULL,
                           .dtype = DT_F32,
                           .threads = 1};
  if (engine_open(engine, &options, &err) == STATUS_OK) return;
  printf("%s: %s\n", variant, err.message);
  exit(1);
}
