// vma-model: what a model's files say, and models as files: exported, merged, compared.
#include "model_commands.h"
#include "quote.h"
#include "standard_streams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct Command {
  const char *name;
  Status (*run)(int argc, char **argv, Error *err);
  const char *usage, *text;
} Command;

static const Command commands[] = {
    {"info", model_info, "PATH [--hash]", "architecture, sizes, parameters, types, tokenizer"},
    {"tokenize", model_tokenize, "--model PATH --input IN.jsonl --output OUT.jsonl",
     "ids of texts"},
    {"export", model_export, "--model PATH --output FOLDER [--dtype bf16|f32]",
     "a folder, or a GGUF file, as a Hugging Face folder"},
    {"merge", model_merge, "--model BASE --adapter FOLDER --output FOLDER",
     "the same with LoRA adapters folded in"},
    {"diff", model_diff, "A B [--tolerance X] [--json]",
     "the largest differences between two models or adapters"}};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(void) {
  printf(
      "Usage: vma-model COMMAND [OPTION...]\nLooks at and makes files of LLaMA-family models.\n\n");
  for (int i = 0; i < COMMANDS; i++)
    printf("  vma-model %s %s\n      %s\n", commands[i].name, commands[i].usage, commands[i].text);
  printf("\nvma-model COMMAND --help tells more of each.\n\n"
         "Exit status: 0 done; 1 what diff compares differs; 2 a mistake on the command line; 65 a "
         "file's content is not sound; 66 a file is missing; 74 reading or writing failed.\n");
}

static Status unknown_command(const char *name, Error *err) {
  const char *names[COMMANDS];
  for (int i = 0; i < COMMANDS; i++) names[i] = commands[i].name;
  const char *nearest = error_nearest(name, names, COMMANDS);
  return error_set(
      err, STATUS_USAGE, "expected info, tokenize, export, merge or diff, found %s%s%s",
      quote_text(name).text, nearest != NULL ? "; meant " : "", nearest != NULL ? nearest : "");
}

static Status run(int argc, char **argv, Error *err) {
  const char *name = argc > 1 ? argv[1] : NULL;
  if (name == NULL) {
    return error_set(err, STATUS_USAGE,
                     "what to do? info, tokenize, export, merge or diff (see --help)");
  }
  if (strcmp(name, "--help") == 0 || strcmp(name, "-?") == 0 || strcmp(name, "help") == 0) {
    print_help();
    return STATUS_OK;
  }
  if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
    printf("vma-model " VMA_VERSION "\n");
    return STATUS_OK;
  }
  for (int i = 0; i < COMMANDS; i++) {
    if (strcmp(name, commands[i].name) != 0) continue;
    char program[32]; // as argp names it in usage and mistakes
    snprintf(program, sizeof program, "vma-model %s", name);
    argv[1] = program;
    return commands[i].run(argc - 1, argv + 1, err);
  }
  return unknown_command(name, err);
}

int main(int argc, char **argv) {
  standard_streams_hold();
  Error err = {0};
  argp_program_version = "vma-model " VMA_VERSION;
  argp_err_exit_status = STATUS_USAGE;
  Status status = run(argc, argv, &err);
  errno = 0;
  if ((status == STATUS_OK || err.message[0] == '\0') && (fflush(stdout) != 0 || ferror(stdout)))
    status = error_set(&err, STATUS_IO, "standard output: %s", strerror(errno));
  if (status != STATUS_OK && err.message[0] != '\0')
    fprintf(stderr, "vma-model: %s\n", err.message);
  return (int)status;
}
