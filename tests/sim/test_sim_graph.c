// labels: sim
// Capture and graphs of the simulated runtime: kernels, copies, memsets and products of one stream
// and of forked ones become nodes and are replayed on what memory holds then; what a capture does
// not allow gives the runtime's own error and no graph; nodes that no edge orders run in any order,
// and a conflict between them is reported beside its correct twin, which is silent.
#include "sim_control.h"
#include "test.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

void demo_add(float *to, const float *from, float value, int n, int threads, cudaStream_t stream);

enum { N = 64, BYTES = N * 4 };

typedef struct Rig {
  float *a, *b, *c;   // device, zeros
  float *host, *back; // pinned
  cudaStream_t one, two, blocking;
  cudaEvent_t fork, join;
  cublasLtHandle_t lt;
} Rig;

static void rig_open(Rig *r) {
  float **device[] = {&r->a, &r->b, &r->c};
  for (int i = 0; i < 3; i++) {
    EXPECT(cudaMalloc((void **)device[i], BYTES) == cudaSuccess);
    EXPECT(cudaMemset(*device[i], 0, BYTES) == cudaSuccess);
  }
  EXPECT(cudaMallocHost((void **)&r->host, BYTES) == cudaSuccess);
  EXPECT(cudaMallocHost((void **)&r->back, BYTES) == cudaSuccess);
  for (int i = 0; i < N; i++) r->host[i] = (float)(i % 8);
  cudaStreamCreateWithFlags(&r->one, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&r->two, cudaStreamNonBlocking);
  cudaStreamCreate(&r->blocking);
  cudaEventCreateWithFlags(&r->fork, cudaEventDisableTiming);
  cudaEventCreateWithFlags(&r->join, cudaEventDisableTiming);
  cublasLtCreate(&r->lt);
  EXPECT(cudaDeviceSynchronize() == cudaSuccess);
  sim_control()->clear();
}

static void rig_close(Rig *r) {
  EXPECT(cudaDeviceSynchronize() == cudaSuccess);
  cudaFree(r->a);
  cudaFree(r->b);
  cudaFree(r->c);
  cudaFreeHost(r->host);
  cudaFreeHost(r->back);
  cudaStreamDestroy(r->one);
  cudaStreamDestroy(r->two);
  cudaStreamDestroy(r->blocking);
  cudaEventDestroy(r->fork);
  cudaEventDestroy(r->join);
  cublasLtDestroy(r->lt);
  (void)cudaGetLastError();
}

static float element(const float *device, int i) {
  float x = -1;
  EXPECT(cudaMemcpy(&x, device + i, sizeof x, cudaMemcpyDeviceToHost) == cudaSuccess);
  return x;
}

static void begin(Rig *r) {
  EXPECT(cudaStreamBeginCapture(r->one, cudaStreamCaptureModeGlobal) == cudaSuccess);
}

static cudaGraphExec_t end(Rig *r) {
  cudaGraph_t graph;
  cudaGraphExec_t exec = NULL;
  EXPECT(cudaStreamEndCapture(r->one, &graph) == cudaSuccess);
  EXPECT(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  EXPECT(cudaGraphDestroy(graph) == cudaSuccess); // the executable graph has its own
  return exec;
}

static void launch(Rig *r, cudaGraphExec_t exec) {
  EXPECT(cudaGraphLaunch(exec, r->one) == cudaSuccess);
  EXPECT(cudaStreamSynchronize(r->one) == cudaSuccess);
}

static void expect_clean(void) {
  for (int64_t i = 0; i < sim_control()->reports(); i++)
    EXPECT(false, "%s", sim_control()->report(i));
}

// c [8][8] = a b, column by column.
static void product(Rig *r, cudaStream_t stream) {
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t layout;
  float one = 1, zero = 0;
  cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 8, 8, 8);
  EXPECT(cublasLtMatmul(r->lt, desc, &one, r->a, layout, r->b, layout, &zero, r->c, layout, r->c,
                        layout, NULL, NULL, 0, stream) == CUBLAS_STATUS_SUCCESS);
  cublasLtMatrixLayoutDestroy(layout);
  cublasLtMatmulDescDestroy(desc);
}

// ---- what works ----

static void replays(void) {
  Rig r;
  rig_open(&r);
  begin(&r);
  cudaMemcpyAsync(r.a, r.host, BYTES, cudaMemcpyHostToDevice, r.one);
  cudaMemsetAsync(r.b, 0, BYTES, r.one);
  demo_add(r.b, r.b, 1, N, 64, r.one); // ones
  product(&r, r.one);
  cudaMemcpyAsync(r.back, r.c, BYTES, cudaMemcpyDeviceToHost, r.one);
  enum cudaStreamCaptureStatus status;
  EXPECT(cudaStreamIsCapturing(r.one, &status) == cudaSuccess &&
         status == cudaStreamCaptureStatusActive);
  cudaGraphExec_t exec = end(&r);
  EXPECT(cudaStreamIsCapturing(r.one, &status) == cudaSuccess &&
         status == cudaStreamCaptureStatusNone);
  EXPECT(element(r.b, 0) == 0, "a node ran at the capture");
  for (int time = 1; time <= 3; time++) {
    for (int i = 0; i < N; i++) r.host[i] = (float)time;
    EXPECT(cudaGraphUpload(exec, r.one) == cudaSuccess);
    EXPECT(cudaGraphLaunch(exec, r.one) == cudaSuccess);
    EXPECT(r.back[0] != 8 * (float)time, "a launch waits");
    EXPECT(cudaStreamSynchronize(r.one) == cudaSuccess);
    EXPECT(r.back[0] == 8 * (float)time && r.back[N - 1] == 8 * (float)time, "launch %d: %g", time,
           (double)r.back[0]);
  }
  expect_clean();
  EXPECT(cudaGraphExecDestroy(exec) == cudaSuccess);
  rig_close(&r);
}

static void nodes(void) {
  Rig r;
  cudaGraph_t graph;
  cudaGraphNode_t list[8];
  enum cudaGraphNodeType type;
  size_t n = 0;
  rig_open(&r);
  begin(&r);
  demo_add(r.b, r.a, 1, N, 64, r.one);
  cudaMemsetAsync(r.c, 0, BYTES, r.one);
  cudaMemcpyAsync(r.c, r.b, BYTES, cudaMemcpyDeviceToDevice, r.one);
  product(&r, r.one);
  EXPECT(cudaStreamEndCapture(r.one, &graph) == cudaSuccess);
  EXPECT(cudaGraphGetNodes(graph, NULL, &n) == cudaSuccess && n == 4);
  n = 8;
  EXPECT(cudaGraphGetNodes(graph, list, &n) == cudaSuccess && n == 4);
  static const enum cudaGraphNodeType types[] = {cudaGraphNodeTypeKernel, cudaGraphNodeTypeMemset,
                                                 cudaGraphNodeTypeMemcpy, cudaGraphNodeTypeKernel};
  for (int i = 0; i < 4; i++)
    EXPECT(cudaGraphNodeGetType(list[i], &type) == cudaSuccess && type == types[i]);
  cudaGraphDestroy(graph);
  rig_close(&r);
}

// Two branches and what joins them; another seed, another order of the branches.
static void fork_and_join(void) {
  for (uint64_t seed = 1; seed <= 16; seed++) {
    Rig r;
    sim_control()->set_seed(seed);
    rig_open(&r);
    begin(&r);
    demo_add(r.a, r.a, 1, N, 64, r.one);
    cudaEventRecord(r.fork, r.one);
    cudaStreamWaitEvent(r.two, r.fork, 0);
    demo_add(r.b, r.a, 1, N, 64, r.one);
    demo_add(r.c, r.a, 2, N, 64, r.two);
    cudaEventRecord(r.join, r.two);
    cudaStreamWaitEvent(r.one, r.join, 0);
    product(&r, r.one); // over c: only after the join
    cudaGraphExec_t exec = end(&r);
    launch(&r, exec);
    EXPECT(element(r.a, 0) == 1 && element(r.c, 0) == 16, "%g", (double)element(r.c, 0));
    launch(&r, exec);
    EXPECT(element(r.a, 0) == 2 && element(r.c, 0) == 48, "%g", (double)element(r.c, 0));
    expect_clean();
    cudaGraphExecDestroy(exec);
    rig_close(&r);
  }
  sim_control()->set_seed(1);
}

// A stream that is not captured works at once; a destroyed graph's queued launch still runs.
static void beside_a_capture(void) {
  Rig r;
  rig_open(&r);
  begin(&r);
  demo_add(r.a, r.a, 1, N, 64, r.one);
  demo_add(r.b, r.b, 5, N, 64, r.two);
  demo_add(r.c, r.c, 6, N, 64, NULL); // a non-blocking stream is captured: this one is free
  cudaGraphExec_t exec = end(&r);
  EXPECT(cudaStreamSynchronize(r.two) == cudaSuccess && element(r.b, 0) == 5);
  EXPECT(element(r.a, 0) == 0 && element(r.c, 0) == 6);
  EXPECT(cudaGraphLaunch(exec, r.one) == cudaSuccess);
  EXPECT(cudaGraphLaunch(exec, r.two) == cudaSuccess); // after its first launch, by itself
  EXPECT(cudaGraphExecDestroy(exec) == cudaSuccess);
  EXPECT(cudaDeviceSynchronize() == cudaSuccess);
  EXPECT(element(r.a, 0) == 2);
  expect_clean();
  rig_close(&r);
}

static void relaxed(void) {
  Rig r;
  cudaGraph_t graph;
  void *p;
  rig_open(&r);
  EXPECT(cudaStreamBeginCapture(r.one, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  EXPECT(cudaMalloc(&p, 256) == cudaSuccess && cudaFree(p) == cudaSuccess);
  EXPECT(cudaStreamEndCapture(r.one, &graph) == cudaSuccess);
  cudaGraphDestroy(graph);
  enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  begin(&r);
  EXPECT(cudaThreadExchangeStreamCaptureMode(&mode) == cudaSuccess &&
         mode == cudaStreamCaptureModeGlobal);
  EXPECT(cudaMalloc(&p, 256) == cudaSuccess && cudaFree(p) == cudaSuccess);
  EXPECT(cudaThreadExchangeStreamCaptureMode(&mode) == cudaSuccess &&
         mode == cudaStreamCaptureModeRelaxed);
  EXPECT(cudaStreamEndCapture(r.one, &graph) == cudaSuccess);
  cudaGraphDestroy(graph);
  rig_close(&r);
}

// ---- updates ----

static cudaGraph_t capture_add(Rig *r, float *to, float value, bool twice) {
  cudaGraph_t graph = NULL;
  begin(r);
  demo_add(to, r->a, value, N, 64, r->one);
  if (twice) demo_add(to, to, value, N, 64, r->one);
  EXPECT(cudaStreamEndCapture(r->one, &graph) == cudaSuccess);
  return graph;
}

static void updates(void) {
  Rig r;
  cudaGraphExecUpdateResultInfo info;
  cudaGraphExec_t exec;
  cudaGraph_t memset_graph;
  rig_open(&r);
  cudaGraph_t first = capture_add(&r, r.b, 1, false), same = capture_add(&r, r.c, 7, false),
              longer = capture_add(&r, r.b, 1, true);
  begin(&r);
  cudaMemsetAsync(r.b, 0, BYTES, r.one);
  EXPECT(cudaStreamEndCapture(r.one, &memset_graph) == cudaSuccess);
  EXPECT(cudaGraphInstantiateWithFlags(&exec, first, 0) == cudaSuccess);
  EXPECT(cudaGraphExecUpdate(exec, longer, &info) == cudaErrorGraphExecUpdateFailure &&
         info.result == cudaGraphExecUpdateErrorTopologyChanged);
  EXPECT(cudaGraphExecUpdate(exec, memset_graph, &info) == cudaErrorGraphExecUpdateFailure &&
         info.result == cudaGraphExecUpdateErrorNodeTypeChanged && info.errorNode != NULL);
  launch(&r, exec);
  EXPECT(element(r.b, 0) == 1, "a refused update changed the graph");
  EXPECT(cudaGraphExecUpdate(exec, same, &info) == cudaSuccess &&
         info.result == cudaGraphExecUpdateSuccess);
  launch(&r, exec);
  EXPECT(element(r.c, 0) == 7 && element(r.b, 0) == 1);
  cudaGraphDestroy(first);
  cudaGraphDestroy(same);
  cudaGraphDestroy(longer);
  cudaGraphDestroy(memset_graph);
  cudaGraphExecDestroy(exec);
  rig_close(&r);
}

// ---- what a capture refuses ----

typedef cudaError_t Refused(Rig *r);

static cudaError_t wait_for_stream(Rig *r) {
  return cudaStreamSynchronize(r->one);
}
static cudaError_t ask_stream(Rig *r) {
  return cudaStreamQuery(r->one);
}
static cudaError_t wait_for_device(Rig *r) {
  (void)r;
  return cudaDeviceSynchronize();
}
static cudaError_t wait_for_captured_event(Rig *r) {
  EXPECT(cudaEventRecord(r->fork, r->one) == cudaSuccess);
  return cudaEventSynchronize(r->fork);
}
static cudaError_t ask_captured_event(Rig *r) {
  EXPECT(cudaEventRecord(r->fork, r->one) == cudaSuccess);
  return cudaEventQuery(r->fork);
}
static cudaError_t ask_any_event(Rig *r) {
  return cudaEventQuery(r->join);
}
static cudaError_t allocate(Rig *r) {
  void *p;
  (void)r;
  return cudaMalloc(&p, 256);
}
static cudaError_t allocate_pinned(Rig *r) {
  void *p;
  (void)r;
  return cudaMallocHost(&p, 256);
}
static cudaError_t give_back(Rig *r) {
  return cudaFree(r->c);
}
static cudaError_t copy_and_wait(Rig *r) {
  return cudaMemcpy(r->a, r->b, BYTES, cudaMemcpyDeviceToDevice);
}
static cudaError_t set_at_once(Rig *r) {
  return cudaMemset(r->a, 0, BYTES);
}
static cudaError_t event_from_before(Rig *r) {
  EXPECT(cudaEventRecord(r->join, r->two) == cudaSuccess);
  return cudaStreamWaitEvent(r->one, r->join, 0);
}
static cudaError_t two_captures(Rig *r) {
  cudaGraph_t graph;
  EXPECT(cudaStreamBeginCapture(r->two, cudaStreamCaptureModeGlobal) == cudaSuccess);
  EXPECT(cudaEventRecord(r->fork, r->one) == cudaSuccess);
  const cudaError_t error = cudaStreamWaitEvent(r->two, r->fork, 0);
  EXPECT(cudaStreamEndCapture(r->two, &graph) == cudaErrorStreamCaptureInvalidated);
  return error;
}
static cudaError_t end_in_a_fork(Rig *r) {
  cudaGraph_t graph;
  EXPECT(cudaEventRecord(r->fork, r->one) == cudaSuccess);
  EXPECT(cudaStreamWaitEvent(r->two, r->fork, 0) == cudaSuccess);
  return cudaStreamEndCapture(r->two, &graph);
}
static cudaError_t destroy_stream(Rig *r) {
  return cudaStreamDestroy(r->one);
}
static cudaError_t wait_in_default_stream(Rig *r) {
  EXPECT(cudaEventRecord(r->fork, r->one) == cudaSuccess);
  return cudaStreamWaitEvent(NULL, r->fork, 0);
}

static void refused(const char *name, Refused *fn, cudaError_t error) {
  Rig r;
  cudaGraph_t graph = (cudaGraph_t)(void *)&r;
  enum cudaStreamCaptureStatus status;
  rig_open(&r);
  begin(&r);
  demo_add(r.a, r.a, 1, N, 64, r.one);
  const cudaError_t got = fn(&r);
  EXPECT(got == error, "%s: %s, not %s", name, cudaGetErrorName(got), cudaGetErrorName(error));
  EXPECT(cudaGetLastError() != cudaSuccess);
  EXPECT(cudaStreamIsCapturing(r.one, &status) == cudaSuccess &&
             status == cudaStreamCaptureStatusInvalidated,
         "%s: the capture goes on", name);
  demo_add(r.a, r.a, 1, N, 64, r.one);
  EXPECT(cudaGetLastError() == cudaErrorStreamCaptureInvalidated, "%s", name);
  EXPECT(cudaStreamEndCapture(r.one, &graph) == cudaErrorStreamCaptureInvalidated && graph == NULL,
         "%s", name);
  (void)cudaGetLastError();
  demo_add(r.a, r.a, 3, N, 64, r.one); // the stream works again
  EXPECT(cudaStreamSynchronize(r.one) == cudaSuccess && element(r.a, 0) == 3, "%s", name);
  expect_clean();
  rig_close(&r);
}

static void refusals(void) {
  const cudaError_t unsupported = cudaErrorStreamCaptureUnsupported;
  refused("cudaStreamSynchronize", wait_for_stream, unsupported);
  refused("cudaStreamQuery", ask_stream, unsupported);
  refused("cudaDeviceSynchronize", wait_for_device, unsupported);
  refused("cudaEventSynchronize", wait_for_captured_event, cudaErrorCapturedEvent);
  refused("cudaEventQuery", ask_captured_event, cudaErrorCapturedEvent);
  refused("cudaEventQuery of another event", ask_any_event, unsupported);
  refused("cudaMalloc", allocate, unsupported);
  refused("cudaMallocHost", allocate_pinned, unsupported);
  refused("cudaFree", give_back, unsupported);
  refused("cudaMemcpy", copy_and_wait, unsupported);
  refused("cudaMemset", set_at_once, unsupported);
  refused("an event from outside", event_from_before, cudaErrorStreamCaptureIsolation);
  refused("two captures", two_captures, cudaErrorStreamCaptureMerge);
  refused("ended in a fork", end_in_a_fork, cudaErrorStreamCaptureUnmatched);
  refused("cudaStreamDestroy", destroy_stream, unsupported);
  refused("a wait of the default stream", wait_in_default_stream, cudaErrorStreamCaptureImplicit);
}

// The default stream waits for blocking ones, so it is closed while one of those is captured.
static void default_stream(void) {
  Rig r;
  cudaGraph_t graph;
  enum cudaStreamCaptureStatus status;
  rig_open(&r);
  for (int how = 0; how < 3; how++) {
    EXPECT(cudaStreamBeginCapture(r.blocking, cudaStreamCaptureModeGlobal) == cudaSuccess);
    EXPECT(cudaStreamIsCapturing(NULL, &status) == cudaErrorStreamCaptureImplicit);
    EXPECT(cudaStreamIsCapturing(r.blocking, &status) == cudaSuccess &&
           status == cudaStreamCaptureStatusActive);
    (void)cudaGetLastError();
    if (how == 0) demo_add(r.a, r.a, 1, N, 64, NULL);
    if (how == 1) (void)cudaMemcpy(r.a, r.b, BYTES, cudaMemcpyDeviceToDevice);
    if (how == 2) (void)cudaEventRecord(r.fork, NULL);
    EXPECT(cudaGetLastError() == cudaErrorStreamCaptureImplicit, "%d", how);
    EXPECT(cudaStreamEndCapture(r.blocking, &graph) == cudaErrorStreamCaptureInvalidated);
  }
  expect_clean();
  rig_close(&r);
}

static void begin_and_end(void) {
  Rig r;
  cudaGraph_t graph;
  rig_open(&r);
  EXPECT(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeGlobal) ==
         cudaErrorStreamCaptureUnsupported);
  EXPECT(cudaStreamEndCapture(r.one, &graph) == cudaErrorIllegalState && graph == NULL);
  begin(&r);
  EXPECT(cudaStreamBeginCapture(r.one, cudaStreamCaptureModeGlobal) == cudaErrorIllegalState);
  EXPECT(cudaEventRecord(r.fork, r.one) == cudaSuccess);
  EXPECT(cudaStreamWaitEvent(r.two, r.fork, 0) == cudaSuccess);
  demo_add(r.b, r.a, 1, N, 64, r.two); // and nothing joins it
  EXPECT(cudaStreamEndCapture(r.one, &graph) == cudaErrorStreamCaptureUnjoined && graph == NULL);
  EXPECT(cudaEventQuery(r.fork) == cudaErrorCapturedEvent); // it never happened
  expect_clean();
  rig_close(&r);
}

// ---- mistakes ----

typedef void Mistake(Rig *r, bool wrong);

static void missing_edge(Rig *r, bool wrong) {
  begin(r);
  cudaEventRecord(r->fork, r->one);
  cudaStreamWaitEvent(r->two, r->fork, 0);
  demo_add(r->a, r->b, 1, N, 64, r->one);
  if (!wrong) {
    cudaEventRecord(r->fork, r->one);
    cudaStreamWaitEvent(r->two, r->fork, 0);
  }
  demo_add(r->c, r->a, 1, N, 64, r->two);
  cudaEventRecord(r->join, r->two);
  cudaStreamWaitEvent(r->one, r->join, 0);
  cudaGraphExec_t exec = end(r);
  launch(r, exec);
  cudaGraphExecDestroy(exec);
}

static void copy_beside_product(Rig *r, bool wrong) {
  begin(r);
  cudaEventRecord(r->fork, r->one);
  cudaStreamWaitEvent(r->two, r->fork, 0);
  product(r, r->one);
  cudaMemcpyAsync(wrong ? r->a : r->back, wrong ? r->host : r->a, BYTES, cudaMemcpyDefault, r->two);
  cudaEventRecord(r->join, r->two);
  cudaStreamWaitEvent(r->one, r->join, 0);
  cudaGraphExec_t exec = end(r);
  launch(r, exec);
  cudaGraphExecDestroy(exec);
}

static void launch_beside_kernel(Rig *r, bool wrong) {
  begin(r);
  demo_add(r->a, r->a, 1, N, 64, r->one);
  cudaGraphExec_t exec = end(r);
  EXPECT(cudaGraphLaunch(exec, r->one) == cudaSuccess);
  cudaEventRecord(r->join, r->one);
  if (!wrong) cudaStreamWaitEvent(r->two, r->join, 0);
  demo_add(r->c, r->a, 1, N, 64, r->two);
  cudaDeviceSynchronize();
  cudaGraphExecDestroy(exec);
}

static void pinned_too_early(Rig *r, bool wrong) {
  begin(r);
  cudaMemcpyAsync(r->a, r->host, BYTES, cudaMemcpyHostToDevice, r->one);
  cudaGraphExec_t exec = end(r);
  EXPECT(cudaGraphLaunch(exec, r->one) == cudaSuccess);
  if (!wrong) cudaStreamSynchronize(r->one);
  r->host[3] = -1;
  cudaDeviceSynchronize();
  cudaGraphExecDestroy(exec);
}

// Memory that is given back and handed out again is not what the graph was made with.
static void memory_changed(Rig *r, bool wrong) {
  float *p, *again;
  cudaMalloc((void **)&p, BYTES);
  begin(r);
  cudaMemcpyAsync(p, r->host, BYTES, cudaMemcpyHostToDevice, r->one);
  cudaGraphExec_t exec = end(r);
  if (wrong) {
    cudaFree(p);
    cudaMalloc((void **)&again, BYTES);
    EXPECT(cudaGraphLaunch(exec, r->one) == cudaSuccess);
    sim_control()->reports();
    cudaFree(again);
  } else {
    launch(r, exec);
    cudaFree(p);
  }
  cudaGraphExecDestroy(exec);
}

static void pageable_copy(Rig *r, bool wrong) {
  static float pageable[N];
  cudaGraph_t graph;
  begin(r);
  const cudaError_t error =
      cudaMemcpyAsync(r->a, wrong ? pageable : r->host, BYTES, cudaMemcpyHostToDevice, r->one);
  EXPECT(error == (wrong ? cudaErrorStreamCaptureUnsupported : cudaSuccess));
  EXPECT(cudaStreamEndCapture(r->one, &graph) ==
         (wrong ? cudaErrorStreamCaptureInvalidated : cudaSuccess));
  if (!wrong) cudaGraphDestroy(graph);
}

static void kernel_beyond_memory(Rig *r, bool wrong) {
  begin(r);
  demo_add(r->a, r->b, 1, wrong ? N + 64 : N, 64, r->one);
  cudaGraphExec_t exec = end(r);
  launch(r, exec);
  cudaGraphExecDestroy(exec);
}

static void mistake(const char *name, Mistake *fn, SimFault fault) {
  for (int wrong = 0; wrong <= 1; wrong++) {
    Rig r;
    rig_open(&r);
    fn(&r, wrong);
    (void)cudaDeviceSynchronize();
    const int64_t n = sim_control()->reports();
    bool found = false;
    for (int64_t i = 0; i < n; i++) found = found || sim_control()->report_fault(i) == fault;
    EXPECT(wrong ? found : n == 0, "%s %s: %lld reports, the first: %s", name,
           wrong ? "wrong" : "right", (long long)n, n > 0 ? sim_control()->report(0) : "none");
    if (wrong && n > 0) printf("  %s: %s\n", name, sim_control()->report(0));
    if (fn == memory_changed && wrong) return; // the device has failed for good
    rig_close(&r);
    sim_control()->clear();
  }
}

static void mistakes(void) {
  mistake("missing edge", missing_edge, SIM_STREAM_CONFLICT);
  mistake("copy beside a product", copy_beside_product, SIM_STREAM_CONFLICT);
  mistake("launch beside a kernel", launch_beside_kernel, SIM_STREAM_CONFLICT);
  mistake("pinned memory written too early", pinned_too_early, SIM_STREAM_CONFLICT);
  mistake("pageable memory in a capture", pageable_copy, SIM_HOST_POINTER);
  mistake("kernel beyond its memory", kernel_beyond_memory, SIM_OUT_OF_BOUNDS);
}

// With a branch that is not ordered, either order is seen.
static void any_order(void) {
  int first = 0;
  for (uint64_t seed = 1; seed <= 32; seed++) {
    Rig r;
    sim_control()->set_seed(seed);
    rig_open(&r);
    begin(&r);
    cudaEventRecord(r.fork, r.one);
    cudaStreamWaitEvent(r.two, r.fork, 0);
    demo_add(r.a, r.b, 1, N, 64, r.one);
    demo_add(r.a, r.b, 2, N, 64, r.two);
    cudaEventRecord(r.join, r.two);
    cudaStreamWaitEvent(r.one, r.join, 0);
    cudaGraphExec_t exec = end(&r);
    launch(&r, exec);
    first += element(r.a, 0) == 1;
    EXPECT(sim_control()->reports() == 1 && sim_control()->report_fault(0) == SIM_STREAM_CONFLICT);
    cudaGraphExecDestroy(exec);
    rig_close(&r);
    sim_control()->clear();
  }
  EXPECT(first > 4 && first < 28, "%d of 32 seeds", first);
  sim_control()->set_seed(1);
}

static void changed_memory(void) { // last: it ends the device
  mistake("memory freed after the capture", memory_changed, SIM_RELEASED);
}

int main(void) {
  RUN(replays);
  RUN(nodes);
  RUN(fork_and_join);
  RUN(beside_a_capture);
  RUN(relaxed);
  RUN(updates);
  RUN(refusals);
  RUN(default_stream);
  RUN(begin_and_end);
  RUN(mistakes);
  RUN(any_order);
  RUN(changed_memory);
  return test_done();
}
