// The simulated runtime: streams run in another order with another seed and still obey events;
// waits are counted; fourteen mistakes of a host program, each reported as what it is, each beside
// its correct twin, which is silent.
#include "sim_control.h"
#include "test.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

void demo_add(float *to, const float *from, float value, int n, int threads, cudaStream_t stream);
cudaError_t demo_shared(float *to, int n, int allowed, cudaStream_t stream);

enum { N = 256, BYTES = N * 4 };

typedef struct Rig {
  float *a, *b, *c;   // device, zeros
  float *host, *back; // pinned
  cudaStream_t one, two;
  cudaEvent_t event;
} Rig;

static Rig rig_open(void) {
  Rig r = {0};
  float **device[] = {&r.a, &r.b, &r.c};
  for (int i = 0; i < 3; i++) {
    EXPECT(cudaMalloc((void **)device[i], BYTES) == cudaSuccess);
    EXPECT(cudaMemset(*device[i], 0, BYTES) == cudaSuccess);
  }
  EXPECT(cudaMallocHost((void **)&r.host, BYTES) == cudaSuccess);
  EXPECT(cudaMallocHost((void **)&r.back, BYTES) == cudaSuccess);
  for (int i = 0; i < N; i++) r.host[i] = (float)i;
  cudaStreamCreateWithFlags(&r.one, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&r.two, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&r.event, cudaEventDisableTiming);
  EXPECT(cudaDeviceSynchronize() == cudaSuccess);
  sim_control()->clear();
  return r;
}

static void rig_close(Rig *r) {
  cudaDeviceSynchronize();
  cudaFree(r->a);
  cudaFree(r->b);
  cudaFree(r->c);
  cudaFreeHost(r->host);
  cudaFreeHost(r->back);
  cudaStreamDestroy(r->one);
  cudaStreamDestroy(r->two);
  cudaEventDestroy(r->event);
  (void)cudaGetLastError();
}

static float first_of(Rig *r, const float *device) {
  float x = -1;
  EXPECT(cudaMemcpy(&x, device, sizeof x, cudaMemcpyDeviceToHost) == cudaSuccess);
  (void)r;
  return x;
}

// ---- what works ----

static void order(void) {
  int64_t first = 0;
  for (uint64_t seed = 1; seed <= 32; seed++) {
    sim_control()->set_seed(seed);
    Rig r = rig_open();
    demo_add(r.a, r.b, 1, N, 64, r.one);
    demo_add(r.a, r.b, 2, N, 64, r.two);
    cudaDeviceSynchronize();
    first += first_of(&r, r.a) == 1;
    EXPECT(sim_control()->reports() == 1 && sim_control()->report_fault(0) == SIM_STREAM_CONFLICT);
    sim_control()->clear();
    rig_close(&r);
  }
  EXPECT(first > 4 && first < 28, "%lld of 32 seeds", (long long)first);
  sim_control()->set_seed(1);
}

static void events_order(void) {
  for (uint64_t seed = 1; seed <= 32; seed++) {
    sim_control()->set_seed(seed);
    Rig r = rig_open();
    demo_add(r.a, r.b, 1, N, 64, r.one);
    cudaEventRecord(r.event, r.one);
    cudaStreamWaitEvent(r.two, r.event, 0);
    demo_add(r.a, r.a, 2, N, 64, r.two);
    cudaDeviceSynchronize();
    EXPECT(first_of(&r, r.a) == 3);
    EXPECT(sim_control()->reports() == 0, "%s", sim_control()->report(0));
    rig_close(&r);
  }
  sim_control()->set_seed(1);
}

static void queued_and_counted(void) {
  Rig r = rig_open();
  demo_add(r.a, r.b, 5, N, 64, r.one);
  cudaMemcpyAsync(r.back, r.a, BYTES, cudaMemcpyDeviceToHost, r.one);
  cudaEventRecord(r.event, r.one);
  EXPECT(r.back[0] != 5, "a copy ran before anything waited for it");
  EXPECT(sim_control()->host_waits() == 0);
  EXPECT(cudaEventSynchronize(r.event) == cudaSuccess);
  EXPECT(r.back[0] == 5 && r.back[N - 1] == 5);
  EXPECT(sim_control()->host_waits() == 1);
  demo_add(r.b, r.a, 1, N, 64, r.one);
  cudaMemcpyAsync(r.c, r.host, BYTES, cudaMemcpyHostToDevice, r.two);
  EXPECT(sim_control()->overlapped() == 1);
  cudaEventRecord(r.event, r.one);
  int asked = 0;
  while (cudaEventQuery(r.event) == cudaErrorNotReady && asked < 100) asked++;
  EXPECT(asked < 100);
  EXPECT(sim_control()->host_waits() == 1);
  EXPECT(sim_control()->reports() == 0, "%s", sim_control()->report(0));
  rig_close(&r);
}

static void errors(void) {
  void *p;
  EXPECT(cudaMalloc(&p, (size_t)1 << 50) == cudaErrorMemoryAllocation);
  EXPECT(cudaPeekAtLastError() == cudaErrorMemoryAllocation);
  EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess);
  EXPECT(cudaSetDevice(7) == cudaErrorInvalidDevice && cudaGetLastError() != cudaSuccess);
  EXPECT(cudaFree(NULL) == cudaSuccess);
}

// ---- mistakes ----

typedef void Mistake(Rig *r, bool wrong);

static void missing_event(Rig *r, bool wrong) {
  demo_add(r->a, r->b, 1, N, 64, r->one);
  cudaEventRecord(r->event, r->one);
  if (!wrong) cudaStreamWaitEvent(r->two, r->event, 0);
  demo_add(r->c, r->a, 1, N, 64, r->two);
}

static void event_too_early(Rig *r, bool wrong) {
  if (wrong) cudaEventRecord(r->event, r->one);
  demo_add(r->a, r->b, 1, N, 64, r->one);
  if (!wrong) cudaEventRecord(r->event, r->one);
  cudaStreamWaitEvent(r->two, r->event, 0);
  demo_add(r->c, r->a, 1, N, 64, r->two);
}

static void wrong_stream(Rig *r, bool wrong) {
  cudaMemcpyAsync(r->a, r->host, BYTES, cudaMemcpyHostToDevice, r->one);
  demo_add(r->c, r->a, 1, N, 64, wrong ? r->two : r->one);
}

static void waits_for_other_stream(Rig *r, bool wrong) {
  demo_add(r->a, r->b, 1, N, 64, r->one);
  cudaStreamSynchronize(wrong ? r->two : r->one);
  demo_add(r->c, r->a, 1, N, 64, r->two);
}

static void use_after_free(Rig *r, bool wrong) {
  float *p;
  cudaMalloc((void **)&p, BYTES);
  cudaMemset(p, 0, BYTES);
  cudaDeviceSynchronize();
  if (wrong) cudaFree(p);
  demo_add(r->a, p, 1, N, 64, r->one);
  cudaDeviceSynchronize();
  if (!wrong) cudaFree(p);
}

static void copy_to_freed(Rig *r, bool wrong) {
  float *p;
  cudaMalloc((void **)&p, BYTES);
  if (wrong) cudaFree(p);
  cudaMemcpyAsync(p, r->host, BYTES, cudaMemcpyHostToDevice, r->one);
  cudaDeviceSynchronize();
  if (!wrong) cudaFree(p);
}

static void freed_in_use(Rig *r, bool wrong) {
  float *p;
  cudaMalloc((void **)&p, BYTES);
  demo_add(p, r->b, 1, N, 64, r->one);
  if (!wrong) cudaStreamSynchronize(r->one);
  cudaFree(p);
}

static void pageable_copy(Rig *r, bool wrong) {
  static float pageable[N]; // at no address that the device had before
  cudaMemcpyAsync(r->a, wrong ? pageable : r->host, BYTES, cudaMemcpyHostToDevice, r->one);
  cudaDeviceSynchronize();
}

static void host_pointer(Rig *r, bool wrong) {
  float on_stack[N] = {0};
  demo_add(r->a, wrong ? on_stack : r->b, 1, N, 64, r->one);
  cudaDeviceSynchronize();
}

static void pinned_too_early(Rig *r, bool wrong) {
  cudaMemcpyAsync(r->a, r->host, BYTES, cudaMemcpyHostToDevice, r->one);
  if (!wrong) cudaStreamSynchronize(r->one);
  r->host[3] = -1;
}

static void too_many_threads(Rig *r, bool wrong) {
  demo_add(r->a, r->b, 1, N, wrong ? 2048 : 64, r->one);
  EXPECT((cudaGetLastError() != cudaSuccess) == wrong);
}

static void attribute_not_set(Rig *r, bool wrong) {
  EXPECT((demo_shared(r->a, 16384, wrong ? 0 : 65536, r->one) != cudaSuccess) == wrong);
}

// a [16][16] into c at that leading dimension.
static void product(Rig *r, int64_t ld, void *workspace, cudaStream_t stream) {
  cublasLtHandle_t lt;
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t in, out;
  float one = 1, zero = 0;
  cublasLtCreate(&lt);
  cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  cublasLtMatrixLayoutCreate(&in, CUDA_R_32F, 16, 16, 16);
  cublasLtMatrixLayoutCreate(&out, CUDA_R_32F, 16, 16, ld);
  float *to = stream == r->one ? r->c : r->b;
  cublasLtMatmul(lt, desc, &one, r->a, in, r->a, in, &zero, to, out, to, out, NULL, workspace,
                 workspace != NULL ? BYTES : 0, stream);
  cublasLtMatrixLayoutDestroy(in);
  cublasLtMatrixLayoutDestroy(out);
  cublasLtMatmulDescDestroy(desc);
  cublasLtDestroy(lt);
}

static void leading_dimension(Rig *r, bool wrong) {
  product(r, wrong ? 8 : 16, NULL, r->one);
}

static void shared_workspace(Rig *r, bool wrong) {
  float *first, *second;
  cudaMalloc((void **)&first, BYTES);
  cudaMalloc((void **)&second, BYTES);
  product(r, 16, first, r->one);
  product(r, 16, wrong ? first : second, r->two);
  cudaDeviceSynchronize();
  cudaFree(first);
  cudaFree(second);
}

static void mistake(const char *name, Mistake *fn, SimFault fault) {
  for (int wrong = 1; wrong >= 0; wrong--) { // an attribute, once set, stays
    Rig r = rig_open();
    fn(&r, wrong);
    cudaDeviceSynchronize();
    (void)cudaGetLastError();
    bool found = false;
    int64_t n = sim_control()->reports();
    for (int64_t i = 0; i < n; i++) found = found || sim_control()->report_fault(i) == fault;
    EXPECT(wrong ? found : n == 0, "%s %s: %lld reports, the first: %s", name,
           wrong ? "wrong" : "right", (long long)n, n > 0 ? sim_control()->report(0) : "none");
    if (wrong && n > 0) printf("  %s: %s\n", name, sim_control()->report(0));
    rig_close(&r);
    sim_control()->clear();
  }
}

static void mistakes(void) {
  mistake("missing event", missing_event, SIM_STREAM_CONFLICT);
  mistake("event recorded too early", event_too_early, SIM_STREAM_CONFLICT);
  mistake("wrong stream", wrong_stream, SIM_STREAM_CONFLICT);
  mistake("host waits for another stream", waits_for_other_stream, SIM_STREAM_CONFLICT);
  mistake("use after free", use_after_free, SIM_RELEASED);
  mistake("copy to freed memory", copy_to_freed, SIM_RELEASED);
  mistake("freed while in use", freed_in_use, SIM_API);
  mistake("pageable memory in an asynchronous copy", pageable_copy, SIM_HOST_POINTER);
  mistake("host pointer to a kernel", host_pointer, SIM_HOST_POINTER);
  mistake("pinned memory written too early", pinned_too_early, SIM_STREAM_CONFLICT);
  mistake("too many threads", too_many_threads, SIM_LAUNCH_LIMITS);
  mistake("attribute not set", attribute_not_set, SIM_LAUNCH_LIMITS);
  mistake("wrong leading dimension", leading_dimension, SIM_API);
  mistake("workspace of two streams", shared_workspace, SIM_STREAM_CONFLICT);
}

int main(void) {
  RUN(order);
  RUN(events_order);
  RUN(queued_and_counted);
  RUN(errors);
  RUN(mistakes);
  return test_done();
}
