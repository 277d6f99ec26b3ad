// A RunConfig as YAML: the effective config of a run, and what --print-config shows.
#include "config_options.h"

#include <stdlib.h>
#include <string.h>

enum { DUMP_COLUMNS = 100 };

// A comment of as many lines as it takes.
static void print_comment(FILE *out, const char *indent, const char *text) {
  size_t room = DUMP_COLUMNS - strlen(indent) - 2;
  while (text[0] != '\0') {
    size_t n = strlen(text);
    if (n > room) {
      n = room;
      while (n > 0 && text[n] != ' ') n--;
      if (n == 0) n = room; // no word is as long as this
    }
    fprintf(out, "%s# %.*s\n", indent, (int)n, text);
    text += n;
    while (text[0] == ' ') text++;
  }
}

static void explain_option(FILE *out, const char *indent, const ConfigOption *option) {
  char line[320];
  const char *value = option->default_text;
  if (option->type == OPTION_TEXT && value[0] == '\0') value = "empty";
  if (option_is_list(option) && value[0] == '\0') value = "[]";
  print_comment(out, indent, option->meaning);
  snprintf(line, sizeof line, "[%s; %s%s]", option_expected(option).text,
           option->required ? "required" : "default ", option->required ? "" : value);
  print_comment(out, indent, line);
}

char *config_dump(const RunConfig *config, bool explain) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  if (out == NULL) return NULL;
  const char *section = "";
  size_t section_size = 0;
  for (int i = 0; i < config_n_options; i++) {
    const ConfigOption *option = &config_options[i];
    size_t n = (size_t)(config_option_name(option) - option->key); // with its dot; 0: no section
    const char *indent = n > 0 ? "  " : "";
    bool changed = n != section_size || strncmp(section, option->key, n) != 0;
    if (changed && explain && i > 0) fputc('\n', out);
    if (changed && n > 0) fprintf(out, "%.*s:\n", (int)n - 1, option->key);
    section = option->key;
    section_size = n;
    if (explain) explain_option(out, indent, option);
    fprintf(out, "%s%s: ", indent, config_option_name(option));
    option_print(option, config, out);
    fputc('\n', out);
  }
  bool failed = ferror(out) != 0;
  if (fclose(out) != 0 || failed) {
    free(text);
    return NULL;
  }
  return text;
}
