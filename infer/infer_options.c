#include "infer_options.h"

#include "check.h"
#include "quote.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char before_options[] =
    "Goes on with a text, answers an instruction or a file of them, talks, or scores given texts, "
    "with a LLaMA-family model and, if wanted, LoRA adapters.\v"
    "Examples:\n"
    "  vma-infer --model llama --prompt 'The mitochondrion is'\n"
    "  vma-infer --model smollm2.gguf --adapter out/adapter \\\n"
    "      --instruction 'What does insulin do?' --max-new-tokens 100\n"
    "  vma-infer --model llama --instruction 'List three causes.' \\\n"
    "      --input 'Anaemia' --temperature 0.7 --top-p 0.9 --seed 7 --json\n"
    "  vma-infer --model llama --adapter out/adapter --preset alpaca-lora \\\n"
    "      --instruction 'What is a beta blocker?'\n"
    "  vma-infer --model smollm2.gguf                  (a chat; /help inside)\n"
    "  vma-infer --model llama --adapter lab=out/lab --adapter ward=out/ward \\\n"
    "      --batch questions.jsonl --output answers.jsonl --batch-size 32\n"
    "  vma-infer --model llama --score questions.jsonl --output scores.jsonl\n"
    "  vma-infer env                   (this machine: CPU, libraries, GPUs)\n"
    "\n"
    "Exit status: 0 done; 1 the model's numbers are not finite; 2 a mistake on the command line; "
    "65 a file's content is not sound; 66 a "
    "file is missing; 71 not enough memory; 74 reading or writing failed.";

enum { FIRST_KEY = 256, OPTIONS_MAX = 64 }; // an option's key: FIRST_KEY + its place in the table

enum { KEY_HELP = '?', KEY_VERSION = 'V', KEY_USAGE = 1 };

typedef struct Parse {
  InferOptions *options;
  const struct argp *argp;
  bool given[OPTIONS_MAX];
  int order[OPTIONS_MAX], n_given; // places in the table, in the order of the command line
  Status status;
  Error *err;
} Parse;

// ---- reading ----

static Status unknown_option(const char *word, Error *err) {
  const char *names[OPTIONS_MAX];
  int n = 0;
  size_t length = strcspn(word, "=");
  for (int i = 0; i < infer_option_count; i++) {
    const InferOption *o = &infer_option_table[i];
    if (o->name == NULL) continue;
    bool begun =
        length > 2 && strncmp(word, "--", 2) == 0 && strncmp(o->name, word + 2, length - 2) == 0;
    begun |= word[0] == '-' && word[1] == o->letter && o->letter != 0 && length == 2;
    if (begun && o->value != NULL && word[length] == '\0')
      return error_set(err, STATUS_USAGE, "--%s: expected %s behind it", o->name, o->value);
    if (begun && o->value == NULL && word[length] == '=')
      return error_set(err, STATUS_USAGE, "--%s takes no value", o->name);
    names[n++] = o->name;
  }
  const char *near = error_nearest(word + strspn(word, "-"), names, n);
  return error_set(err, STATUS_USAGE, "unknown option %s%s%s%s (see --help)", quote_text(word).text,
                   near != NULL ? " (meant --" : "", near != NULL ? near : "",
                   near != NULL ? "?)" : "");
}

static void read_option(Parse *p, int place, char *text) {
  const InferOption *option = &infer_option_table[place];
  if (!p->given[place]) p->order[p->n_given++] = place;
  p->given[place] = true;
  if (p->status == STATUS_OK) // the first error counts
    p->status = option->set(p->options, option->name, text, p->err);
}

static void print_and_exit(const struct argp *argp, int key, char *name) {
  unsigned what = key == KEY_USAGE ? ARGP_HELP_USAGE : ARGP_HELP_STD_HELP;
  if (key == KEY_VERSION) {
    puts("vma-infer " VMA_VERSION);
  } else {
    argp_help(argp, stdout, what & ~(unsigned)ARGP_HELP_EXIT_OK, name);
  }
  exit(fflush(stdout) == 0 ? STATUS_OK : STATUS_IO);
}

static error_t parse_one(int key, char *text, struct argp_state *state) {
  Parse *p = state->input;
  if (key == KEY_HELP || key == KEY_VERSION || key == KEY_USAGE)
    print_and_exit(p->argp, key, state->name);
  if (key == ARGP_KEY_ARG && p->status == STATUS_OK) {
    p->status = error_set(p->err, STATUS_USAGE,
                          "unexpected %s: options only (a text with spaces needs quotes)",
                          quote_text(text).text);
  }
  if (key == ARGP_KEY_ERROR && p->status == STATUS_OK)
    p->status = unknown_option(state->argv[state->next - 1], p->err);
  if (key == ARGP_KEY_ARG) return 0;
  for (int i = 0; i < infer_option_count; i++) {
    const InferOption *o = &infer_option_table[i];
    if (o->name == NULL || (key != FIRST_KEY + i && (o->letter == 0 || key != o->letter))) continue;
    read_option(p, i, text);
    return 0;
  }
  return ARGP_ERR_UNKNOWN;
}

// argp's own --help and messages are two lines for an error, so both are made here.
static void make_argp_table(struct argp_option *out) {
  int group = 0, n = infer_option_count;
  for (int i = 0; i < infer_option_count; i++) {
    const InferOption *o = &infer_option_table[i];
    if (o->name == NULL) group++;
    out[i] = (struct argp_option){.name = o->name,
                                  .key = o->name == NULL  ? 0
                                         : o->letter != 0 ? o->letter
                                                          : FIRST_KEY + i,
                                  .arg = o->value,
                                  .doc = o->help,
                                  .group = group};
  }
  out[n++] = (struct argp_option){"help", KEY_HELP, 0, 0, "print this and exit", -1};
  out[n++] = (struct argp_option){"usage", KEY_USAGE, 0, 0, "print the options' names and exit", 0};
  out[n++] = (struct argp_option){"version", KEY_VERSION, 0, 0, "print the version and exit", 0};
  out[n] = (struct argp_option){0};
}

static bool is_given(const Parse *p, const char *name) {
  for (int i = 0; i < infer_option_count; i++) {
    const char *other = infer_option_table[i].name;
    if (other != NULL && strcmp(other, name) == 0) return p->given[i];
  }
  CHECK(false, "no option --%s", name);
  return false;
}

// ---- what belongs together ----

static Status choose_job(const Parse *p, Error *err) {
  static const char *const askers[] = {"prompt", "instruction", "batch", "chat", "score"};
  static const InferJob jobs[] = {JOB_ANSWER, JOB_ANSWER, JOB_BATCH, JOB_CHAT, JOB_SCORE};
  const char *first = NULL;
  InferOptions *o = p->options;
  for (int i = 0; i < 5; i++) {
    if (!is_given(p, askers[i])) continue;
    if (first != NULL) {
      return error_set(err, STATUS_USAGE, "--%s and --%s: give one of them", first, askers[i]);
    }
    first = askers[i];
    o->job = jobs[i];
  }
  if (first != NULL) return STATUS_OK;
  o->job = JOB_CHAT;
  if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) return STATUS_OK;
  return error_set(err, STATUS_USAGE,
                   "nothing to do: give --prompt, --instruction, --batch, --chat or --score (see "
                   "--help)");
}

// "--batch or --score"
static void list_jobs(unsigned jobs, char *out, size_t size) {
  static const char *const names[JOB_COUNT] = {"--prompt or --instruction", "--batch", "--chat",
                                               "--score"};
  out[0] = '\0';
  for (int i = 0; i < JOB_COUNT; i++) {
    size_t used = strlen(out);
    if ((jobs & 1u << i) != 0)
      snprintf(out + used, size - used, "%s%s", used > 0 ? " or " : "", names[i]);
  }
}

static Status check_jobs(const Parse *p, Error *err) {
  static const char *const why[JOB_COUNT] = {
      [JOB_BATCH] = "--batch, which answers what stands in the file",
      [JOB_CHAT] = "--chat",
      [JOB_SCORE] = "--score, which answers nothing: its texts are the file's"};
  InferJob job = p->options->job;
  for (int i = 0; i < p->n_given; i++) {
    const InferOption *option = &infer_option_table[p->order[i]];
    if ((option->jobs & 1u << job) != 0) continue;
    if (job != JOB_ANSWER && (option->jobs & FOR_ANSWER) != 0)
      return error_set(err, STATUS_USAGE, "--%s does not go with %s", option->name, why[job]);
    char list[100];
    list_jobs(option->jobs, list, sizeof list);
    return error_set(err, STATUS_USAGE, "--%s goes with %s", option->name, list);
  }
  return STATUS_OK;
}

// What Alpaca-LoRA's generate.py passes on, where nothing else was asked for. It does not switch
// sampling on, so its temperature is not set here.
static void apply_preset(const Parse *p) {
  GenerateOptions *g = &p->options->generate;
  if (!p->options->alpaca_lora) return;
  if (!is_given(p, "beams")) g->beam.beams = 4;
  if (!is_given(p, "max-new-tokens")) g->max_new_tokens = 128;
  if (!is_given(p, "top-k")) g->sampler.top_k = 40;
  if (!is_given(p, "top-p")) g->sampler.top_p = 0.75f;
}

static Status check_values(const Parse *p, Error *err) {
  const InferOptions *o = p->options;
  bool to_file = o->job == JOB_BATCH || o->job == JOB_SCORE;
  if (o->engine.model == NULL)
    return error_set(err, STATUS_USAGE, "--model is missing (see --help)");
  if (o->request.input != NULL && o->request.instruction == NULL)
    return error_set(err, STATUS_USAGE, "--input goes with --instruction");
  if (to_file && o->output == NULL) {
    return error_set(err, STATUS_USAGE, "--%s: where to? give --output OUT.jsonl",
                     o->job == JOB_BATCH ? "batch" : "score");
  }
  if (o->generate.beam.beams > 1 && o->generate.sampler.temperature > 0) {
    return error_set(err, STATUS_USAGE,
                     "--temperature %g: beams draw nothing (there are %d); leave it out, or give "
                     "--beams 1",
                     (double)o->generate.sampler.temperature, o->generate.beam.beams);
  }
  if (is_given(p, "template") && is_given(p, "template-file"))
    return error_set(err, STATUS_USAGE, "--template and --template-file: give one of the two");
  if (o->generate.beam.beams > 1) return STATUS_OK;
  static const char *const of_beams[] = {"length-penalty", "early-stopping"};
  for (int i = 0; i < 2; i++) {
    if (is_given(p, of_beams[i]))
      return error_set(err, STATUS_USAGE, "--%s goes with --beams of 2 or more", of_beams[i]);
  }
  return STATUS_OK;
}

Status infer_options_parse(InferOptions *o, int argc, char **argv, Error *err) {
  Status status = STATUS_OK;
  struct argp_option table[OPTIONS_MAX + 4];
  CHECK(infer_option_count <= OPTIONS_MAX, "%d options", infer_option_count);
  make_argp_table(table);
  *o = (InferOptions){.engine = {.device = "auto"},
                      .generate = {.sampler = SAMPLER_GREEDY,
                                   .beam = {.beams = 1, .length_penalty = 1},
                                   .max_new_tokens = 256,
                                   .stops = o->stops}};
  const struct argp argp = {
      .options = table,
      .parser = parse_one,
      .args_doc = "--model PATH [--prompt TEXT | --instruction TEXT | --batch IN.jsonl --output "
                  "OUT.jsonl | --score IN.jsonl --output OUT.jsonl]",
      .doc = before_options};
  Parse parse = {.options = o, .argp = &argp, .err = err};
  unsigned quiet = ARGP_NO_ERRS | ARGP_NO_HELP;
  if (argp_parse(&argp, argc, argv, quiet, NULL, &parse) != 0 && parse.status == STATUS_OK)
    return error_set(err, STATUS_USAGE, "the command line could not be read (see --help)");
  TRY(parse.status);
  TRY(choose_job(&parse, err));
  TRY(check_jobs(&parse, err));
  apply_preset(&parse);
  TRY(check_values(&parse, err));
done:
  return status;
}
