// What fits into memory: sizes as people write them, what a machine has to give, and the fewest
// recomputed layers.
#include "fit.h"
#include "free_memory.h"
#include "plan.h"
#include "test.h"
#include "tmp_file.h"

#include <sys/stat.h>

static void sizes_are_read(void) {
  static const struct {
    const char *text;
    double bytes; // 0: refused
  } cases[] = {{"24GiB", 24.0 * (1 << 30)},
               {"24G", 24.0 * (1 << 30)},
               {"24gb", 24e9},
               {"500MiB", 500 << 20},
               {"500M", 500 << 20},
               {"500 MB", 5e8},
               {"1.5T", 1.5 * 0x1p40},
               {"23.5GiB", 23.5 * (1 << 30)},
               {"24", 0},
               {"", 0},
               {"GiB", 0},
               {"-1G", 0},
               {"nan G", 0},
               {"1K", 0},
               {"0G", 0},
               {"24GBx", 0},
               {"1e30G", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Error err = {0};
    int64_t bytes = 0;
    Status status = fit_parse_size(&bytes, cases[i].text, &err);
    if (cases[i].bytes == 0) {
      EXPECT(status == STATUS_USAGE && strstr(err.message, "24GiB") != NULL, "%s", cases[i].text);
    } else {
      EXPECT(status == STATUS_OK && (double)bytes == cases[i].bytes, "%s: %lld", cases[i].text,
             (long long)bytes);
    }
  }
}

// ---- memory at hand ----

static char root[1000];

static void put(const char *path, const char *text) {
  char whole[2000];
  snprintf(whole, sizeof whole, "%s%s", root, path);
  for (char *p = whole + strlen(root) + 1; *p != '\0'; p++) {
    if (*p != '/') continue;
    *p = '\0';
    mkdir(whole, 0700);
    *p = '/';
  }
  FILE *file = fopen(whole, "w");
  EXPECT(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0, "%s", whole);
}

static void has(const char *what, int64_t mib) {
  int64_t got = free_memory_bytes(root), expected = (mib << 20) - (mib << 20) / 20;
  EXPECT(got == expected, "%s: %lld bytes, not %lld", what, (long long)got, (long long)expected);
}

static void limits_of_groups_count(void) {
  snprintf(root, sizeof root, "%s/machine", test_tmp_dir());
  EXPECT(mkdir(root, 0700) == 0);
  has("no /proc", 0);
  put("/proc/meminfo", "MemTotal:       99999 kB\nMemFree:   1 kB\nMemAvailable:    1024000 kB\n");
  has("no groups", 1000);
  put("/proc/self/cgroup", "0::/a/b\n");
  has("groups without limits", 1000);
  put("/sys/fs/cgroup/a/b/memory.max", "max\n");
  has("no limit", 1000);
  put("/sys/fs/cgroup/a/b/memory.max", "838860800\n"); // 800 MiB
  put("/sys/fs/cgroup/a/b/memory.current", "104857600\n");
  has("its own", 700);
  put("/sys/fs/cgroup/a/memory.max", "419430400\n");
  has("the one above", 400);
  put("/sys/fs/cgroup/memory.max", "209715200\n");
  put("/sys/fs/cgroup/memory.current", "314572800\n");
  has("the root of a container, used up", 0);
  put("/proc/self/cgroup", "7:cpu:/x\n4:hugetlb,memory:/a\n");
  put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
  has("version 1 without a limit", 1000);
  put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "314572800\n");
  has("version 1", 300);
  EXPECT(free_memory_bytes("") > 1 << 20, "this machine");
}

// ---- the fewest layers ----

static const LlamaConfig tall = {.hidden = 64,
                                 .ffn = 128,
                                 .layers = 9,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 16,
                                 .vocab = 61,
                                 .rms_eps = 1e-5,
                                 .rope_theta = 10000,
                                 .max_positions = 512,
                                 .tied = true};

static void plan_with(RunPlan *plan, const RunConfig *c, int64_t limit) {
  Error err = {0};
  Device device;
  EXPECT(device_find(&device, "h100", &err) == STATUS_OK);
  device.gib = (double)limit / (1 << 30);
  DataOutline outline = plan_assumed_data(c);
  EXPECT(plan_make(plan, c, &tall, &outline, &device, &err) == STATUS_OK, "%s", err.message);
}

static void auto_takes_the_fewest(void) {
  static RunConfig c;
  static RunPlan plan, chosen;
  int64_t bytes[16];
  config_defaults(&c);
  for (int n = 0; n <= tall.layers; n++) {
    plan_set_recomputed(&c, n);
    EXPECT((c.train.checkpointing == CHECKPOINTING_ON) == (n > 0));
    plan_with(&plan, &c, INT64_C(1) << 40);
    bytes[n] = plan.device_bytes;
    EXPECT(plan.recomputed == n && (n == 0 || bytes[n] <= bytes[n - 1]), "%d layers", n);
  }
  EXPECT(bytes[4] < bytes[3] && bytes[1] < bytes[0]);
  c.train.checkpointing = CHECKPOINTING_AUTO;
  for (int n = 0; n <= tall.layers; n++) {
    for (int less = 0; less < 2; less++) {
      plan_with(&chosen, &c, bytes[n] - less);
      int expected = 0;
      while (expected < tall.layers && bytes[expected] > bytes[n] - less) expected++;
      EXPECT(chosen.recomputed == expected && chosen.device_bytes == bytes[expected],
             "limit of %d layers less %d: %lld", n, less, (long long)chosen.recomputed);
      EXPECT(chosen.fits == (bytes[expected] <= bytes[n] - less));
    }
  }
}

int main(void) {
  RUN(sizes_are_read);
  RUN(limits_of_groups_count);
  RUN(auto_takes_the_fewest);
  return test_done();
}
