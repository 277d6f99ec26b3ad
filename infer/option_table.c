// The options of vma-infer, in the order of --help: what each is for, and how it is read.
#include "infer_options.h"

#include "open_device.h"
#include "option_values.h"
#include "template_file.h"

#include <string.h>

// ---- what runs ----

static Status set_model(InferOptions *o, const char *name, char *text, Error *err) {
  return option_path(name, text, &o->engine.model, err);
}

// NAME=FOLDER, or FOLDER: no name has a slash, so ./a=b is a folder.
static Status set_adapter(InferOptions *o, const char *option, char *text, Error *err) {
  EngineOptions *e = &o->engine;
  AdapterSource source = {.folder = text};
  size_t name = strcspn(text, "=/");
  if (text[name] == '=') {
    text[name] = '\0';
    source = (AdapterSource){.name = text, .folder = text + name + 1};
    if (name == 0) return error_set(err, STATUS_USAGE, "--adapter: expected a name before the =");
  }
  if (option_path(option, source.folder, &source.folder, err) != STATUS_OK) return STATUS_USAGE;
  for (int i = 0; i < e->n_adapters; i++) {
    const char *other = e->adapters[i].name;
    if ((other == NULL) != (source.name == NULL)) continue;
    if (other == NULL)
      return error_set(err, STATUS_USAGE, "--adapter: two without a name; give NAME=FOLDER");
    if (strcmp(other, source.name) == 0)
      return error_set(err, STATUS_USAGE, "--adapter: two of the name '%s'", other);
  }
  if (e->n_adapters == MAX_ADAPTERS)
    return error_set(err, STATUS_USAGE, "--adapter: more than %d of them", MAX_ADAPTERS);
  e->adapters[e->n_adapters++] = source;
  return STATUS_OK;
}

static Status set_dtype(InferOptions *o, const char *name, char *text, Error *err) {
  static const char *const words[] = {"f32", "bf16"};
  int i = 0;
  Status status = option_word(name, text, words, 2, &i, err);
  o->engine.dtype = i == 0 ? DT_F32 : DT_BF16;
  return status;
}

static Status set_device(InferOptions *o, const char *name, char *text, Error *err) {
  o->engine.device = text;
  Status status = device_name_check(text, err);
  if (status != STATUS_OK) error_prefix(err, "--%s", name);
  return status;
}

static Status set_threads(InferOptions *o, const char *name, char *text, Error *err) {
  int64_t n = 0;
  Status status = option_int(name, text, 1, 1024, &n, err);
  o->engine.threads = (int)n;
  return status;
}

// ---- what it is asked ----

static Status set_prompt(InferOptions *o, const char *name, char *text, Error *err) {
  (void)name, (void)err;
  o->request.prompt = text;
  o->request.prompt_bytes = (int64_t)strlen(text);
  return STATUS_OK;
}

static Status set_instruction(InferOptions *o, const char *name, char *text, Error *err) {
  o->request.instruction = text;
  if (*text != '\0') return STATUS_OK;
  return error_set(err, STATUS_USAGE, "--%s: expected a text, found ''", name);
}

static Status set_input(InferOptions *o, const char *name, char *text, Error *err) {
  (void)name, (void)err;
  o->request.input = text;
  return STATUS_OK;
}

static Status set_chat(InferOptions *o, const char *name, char *text, Error *err) {
  (void)o, (void)name, (void)text, (void)err; // that it was given is enough
  return STATUS_OK;
}

static Status set_context(InferOptions *o, const char *name, char *text, Error *err) {
  return option_int(name, text, 8, INT32_MAX, &o->context, err);
}

static Status set_template(InferOptions *o, const char *name, char *text, Error *err) {
  const char *words[TEMPLATE_COUNT];
  int kind = 0;
  for (int i = 0; i < TEMPLATE_COUNT; i++) words[i] = template_kind_name((TemplateKind)i);
  Status status = option_word(name, text, words, TEMPLATE_COUNT, &kind, err);
  o->request.template = template_builtin((TemplateKind)kind);
  return status;
}

static Status set_template_file(InferOptions *o, const char *name, char *text, Error *err) {
  template_free(o->own_template);
  Status status = template_load(&o->own_template, text, err);
  if (status != STATUS_OK) error_prefix(err, "--%s", name);
  o->request.template = o->own_template;
  return status;
}

static Status set_batch(InferOptions *o, const char *name, char *text, Error *err) {
  return option_path(name, text, &o->batch, err);
}

static Status set_batch_size(InferOptions *o, const char *name, char *text, Error *err) {
  return option_int(name, text, 1, INFER_SLOTS_MAX, &o->batch_size, err);
}

static Status set_batch_tokens(InferOptions *o, const char *name, char *text, Error *err) {
  return option_int(name, text, 1, 1 << 20, &o->batch_tokens, err);
}

static Status set_output(InferOptions *o, const char *name, char *text, Error *err) {
  return option_path(name, text, &o->output, err);
}

static Status set_score(InferOptions *o, const char *name, char *text, Error *err) {
  return option_path(name, text, &o->score, err);
}

static Status set_add_special(InferOptions *o, const char *name, char *text, Error *err) {
  (void)name, (void)text, (void)err;
  o->add_special = true;
  return STATUS_OK;
}

// ---- how it answers ----

static Status set_preset(InferOptions *o, const char *name, char *text, Error *err) {
  static const char *const words[] = {"alpaca-lora"};
  int i = 0;
  o->alpaca_lora = true;
  return option_word(name, text, words, 1, &i, err);
}

static Status set_max_new_tokens(InferOptions *o, const char *name, char *text, Error *err) {
  return option_int(name, text, 1, INT32_MAX, &o->generate.max_new_tokens, err);
}

static Status set_temperature(InferOptions *o, const char *name, char *text, Error *err) {
  return option_float(name, text, 0, 1000, true, &o->generate.sampler.temperature, err);
}

static Status set_top_k(InferOptions *o, const char *name, char *text, Error *err) {
  return option_int(name, text, 0, INT32_MAX, &o->generate.sampler.top_k, err);
}

static Status set_top_p(InferOptions *o, const char *name, char *text, Error *err) {
  return option_float(name, text, 0, 1, false, &o->generate.sampler.top_p, err);
}

static Status set_repetition_penalty(InferOptions *o, const char *name, char *text, Error *err) {
  return option_float(name, text, 0, 1000, false, &o->generate.sampler.repetition_penalty, err);
}

static Status set_seed(InferOptions *o, const char *name, char *text, Error *err) {
  int64_t seed = 0;
  Status status = option_int(name, text, 0, INT64_MAX, &seed, err);
  o->generate.sampler.seed = (uint64_t)seed;
  return status;
}

static Status set_beams(InferOptions *o, const char *name, char *text, Error *err) {
  int64_t n = 0;
  Status status = option_int(name, text, 1, INFER_BEAMS_MAX, &n, err);
  o->generate.beam.beams = (int)n;
  return status;
}

static Status set_length_penalty(InferOptions *o, const char *name, char *text, Error *err) {
  return option_float(name, text, -10, 10, true, &o->generate.beam.length_penalty, err);
}

static Status set_early_stopping(InferOptions *o, const char *name, char *text, Error *err) {
  const char *words[EARLY_COUNT];
  int kind = 0;
  for (int i = 0; i < EARLY_COUNT; i++) words[i] = early_stopping_name((EarlyStopping)i);
  Status status = option_word(name, text, words, EARLY_COUNT, &kind, err);
  o->generate.beam.early_stopping = (EarlyStopping)kind;
  return status;
}

static Status set_stop(InferOptions *o, const char *name, char *text, Error *err) {
  if (option_utf8(name, text, err) != STATUS_OK) return STATUS_USAGE;
  if (o->generate.n_stops == INFER_STOPS_MAX)
    return error_set(err, STATUS_USAGE, "--stop: more than %d of them", INFER_STOPS_MAX);
  o->stops[o->generate.n_stops++] = text;
  return STATUS_OK;
}

static Status set_json(InferOptions *o, const char *name, char *text, Error *err) {
  (void)name, (void)text, (void)err;
  o->json = true;
  return STATUS_OK;
}

enum {
  ALL = FOR_ANSWER | FOR_BATCH | FOR_CHAT | FOR_SCORE,
  ASKED = FOR_ANSWER | FOR_BATCH | FOR_CHAT
};

const InferOption infer_option_table[] = {
    {.help = "What runs:"},
    {"model", 'm', "PATH", ALL, set_model,
     "a Hugging Face folder (config.json, *.safetensors, tokenizer) or a GGUF file"},
    {"adapter", 'a', "[NAME=]FOLDER", ALL, set_adapter,
     "a LoRA adapter: vma-train's output or any PEFT folder of plain LoRA. Several may be given by "
     "name, for lines of --batch to choose; the one without a name serves all that choose none"},
    {"dtype", 0, "f32|bf16", ALL, set_dtype,
     "of weights and activations (default f32; bf16 takes half the memory)"},
    {"device", 0, "D", ALL, set_device,
     "what it runs on: auto (default) takes the first GPU that can be used, else the CPU; cpu; "
     "cuda; cuda:1, ..."},
    {"threads", 0, "N", ALL, set_threads, "of the CPU (default: one a core)"},
    {.help = "What it is asked (one of these; on a terminal the default is a chat):"},
    {"prompt", 'p', "TEXT", FOR_ANSWER, set_prompt,
     "goes on with this text as it is; with --template it is put there as the instruction. - reads "
     "standard input"},
    {"instruction", 'i', "TEXT", FOR_ANSWER, set_instruction,
     "answers this, put into the adapter's template, else chatml if the tokenizer has "
     "<|im_start|> and <|im_end|>, else alpaca"},
    {"batch", 0, "IN.jsonl", FOR_BATCH, set_batch,
     "answers every line: {\"prompt\": P} or {\"instruction\": I, \"input\": X}, with \"adapter\": "
     "NAME and \"id\": ID if wanted; .gz as it is"},
    {"chat", 0, NULL, FOR_CHAT, set_chat,
     "talks, also where standard input is no terminal: a line is a question"},
    {"score", 0, "IN.jsonl", FOR_SCORE, set_score,
     "answers nothing: log probabilities of given texts. Each line is {\"text\": T}, {\"ids\": "
     "[...]} or {\"prompt\": P, \"completion\": C}"},
    {.help = "Around that:"},
    {"input", 0, "TEXT", FOR_ANSWER, set_input, "what the instruction is about"},
    {"template", 0, "NAME", ASKED, set_template,
     "alpaca, alpaca_stanford, alpaca_short, chatml, llama2, llama3, or none: a prompt as it is, "
     "an "
     "instruction with a newline behind it, as vma-train has it. One that contradicts the "
     "adapter's "
     "is refused"},
    {"template-file", 0, "FILE", ASKED, set_template_file,
     "a template of your own (vma-train's data.template_file; a run leaves it in template.json). "
     "An "
     "adapter brings its own along"},
    {"output", 0, "OUT.jsonl", FOR_BATCH | FOR_SCORE, set_output,
     "a line for each line, in order; it appears when all is done. --batch: {\"id\", \"text\", "
     "\"ids\", \"finish\"}, --score: {\"ids\", \"logprobs\", \"completion_start\", \"greedy\"}. - "
     "is standard output"},
    {"batch-size", 0, "N", FOR_BATCH, set_batch_size,
     "texts that are answered at a time (default 16); what is answered does not hang on it, the "
     "cache's memory does"},
    {"batch-tokens", 0, "N", FOR_BATCH | FOR_SCORE, set_batch_tokens,
     "tokens that a step reads at most (default: --batch 512, --score 2048)"},
    {"context", 0, "N", FOR_CHAT, set_context,
     "tokens of the conversation that the model sees, the answer included (default 4096, or what "
     "the "
     "model was made for if it is less); the oldest questions are left out beyond"},
    {"add-special", 0, NULL, FOR_SCORE, set_add_special,
     "with BOS and EOS as the tokenizer's config says (default: none)"},
    {.help = "How it answers:"},
    {"max-new-tokens", 'n', "N", ASKED, set_max_new_tokens, "at most so many tokens (default 256)"},
    {"temperature", 0, "T", ASKED, set_temperature,
     "0 (default): always the likeliest token; 1: the model's own probabilities; in between: "
     "bolder than the one, steadier than the other"},
    {"top-k", 0, "K", ASKED, set_top_k, "draw among the K likeliest only (default 0: all)"},
    {"top-p", 0, "P", ASKED, set_top_p,
     "draw among the likeliest that together reach probability P (default 1: all)"},
    {"repetition-penalty", 0, "R", ASKED, set_repetition_penalty,
     "makes what stands in the text already less likely (default 1: off; 1.1 is mild)"},
    {"seed", 0, "S", ASKED, set_seed,
     "of the draws; the same seed gives the same answer (default 0)"},
    {"beams", 0, "N", ASKED, set_beams,
     "follow the N likeliest texts side by side and give the best one (default 1: off). Nothing is "
     "drawn, and the text comes at its end"},
    {"length-penalty", 0, "L", ASKED, set_length_penalty,
     "of beams: a text counts by its log probability / length^L (default 1; more favours long "
     "texts)"},
    {"early-stopping", 0, "false|true|never", ASKED, set_early_stopping,
     "of beams. true: end when N texts have ended; false (default): when no running one can become "
     "better at its length; never: at any length"},
    {"preset", 0, "alpaca-lora", ASKED, set_preset,
     "as Alpaca-LoRA's published program answers: 4 beams, 128 new tokens. Its temperature 0.1, "
     "top-p 0.75 and top-k 40 never came to effect, since sampling was never switched on; "
     "--preset alpaca-lora --beams 1 --temperature 0.1 draws with them. What is given besides "
     "counts more"},
    {"stop", 0, "TEXT", ASKED, set_stop, "end before this text; may be given several times"},
    {"json", 0, NULL, FOR_ANSWER, set_json,
     "print one JSON object at the end (text, ids, finish, timings) instead of the text as it "
     "comes"},
};

const int infer_option_count = sizeof infer_option_table / sizeof *infer_option_table;
