// labels: quick
// Mapping, reading and writing of files; a file that shrinks while it is mapped is an error and no
// signal.
#include "mapped_file.h"
#include "quote.h"
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[600];

static const char *in_tmp(const char *name) {
  snprintf(path, sizeof path, "%s/%s", test_tmp_dir(), name);
  return path;
}

static int entries(const char *folder) {
  int n = 0;
  DIR *dir = opendir(folder);
  while (dir != NULL && readdir(dir) != NULL) n++;
  if (dir != NULL) closedir(dir);
  return n - 2;
}

static void test_write_and_read(void) {
  Error err = {0};
  enum { SIZE = 1000003 };
  uint8_t *data = malloc(SIZE);
  for (int i = 0; i < SIZE; i++) data[i] = (uint8_t)(i * 7 + i / 256);
  FileWriter writer;
  EXPECT(file_writer_open(&writer, in_tmp("data"), &err) == STATUS_OK, "%s", err.message);
  for (int64_t at = 0, step = 1; at < SIZE; step = step * 3 + 1) {
    int64_t bytes = step < SIZE - at ? step : SIZE - at;
    EXPECT(file_writer_put(&writer, data + at, bytes, &err) == STATUS_OK, "%s", err.message);
    at += bytes;
    EXPECT(!file_exists(path)); // not there before the commit
  }
  EXPECT(file_writer_commit(&writer, &err) == STATUS_OK, "%s", err.message);
  MappedFile file;
  EXPECT(file_map(&file, path, &err) == STATUS_OK, "%s", err.message);
  EXPECT(file.size == SIZE && memcmp(file.data, data, SIZE) == 0);
  file_release_pages(&file, 100, SIZE - 200);
  EXPECT(memcmp(file.data, data, SIZE) == 0);
  EXPECT(file_check(&file, &err) == STATUS_OK, "%s", err.message);
  file_unmap(&file);
  file_unmap(&file);
  char *text;
  int64_t size;
  EXPECT(file_read_all(&text, &size, path, SIZE, &err) == STATUS_OK, "%s", err.message);
  EXPECT(size == SIZE && memcmp(text, data, SIZE) == 0 && text[SIZE] == '\0');
  free(text);
  EXPECT(file_read_all(&text, &size, path, SIZE - 1, &err) == STATUS_DATA);
  struct stat st;
  mode_t mask = umask(022);
  umask(mask);
  EXPECT(stat(path, &st) == 0 && (st.st_mode & 0777) == (0666 & ~mask), "%o", st.st_mode);
  free(data);
}

static void test_abort_and_replace(void) {
  Error err = {0};
  char folder[600];
  snprintf(folder, sizeof folder, "%s/sub/deep", test_tmp_dir());
  EXPECT(file_make_folders(folder, &err) == STATUS_OK, "%s", err.message);
  EXPECT(file_make_folders(folder, &err) == STATUS_OK, "%s", err.message);
  in_tmp("sub/deep/file");
  EXPECT(file_write(path, "old", 3, &err) == STATUS_OK, "%s", err.message);
  FileWriter writer;
  EXPECT(file_writer_open(&writer, path, &err) == STATUS_OK);
  EXPECT(file_writer_put(&writer, "newer", 5, &err) == STATUS_OK);
  EXPECT(entries(folder) <= 2); // the file being written may have a name of its own, or none
  file_writer_abort(&writer);
  file_writer_abort(&writer);
  EXPECT(entries(folder) == 1);
  char *text;
  int64_t size;
  EXPECT(file_read_all(&text, &size, path, 100, &err) == STATUS_OK && strcmp(text, "old") == 0);
  free(text);
  EXPECT(file_write(path, "newer", 5, &err) == STATUS_OK, "%s", err.message);
  EXPECT(file_read_all(&text, &size, path, 100, &err) == STATUS_OK && strcmp(text, "newer") == 0);
  free(text);
  EXPECT(entries(folder) == 1);
}

// Whether the file system of the tests has files without a name; only others leave one when a
// writer is killed.
static bool has_nameless_files(void) {
  int fd = open(test_tmp_dir(), O_TMPFILE | O_WRONLY, 0600);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

static void test_killed_while_writing(void) {
  char folder[600];
  snprintf(folder, sizeof folder, "%s/killed", test_tmp_dir());
  EXPECT(file_make_folders(folder, NULL) == STATUS_OK);
  in_tmp("killed/file");
  pid_t child = fork();
  if (child == 0) {
    FileWriter writer;
    static const char megabyte[1 << 20];
    if (file_writer_open(&writer, path, NULL) != STATUS_OK ||
        file_writer_put(&writer, megabyte, sizeof megabyte, NULL) != STATUS_OK)
      _exit(1);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  EXPECT(child > 0 && waitpid(child, &status, 0) == child);
  EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %d", status);
  if (has_nameless_files()) EXPECT(entries(folder) == 0);
}

static void test_refusals(void) {
  Error err = {0};
  MappedFile file;
  EXPECT(file_map(&file, in_tmp("none"), &err) == STATUS_NO_INPUT);
  EXPECT(strncmp(err.message, path, strlen(path)) == 0, "%s", err.message);
  EXPECT(file_map(&file, test_tmp_dir(), &err) == STATUS_NO_INPUT);
  EXPECT(file_write(in_tmp("none/file"), "x", 1, &err) == STATUS_IO);
  EXPECT(strncmp(err.message, path, strlen(path)) == 0, "%s", err.message);
  EXPECT(file_write(test_tmp_dir(), "x", 1, &err) == STATUS_IO);
  EXPECT(file_write(in_tmp("plain"), "x", 1, &err) == STATUS_OK);
  EXPECT(file_make_folders(in_tmp("plain/sub"), &err) == STATUS_IO);
  EXPECT(file_write(in_tmp("empty"), "", 0, &err) == STATUS_OK);
  EXPECT(file_map(&file, path, &err) == STATUS_OK && file.size == 0 && file.data == NULL);
  file_unmap(&file);
  EXPECT(file_write("/dev/full", "x", 1, &err) == STATUS_IO);
  EXPECT(strstr(err.message, "/dev/full: cannot be written: No space left") != NULL, "%s",
         err.message);
  EXPECT(file_write("/dev/null", "x", 1, &err) == STATUS_OK, "%s", err.message);
}

// A limit on the file size stands for the full disk: the old file stays, nothing is left over.
static void test_full_disk(void) {
  Error err = {0};
  EXPECT(file_write(in_tmp("kept"), "old", 3, &err) == STATUS_OK);
  int before = entries(test_tmp_dir());
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    char *data = calloc(1, 1 << 22);
    Status status = file_write(path, data, 1 << 22, &err);
    bool good = status == STATUS_IO && strstr(err.message, "kept: cannot be written") != NULL;
    _exit(good ? 0 : 1);
  }
  int result = 0;
  waitpid(child, &result, 0);
  EXPECT(result == 0);
  char *text;
  int64_t size;
  EXPECT(file_read_all(&text, &size, path, 100, &err) == STATUS_OK && strcmp(text, "old") == 0);
  free(text);
  EXPECT(entries(test_tmp_dir()) == before);
}

static void test_pipe(void) {
  Error err = {0};
  int ends[2];
  EXPECT(pipe(ends) == 0);
  EXPECT(write(ends[1], "through a pipe", 14) == 14);
  close(ends[1]);
  snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
  MappedFile file;
  EXPECT(file_map(&file, path, &err) == STATUS_OK, "%s", err.message);
  EXPECT(file.size == 14 && memcmp(file.data, "through a pipe", 14) == 0);
  EXPECT(file_check(&file, &err) == STATUS_OK);
  file_unmap(&file);
  close(ends[0]);
}

static void test_shrinking(void) {
  Error err = {0};
  enum { SIZE = 1 << 20 };
  char *data = malloc(SIZE);
  memset(data, 'x', SIZE);
  EXPECT(file_write(in_tmp("shrinks"), data, SIZE, &err) == STATUS_OK);
  free(data);
  MappedFile file;
  EXPECT(file_map(&file, path, &err) == STATUS_OK);
  EXPECT(truncate(path, 5000) == 0);
  int64_t sum = 0;
  for (int64_t i = 0; i < SIZE; i++) sum += file.data[i] == 'x';
  EXPECT(sum == 5000, "%lld", (long long)sum);
  EXPECT(file_check(&file, &err) == STATUS_DATA);
  EXPECT(strstr(err.message, "changed from 1048576 to 5000 bytes") != NULL, "%s", err.message);
  EXPECT(truncate(path, SIZE) == 0); // as large as before, but not the same
  EXPECT(file_check(&file, &err) == STATUS_DATA);
  file_unmap(&file);
}

static void test_quote(void) {
  EXPECT(strcmp(quote_text("abc").text, "'abc'") == 0);
  EXPECT(strcmp(quote_bytes("a\n\xFF\xC3\xA9", 5).text, "'a\\x0a\\xff\xC3\xA9'") == 0, "%s",
         quote_bytes("a\n\xFF\xC3\xA9", 5).text);
  char longer[300];
  for (int fill = 0; fill < 2; fill++) {
    memset(longer, fill == 0 ? 'y' : 1, sizeof longer);
    Quote quote = quote_bytes(longer, sizeof longer);
    size_t length = strlen(quote.text);
    EXPECT(length < sizeof quote.text && strcmp(quote.text + length - 4, "...'") == 0, "%s",
           quote.text);
  }
}

// A link stays a link; the standard output that is a file is added to, and keeps its name.
static void test_links(void) {
  Error err = {0};
  char target[600], *text = NULL;
  int64_t size = 0;
  struct stat st;
  EXPECT(file_write(in_tmp("target"), "old", 3, &err) == STATUS_OK);
  snprintf(target, sizeof target, "%s", path);
  EXPECT(symlink(target, in_tmp("link")) == 0);
  EXPECT(file_write(path, "new", 3, &err) == STATUS_OK, "%s", err.message);
  EXPECT(lstat(path, &st) == 0 && S_ISLNK(st.st_mode), "the link was replaced");
  EXPECT(file_read_all(&text, &size, target, 100, &err) == STATUS_OK && strcmp(text, "new") == 0);
  free(text);
  fflush(stdout);
  int kept = dup(STDOUT_FILENO), fd = open(target, O_WRONLY | O_TRUNC);
  EXPECT(write(fd, "a", 1) == 1 && dup2(fd, STDOUT_FILENO) >= 0);
  Status status = file_write("/dev/stdout", "b", 1, &err);
  EXPECT(write(STDOUT_FILENO, "c", 1) == 1);
  dup2(kept, STDOUT_FILENO);
  close(kept);
  close(fd);
  EXPECT(status == STATUS_OK, "%s", err.message);
  EXPECT(lstat("/dev/stdout", &st) == 0 && !S_ISREG(st.st_mode), "/dev/stdout became a file");
  EXPECT(file_read_all(&text, &size, target, 100, &err) == STATUS_OK && strcmp(text, "abc") == 0,
         "'%s'", text);
  free(text);
}

int main(void) {
  RUN(test_write_and_read);
  RUN(test_abort_and_replace);
  RUN(test_killed_while_writing);
  RUN(test_refusals);
  RUN(test_full_disk);
  RUN(test_pipe);
  RUN(test_shrinking);
  RUN(test_quote);
  RUN(test_links);
  return test_done();
}
