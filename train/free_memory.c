#include "free_memory.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4608, SHARE_LEFT_FREE = 20 };

static FILE *open_under(const char *root, const char *path) {
  char whole[PATH_BYTES];
  int n = snprintf(whole, sizeof whole, "%s%s", root, path);
  return n > 0 && n < (int)sizeof whole ? fopen(whole, "re") : NULL;
}

static int64_t available(const char *root) {
  double kib = 0;
  char line[128];
  FILE *file = open_under(root, "/proc/meminfo");
  if (file == NULL) return 0;
  while (fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, "MemAvailable:", 13) == 0) kib = strtod(line + 13, NULL);
  }
  fclose(file);
  return (int64_t)(kib * 1024);
}

// The number in a file; -1 where there is no file, or "max".
static int64_t number_in(const char *root, const char *folder, const char *name) {
  char path[PATH_BYTES], text[64] = "", *end = text;
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return -1;
  FILE *file = open_under(root, path);
  if (file == NULL) return -1;
  bool read = fgets(text, sizeof text, file) != NULL;
  fclose(file);
  double value = read ? strtod(text, &end) : -1; // version 1 writes 2^63 for none
  return end == text || value < 0 || value > 9e18 ? -1 : (int64_t)value;
}

// What the limit of one group leaves.
static int64_t left_in(const char *root, const char *folder, bool v2) {
  int64_t limit = number_in(root, folder, v2 ? "memory.max" : "memory.limit_in_bytes");
  int64_t used = number_in(root, folder, v2 ? "memory.current" : "memory.usage_in_bytes");
  if (limit < 0) return INT64_MAX;
  return used > limit ? 0 : limit - (used > 0 ? used : 0);
}

// The least of a group and all above it. In a container its own group may look like the root.
static int64_t left_above(const char *root, const char *mount, const char *group, bool v2) {
  char folder[PATH_BYTES];
  int64_t least = left_in(root, mount, v2);
  if (snprintf(folder, sizeof folder, "%s%s", mount, group) >= (int)sizeof folder) return least;
  while (strlen(folder) > strlen(mount)) {
    int64_t left = left_in(root, folder, v2);
    if (left < least) least = left;
    *strrchr(folder, '/') = '\0';
  }
  return least;
}

static int64_t left_by_groups(const char *root) {
  char line[PATH_BYTES];
  int64_t least = INT64_MAX;
  FILE *file = open_under(root, "/proc/self/cgroup"); // "0::/group", "4:cpu,memory:/group"
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    char *names = strchr(line, ':'), *group = names != NULL ? strchr(names + 1, ':') : NULL;
    if (group == NULL) continue;
    *group++ = '\0';
    group[strcspn(group, "\n")] = '\0';
    bool v2 = names[1] == '\0';
    if (!v2 && strstr(names, "memory") == NULL) continue;
    int64_t left = left_above(root, v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory", group, v2);
    if (left < least) least = left;
  }
  if (file != NULL) fclose(file);
  return least;
}

int64_t free_memory_bytes(const char *root) {
  int64_t free_bytes = available(root), left = left_by_groups(root);
  if (left < free_bytes) free_bytes = left;
  return free_bytes - free_bytes / SHARE_LEFT_FREE;
}

int64_t process_memory_bytes(void) {
  int64_t pages = 0;
  char line[128] = "";
  malloc_trim(0);
  FILE *file = fopen("/proc/self/statm", "re"); // all pages, those that are resident, ...
  if (file == NULL) return 0;
  if (fgets(line, sizeof line, file) != NULL) pages = strtoll(line + strcspn(line, " "), NULL, 10);
  fclose(file);
  return pages * sysconf(_SC_PAGESIZE);
}
