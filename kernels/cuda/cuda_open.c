// The CUDA module's door: what there is, and opening a device.
#include "cuda_backend.h"
#include "cuda_compat.h"
#include "cuda_module.h"
#include "cuda_nvml.h"
#include "cuda_probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Of 13020 the 13: a program that was built with any toolkit of a major release runs with every
// driver of that release's first version or newer ("minor version compatibility", CUDA
// Compatibility guide; 12.x: driver 525, 13.x: 580). libcudart applies the rule and says
// cudaErrorInsufficientDriver. PTX has no part in it: check_code.
static int driver_needed(void) {
  int toolkit = CUDART_VERSION;
  (void)cudaRuntimeGetVersion(&toolkit);
  return toolkit / 1000;
}

// Every first call on a machine that cannot be used fails here, with what to do.
static Status count_devices(int *n, Error *err) {
  cudaError_t error = cudaGetDeviceCount(n);
  (void)cudaGetLastError();
  if (error == cudaSuccess && *n > 0) return STATUS_OK;
  int driver = 0;
  (void)cudaDriverGetVersion(&driver);
  if (error == cudaErrorInsufficientDriver && driver > 0) {
    bool older = driver >= 12000 && driver_needed() > 12; // toolkits of CUDA 12 would do
    return error_set(err, STATUS_FAILED,
                     "the NVIDIA driver is for CUDA %d.%d, this build needs one for %d.0 or newer "
                     "(error 35): update the driver, %sor run on the CPU",
                     driver / 1000, driver % 1000 / 10, driver_needed(),
                     older ? "build with a toolkit of CUDA 12 (12.4 at least), " : "");
  }
  if (error == cudaErrorInsufficientDriver) {
    return error_set(err, STATUS_FAILED,
                     "there is no NVIDIA driver (error 35), this build needs one for CUDA %d.0 or "
                     "newer: install it, go to a node that has a GPU, or run on the CPU",
                     driver_needed());
  }
  if (error == cudaErrorNoDevice || error == cudaSuccess) {
    return error_set(err, STATUS_FAILED,
                     "the driver sees no GPU (error 100): ask the scheduler for one "
                     "(--gres=gpu:1), look at CUDA_VISIBLE_DEVICES, or run on the CPU");
  }
  return error_set(err, STATUS_FAILED,
                   "CUDA cannot be used: error %d, %s: see what nvidia-smi says of the driver, or "
                   "run on the CPU",
                   (int)error, cudaGetErrorString(error));
}

// What the device's programs hold, by a library that needs no context. Not known where it speaks of
// other memory than this device's (a part of a GPU).
static int64_t memory_in_use(int device) {
  char pci[32];
  CudaNvml nvml;
  int64_t all = 0;
  if (cudaDeviceGetPCIBusId(pci, sizeof pci, device) != cudaSuccess) {
    (void)cudaGetLastError();
    return -1;
  }
  cuda_nvml_open(&nvml, pci);
  int64_t used = cuda_nvml_used(&nvml, &all);
  cuda_nvml_close(&nvml);
  struct cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  double share = (double)properties.totalGlobalMem / (double)(all > 0 ? all : 1);
  return used >= 0 && share > 0.8 && share < 1.01 ? used : -1;
}

static void name_device(CudaBackend *cuda) {
  struct cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, cuda->device));
  snprintf(cuda->title, sizeof cuda->title, "%s", properties.name);
  cuda->be.device = cuda->title;
}

static Status check_device(CudaBackend *cuda, int n, Error *err) {
  int device = cuda->device;
  if (device < 0 || device >= n) {
    return error_set(err, STATUS_USAGE, "there is no GPU %d: the driver sees %d, numbered from 0",
                     device, n);
  }
  name_device(cuda);
  cuda->major = cuda_attribute(cudaDevAttrComputeCapabilityMajor, device);
  cuda->minor = cuda_attribute(cudaDevAttrComputeCapabilityMinor, device);
  cuda->sms = cuda_attribute(cudaDevAttrMultiProcessorCount, device);
  cuda->shared_max = cuda_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (cuda->major < 8) {
    return error_set(err, STATUS_FAILED,
                     "GPU %d, %s, has compute capability %d.%d; vma's kernels need 8.0 (A100, RTX "
                     "30) or newer: take another GPU (cuda:N), or run on the CPU",
                     device, cuda->title, cuda->major, cuda->minor);
  }
  if (cuda_attribute(cudaDevAttrComputeMode, device) == cudaComputeModeProhibited) {
    return error_set(err, STATUS_FAILED,
                     "GPU %d, %s, is set to let no process compute: have it shared (nvidia-smi -c "
                     "0), take another (cuda:N), or run on the CPU",
                     device, cuda->title);
  }
  return STATUS_OK;
}

static Status make_context(CudaBackend *cuda, Error *err) {
  int device = cuda->device;
  cudaError_t error = cudaSetDevice(device);
  if (error == cudaSuccess) error = cudaFree(NULL);
  if (error == cudaSuccess) return STATUS_OK;
  (void)cudaGetLastError();
  if (error == cudaErrorDevicesUnavailable || error == cudaErrorDeviceAlreadyInUse) {
    return error_set(err, STATUS_FAILED,
                     "GPU %d, %s, is busy: it is in exclusive mode and another process holds it "
                     "(nvidia-smi shows which): wait for that one, take another GPU (cuda:N), or "
                     "run on the CPU",
                     device, cuda->title);
  }
  return error_set(err, STATUS_FAILED,
                   "GPU %d, %s, cannot be opened: error %d, %s: see what nvidia-smi says of it, "
                   "take another (cuda:N), or run on the CPU",
                   device, cuda->title, (int)error, cudaGetErrorString(error));
}

// Whether the device can run the kernels at all, asked of one. What has machine code of its own
// (8.x, 9.0) can; a newer device takes the PTX, which a driver older than the toolkit cannot
// translate, whatever their major release.
static Status check_code(CudaBackend *cuda, Error *err) {
  struct cudaFuncAttributes attributes;
  cudaError_t error = cudaFuncGetAttributes(&attributes, cuda_some_kernel());
  if (error == cudaSuccess) return STATUS_OK;
  (void)cudaGetLastError();
  if (error != cudaErrorUnsupportedPtxVersion && error != cudaErrorNoKernelImageForDevice &&
      error != cudaErrorInvalidPtx) {
    return error_set(err, STATUS_FAILED,
                     "GPU %d, %s, cannot load the kernels: error %d, %s: see what nvidia-smi says "
                     "of it, take another (cuda:N), or run on the CPU",
                     cuda->device, cuda->title, (int)error, cudaGetErrorString(error));
  }
  int driver = 0, toolkit = CUDART_VERSION;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&toolkit);
  return error_set(err, STATUS_FAILED,
                   "GPU %d, %s, has compute capability %d.%d; this build has no machine code for "
                   "it, and no PTX that the driver can translate (error %d; toolkit %d.%d, driver "
                   "for %d.%d): update the driver, add %d to VMA_CUDA_ARCHS when building, take "
                   "another GPU (cuda:N), or run on the CPU",
                   cuda->device, cuda->title, cuda->major, cuda->minor, (int)error, toolkit / 1000,
                   toolkit % 1000 / 10, driver / 1000, driver % 1000 / 10,
                   10 * cuda->major + cuda->minor);
}

static Status open_library(CudaBackend *cuda, Error *err) {
  cublasStatus_t lt = cublasLtCreate(&cuda->lt);
  if (lt != CUBLAS_STATUS_SUCCESS)
    return error_set(err, STATUS_FAILED,
                     "cuBLASLt %lld cannot be opened: %s: load the CUDA toolkit of this build, or "
                     "run on the CPU",
                     (long long)cublasLtGetVersion(), cublasLtGetStatusName(lt));
  if (cudaMalloc(&cuda->workspace, CUDA_WORKSPACE) != cudaSuccess) {
    (void)cudaGetLastError();
    return error_set(err, STATUS_MEMORY, "no memory for %d MiB of cuBLASLt's workspace",
                     CUDA_WORKSPACE >> 20);
  }
  return STATUS_OK;
}

static void cuda_close(Backend *be) {
  CudaBackend *cuda = cuda_of(be);
  if (cuda->stream != NULL) be->sync(be);
  if (cuda->scratch != NULL) CUDA_CHECK(cudaFree(cuda->scratch));
  if (cuda->workspace != NULL) CUDA_CHECK(cudaFree(cuda->workspace));
  cuda_gemm_close(cuda);
  cuda_ring_close(cuda);
  if (cuda->lt != NULL) CUDA_CHECK_LT(cublasLtDestroy(cuda->lt));
  if (cuda->stream != NULL) CUDA_CHECK(cudaStreamDestroy(cuda->stream));
  if (cuda->copies != NULL) CUDA_CHECK(cudaStreamDestroy(cuda->copies));
  if (be->shadow != NULL) be->shadow->close(be->shadow);
  free(cuda);
}

static void install(Backend *be) {
  cuda_memory_install(be);
  cuda_copy_install(be);
  cuda_linear_install(be);
  cuda_elementwise_install(be);
  cuda_cast_install(be);
  cuda_rows_install(be);
  cuda_norm_install(be);
  cuda_rope_install(be);
  cuda_attention_install(be);
  cuda_lora_install(be);
  cuda_loss_install(be);
  cuda_optim_install(be);
  cuda_sample_install(be);
}

// Of two readings, -1: not known.
static int64_t context_taken(int64_t before, int64_t after) {
  int64_t taken = after - before - backend_cuda_fixed_bytes();
  return before >= 0 && after >= 0 && taken >= 0 ? taken : -1;
}

static Status cuda_open(Backend **out, int device, Error *err) {
  Status status = STATUS_OK;
  int n = 0;
  CudaBackend *cuda = calloc(1, sizeof *cuda);
  if (cuda == NULL) return error_set(err, STATUS_MEMORY, "no memory for the CUDA backend");
  cuda->device = device;
  cuda->be.name = "cuda";
  cuda->be.gemm_path = "cublaslt";
  cuda->be.row_multiple = CUDA_ROW_MULTIPLE;
  cuda->be.few_rows = CUDA_MATVEC_ROWS;
  cuda->be.close = cuda_close;
  install(&cuda->be);
  TRY(count_devices(&n, err));
  TRY(check_device(cuda, n, err));
  int64_t before = memory_in_use(device);
  TRY(make_context(cuda, err));
  TRY(check_code(cuda, err));
  CUDA_CHECK(cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking));
  CUDA_CHECK(cudaStreamCreateWithFlags(&cuda->copies, cudaStreamNonBlocking));
  TRY(open_library(cuda, err));
  TRY(cuda_ring_open(cuda, err));
  TRY(cuda_gemm_open(cuda, err));
  cuda_attention_open(cuda);
  TRY(backend_cuda_shadow_open(&cuda->be.shadow, err));
  cuda->be.context_bytes = context_taken(before, memory_in_use(device));
  *out = &cuda->be;
  return STATUS_OK;
done:
  cuda_close(&cuda->be);
  return status;
}

// ---- for people ----

static const char *mode_name(int mode) {
  if (mode == cudaComputeModeDefault) return "shared";
  return mode == cudaComputeModeProhibited ? "prohibited" : "exclusive";
}

static void describe_device(CudaDeviceInfo *info, int device) {
  struct cudaDeviceProp properties;
  size_t left = 0, all = 0;
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return;
  snprintf(info->name, sizeof info->name, "%.63s", properties.name);
  info->major = properties.major;
  info->minor = properties.minor;
  info->sms = properties.multiProcessorCount;
  info->memory = (int64_t)properties.totalGlobalMem;
  info->mode = mode_name(cuda_attribute(cudaDevAttrComputeMode, device));
  info->memory_free = -1;
  if (cudaSetDevice(device) == cudaSuccess && cudaMemGetInfo(&left, &all) == cudaSuccess)
    info->memory_free = (int64_t)left;
  (void)cudaGetLastError();
}

// Whether the current device is one that could be used, were there code for it.
static bool lacks_code(const CudaDeviceInfo *info) {
  struct cudaFuncAttributes attributes;
  bool lacks = info->major >= 8 && info->memory_free >= 0 &&
               cudaFuncGetAttributes(&attributes, cuda_some_kernel()) != cudaSuccess;
  (void)cudaGetLastError();
  return lacks;
}

static void cuda_describe(CudaSystem *system) {
  Error err;
  int n = 0, lacking = 0;
  (void)cudaDriverGetVersion(&system->driver);
  (void)cudaRuntimeGetVersion(&system->toolkit);
  system->cublaslt = (int64_t)cublasLtGetVersion();
  if (count_devices(&n, &err) != STATUS_OK) {
    snprintf(system->problem, sizeof system->problem, "%s", err.message);
    return;
  }
  system->n_devices = n < CUDA_DEVICES_MAX ? n : CUDA_DEVICES_MAX;
  for (int i = 0; i < system->n_devices; i++) {
    describe_device(&system->devices[i], i);
    if (lacks_code(&system->devices[i])) lacking++;
  }
  if (lacking > 0 && lacking == system->n_devices)
    snprintf(system->problem, sizeof system->problem,
             "the driver finds no code for the GPU in this build: update the driver, or add its "
             "compute capability to VMA_CUDA_ARCHS when building");
}

__attribute__((visibility("default"))) const CudaModule *vma_cuda_module(void);

const CudaModule *vma_cuda_module(void) {
  static const CudaModule module = {.abi = CUDA_MODULE_ABI,
                                    .backend_bytes = (int64_t)sizeof(Backend),
                                    .open = cuda_open,
                                    .describe = cuda_describe};
  return &module;
}
