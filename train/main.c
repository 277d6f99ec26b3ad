// vma-train: the command line around train_run.
#include "dry_run.h"
#include "environment.h"
#include "fit.h"
#include "quote.h"
#include "run.h"
#include "show_examples.h"
#include "standard_streams.h"
#include "sweep.h"
#include "thread_wait.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char doc[] =
    "Fine-tunes a LLaMA-family model, with LoRA or in all its weights, on conversations or plain "
    "text."
    "\v"
    "A run is described by a YAML file; KEY=VALUE words change single keys of it, the last one "
    "counts. --print-config shows every key with its default and meaning.\n"
    "\n"
    "  vma-train --config configs/lora_smollm2.yaml\n"
    "  vma-train --config configs/lora_smollm2.yaml train.lr=1e-4 output.dir=runs/slow\n"
    "  vma-train --config configs/lora_smollm2.yaml resume=auto\n"
    "  vma-train --config configs/lora_smollm2.yaml --print-config\n"
    "  vma-train --config configs/lora_3090.yaml --dry-run\n"
    "  vma-train --config configs/lora_smollm2.yaml --show 3\n"
    "  vma-train env           (this machine: CPU, libraries, GPUs, and why CUDA cannot be used)\n"
    "\n"
    "Only three keys have no default: model.path (a Hugging Face folder or a GGUF file), data.path "
    "(JSON or JSONL of instruction, input, output, of messages or conversations, or plain "
    "text; commas between several files) and output.dir. In output.dir a run "
    "leaves adapter/ (the weights after the last step: load it with vma-infer --adapter, or with "
    "PEFT; with method=full model/, a Hugging Face folder), best/ (those of the best held-out "
    "loss), report.html (curves, sample answers, memory), metrics.jsonl (one line a step), "
    "manifest.json (what it was, with hashes), checkpoints/ and config.yaml, which repeats the run "
    "to the same bits: --config OLD/config.yaml output.dir=NEW.\n"
    "\n"
    "Ctrl-C (or SIGTERM, SIGUSR1, or a terminal that closes) finishes the step, saves a checkpoint "
    "and exits with 75; the same command with resume=auto goes on from there to the same bits. A "
    "second one ends at once. A file STOP made in output.dir does the same as Ctrl-C, a file SAVE "
    "saves a checkpoint and the run goes on.\n"
    "\n"
    "Exit status: 0 done; 2 a mistake in the command line or config, or a dry run whose plan does "
    "not fit the device; 65 a file with bad content; "
    "66 a file that is missing; 71 not enough memory; 74 reading or writing failed (full disk); "
    "75 stopped by a signal; 1 anything else.";

enum {
  OPTION_PRINT_CONFIG = 256,
  OPTION_THREADS,
  OPTION_DRY_RUN,
  OPTION_FIT,
  OPTION_SHOW,
  OPTION_SWEEP
};
static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "The run's config (YAML)", 0},
    {"print-config", OPTION_PRINT_CONFIG, 0, 0,
     "Print the config as it would be used, each key under its meaning, and exit", 0},
    {"dry-run", OPTION_DRY_RUN, 0, 0,
     "Show the memory that the run would take, to the byte, and an estimate of its time, on this "
     "CPU "
     "or on plan.device, and exit; with model.preset no files are needed",
     0},
    {"fit", OPTION_FIT, "SIZE", 0,
     "Find the fastest train.micro_tokens and number of recomputed layers that fit into so much "
     "memory (24GiB, 500MiB, 24GB), show what was tried, and exit; needs what --dry-run does",
     0},
    {"show", OPTION_SHOW, "N", 0,
     "Print the first N training examples token by token, with the tokens that are labels marked, "
     "and exit; output.dir is not needed",
     0},
    {"sweep", OPTION_SWEEP, "KEY=A,B,...", 0,
     "Run once for each value, one after the other in folders of output.dir, and show a table; "
     "given several times: all combinations. A list is one value in brackets. The same command "
     "goes on with a sweep that was stopped",
     0},
    {"threads", OPTION_THREADS, "N", 0, "The same as train.threads=N; 0: one a core", 0},
    {0},
};

typedef struct Arguments {
  const char *config;
  const char **overrides; // [argc] "key=value"
  int n_overrides;
  char threads[64];
  bool print_config, dry_run;
  const char *fit;
  int64_t show;        // examples; 0: a run
  const char **sweeps; // [argc] "key=a,b"
  int n_sweeps;
} Arguments;

static int64_t parse_show(const char *text, struct argp_state *state) {
  char *end;
  errno = 0;
  long long n = strtoll(text, &end, 10);
  if (end == text || *end != '\0' || errno != 0 || n < 1)
    argp_error(state, "--show: expected a number of examples, found %s", quote_text(text).text);
  return n;
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  Arguments *a = state->input;
  switch (key) {
  case 'c':
    if (a->config != NULL) argp_error(state, "--config is given twice");
    a->config = arg;
    return 0;
  case OPTION_PRINT_CONFIG:
    a->print_config = true;
    return 0;
  case OPTION_DRY_RUN:
    a->dry_run = true;
    return 0;
  case OPTION_FIT:
    a->fit = arg;
    return 0;
  case OPTION_SHOW:
    a->show = parse_show(arg, state);
    return 0;
  case OPTION_SWEEP:
    a->sweeps[a->n_sweeps++] = arg;
    return 0;
  case OPTION_THREADS:
    snprintf(a->threads, sizeof a->threads, "train.threads=%.40s", arg);
    return 0;
  case ARGP_KEY_ARG:
    if (strchr(arg, '=') == NULL) {
      argp_error(state,
                 "%s: expected KEY=VALUE (train.lr=1e-4); a config file is given by --config",
                 quote_text(arg).text);
    }
    a->overrides[a->n_overrides++] = arg;
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

// As config_load, but without asking for the keys that have no default.
static Status print_config(const Arguments *a, Error *err) {
  Status status = STATUS_OK;
  char *text = NULL;
  RunConfig config;
  TRY(config_read(&config, a->config, a->overrides, a->n_overrides, err));
  text = config_dump(&config, true);
  if (text == NULL) TRY(error_set(err, STATUS_MEMORY, "no memory for the config's text"));
  if (fputs(text, stdout) == EOF || fflush(stdout) != 0)
    TRY(error_set(err, STATUS_IO, "standard output cannot be written"));
done:
  free(text);
  return status;
}

// Needs less of the config than a run, and ends with STATUS_USAGE where the run would not fit.
static Status plan_only(const Arguments *a, Error *err) {
  static RunConfig config;
  bool fits = false;
  int64_t bytes;
  if (a->fit != NULL) {
    Status status = fit_parse_size(&bytes, a->fit, err);
    if (status == STATUS_OK)
      status = config_read(&config, a->config, a->overrides, a->n_overrides, err);
    if (status == STATUS_OK) status = config_check_plan(&config, err);
    return status == STATUS_OK ? fit_run(&config, bytes, err) : status;
  }
  Status status = config_read(&config, a->config, a->overrides, a->n_overrides, err);
  if (status == STATUS_OK) status = config_check_plan(&config, err);
  if (status == STATUS_OK) status = dry_run(&config, &fits, err);
  if (status != STATUS_OK || fits) return status;
  return error_set(err, STATUS_USAGE, "the run does not fit the device's memory");
}

static Status show_only(const Arguments *a, Error *err) {
  static RunConfig config;
  Status status = config_read(&config, a->config, a->overrides, a->n_overrides, err);
  if (status == STATUS_OK) status = config_check_data(&config, err);
  return status == STATUS_OK ? show_examples(&config, a->show, err) : status;
}

static volatile sig_atomic_t stop;

// The second signal, of any kind but a hangup, finds the default action, which ends the process.
static void on_signal(int number) {
  (void)number;
  stop = 1;
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  signal(SIGUSR1, SIG_DFL);
}

static void watch_signals(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGUSR1, &action, NULL); // what batch systems send ahead of a time limit
  // A terminal that closes: stays ignored under nohup, and may come twice, so it never ends at
  // once.
  struct sigaction hangup;
  if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
    sigaction(SIGHUP, &action, NULL);
  signal(SIGPIPE, SIG_IGN); // a closed pipe of the output must not end the run
  signal(SIGXFSZ, SIG_IGN); // a file size limit is an error of write like a full disk
}

static Status run(const Arguments *a, Error *err) {
  static RunConfig config;
  if (a->print_config + a->dry_run + (a->fit != NULL) + (a->show > 0) + (a->n_sweeps > 0) > 1)
    return error_set(err, STATUS_USAGE,
                     "--print-config, --dry-run, --fit, --show and --sweep: give one of them");
  if (a->print_config) return print_config(a, err);
  if (a->config == NULL && a->n_overrides == 0)
    return error_set(err, STATUS_USAGE, "no --config FILE; --help says how to use this program");
  if (a->dry_run || a->fit != NULL) return plan_only(a, err);
  if (a->show > 0) return show_only(a, err);
  if (a->n_sweeps > 0) {
    SweepRequest sweep = {.config = a->config,
                          .overrides = a->overrides,
                          .n_overrides = a->n_overrides,
                          .sweeps = a->sweeps,
                          .n_sweeps = a->n_sweeps};
    watch_signals();
    return sweep_run(&sweep, &stop, err);
  }
  Status status = config_load(&config, a->config, a->overrides, a->n_overrides, err);
  if (status != STATUS_OK) return status;
  watch_signals();
  return train_run(&config, &stop, err);
}

int main(int argc, char **argv) {
  standard_streams_hold();
  thread_wait_asleep(argv);
  static Error err;
  Arguments arguments = {.overrides = calloc((size_t)argc + 1, sizeof(char *)),
                         .sweeps = calloc((size_t)argc + 1, sizeof(char *))};
  if (arguments.overrides == NULL || arguments.sweeps == NULL) return STATUS_MEMORY;
  argp_err_exit_status = STATUS_USAGE;
  if (environment_wanted(argc, argv)) {
    Status shown = environment_run(argc, "vma-train", &err);
    if (shown != STATUS_OK) fprintf(stderr, "vma-train: %s\n", err.message);
    free(arguments.overrides);
    free(arguments.sweeps);
    return (int)shown;
  }
  argp_program_version = "vma-train " VMA_VERSION;
  const struct argp argp = {options, parse_option, "[KEY=VALUE...]", doc, NULL, NULL, NULL};
  argp_parse(&argp, argc, argv, 0, NULL, &arguments);
  if (arguments.threads[0] != '\0')
    arguments.overrides[arguments.n_overrides++] = arguments.threads;
  Status status = run(&arguments, &err);
  if (status != STATUS_OK) fprintf(stderr, "vma-train: %s\n", err.message);
  free(arguments.overrides);
  free(arguments.sweeps);
  return (int)status;
}
