// Opening the CPU backend: what is forced is what one gets, what cannot be is a usage error, memory
// begins as zeros.
#include "backend.h"
#include "test.h"

typedef void (*LinearOp)(Backend *be, Tensor y, Tensor x, Tensor w, Tensor bias, bool acc);

static void expect_usage(CpuOptions options, const char *word) {
  Backend *be = NULL;
  Error err = {0};
  Status status = backend_cpu_open(&be, &options, &err);
  EXPECT(status == STATUS_USAGE && be == NULL, "status %d", (int)status);
  EXPECT(strstr(err.message, word) != NULL, "the message '%s' does not say '%s'", err.message,
         word);
}

static void test_refused(void) {
  expect_usage((CpuOptions){.isa = "sse9"}, "sse9");
  expect_usage((CpuOptions){.gemm = "blas"}, "blas");
  expect_usage((CpuOptions){.threads = -1}, "-1 threads");
}

// Opens what is forced, if this CPU has it; *linear is the function it brings.
static void open_forced(const char *isa, const char *gemm, LinearOp *linear) {
  Backend *be = NULL;
  Error err;
  CpuOptions options = {.isa = isa, .gemm = gemm, .threads = 1};
  Status status = backend_cpu_open(&be, &options, &err);
  if (status != STATUS_OK) {
    EXPECT(strcmp(isa, "base") != 0 && strstr(err.message, "this CPU has no") != NULL, "%s",
           err.message);
    return;
  }
  char expected[64];
  snprintf(expected, sizeof expected, "%s/%s", gemm, isa);
  EXPECT(strcmp(be->gemm_path, expected) == 0, "%s instead of %s", be->gemm_path, expected);
  EXPECT(strcmp(be->name, "cpu") == 0, "%s", be->name);
  *linear = be->linear;
  be->close(be);
}

// The path's name alone could be right while another GEMM, or another instruction set's, runs.
static void test_forced(void) {
  LinearOp own = NULL, library = NULL, avx2 = NULL;
  open_forced("base", "own", &own);
  open_forced("base", "onednn-f32", &library);
  open_forced("avx2", "own", &avx2);
  EXPECT(own != NULL && library != NULL && own != library, "one function for two GEMMs");
  EXPECT(own != avx2, "one function for two instruction sets");
}

static void test_chosen(void) {
  Backend *be = NULL;
  Error err;
  EXPECT(backend_cpu_open(&be, &(CpuOptions){0}, &err) == STATUS_OK, "%s", err.message);
  EXPECT(strchr(be->gemm_path, '/') != NULL, "%s", be->gemm_path);
  EXPECT(be->counts.launches == 0, "measuring counted %lld launches",
         (long long)be->counts.launches);
  int64_t bytes = 5 << 20;
  void *memory = NULL;
  EXPECT(be->mem_alloc(be, bytes, &memory, &err) == STATUS_OK, "%s", err.message);
  EXPECT((uintptr_t)memory % 256 == 0, "%p", memory);
  for (int64_t i = 0; i < bytes; i += 4099)
    EXPECT(((char *)memory)[i] == 0, "byte %lld", (long long)i);
  be->mem_free(be, memory, bytes);
  EXPECT(be->mem_alloc(be, INT64_MAX / 2, &memory, &err) == STATUS_MEMORY, "4 EiB were given");
  be->close(be);
}

int main(void) {
  RUN(test_refused);
  RUN(test_forced);
  RUN(test_chosen);
  return test_done();
}
