// What a run is asked to do: a YAML file and `key=value` words of the command line become a
// RunConfig.
//
// A key is "section.name" ("train.lr") or a name without a section ("method", "resume"). In YAML a
// section is a mapping; values are plain scalars, quoted text, or a list for lora.targets. One
// table (config_options.c) holds every key with its type, default, range and meaning; reading,
// printing and messages follow from it.
//
// Errors: the file cannot be read: STATUS_NO_INPUT or STATUS_IO. Everything else that is wrong with
// a config is STATUS_USAGE: "path:line:column: train.lr: expected ..., found ...", or
// "command line: train.lr=x: ...", with the nearest key where one was mistyped.
//
// A RunConfig owns no memory: it is copied by assignment. Unused bytes of texts and lists are zero.
#ifndef VMA_CONFIG_H
#define VMA_CONFIG_H

#include "error.h"
#include "tensor.h"

#include <stdbool.h>
#include <stdint.h>

enum {
  CONFIG_TEXT_BYTES = 4096, // a path with its NUL
  CONFIG_WORD_BYTES = 128,  // a module name or a pattern with its NUL
  CONFIG_LIST_MAX = 16,
  CONFIG_FILE_BYTES_MAX = 1 << 18,
};

typedef enum DataFormat {
  DATA_FORMAT_AUTO,
  DATA_FORMAT_ALPACA,   // {"instruction", "input", "output"}
  DATA_FORMAT_MESSAGES, // {"messages": [{"role", "content"}, ...]}
  DATA_FORMAT_SHAREGPT, // {"conversations": [{"from", "value"}, ...]}
  DATA_FORMAT_TEXT,     // plain text, for continued pre-training
} DataFormat;

// What becomes of an example that is longer than data.cutoff_len.
typedef enum OverLength { OVER_LENGTH_TRUNCATE, OVER_LENGTH_DROP, OVER_LENGTH_ERROR } OverLength;

// The text around an instruction and its answer: data/template.h.
typedef enum TemplateKind {
  TEMPLATE_ALPACA,
  TEMPLATE_ALPACA_STANFORD,
  TEMPLATE_ALPACA_SHORT,
  TEMPLATE_CHATML,
  TEMPLATE_NONE,
  TEMPLATE_LLAMA2,
  TEMPLATE_LLAMA3,
  TEMPLATE_COUNT
} TemplateKind;

typedef enum Method { METHOD_LORA, METHOD_FULL } Method;
typedef enum ScheduleKind { SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_CONSTANT } ScheduleKind;
// AUTO: as few blocks are recomputed as the memory at hand allows.
typedef enum Checkpointing {
  CHECKPOINTING_OFF,
  CHECKPOINTING_ON,
  CHECKPOINTING_AUTO
} Checkpointing;
// A step whose loss or gradients are not finite: it never reaches the weights.
typedef enum OnNonfinite { ON_NONFINITE_STOP, ON_NONFINITE_SKIP } OnNonfinite;
// What the ranks of a run share (Rajbhandari et al. 2020): nothing; the optimizer's state (stage
// 1); gradients too (2); weights too (3).
typedef enum Shard { SHARD_NONE, SHARD_OPTIMIZER, SHARD_GRADIENTS, SHARD_WEIGHTS } Shard;

// Which GEMM the CPU backend takes. It decides a run's bits, not more than rounding.
typedef enum GemmChoice {
  GEMM_CHOICE_AUTO, // the fastest as measured at start-up; going on: that of the checkpoint
  GEMM_CHOICE_OWN,
  GEMM_CHOICE_ONEDNN_F32,
  GEMM_CHOICE_ONEDNN_BF16,
  GEMM_CHOICES
} GemmChoice;
// The instruction set of the CPU's other ops.
typedef enum IsaChoice {
  ISA_CHOICE_AUTO, // the best of this CPU; going on: that of the checkpoint
  ISA_CHOICE_BASE,
  ISA_CHOICE_AVX2,
  ISA_CHOICE_AVX512,
  ISA_CHOICE_AVX512BF16,
  ISA_CHOICES
} IsaChoice;

// A part of a data set: `count` items, or, when fraction > 0, that share of them (0 < fraction <
// 1).
typedef struct ConfigShare {
  int64_t count;
  double fraction;
} ConfigShare;

typedef struct ConfigWords {
  int n;
  char words[CONFIG_LIST_MAX][CONFIG_WORD_BYTES];
} ConfigWords;

typedef struct ConfigReals {
  int n;
  double values[CONFIG_LIST_MAX];
} ConfigReals;

typedef struct RunConfig {
  struct {
    char path[CONFIG_TEXT_BYTES];   // required, but for a dry run of a preset
    char preset[CONFIG_TEXT_BYTES]; // "llama-7b", ...: a dry run without files
    char hash[CONFIG_TEXT_BYTES];   // of the weights, if they are to be looked at; "": any
    DType dtype;                    // DT_F32 or DT_BF16
  } model;
  struct {
    char path[CONFIG_TEXT_BYTES];   // required; several files: a comma between two
    char sha256[CONFIG_TEXT_BYTES]; // of the data, likewise
    ConfigReals weights;            // how often an epoch takes each file; none: once
    DataFormat format;
    TemplateKind template_kind;              // "data.template"
    char template_file[CONFIG_TEXT_BYTES];   // "": template_kind's own
    char template_sha256[CONFIG_TEXT_BYTES]; // of that file, as sha256
    int64_t cutoff_len;                      // tokens
    OverLength over_length;
    bool train_on_inputs;
    ConfigShare val_set_size;
    bool shuffle;
    bool group_by_length;
    char cache_dir[CONFIG_TEXT_BYTES]; // "": the user's cache folder; "off": none
  } data;
  Method method;
  struct {
    int64_t r;
    double alpha, dropout;
    bool rank_stabilised;
    double plus_ratio;                       // LoRA+: the rate of B is that of A times this
    ConfigWords targets;                     // "all-linear": every linear layer of the blocks
    ConfigWords rank_pattern, alpha_pattern; // "down_proj=16": for the modules that match
    char init_from[CONFIG_TEXT_BYTES];       // "": fresh
  } lora;
  struct {
    int64_t epochs;
    int64_t max_steps;  // 0: as many as the epochs take
    int64_t batch_size; // sequences
    int64_t micro_tokens;
    double lr;
    ScheduleKind schedule;
    int64_t warmup_steps; // > 0: counts instead of warmup_ratio
    double warmup_ratio;
    double weight_decay, beta1, beta2, eps;
    double clip; // 0: none
    int64_t seed;
    int64_t eval_steps; // 0: before the first step and after the last only
    int64_t early_stop; // evaluations without a better loss before the run ends; 0: never
    OnNonfinite on_nonfinite;
    ConfigWords freeze; // of full fine-tuning: patterns of weights that stay as they are
    DType grad_dtype;   // of the gradients of bf16 weights: DT_F32 or DT_BF16
    Checkpointing checkpointing;
    int64_t checkpoint_blocks;      // with checkpointing on: the first so many blocks; 0: all
    char device[CONFIG_TEXT_BYTES]; // "auto", "cpu", "cuda", "cuda:N"
    int64_t threads;                // 0: one a core
    GemmChoice gemm;
    IsaChoice isa;
  } train;
  struct {
    char dir[CONFIG_TEXT_BYTES]; // required
    int64_t save_steps;          // 0: at the end only
    int64_t keep;
    bool best;       // the weights of the best held-out loss are kept too
    bool report;     // report.html
    int64_t samples; // held-out items that the report answers before and after
  } output;
  struct {
    int64_t ranks; // processes, one device each
    Shard shard;
  } dist;
  struct {
    char device[CONFIG_TEXT_BYTES]; // "": this CPU
    int64_t mean_len, examples;     // assumed where there is no data
  } plan;
  char resume[CONFIG_TEXT_BYTES]; // "": start afresh; "auto"; a checkpoint's folder
} RunConfig;

// Every key at its default; the required ones empty.
void config_defaults(RunConfig *config);

// The defaults, then the file (path may be NULL: none), then the n "key=value" overrides in their
// order (of two for one key the last counts). Lists on the command line:
// lora.targets=q_proj,v_proj. config_load is config_read, then config_check.
Status config_read(RunConfig *config, const char *path, const char *const *overrides, int n,
                   Error *err);
Status config_load(RunConfig *config, const char *path, const char *const *overrides, int n,
                   Error *err);

// The steps of config_load: sets what a YAML file, or its text (`name` is the file's, for
// messages), names; sets one key from "key=value"; checks that the required keys are there.
Status config_read_file(RunConfig *config, const char *path, Error *err);
Status config_read_text(RunConfig *config, const char *name, const void *text, int64_t size,
                        Error *err);
Status config_override(RunConfig *config, const char *key_value, Error *err);
Status config_check(const RunConfig *config, Error *err);
// What looking at the data needs: all of them but output.dir.
Status config_check_data(const RunConfig *config, Error *err);
// What a plan without a run needs: a model's path or preset.
Status config_check_plan(const RunConfig *config, Error *err);

// The config as YAML that reads back to the same config (the effective config of a run); with
// `explain`, each key stands under a comment with its meaning, legal values and default. To be
// freed by the caller; NULL without memory.
char *config_dump(const RunConfig *config, bool explain);

// For a run that goes on: the first key that decides the run's numbers and differs between the two,
// with both values as texts; NULL when there is none. Keys that may change (paths of output,
// resume, threads, save_steps, keep, ...) do not count.
typedef struct ConfigDifference {
  char before[256], now[256]; // cut at their size
} ConfigDifference;
const char *config_difference(const RunConfig *before, const RunConfig *now,
                              ConfigDifference *texts);

// "alpaca", "chatml", ... and back; TEMPLATE_COUNT for a name that is none.
const char *template_kind_name(TemplateKind kind);
TemplateKind template_kind_from_name(const char *name);

#endif
