// Every key of a run config, and the names of its choices.
#include "config_options.h"

#include "check.h"
#include "quote.h"

#include <string.h>

static const char *const dtype_choices[] = {"f32", "bf16"};
_Static_assert(DT_F32 == 0 && DT_BF16 == 1, "dtype_choices counts as DType does");
static const char *const format_choices[] = {
    [DATA_FORMAT_AUTO] = "auto",         [DATA_FORMAT_ALPACA] = "alpaca",
    [DATA_FORMAT_MESSAGES] = "messages", [DATA_FORMAT_SHAREGPT] = "sharegpt",
    [DATA_FORMAT_TEXT] = "text",
};
static const char *const over_length_choices[] = {
    [OVER_LENGTH_TRUNCATE] = "truncate",
    [OVER_LENGTH_DROP] = "drop",
    [OVER_LENGTH_ERROR] = "error",
};
static const char *const template_choices[TEMPLATE_COUNT] = {
    [TEMPLATE_ALPACA] = "alpaca",
    [TEMPLATE_ALPACA_STANFORD] = "alpaca_stanford",
    [TEMPLATE_ALPACA_SHORT] = "alpaca_short",
    [TEMPLATE_CHATML] = "chatml",
    [TEMPLATE_NONE] = "none",
    [TEMPLATE_LLAMA2] = "llama2",
    [TEMPLATE_LLAMA3] = "llama3",
};
static const char *const method_choices[] = {[METHOD_LORA] = "lora", [METHOD_FULL] = "full"};
static const char *const schedule_choices[] = {
    [SCHEDULE_LINEAR] = "linear",
    [SCHEDULE_COSINE] = "cosine",
    [SCHEDULE_CONSTANT] = "constant",
};
static const char *const switch_choices[] = {
    [CHECKPOINTING_OFF] = "off", [CHECKPOINTING_ON] = "on", [CHECKPOINTING_AUTO] = "auto"};
static const char *const nonfinite_choices[] = {
    [ON_NONFINITE_STOP] = "stop", [ON_NONFINITE_SKIP] = "skip"};
static const char *const shard_choices[] = {
    [SHARD_NONE] = "none",
    [SHARD_OPTIMIZER] = "optimizer",
    [SHARD_GRADIENTS] = "gradients",
    [SHARD_WEIGHTS] = "weights",
};
static const char *const gemm_choices[] = {
    [GEMM_CHOICE_AUTO] = "auto",
    [GEMM_CHOICE_OWN] = "own",
    [GEMM_CHOICE_ONEDNN_F32] = "onednn-f32",
    [GEMM_CHOICE_ONEDNN_BF16] = "onednn-bf16",
};
static const char *const isa_choices[] = {
    [ISA_CHOICE_AUTO] = "auto",
    [ISA_CHOICE_BASE] = "base",
    [ISA_CHOICE_AVX2] = "avx2",
    [ISA_CHOICE_AVX512] = "avx512",
    [ISA_CHOICE_AVX512BF16] = "avx512bf16",
};

#define AT(field)                                                                                  \
  .offset = offsetof(RunConfig, field), .bytes = (int64_t)sizeof((RunConfig *)0)->field
#define TEXT(field) .type = OPTION_TEXT, AT(field), .default_text = ""
#define INT(field, value, from, to)                                                                \
  .type = OPTION_INT, AT(field), .default_text = value, .int_least = (from), .int_most = (to)
#define REAL(field, value, from, to)                                                               \
  .type = OPTION_REAL, AT(field), .default_text = value, .real_least = (from), .real_most = (to)
#define BOOL(field, value) .type = OPTION_BOOL, AT(field), .default_text = value
#define CHOICE(field, value, names)                                                                \
  .type = OPTION_CHOICE, AT(field), .default_text = value, .choices = (names),                     \
  .n_choices = (int)(sizeof(names) / sizeof *(names))
#define PATTERNS(field)                                                                            \
  .type = OPTION_WORDS, AT(field), .default_text = "", .may_be_empty = true, .patterns = true
#define DECIDES .decides = true

#define STEPS_MAX 1000000000

// Paths do not decide a run's numbers: what they name may move, and is compared by its content.
const ConfigOption config_options[] = {
    {.key = "model.path",
     TEXT(model.path),
     .required = true,
     .meaning = "The model to start from: a Hugging Face folder or a GGUF file."},
    {.key = "model.preset",
     TEXT(model.preset),
     .meaning =
         "A model's sizes by name (llama-7b, ...) for --dry-run and --fit without its files."},
    {.key = "model.hash",
     TEXT(model.hash),
     .meaning = "The hash of the weights in model.path, as a run records it in its config.yaml: "
                "other weights are warned of. Empty: any."},
    {.key = "model.dtype",
     CHOICE(model.dtype, "bf16", dtype_choices),
     DECIDES,
     .meaning =
         "Type of weights and activations. f32 takes twice the memory of bf16. Adapters and "
         "moments are f32 either way; with method: full bf16 weights are the roundings of f32 "
         "master weights."},
    {.key = "data.path",
     .type = OPTION_PATHS,
     AT(data.path),
     .default_text = "",
     .required = true,
     .meaning = "The files of examples: JSON lists, JSON lines or plain text (.txt), compressed "
                "with gzip or not. Several as a list."},
    {.key = "data.sha256", TEXT(data.sha256), .meaning = "The hash of the data, likewise."},
    {.key = "data.weights",
     .type = OPTION_REALS,
     AT(data.weights),
     .default_text = "",
     .may_be_empty = true,
     .real_least = 0,
     .real_most = 1000,
     .open_least = true,
     DECIDES,
     .meaning =
         "How often an epoch takes the examples of each file, as [1, 0.5, 2]; 0.5 is half of "
         "them, drawn anew in each epoch. Empty: all once."},
    {.key = "data.format",
     CHOICE(data.format, "auto", format_choices),
     .meaning = "The form of the examples: alpaca (instruction, input, output), messages (role, "
                "content), sharegpt (conversations of from, value) or text. auto takes it from "
                "each file's "
                "first item."},
    {.key = "data.template",
     CHOICE(data.template_kind, "alpaca", template_choices),
     DECIDES,
     .meaning =
         "The text around questions and answers. chatml for SmolLM2-Instruct, llama2 and llama3 "
         "for those chat models, alpaca for LLaMA base models, alpaca_stanford as the Stanford "
         "full "
         "fine-tune, alpaca_short without the opening sentence, none for the bare instruction."},
    {.key = "data.template_file",
     TEXT(data.template_file),
     .meaning = "A file with a template of your own, in place of data.template."},
    {.key = "data.template_sha256",
     TEXT(data.template_sha256),
     .meaning = "The hash of data.template_file, as data.sha256."},
    {.key = "data.cutoff_len",
     INT(data.cutoff_len, "512", 2, 1 << 20),
     DECIDES,
     .meaning = "Longest example in tokens; data.over_length says what becomes of longer ones."},
    {.key = "data.over_length",
     CHOICE(data.over_length, "truncate", over_length_choices),
     DECIDES,
     .meaning =
         "An example above data.cutoff_len: truncate cuts its end, drop leaves it out, error "
         "ends the run. All are counted."},
    {.key = "data.train_on_inputs",
     BOOL(data.train_on_inputs, "false"),
     DECIDES,
     .meaning = "Whether the loss counts the prompt's tokens too, or the answer's alone."},
    {.key = "data.val_set_size",
     .type = OPTION_SHARE,
     AT(data.val_set_size),
     .default_text = "0.05",
     DECIDES,
     .meaning = "Examples held out from training to measure the loss on, drawn by the seed."},
    {.key = "data.shuffle",
     BOOL(data.shuffle, "true"),
     DECIDES,
     .meaning = "Whether each epoch takes the examples in a new order, drawn by the seed."},
    {.key = "data.group_by_length",
     BOOL(data.group_by_length, "false"),
     DECIDES,
     .meaning = "Whether a batch gets examples of like length, as the published recipe had it to "
                "save padding. Nothing is padded here, so it only gives up some of the shuffling."},
    {.key = "data.cache_dir",
     TEXT(data.cache_dir),
     .meaning = "Where token ids are kept, by the content of the data, for the next run; empty: "
                "vma in the user's cache folder; off: nowhere."},
    {.key = "method",
     CHOICE(method, "lora", method_choices),
     DECIDES,
     .meaning = "lora trains small adapters beside frozen weights, full trains every weight."},
    {.key = "lora.r", INT(lora.r, "8", 1, 1024), DECIDES, .meaning = "Rank of the adapters."},
    {.key = "lora.alpha",
     REAL(lora.alpha, "16", 0, 1e6),
     .open_least = true,
     DECIDES,
     .meaning = "An adapter's output is scaled by alpha / r."},
    {.key = "lora.dropout",
     REAL(lora.dropout, "0.05", 0, 1),
     .open_most = true,
     DECIDES,
     .meaning = "Share of an adapter's inputs that is dropped while training."},
    {.key = "lora.rank_stabilised",
     BOOL(lora.rank_stabilised, "false"),
     DECIDES,
     .meaning = "Scale by alpha / sqrt(r) instead of alpha / r."},
    {.key = "lora.plus_ratio",
     REAL(lora.plus_ratio, "1", 0, 1e6),
     .open_least = true,
     DECIDES,
     .meaning = "LoRA+ (Hayou et al. 2024): the learning rate of B is train.lr times this; 16 is "
                "usual, 1 is plain LoRA."},
    {.key = "lora.targets",
     .type = OPTION_WORDS,
     AT(lora.targets),
     .default_text = "q_proj,v_proj",
     DECIDES,
     .meaning = "The linear layers that get an adapter, among q_proj, k_proj, v_proj, o_proj, "
                "gate_proj, up_proj, down_proj; all-linear: all of these."},
    {.key = "lora.rank_pattern",
     PATTERNS(lora.rank_pattern),
     DECIDES,
     .meaning = "Other ranks for some modules, as [down_proj=16, layers.0.*=4]: a module's name or "
                "its end, * for any characters, ? for one; the first that matches counts."},
    {.key = "lora.alpha_pattern",
     PATTERNS(lora.alpha_pattern),
     DECIDES,
     .meaning = "Other alphas for some modules, in the same form."},
    {.key = "lora.init_from",
     TEXT(lora.init_from),
     .meaning =
         "A PEFT adapter folder to start from; empty: a fresh adapter, which changes nothing "
         "before its first step."},
    {.key = "train.epochs",
     INT(train.epochs, "3", 1, 1000000),
     DECIDES,
     .meaning = "How often the training examples are gone through."},
    {.key = "train.max_steps",
     INT(train.max_steps, "0", 0, STEPS_MAX),
     DECIDES,
     .meaning = "Number of optimizer steps, however many epochs that takes; 0: by train.epochs."},
    {.key = "train.batch_size",
     INT(train.batch_size, "16", 1, 1 << 20),
     DECIDES,
     .meaning = "Sequences of one optimizer step. Memory does not depend on it."},
    {.key = "train.micro_tokens",
     INT(train.micro_tokens, "2048", 1, 1 << 24),
     DECIDES,
     .meaning =
         "Most tokens in memory at once: a step's sequences are worked on in packs of at most "
         "so many. It changes speed, memory and rounding, nothing else."},
    {.key = "train.lr",
     REAL(train.lr, "3e-4", 0, 10),
     DECIDES,
     .meaning = "The learning rate after warm-up."},
    {.key = "train.schedule",
     CHOICE(train.schedule, "linear", schedule_choices),
     DECIDES,
     .meaning = "How the learning rate goes on after warm-up: to zero in a line or along a cosine, "
                "or not at all."},
    {.key = "train.warmup_steps",
     INT(train.warmup_steps, "0", 0, STEPS_MAX),
     DECIDES,
     .meaning = "Steps in which the learning rate rises from 0; 0: by train.warmup_ratio."},
    {.key = "train.warmup_ratio",
     REAL(train.warmup_ratio, "0.03", 0, 1),
     DECIDES,
     .meaning = "The same as a share of all steps, rounded up."},
    {.key = "train.weight_decay",
     REAL(train.weight_decay, "0", 0, 10),
     DECIDES,
     .meaning = "AdamW's decay of weight matrices; vectors (biases, norms) are not decayed."},
    {.key = "train.beta1",
     REAL(train.beta1, "0.9", 0, 1),
     .open_most = true,
     DECIDES,
     .meaning = "AdamW: how much of the gradients' running mean stays at each step."},
    {.key = "train.beta2",
     REAL(train.beta2, "0.999", 0, 1),
     .open_most = true,
     DECIDES,
     .meaning = "AdamW: the same for squared gradients."},
    {.key = "train.eps",
     REAL(train.eps, "1e-8", 0, 1),
     .open_least = true,
     DECIDES,
     .meaning = "AdamW: added to the root of the mean square."},
    {.key = "train.clip",
     REAL(train.clip, "1", 0, 1e9),
     DECIDES,
     .meaning =
         "Largest norm of all gradients together; a longer one is scaled down. 0: no limit."},
    {.key = "train.seed",
     INT(train.seed, "42", 0, INT64_MAX),
     DECIDES,
     .meaning = "Decides the held-out part, the order, initial adapters and dropout."},
    {.key = "train.eval_steps",
     INT(train.eval_steps, "0", 0, STEPS_MAX),
     .meaning = "Steps from one evaluation on the held-out part to the next; 0: only before the "
                "first step and after the last."},
    {.key = "train.early_stop",
     INT(train.early_stop, "0", 0, STEPS_MAX),
     DECIDES,
     .meaning = "Evaluations in a row without a better held-out loss after which the run ends; 0: "
                "it goes to its last step."},
    {.key = "train.on_nonfinite",
     CHOICE(train.on_nonfinite, "stop", nonfinite_choices),
     .meaning =
         "A step whose loss or gradients are not finite never reaches the weights: stop ends "
         "the run after saving, skip goes on with the next batch, but not past 10 in a row."},
    {.key = "train.freeze",
     PATTERNS(train.freeze),
     DECIDES,
     .meaning = "With method: full, the weights that stay as they are, as "
                "[model.embed_tokens.*, model.layers.0.*]."},
    {.key = "train.grad_dtype",
     CHOICE(train.grad_dtype, "f32", dtype_choices),
     DECIDES,
     .meaning = "Type of the gradients of bf16 weights with method: full. bf16 takes half the "
                "memory and rounds the sum over micro-batches."},
    {.key = "train.checkpointing",
     CHOICE(train.checkpointing, "off", switch_choices),
     .meaning =
         "on keeps one activation a layer and computes the others again on the way back: slower, "
         "much less memory, the same bits. auto does so for as few layers as fit the memory."},
    {.key = "train.checkpoint_blocks",
     INT(train.checkpoint_blocks, "0", 0, 1 << 20),
     .meaning = "With train.checkpointing on: how many layers, from the first; 0: all."},
    {.key = "train.device",
     .type = OPTION_TEXT,
     AT(train.device),
     .default_text = "auto",
     .meaning = "What it is trained on: auto takes the first GPU that can be used, else the CPU, "
                "or, when going on, what the checkpoint had; cpu; cuda (the first GPU); cuda:1, "
                "... A GPU and a CPU round differently."},
    {.key = "train.threads",
     INT(train.threads, "0", 0, 4096),
     .meaning = "Threads of the CPU backend; 0: one a core."},
    {.key = "train.gemm",
     CHOICE(train.gemm, "auto", gemm_choices),
     .meaning = "The CPU backend's matrix product; auto: the fastest as measured at the start, or, "
                "when going on, that of the checkpoint. It decides the last bits of all results."},
    {.key = "train.isa",
     CHOICE(train.isa, "auto", isa_choices),
     .meaning =
         "The instruction set of the CPU's other operations; auto: the best that it has, or, "
         "when going on, that of the checkpoint. It decides last bits too."},
    {.key = "output.dir",
     TEXT(output.dir),
     .required = true,
     .meaning =
         "Folder for the adapter (method: full: the model), checkpoints and metrics; made if it "
         "is not there."},
    {.key = "output.save_steps",
     INT(output.save_steps, "0", 0, STEPS_MAX),
     .meaning = "Steps from one checkpoint to the next; 0: at the end only."},
    {.key = "output.keep",
     INT(output.keep, "2", 2, 1000000),
     .meaning = "How many of the newest checkpoints are kept."},
    {.key = "output.best",
     BOOL(output.best, "true"),
     .meaning = "Whether the weights of the best held-out loss are kept beside the last ones."},
    {.key = "output.report",
     BOOL(output.report, "true"),
     .meaning = "Whether the run ends with report.html: curves, data, memory, sample answers."},
    {.key = "output.samples",
     INT(output.samples, "3", 0, 100),
     .meaning = "Held-out items that the report answers before and after the training."},
    {.key = "dist.ranks",
     INT(dist.ranks, "1", 1, 4096),
     DECIDES,
     .meaning = "Processes that train together, one device each."},
    {.key = "dist.shard",
     CHOICE(dist.shard, "none", shard_choices),
     .meaning = "What the ranks keep a part of each instead of all: the optimizer's state (ZeRO "
                "stage 1), gradients too (2), weights too (3)."},
    {.key = "plan.device",
     TEXT(plan.device),
     .meaning = "The device that --dry-run and --fit plan for: rtx-3090, rtx-4090, a6000, l40s, "
                "a100-40, a100-80, h100, h200, cpu; empty: this machine's own, by train.device."},
    {.key = "plan.mean_len",
     INT(plan.mean_len, "225", 1, 1 << 20),
     .meaning = "Mean tokens of an example that a dry run without data assumes."},
    {.key = "plan.examples",
     INT(plan.examples, "54412", 1, INT32_MAX),
     .meaning = "Number of examples that a dry run without data assumes."},
    {.key = "resume",
     TEXT(resume),
     .meaning =
         "Goes on from a checkpoint: its folder, a run's folder for the newest there, or auto for "
         "the newest in output.dir; empty: from the start."},
};
const int config_n_options = (int)(sizeof config_options / sizeof *config_options);
_Static_assert(sizeof config_options / sizeof *config_options <= CONFIG_OPTIONS_MAX,
               "CONFIG_OPTIONS_MAX bounds the table");

const ConfigOption *config_option_find(const char *key) {
  for (int i = 0; i < config_n_options; i++) {
    if (strcmp(config_options[i].key, key) == 0) return &config_options[i];
  }
  return NULL;
}

static const char *const sections[] = {"model", "data", "lora", "train", "output", "dist", "plan"};
enum { N_SECTIONS = sizeof sections / sizeof *sections };

bool config_is_section(const char *section) {
  for (int i = 0; i < N_SECTIONS; i++) {
    if (strcmp(sections[i], section) == 0) return true;
  }
  return false;
}

static const char *name_of(const char *key) {
  const char *dot = strchr(key, '.');
  return dot == NULL ? key : dot + 1;
}

const char *config_option_name(const ConfigOption *option) {
  return name_of(option->key);
}

const char *config_nearest_key(const char *key) {
  const char *name = name_of(key);
  const char *names[CONFIG_OPTIONS_MAX], *keys[CONFIG_OPTIONS_MAX];
  int n = 0;
  for (int i = 0; i < config_n_options; i++) { // the right name in no or another section
    if (strcmp(config_option_name(&config_options[i]), name) == 0) return config_options[i].key;
  }
  for (int i = 0; i < config_n_options; i++) { // in its section
    const char *candidate = config_options[i].key;
    if (name == key || strncmp(candidate, key, (size_t)(name - key)) != 0) continue;
    keys[n] = candidate;
    names[n++] = candidate + (name - key);
  }
  const char *nearest = error_nearest(name, names, n);
  for (int i = 0; i < n; i++) {
    if (names[i] == nearest) return keys[i];
  }
  const char *section = name == key ? error_nearest(key, sections, N_SECTIONS) : NULL;
  if (section != NULL) return section;
  for (int i = 0; i < config_n_options; i++) keys[i] = config_options[i].key;
  return error_nearest(key, keys, config_n_options);
}

Status config_unknown_key(const char *place, const char *key, Error *err) {
  const char *nearest = config_nearest_key(key);
  if (nearest != NULL) {
    return error_set(err, STATUS_USAGE, "%s: there is no key %s; did you mean '%s'?", place,
                     quote_text(key).text, nearest);
  }
  return error_set(err, STATUS_USAGE,
                   "%s: there is no key %s; vma-train --print-config shows every key", place,
                   quote_text(key).text);
}

const char *template_kind_name(TemplateKind kind) {
  CHECK((int)kind >= 0 && kind < TEMPLATE_COUNT, "template %d", (int)kind);
  return template_choices[kind];
}

TemplateKind template_kind_from_name(const char *name) {
  for (int i = 0; i < TEMPLATE_COUNT; i++) {
    if (strcmp(template_choices[i], name) == 0) return (TemplateKind)i;
  }
  return TEMPLATE_COUNT;
}
