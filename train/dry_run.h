// --dry-run: what a run would take, without running it.
#ifndef VMA_DRY_RUN_H
#define VMA_DRY_RUN_H

#include "plan.h"

// What a plan is made from: the model's sizes from its files or, where model.path is not there,
// from model.preset; the data's lengths from data.path, or as assumed where there is no tokenizer
// or no file; the device. Reads no weights and makes no files.
typedef struct PlanInputs {
  LlamaConfig llama;
  WeightForms forms; // of model.path; none without it
  DataOutline data;
  Device device;
  Backend *be; // of this machine's device, or the shadow of one that is planned for
} PlanInputs;
Status plan_inputs(PlanInputs *inputs, const RunConfig *config, Error *err);
void plan_inputs_free(PlanInputs *inputs);

// Shows the plan on standard output; where it does not fit, what to change, found by trying. Then
// *fits is false.
Status dry_run(const RunConfig *config, bool *fits, Error *err);

#endif
