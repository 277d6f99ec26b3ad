// The parts of a run (run.h), shared by its source files.
#ifndef VMA_RUN_PARTS_H
#define VMA_RUN_PARTS_H

#include "checkpoint.h"
#include "metrics.h"
#include "open_device.h"
#include "plan.h"
#include "progress.h"
#include "sha256.h"
#include "standard_time.h"
#include "template_file.h"
#include "tokenizer.h"
#include "train_model.h"
#include "trainer.h"

#include <stdio.h>

// The best held-out loss so far.
typedef struct RunBest {
  double loss;
  int64_t step;   // 0: none
  int64_t waited; // evaluations since then without a better one
  bool lost;      // it came before the checkpoint, and its weights were not found
} RunBest;

typedef struct Run {
  RunConfig config;
  const volatile sig_atomic_t *stop;
  char *checkpoints; // folder
  int lock;          // output.dir, opened; -1: not locked
  // Where to go on from; path NULL: afresh.
  char *resume_path;
  CheckpointState resumed;
  char started[STANDARD_TIME_BYTES];
  bool opened; // output.dir is, and this run's
  // What is trained, on what.
  Tokenizer *tokenizer;
  Template *own_template;           // data.template_file; NULL: data.template
  char template_sha256[SHA256_HEX]; // of its text; of a built-in one its name's
  TensorStore *store;
  char base_hash[65];
  PeftAdapter initial; // lora.init_from
  Dataset data;
  DatasetSplit split;
  Llama model;
  Backend *be;
  RunPlan plan;
  Memory memory;
  Trainer trainer;
  Metrics metrics;
  Progress progress;
  // The course of the run.
  int64_t step, total, per_epoch, warmup; // steps done, of the run, an epoch, of the warm-up
  int64_t saved;                          // step of the newest checkpoint of this process, -1: none
  bool evaluated;                         // at `step`
  double first_eval, last_eval;           // held-out losses before step 1 and newest; NAN: none
  RunBest best;
  int64_t skipped_in_row; // newest steps that were not finite
  bool file_stop;         // the file STOP was found
  int64_t epoch_size;     // examples
  int32_t *order;         // [epoch_size] examples in the order of `order_epoch`
  int32_t *batch;         // [batch_size] examples
  int64_t order_epoch;
} Run;

// run_resume.c: finds the checkpoint to go on from and compares its config. Warnings go to standard
// error.
Status run_find_checkpoint(Run *run, Error *err);
// Compares data and base weights with the checkpoint's; warns of another GEMM path or number of
// threads.
Status run_check_checkpoint(const Run *run, Error *err);
// The number of threads that the backend was given.
int64_t run_threads(const RunConfig *config);

// run_output.c: what would stop the run at its first file is found before any weight is loaded;
// makes nothing.
Status run_claim_output(Run *run, Error *err);
// Makes and locks the folder; opens metrics.jsonl, writes config.yaml.
Status run_open_output(Run *run, Error *err);

// run_setup.c: model files that can be refused are, before any time is spent.
Status run_open_model(Run *run, Error *err);
Status run_load_data(Run *run, Error *err);
// The template of the run: its own, or the built-in one.
const Template *run_template(const Run *run);
// The data and its split, without a run. Only a run writes files: `writes_cache`.
Status run_read_data(Dataset *data, DatasetSplit *split, const RunConfig *config,
                     const Tokenizer *tokenizer, bool writes_cache, Error *err);
// What the CPU backend is opened with, afresh.
CpuOptions run_cpu_options(const RunConfig *config);
// STATUS_USAGE for a config that only a plan can be made of: of several ranks, of another device.
Status run_check_here(const RunConfig *config, Error *err);
// The number of steps.
Status run_plan_course(Run *run, Error *err);
Status run_open_backend(Run *run, Error *err);
extern const char *const run_gemm_names[GEMM_CHOICES]; // as the backend's options; NULL: auto
extern const char *const run_isa_names[ISA_CHOICES];
// Plans the memory, shows the plan, takes the memory.
Status run_make_trainer(Run *run, Error *err);
// Weights, adapters and, when going on, the checkpoint.
Status run_fill_model(Run *run, Error *err);

// run_order.c: the n = dataset_epoch_size examples in the order in which the epoch takes them, with
// data.group_by_length as by_length says.
void run_epoch_order(int32_t *order, int64_t n, const RunConfig *config, const Dataset *data,
                     const DatasetSplit *split, int64_t epoch, bool by_length);

// run_loop.c: from run->step to the end.
Status run_loop(Run *run, Error *err);

// run_record.c: the config with what it left open settled: threads, GEMM, instruction set,
// checkpointing, the content of model and data. config.yaml holds it.
RunConfig run_record(const Run *run);
Status run_write_record(const Run *run, Error *err);
// Warns when model or data are not those that the config names.
void run_check_record(const Run *run);

// run_best.c: after an evaluation: keeps the weights when they are the best so far.
Status run_consider_best(Run *run, double loss, Error *err);
// Whether train.early_stop evaluations in a row brought nothing better.
bool run_stops_early(const Run *run);
// At the start, the folder being locked: the best weights that belong to the checkpoint.
Status run_restore_best(Run *run, Error *err);

// run_manifest.c: state: "running", "finished", "stopped" or "failed".
Status run_write_manifest(const Run *run, const char *state, const char *message, Error *err);
// The manifest of a run that ended with `status`, which is returned, and err's message; does
// nothing before output.dir was opened.
Status run_end(Run *run, Status status, Error *err);

// run_result.c: the trained weights as they are now, in a new folder: an adapter, or a whole model.
Status run_write_weights(const Run *run, const char *folder, Error *err);
// run_result.c: the files that are left at the end.
Status run_write_result(Run *run, Error *err);

// run_show.c
Status show_config(const RunConfig *config, Error *err);
// Statistics of the data.
void print_data(const Run *run, FILE *to);

#endif
