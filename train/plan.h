// The plan of a run before it starts: what memory it takes, to the byte, and an estimate of its
// time, for this machine or another one, with or without data. Worked out by a rehearsal on the
// null backend; nothing of weights or data is read, and a plan takes milliseconds.
//
// Memory of a rank that shares with others (dist.shard) is that of one rank, its buckets divided by
// arithmetic; what several ranks need besides stays an estimate until they exist.
//
// Time: every op of a micro-batch of average size takes max(flops / rate, bytes / rate) by the
// device's rates (devices.h), and a run as many of them as its steps and evaluations need.
#ifndef VMA_PLAN_H
#define VMA_PLAN_H

#include "devices.h"
#include "weight_forms.h"

enum { PLAN_LINES_MAX = 20, PLAN_WHAT_BYTES = 120 };

typedef struct PlanLine {
  const char *name;
  int64_t bytes;
  bool on_device; // else memory of the process beside a device; on the CPU all lines are
  bool estimate;
  char what[PLAN_WHAT_BYTES];
} PlanLine;

typedef struct PlanTime {
  int64_t steps, evaluations, checkpoints;
  double tokens;        // of a step, of all ranks, on average
  double micro_batches; // of a step and rank
  double flops, bytes;  // of a step of one rank
  OpCost step[OP_KINDS];
  // Seconds.
  double one_step, update, collectives; // the two are part of a step
  double one_evaluation, one_checkpoint, start;
  double total;
} PlanTime;

typedef struct RunPlan {
  Device device;
  DataOutline data;
  BatchBounds bounds;
  MemoryPlan arenas;  // without sharding: what memory_open takes
  double micro_flops; // forward and backward of the largest micro-batch
  int64_t trained, weights;
  int64_t blocks, recomputed;
  WeightForms forms; // set by the caller that has the files: what of the weights was another type
  int n_lines;
  PlanLine lines[PLAN_LINES_MAX];
  int64_t device_bytes, limit; // the sum of what is on the device; what it has
  bool fits;
  PlanTime time;
} RunPlan;

// What is assumed where there is no data: plan.mean_len, plan.examples, the longest cut at
// data.cutoff_len.
DataOutline plan_assumed_data(const RunConfig *config);

// The plan for a device. `data` has its split set. train.checkpointing: auto takes the fewest
// recomputed blocks that fit the device, or all where none do: plan->recomputed. STATUS_USAGE for
// what cannot be trained.
Status plan_make(RunPlan *plan, const RunConfig *config, const LlamaConfig *llama,
                 const DataOutline *data, const Device *device, Error *err);

// Sets train.checkpointing and checkpoint_blocks so that the first `blocks` are recomputed.
void plan_set_recomputed(RunConfig *config, int64_t blocks);

// A line for something that only the caller knows of; the sums follow.
PlanLine *plan_add(RunPlan *plan, const char *name, int64_t bytes, bool on_device, bool estimate);

// NULL when there is none of that name.
const PlanLine *plan_line(const RunPlan *plan, const char *name);

// What a run took in the end, against its plan.
typedef struct PlanUse {
  MemoryPlan arenas;    // high-water marks
  int64_t process_peak; // VmHWM of the process, in bytes
  double step_seconds;  // mean; NAN: no step was taken
} PlanUse;
PlanUse plan_use(const Memory *memory);

// On standard output.
void plan_show(const RunPlan *plan, const RunConfig *config);
void plan_show_use(const RunPlan *plan, const PlanUse *use);

#endif
