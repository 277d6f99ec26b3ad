// labels: sim
// The rest of the simulated runtime: errors by their real names, device attributes, kinds of
// memory, stream-ordered allocation, variables of kernel files, the ways to launch, occupancy and
// registers, priorities, times of events.
#include "sim_control.h"
#include "test.h"

#include <cuda_runtime_api.h>

void demo_add(float *to, const float *from, float value, int n, int threads, cudaStream_t stream);
cudaError_t demo_shared(float *to, int n, int allowed, cudaStream_t stream);
void demo_table_into(float *to, int n, cudaStream_t stream);
const void *demo_table_symbol(void);
const void *demo_factor_symbol(void);
const void *demo_add_function(void);
const void *demo_shared_function(void);
const void *demo_wide_function(void);

enum { N = 256, BYTES = N * 4 };

#define OK(call) EXPECT((call) == cudaSuccess)

static void expect_reports(int64_t n, SimFault fault) {
  const SimControl *sim = sim_control();
  EXPECT(sim->reports() == n && (n == 0 || sim->report_fault(0) == fault), "%lld reports: %s",
         (long long)sim->reports(), sim->reports() > 0 ? sim->report(0) : "none");
  sim->clear();
}

static bool reported(SimFault fault) {
  bool found = false;
  for (int64_t i = 0; i < sim_control()->reports(); i++)
    found = found || sim_control()->report_fault(i) == fault;
  return found;
}

static float *device_floats(void) {
  float *p = NULL;
  OK(cudaMalloc((void **)&p, BYTES));
  OK(cudaMemset(p, 0, BYTES));
  OK(cudaDeviceSynchronize()); // a memset is not waited for
  return p;
}

// ---- errors and attributes ----

static void errors(void) {
  static const struct {
    cudaError_t error;
    const char *name, *text;
  } some[] = {
      {cudaSuccess, "cudaSuccess", "no error"},
      {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
      {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
       "CUDA driver version is insufficient for CUDA runtime version"},
      {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
       "an illegal memory access was encountered"},
      {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
       "operation not permitted when stream is capturing"},
      {(cudaError_t)5000, "unrecognized error code", "unrecognized error code"},
  };
  for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
    EXPECT(strcmp(cudaGetErrorName(some[i].error), some[i].name) == 0, "%s",
           cudaGetErrorName(some[i].error));
    EXPECT(strcmp(cudaGetErrorString(some[i].error), some[i].text) == 0, "%s",
           cudaGetErrorString(some[i].error));
  }
}

static int attribute(enum cudaDeviceAttr a) {
  int value = -1;
  OK(cudaDeviceGetAttribute(&value, a, 0));
  return value;
}

static void attributes(void) {
  static const struct {
    const char *device;
    int major, minor, sms, shared_sm, threads_sm, blocks_sm;
  } all[] = {{"3090", 8, 6, 82, 102400, 1536, 16},
             {"h100", 9, 0, 132, 233472, 2048, 32},
             {"a100", 8, 0, 108, 167936, 2048, 32}};
  for (int i = 0; i < 3; i++) {
    struct cudaDeviceProp p;
    int device = -1, value;
    sim_control()->configure(all[i].device, 0, 0, true);
    EXPECT(attribute(cudaDevAttrComputeCapabilityMajor) == all[i].major);
    EXPECT(attribute(cudaDevAttrComputeCapabilityMinor) == all[i].minor);
    EXPECT(attribute(cudaDevAttrMultiProcessorCount) == all[i].sms);
    EXPECT(attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) == all[i].shared_sm);
    EXPECT(attribute(cudaDevAttrMaxThreadsPerMultiProcessor) == all[i].threads_sm);
    EXPECT(attribute(cudaDevAttrMaxBlocksPerMultiprocessor) == all[i].blocks_sm);
    EXPECT(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) + 1024 == all[i].shared_sm);
    EXPECT(attribute(cudaDevAttrWarpSize) == 32 && attribute(cudaDevAttrMaxGridDimY) == 65535);
    OK(cudaGetDeviceProperties(&p, 0));
    EXPECT(p.major == all[i].major && p.multiProcessorCount == all[i].sms &&
           p.maxThreadsPerMultiProcessor == all[i].threads_sm);
    OK(cudaGetDevice(&device));
    EXPECT(device == 0);
    EXPECT(cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 1) == cudaErrorInvalidDevice);
  }
  (void)cudaGetLastError();
  expect_reports(0, SIM_API);
}

// ---- memory ----

static void kinds_of_memory(void) {
  static _Alignas(4096) float pageable[1024];
  struct cudaPointerAttributes a;
  float *device = device_floats(), *pinned = NULL, *mapped = NULL;
  unsigned flags = 7;
  OK(cudaHostAlloc((void **)&pinned, BYTES, cudaHostAllocPortable));
  OK(cudaPointerGetAttributes(&a, device + 3));
  EXPECT(a.type == cudaMemoryTypeDevice && a.devicePointer == device + 3 && a.hostPointer == NULL);
  OK(cudaPointerGetAttributes(&a, pinned));
  EXPECT(a.type == cudaMemoryTypeHost && a.hostPointer == pinned);
  OK(cudaPointerGetAttributes(&a, pageable));
  EXPECT(a.type == cudaMemoryTypeUnregistered && a.devicePointer == NULL);
  OK(cudaHostGetFlags(&flags, pinned));
  EXPECT(flags == cudaHostAllocPortable);
  OK(cudaHostGetDevicePointer((void **)&mapped, pinned, 0));
  EXPECT(mapped == pinned);
  EXPECT(cudaHostAlloc((void **)&mapped, BYTES, 0x80) == cudaErrorInvalidValue);

  EXPECT(cudaMemcpyAsync(device, pageable, BYTES, cudaMemcpyHostToDevice, NULL) != cudaSuccess);
  expect_reports(1, SIM_HOST_POINTER);
  OK(cudaHostRegister(pageable, sizeof pageable, cudaHostRegisterDefault));
  EXPECT(cudaHostRegister(pageable, 64, 0) == cudaErrorHostMemoryAlreadyRegistered);
  pageable[5] = 42;
  OK(cudaMemcpyAsync(device, pageable, BYTES, cudaMemcpyHostToDevice, NULL));
  OK(cudaMemcpy(pinned, device, BYTES, cudaMemcpyDeviceToHost));
  EXPECT(pinned[5] == 42);
  OK(cudaDeviceSynchronize());
  OK(cudaHostUnregister(pageable));
  EXPECT(cudaHostUnregister(pageable) == cudaErrorHostMemoryNotRegistered);
  EXPECT(pageable[5] == 42); // it is the program's own
  expect_reports(0, SIM_API);
  OK(cudaFree(device));
  OK(cudaFreeHost(pinned));
  (void)cudaGetLastError();
}

static void copies_of_rows(void) {
  float *device = device_floats(), *pinned = NULL, back[12];
  OK(cudaMallocHost((void **)&pinned, BYTES));
  for (int i = 0; i < N; i++) pinned[i] = (float)i;
  // 3 rows of 4 floats: 8 apart on the host, 16 on the device.
  OK(cudaMemcpy2DAsync(device, 64, pinned, 32, 16, 3, cudaMemcpyDefault, NULL));
  OK(cudaMemcpy2D(back, 16, device, 64, 16, 3, cudaMemcpyDeviceToHost));
  for (int i = 0; i < 12; i++) EXPECT(back[i] == (float)(i / 4 * 8 + i % 4), "%d", i);
  EXPECT(cudaMemcpy2DAsync(device, 8, pinned, 32, 16, 3, cudaMemcpyHostToDevice, NULL) ==
         cudaErrorInvalidPitchValue);
  EXPECT(cudaMemcpy2DAsync(device + N - 36, 64, pinned, 32, 16, 3, cudaMemcpyHostToDevice, NULL) ==
         cudaSuccess);
  EXPECT(cudaMemcpy2DAsync(device + N - 35, 64, pinned, 32, 16, 3, cudaMemcpyHostToDevice, NULL) ==
         cudaErrorInvalidValue);
  expect_reports(1, SIM_OUT_OF_BOUNDS);
  OK(cudaDeviceSynchronize());
  OK(cudaFree(device));
  OK(cudaFreeHost(pinned));
  (void)cudaGetLastError();
}

// What is allocated in a stream belongs to it until others are ordered behind it.
static void in_stream_order(void) {
  cudaStream_t one, two;
  cudaEvent_t event;
  float *from = device_floats(), *p, result = 0;
  OK(cudaStreamCreateWithFlags(&one, cudaStreamNonBlocking));
  OK(cudaStreamCreateWithFlags(&two, cudaStreamNonBlocking));
  OK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  for (int wrong = 0; wrong < 4; wrong++) {
    const int64_t before = sim_control()->device_bytes();
    OK(cudaMallocAsync((void **)&p, BYTES, one));
    OK(cudaEventRecord(event, one));
    if (wrong != 1) OK(cudaStreamWaitEvent(two, event, 0));
    demo_add(p, from, 5, N, 64, two);
    OK(cudaMemcpyAsync(from, p, 4, cudaMemcpyDeviceToDevice, two));
    OK(cudaEventRecord(event, two));
    if (wrong != 2) OK(cudaStreamWaitEvent(one, event, 0));
    OK(cudaFreeAsync(p, one));
    if (wrong == 3) demo_add(from, p, 0, N, 64, one);
    OK(cudaDeviceSynchronize());
    OK(cudaMemcpy(&result, from, 4, cudaMemcpyDeviceToHost));
    OK(cudaMemset(from, 0, BYTES));
    OK(cudaDeviceSynchronize());
    EXPECT(wrong == 2 || wrong == 3 || result == 5);
    EXPECT(sim_control()->device_bytes() == before);
    if (wrong == 0) expect_reports(0, SIM_API);
    if (wrong == 1 || wrong == 2) EXPECT(reported(SIM_STREAM_CONFLICT));
    if (wrong == 3) EXPECT(reported(SIM_RELEASED));
    sim_control()->clear();
  }
  EXPECT(cudaFreeAsync(from + 1, one) == cudaErrorInvalidValue);
  expect_reports(1, SIM_API);
  OK(cudaStreamDestroy(one));
  OK(cudaStreamDestroy(two));
  OK(cudaEventDestroy(event));
  OK(cudaFree(from));
  (void)cudaGetLastError();
}

// ---- variables of kernel files ----

static void variables(void) {
  float *to = device_floats(), values[8], *pinned = NULL;
  void *table = NULL;
  size_t bytes = 0;
  OK(cudaMallocHost((void **)&pinned, BYTES));
  demo_table_into(to, 8, NULL);
  OK(cudaMemcpy(values, to, sizeof values, cudaMemcpyDeviceToHost));
  for (int i = 0; i < 8; i++)
    EXPECT(values[i] == (float)(2 * (i % 4 + 1)), "%d: %g", i, (double)values[i]);
  OK(cudaGetSymbolSize(&bytes, demo_table_symbol()));
  EXPECT(bytes == 16);
  // Two elements, from the second on; a constant; both in order with the kernel behind them.
  pinned[0] = 10;
  pinned[1] = 20;
  pinned[2] = 3;
  OK(cudaMemcpyToSymbolAsync(demo_table_symbol(), pinned, 8, 4, cudaMemcpyHostToDevice, NULL));
  OK(cudaMemcpyToSymbolAsync(demo_factor_symbol(), pinned + 2, 4, 0, cudaMemcpyHostToDevice, NULL));
  demo_table_into(to, 4, NULL);
  OK(cudaMemcpy(values, to, 16, cudaMemcpyDeviceToHost));
  EXPECT(values[0] == 3 && values[1] == 30 && values[2] == 60 && values[3] == 12);
  OK(cudaMemcpyFromSymbol(values, demo_table_symbol(), 8, 8, cudaMemcpyDeviceToHost));
  EXPECT(values[0] == 20 && values[1] == 4);
  // Its address and its content are the device's as any other.
  OK(cudaGetSymbolAddress(&table, demo_table_symbol()));
  float *copy = NULL;
  OK(cudaMalloc((void **)&copy, BYTES));
  OK(cudaMemcpyFromSymbolAsync(copy, demo_table_symbol(), 16, 0, cudaMemcpyDeviceToDevice, NULL));
  demo_add(to, copy, 1, 4, 64, NULL);
  OK(cudaDeviceSynchronize());
  OK(cudaFree(copy));
  demo_add(to, table, 1, 4, 64, NULL);
  OK(cudaMemcpy(values, to, 16, cudaMemcpyDeviceToHost));
  EXPECT(values[0] == 2 && values[3] == 5);
  expect_reports(0, SIM_API);
  demo_add(to, (const float *)table + 1, 1, 4, 64, NULL); // one too far
  OK(cudaDeviceSynchronize());
  expect_reports(1, SIM_OUT_OF_BOUNDS);
  EXPECT(cudaMemcpyToSymbol(demo_table_symbol(), values, 8, 12, cudaMemcpyHostToDevice) ==
         cudaErrorInvalidValue);
  EXPECT(cudaGetSymbolAddress(&table, to) == cudaErrorInvalidSymbol);
  OK(cudaMemcpyToSymbol(demo_factor_symbol(), (const float[]){2}, 4, 0, cudaMemcpyHostToDevice));
  OK(cudaFree(to));
  OK(cudaFreeHost(pinned));
  (void)cudaGetLastError();
}

// ---- launches ----

static void ways_to_launch(void) {
  float *a = device_floats(), *b = device_floats(), value = 1, result = 0;
  int n = N;
  void *args[] = {(void *)&b, (void *)&a, &value, &n};
  OK(cudaLaunchKernel(demo_add_function(), (dim3){4, 1, 1}, (dim3){64, 1, 1}, args, 0, NULL));
  value = 10; // arguments were copied
  cudaLaunchConfig_t config = {.gridDim = {4, 1, 1}, .blockDim = {64, 1, 1}};
  void *back[] = {(void *)&a, (void *)&b, &value, &n};
  OK(cudaLaunchKernelExC(&config, demo_add_function(), back));
  OK(cudaMemcpy(&result, a + N - 1, 4, cudaMemcpyDeviceToHost));
  EXPECT(result == 11, "%g", (double)result);
  EXPECT(cudaLaunchKernel(&n, (dim3){1, 1, 1}, (dim3){64, 1, 1}, args, 0, NULL) ==
         cudaErrorInvalidDeviceFunction);
  expect_reports(0, SIM_API);
  cudaLaunchAttribute cooperative = {.id = cudaLaunchAttributeCooperative};
  config.attrs = &cooperative;
  config.numAttrs = 1;
  EXPECT(cudaLaunchKernelExC(&config, demo_add_function(), back) == cudaErrorNotSupported);
  expect_reports(1, SIM_UNSUPPORTED);
  EXPECT(cudaLaunchKernel(demo_add_function(), (dim3){1, 65536, 1}, (dim3){64, 1, 1}, args, 0,
                          NULL) == cudaErrorInvalidConfiguration);
  expect_reports(1, SIM_LAUNCH_LIMITS);
  OK(cudaFree(a));
  OK(cudaFree(b));
  (void)cudaGetLastError();
}

static int blocks_of(const void *function, int threads, size_t dynamic) {
  int blocks = -1;
  OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, threads, dynamic));
  return blocks;
}

// By registers: they are handed out to warps, by 256; four parts of 16384 each.
static int by_registers(int registers, int threads) {
  const int warp = (registers * 32 + 255) / 256 * 256;
  return 16384 / warp * 4 / (threads / 32);
}

static void occupancy(void) {
  struct cudaFuncAttributes f;
  OK(cudaFuncGetAttributes(&f, demo_add_function()));
  EXPECT(f.numRegs > 4 && f.numRegs <= 32 && f.maxThreadsPerBlock == 1024, "%d registers",
         f.numRegs);
  EXPECT(f.sharedSizeBytes == 0 && f.ptxVersion == 80 && f.maxDynamicSharedSizeBytes == 49152);
  EXPECT(blocks_of(demo_add_function(), 1024, 0) == 2);
  EXPECT(blocks_of(demo_add_function(), 256, 0) == 8);
  EXPECT(blocks_of(demo_add_function(), 32, 0) == 32);
  // By shared memory: a block takes one KiB more.
  OK(cudaFuncSetAttribute(demo_shared_function(), cudaFuncAttributeMaxDynamicSharedMemorySize,
                          131072));
  OK(cudaFuncGetAttributes(&f, demo_shared_function()));
  EXPECT(f.maxDynamicSharedSizeBytes == 131072);
  EXPECT(blocks_of(demo_shared_function(), 64, 131072) == 1);
  EXPECT(blocks_of(demo_shared_function(), 64, 80 << 10) == 2);
  EXPECT(blocks_of(demo_shared_function(), 64, 40 << 10) == 4);
  EXPECT(cudaFuncSetAttribute(demo_shared_function(), cudaFuncAttributeMaxDynamicSharedMemorySize,
                              166913) == cudaErrorInvalidValue);
  OK(cudaFuncGetAttributes(&f, demo_wide_function()));
  EXPECT(f.numRegs > 96, "%d registers", f.numRegs);
  EXPECT(blocks_of(demo_wide_function(), 128, 0) == by_registers(f.numRegs, 128),
         "%d blocks with %d registers", blocks_of(demo_wide_function(), 128, 0), f.numRegs);
  sim_control()->configure("3090", 0, 0, true); // fewer threads
  EXPECT(blocks_of(demo_add_function(), 1024, 0) == 1);
  EXPECT(blocks_of(demo_add_function(), 256, 0) == 6);
  EXPECT(blocks_of(demo_add_function(), 32, 0) == 16);
  sim_control()->configure("a100", 0, 0, true);
  EXPECT(cudaFuncGetAttributes(&f, &f) == cudaErrorInvalidDeviceFunction);
  expect_reports(0, SIM_API);
  (void)cudaGetLastError();
}

// ---- streams and events ----

static void priorities(void) {
  cudaStream_t stream;
  int least = 7, greatest = 7, priority = 7;
  unsigned flags = 7;
  OK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  EXPECT(least == 0 && greatest < 0);
  OK(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, greatest - 3));
  OK(cudaStreamGetPriority(stream, &priority));
  EXPECT(priority == greatest);
  OK(cudaStreamGetFlags(stream, &flags));
  EXPECT(flags == cudaStreamNonBlocking);
  OK(cudaStreamDestroy(stream));
  EXPECT(cudaStreamDestroy(stream) == cudaErrorInvalidResourceHandle);
  EXPECT(cudaMemsetAsync(&flags, 0, 4, stream) == cudaErrorInvalidResourceHandle);
  EXPECT(cudaStreamCreateWithFlags(&stream, 8) == cudaErrorInvalidValue);
  (void)cudaGetLastError();
  expect_reports(0, SIM_API);
}

static void times(void) {
  cudaEvent_t start, middle, end, untimed;
  cudaStream_t stream;
  float *a = device_floats(), first = -1, both = -1;
  OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  OK(cudaEventCreate(&start));
  OK(cudaEventCreate(&middle));
  OK(cudaEventCreate(&end));
  OK(cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming));
  EXPECT(cudaEventElapsedTime(&first, start, end) == cudaErrorInvalidResourceHandle);
  OK(cudaEventRecord(start, stream));
  demo_add(a, a, 1, N, 64, stream);
  OK(cudaEventRecord(middle, stream));
  for (int i = 0; i < 9; i++) demo_add(a, a, 1, N, 64, stream);
  OK(cudaEventRecord(end, stream));
  OK(cudaEventRecord(untimed, stream));
  EXPECT(cudaEventElapsedTime(&first, start, end) == cudaErrorNotReady);
  EXPECT(cudaStreamQuery(stream) == cudaErrorNotReady);
  int asked = 0;
  while (cudaStreamQuery(stream) == cudaErrorNotReady && asked < 100) asked++;
  EXPECT(asked > 2 && asked < 100);
  OK(cudaEventQuery(end));
  OK(cudaEventElapsedTime(&first, start, middle));
  OK(cudaEventElapsedTime(&both, start, end));
  EXPECT(first > 0 && both > 9 * first && both < 11 * first, "%g ms, then %g ms", (double)first,
         (double)both);
  EXPECT(cudaEventElapsedTime(&first, start, untimed) == cudaErrorInvalidResourceHandle);
  OK(cudaEventRecord(end, stream));
  OK(cudaEventDestroy(end)); // before it happened
  OK(cudaStreamSynchronize(stream));
  OK(cudaEventDestroy(start));
  OK(cudaEventDestroy(middle));
  OK(cudaEventDestroy(untimed));
  OK(cudaStreamDestroy(stream));
  OK(cudaFree(a));
  (void)cudaGetLastError();
  expect_reports(0, SIM_API);
}

int main(void) {
  RUN(errors);
  RUN(attributes);
  RUN(kinds_of_memory);
  RUN(copies_of_rows);
  RUN(in_stream_order);
  RUN(variables);
  RUN(ways_to_launch);
  RUN(occupancy);
  RUN(priorities);
  RUN(times);
  return test_done();
}
