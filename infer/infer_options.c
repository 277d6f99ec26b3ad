#include "infer_options.h"

#include "quote.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  KEY_MODEL = 'm',
  KEY_ADAPTER = 'a',
  KEY_PROMPT = 'p',
  KEY_INSTRUCTION = 'i',
  KEY_INPUT = 256,
  KEY_TEMPLATE,
  KEY_DTYPE,
  KEY_THREADS,
  KEY_MAX_NEW_TOKENS = 'n',
  KEY_TEMPERATURE = 300,
  KEY_TOP_K,
  KEY_TOP_P,
  KEY_REPETITION_PENALTY,
  KEY_SEED,
  KEY_STOP,
  KEY_JSON,
  KEY_SCORE = 400,
  KEY_OUTPUT,
  KEY_ADD_SPECIAL,
  KEY_BATCH_TOKENS,
};

enum { GROUP_MODEL = 1, GROUP_QUESTION, GROUP_ANSWER, GROUP_SCORE };

static const struct argp_option table[] = {
    {0, 0, 0, 0, "What runs:", GROUP_MODEL},
    {"model", KEY_MODEL, "PATH", 0,
     "a Hugging Face folder (config.json, *.safetensors, tokenizer) or a GGUF file", 0},
    {"adapter", KEY_ADAPTER, "FOLDER", 0,
     "a LoRA adapter: vma-train's output or any PEFT folder of plain LoRA", 0},
    {"dtype", KEY_DTYPE, "f32|bf16", 0,
     "of weights and activations (default f32; bf16 takes half the memory)", 0},
    {"threads", KEY_THREADS, "N", 0, "default: one a core", 0},
    {0, 0, 0, 0, "What it is asked (one of the first two):", GROUP_QUESTION},
    {"prompt", KEY_PROMPT, "TEXT", 0,
     "goes on with this text as it is; with --template it is put there as the instruction. - reads "
     "standard input",
     0},
    {"instruction", KEY_INSTRUCTION, "TEXT", 0,
     "answers this, put into the adapter's template, else chatml if the tokenizer has "
     "<|im_start|> and <|im_end|>, else alpaca",
     0},
    {"input", KEY_INPUT, "TEXT", 0, "what the instruction is about", 0},
    {"template", KEY_TEMPLATE, "NAME", 0,
     "alpaca, alpaca_stanford, alpaca_short, chatml, or none: the text as it is. One that "
     "contradicts the adapter's is refused",
     0},
    {0, 0, 0, 0, "How it answers:", GROUP_ANSWER},
    {"max-new-tokens", KEY_MAX_NEW_TOKENS, "N", 0, "at most so many tokens (default 256)", 0},
    {"temperature", KEY_TEMPERATURE, "T", 0,
     "0 (default): always the likeliest token; 1: the model's own probabilities; in between: "
     "bolder than the one, steadier than the other",
     0},
    {"top-k", KEY_TOP_K, "K", 0, "draw among the K likeliest only (default 0: all)", 0},
    {"top-p", KEY_TOP_P, "P", 0,
     "draw among the likeliest that together reach probability P (default 1: all)", 0},
    {"repetition-penalty", KEY_REPETITION_PENALTY, "R", 0,
     "makes what stands in the text already less likely (default 1: off; 1.1 is mild)", 0},
    {"seed", KEY_SEED, "S", 0, "of the draws; the same seed gives the same answer (default 0)", 0},
    {"stop", KEY_STOP, "TEXT", 0, "end before this text; may be given several times", 0},
    {"json", KEY_JSON, 0, 0,
     "print one JSON object at the end (text, ids, finish, timings) instead of the text as it "
     "comes",
     0},
    {0, 0, 0, 0, "Scoring, instead of answering:", GROUP_SCORE},
    {"score", KEY_SCORE, "IN.jsonl", 0,
     "log probabilities of given texts. Each line is {\"text\": T}, {\"ids\": [...]} or "
     "{\"prompt\": P, \"completion\": C}",
     0},
    {"output", KEY_OUTPUT, "OUT.jsonl", 0,
     "a line for each: {\"ids\", \"logprobs\", \"completion_start\", \"greedy\"}", 0},
    {"add-special", KEY_ADD_SPECIAL, 0, 0,
     "with BOS and EOS as the tokenizer's config says (default: none)", 0},
    {"batch-tokens", KEY_BATCH_TOKENS, "N", 0,
     "texts are scored together up to so many tokens (default 2048)", 0},
    {0}};

static const char before_options[] =
    "Goes on with a text, answers an instruction, or scores given texts, with a LLaMA-family model "
    "and, if wanted, a LoRA adapter.\v"
    "Examples:\n"
    "  vma-infer --model llama --prompt 'The mitochondrion is'\n"
    "  vma-infer --model smollm2.gguf --adapter out/adapter \\\n"
    "      --instruction 'What does insulin do?' --max-new-tokens 100\n"
    "  vma-infer --model llama --instruction 'List three causes.' \\\n"
    "      --input 'Anaemia' --temperature 0.7 --top-p 0.9 --seed 7 --json\n"
    "  vma-infer --model llama --score questions.jsonl --output scores.jsonl\n"
    "\n"
    "Exit status: 0 done; 1 the model's numbers are not finite; 2 a mistake on the command line; "
    "65 a file's content is not sound; 66 a "
    "file is missing; 71 not enough memory; 74 reading or writing failed.";

typedef struct Parse {
  InferOptions *options;
  const char *answering, *scoring; // the first option given that is for this job only, or NULL
  Status status;
  Error *err;
} Parse;

// ---- values ----

static Status parse_int(const char *name, const char *text, int64_t min, int64_t max, int64_t *out,
                        Error *err) {
  char *end = NULL;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  bool number = end != text && *end == '\0' && !(*text == ' ' || *text == '\t');
  if (number && errno == 0 && value >= min && value <= max) {
    *out = value;
    return STATUS_OK;
  }
  return error_set(err, STATUS_USAGE, "--%s: expected an integer in %lld..%lld, found %s", name,
                   (long long)min, (long long)max, quote_text(text).text);
}

static Status parse_float(const char *name, const char *text, double min, double max,
                          bool min_is_legal, float *out, Error *err) {
  char *end = NULL;
  double value = strtod(text, &end);
  bool number = end != text && *end == '\0' && *text != ' ' && isfinite(value);
  if (number && (min_is_legal ? value >= min : value > min) && value <= max &&
      (value == 0 || (float)value > 0)) {
    *out = (float)value;
    return STATUS_OK;
  }
  return error_set(err, STATUS_USAGE, "--%s: expected a number %s %g and at most %g, found %s",
                   name, min_is_legal ? "of at least" : "above", min, max, quote_text(text).text);
}

static Status parse_path(const char *name, const char *text, const char **out, Error *err) {
  *out = text;
  if (*text != '\0') return STATUS_OK;
  return error_set(err, STATUS_USAGE, "--%s is empty: expected a path", name);
}

static Status parse_template(InferOptions *o, const char *text, Error *err) {
  const char *names[TEMPLATE_COUNT];
  o->request.template_kind = template_kind_from_name(text);
  o->request.template_given = true;
  if (o->request.template_kind != TEMPLATE_COUNT) return STATUS_OK;
  for (int i = 0; i < TEMPLATE_COUNT; i++) names[i] = template_kind_name((TemplateKind)i);
  const char *near = error_nearest(text, names, TEMPLATE_COUNT);
  return error_set(err, STATUS_USAGE,
                   "--template: expected alpaca, alpaca_stanford, alpaca_short, chatml or none, "
                   "found %s%s%s%s",
                   quote_text(text).text, near != NULL ? " (meant '" : "", near != NULL ? near : "",
                   near != NULL ? "'?)" : "");
}

static Status parse_dtype(InferOptions *o, const char *text, Error *err) {
  o->engine.dtype = dtype_from_name(text);
  if (o->engine.dtype == DT_F32 || o->engine.dtype == DT_BF16) return STATUS_OK;
  return error_set(err, STATUS_USAGE, "--dtype: expected f32 or bf16, found %s",
                   quote_text(text).text);
}

static Status add_stop(InferOptions *o, const char *text, Error *err) {
  if (*text == '\0') return error_set(err, STATUS_USAGE, "--stop: expected a text, found ''");
  int64_t left = (int64_t)strlen(text);
  for (const uint8_t *at = (const uint8_t *)text; left > 0;) {
    int n = utf8_character_length(at, left);
    if (n == 0) {
      return error_set(err, STATUS_USAGE, "--stop: expected UTF-8, found %s",
                       quote_text(text).text);
    }
    at += n;
    left -= n;
  }
  if (o->n_stops == INFER_STOPS_MAX)
    return error_set(err, STATUS_USAGE, "--stop: more than %d of them", INFER_STOPS_MAX);
  o->stops[o->n_stops++] = text;
  return STATUS_OK;
}

// NAME=FOLDER, or FOLDER: no name has a slash, so ./a=b is a folder.
static Status add_adapter(InferOptions *o, char *text, Error *err) {
  EngineOptions *e = &o->engine;
  AdapterSource source = {.folder = text};
  size_t name = strcspn(text, "=/");
  if (text[name] == '=') {
    text[name] = '\0';
    source = (AdapterSource){.name = text, .folder = text + name + 1};
    if (name == 0) return error_set(err, STATUS_USAGE, "--adapter: expected a name before the =");
  }
  if (parse_path("adapter", source.folder, &source.folder, err) != STATUS_OK) return STATUS_USAGE;
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

static Status set_sampler(InferOptions *o, int key, const char *text, Error *err) {
  SamplerOptions *s = &o->sampler;
  int64_t seed = 0;
  switch (key) {
  case KEY_TEMPERATURE:
    return parse_float("temperature", text, 0, 1000, true, &s->temperature, err);
  case KEY_TOP_K:
    return parse_int("top-k", text, 0, INT32_MAX, &s->top_k, err);
  case KEY_TOP_P:
    return parse_float("top-p", text, 0, 1, false, &s->top_p, err);
  case KEY_REPETITION_PENALTY:
    return parse_float("repetition-penalty", text, 0, 1000, false, &s->repetition_penalty, err);
  default:
    if (parse_int("seed", text, 0, INT64_MAX, &seed, err) != STATUS_OK) return STATUS_USAGE;
    s->seed = (uint64_t)seed;
    return STATUS_OK;
  }
}

static Status set(InferOptions *o, int key, char *text, Error *err) {
  int64_t number = 0;
  switch (key) {
  case KEY_MODEL:
    return parse_path("model", text, &o->engine.model, err);
  case KEY_ADAPTER:
    return add_adapter(o, text, err);
  case KEY_PROMPT:
    o->request.prompt = text;
    o->request.prompt_bytes = (int64_t)strlen(text);
    return STATUS_OK;
  case KEY_INSTRUCTION:
    o->request.instruction = text;
    return STATUS_OK;
  case KEY_INPUT:
    o->request.input = text;
    return STATUS_OK;
  case KEY_TEMPLATE:
    return parse_template(o, text, err);
  case KEY_DTYPE:
    return parse_dtype(o, text, err);
  case KEY_STOP:
    return add_stop(o, text, err);
  case KEY_JSON:
    o->json = true;
    return STATUS_OK;
  case KEY_SCORE:
    return parse_path("score", text, &o->score.input, err);
  case KEY_OUTPUT:
    return parse_path("output", text, &o->score.output, err);
  case KEY_ADD_SPECIAL:
    o->score.add_special = true;
    return STATUS_OK;
  case KEY_MAX_NEW_TOKENS:
    return parse_int("max-new-tokens", text, 1, INT32_MAX, &o->max_new_tokens, err);
  case KEY_BATCH_TOKENS:
    return parse_int("batch-tokens", text, 1, 1 << 20, &o->score.batch_tokens, err);
  case KEY_THREADS:
    if (parse_int("threads", text, 1, 1024, &number, err) != STATUS_OK) return STATUS_USAGE;
    o->engine.threads = (int)number;
    return STATUS_OK;
  default:
    return set_sampler(o, key, text, err);
  }
}

// The option of a key and the group of the table that it stands in; NULL: there is none.
static const struct argp_option *find_option(int key, int *group) {
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (table[i].group != 0) *group = table[i].group;
    if (table[i].key == key && table[i].name != NULL) return &table[i];
  }
  return NULL;
}

static void note_job(Parse *p, const char *name, int group) {
  bool answering = group == GROUP_QUESTION || group == GROUP_ANSWER;
  if (answering && p->answering == NULL) p->answering = name;
  if (group == GROUP_SCORE && p->scoring == NULL) p->scoring = name;
}

static error_t parse_one(int key, char *text, struct argp_state *state) {
  Parse *p = state->input;
  if (key == ARGP_KEY_ARG) {
    if (p->status == STATUS_OK) {
      p->status = error_set(p->err, STATUS_USAGE,
                            "unexpected %s: options only (a text with spaces needs quotes)",
                            quote_text(text).text);
    }
    return 0;
  }
  int group = 0;
  const struct argp_option *option = find_option(key, &group);
  if (option == NULL) return ARGP_ERR_UNKNOWN;
  note_job(p, option->name, group);
  if (p->status == STATUS_OK) p->status = set(p->options, key, text, p->err); // the first error
  return 0;
}

// ---- what belongs together ----

static Status check_generation(const Parse *p, Error *err) {
  const InferOptions *o = p->options;
  if (o->request.prompt == NULL && o->request.instruction == NULL) {
    return error_set(err, STATUS_USAGE,
                     "nothing to do: give --prompt, --instruction or --score (see --help)");
  }
  if (o->request.prompt != NULL && o->request.instruction != NULL)
    return error_set(err, STATUS_USAGE, "--prompt and --instruction: give one of them");
  if (o->request.input != NULL && o->request.instruction == NULL)
    return error_set(err, STATUS_USAGE, "--input goes with --instruction");
  if (o->request.instruction != NULL && *o->request.instruction == '\0')
    return error_set(err, STATUS_USAGE, "--instruction: expected a text, found ''");
  if (p->scoring != NULL) return error_set(err, STATUS_USAGE, "--%s goes with --score", p->scoring);
  return STATUS_OK;
}

static Status check_scoring(const Parse *p, Error *err) {
  if (p->options->score.output == NULL)
    return error_set(err, STATUS_USAGE, "--score: where to? give --output OUT.jsonl");
  if (p->answering != NULL) {
    return error_set(err, STATUS_USAGE,
                     "--%s does not go with --score, which answers nothing: its texts are the "
                     "file's",
                     p->answering);
  }
  return STATUS_OK;
}

Status infer_options_parse(InferOptions *o, int argc, char **argv, Error *err) {
  *o = (InferOptions){.request = {.template_kind = TEMPLATE_NONE},
                      .sampler = SAMPLER_GREEDY,
                      .max_new_tokens = 256,
                      .score = {.batch_tokens = SCORE_BATCH_TOKENS}};
  const struct argp argp = {table,
                            parse_one,
                            "--model PATH {--prompt TEXT | --instruction TEXT | --score IN.jsonl}",
                            before_options,
                            0,
                            0,
                            0};
  Parse parse = {.options = o, .err = err};
  argp_program_version = "vma-infer " VMA_VERSION;
  argp_err_exit_status = STATUS_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &parse);
  if (parse.status != STATUS_OK) return parse.status;
  if (o->engine.model == NULL)
    return error_set(err, STATUS_USAGE, "--model is missing (see --help)");
  return o->score.input != NULL ? check_scoring(&parse, err) : check_generation(&parse, err);
}
