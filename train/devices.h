// The devices that a run can be planned for, and how fast they are at each kind of op.
//
// Figures of the table are the makers': dense peaks (no sparsity) of bf16 products summed in f32,
// of f32 (IEEE, no TF32), and of memory traffic. What a run gets of them is a share that is assumed
// until it has been measured, and printed as such. This machine's CPU is measured with the backend
// itself.
#ifndef VMA_DEVICES_H
#define VMA_DEVICES_H

#include "trainer.h"

typedef struct Device {
  const char *name;  // "rtx-3090": plan.device
  const char *title; // "NVIDIA RTX 3090, 24 GB"
  bool gpu;          // memory of its own, a context, libraries
  double gib;        // what a run may take, in GiB
  double tflops[2];  // peaks by DT_F32, DT_BF16
  double gbytes;     // GB/s of its memory
  double link;       // GB/s between two of them, each way, that a collective gets
  double gemm_share; // of the peak that matrix products are assumed to get
  bool measured;     // rates are; else they are assumed
  OpRates rates;
  bool here; // a GPU of this machine, opened: gib is all of its memory
  // Of one that is here, bytes: what its context and the libraries' code took, and what else is in
  // use (other programs'), -1: only both together are known, as `context`.
  int64_t context, others;
  int64_t process; // bytes that this process holds besides what a plan counts; 0: not this machine
  Backend *shadow; // of the backend that was measured: what its ops take is planned; else NULL
} Device;

// Assumed of every device of the table.
#define DEVICE_ATTENTION_SHARE 0.35 // of the peak of products
#define DEVICE_BYTES_SHARE 0.80     // of memory traffic
#define DEVICE_LAUNCH_SECONDS 4e-6  // an op's least time
#define DEVICE_CONTEXT_GIB 0.7      // the device's context and the libraries on it

// A device of the table by its name; STATUS_USAGE names the nearest, or all.
Status device_find(Device *device, const char *name, Error *err);
bool device_is_cpu(const char *name); // "" or "cpu"

// The GPU that `be` has opened: its memory as it is now, the rates of the card of the table that it
// is or, where the table has none of its name, of a100-40. Of use as long as `be` is open. Before
// any arena is taken.
void device_of_gpu(Device *device, const Backend *be);

// This machine's CPU: the memory that is free, and rates measured on `be` with a small model of the
// same widths, in a fraction of a second. The device is of use as long as `be` is open. Measured
// again, they differ by what else the machine does.
Status device_measure(Device *device, Backend *be, const RunConfig *config,
                      const LlamaConfig *llama, const DataOutline *outline, Error *err);

#endif
