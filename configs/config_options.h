// The table of all config keys, and one value of one key as a text: what reading, printing,
// messages and --print-config stand on. Only for the files of this folder.
#ifndef VMA_CONFIG_OPTIONS_H
#define VMA_CONFIG_OPTIONS_H

#include "config.h"

#include <stdio.h>

typedef enum OptionType {
  OPTION_TEXT,   // char [CONFIG_TEXT_BYTES]
  OPTION_INT,    // int64_t in [least, most]
  OPTION_REAL,   // double in [least, most], without an end that is open
  OPTION_BOOL,   // bool
  OPTION_CHOICE, // an enum (unsigned int) that counts `choices` from 0
  OPTION_SHARE,  // ConfigShare
  OPTION_WORDS,  // ConfigWords
  OPTION_REALS,  // ConfigReals, each in [least, most]
  OPTION_PATHS,  // char [CONFIG_TEXT_BYTES]: one or more, a comma between two
} OptionType;

typedef struct ConfigOption {
  const char *key; // "section.name", or "name"
  OptionType type;
  int64_t offset; // in RunConfig
  int64_t bytes;
  const char *default_text; // as option_set reads it; "" for a text that is empty
  int64_t int_least, int_most;
  double real_least, real_most;
  bool open_least, open_most;
  const char *const *choices;
  int n_choices;
  bool required;
  bool may_be_empty;   // a list without words; else at least one
  bool patterns;       // words may hold '*', '?' and '='
  bool decides;        // the run's numbers hang on it: see config_difference
  const char *meaning; // sentences, one line
} ConfigOption;

enum { CONFIG_OPTIONS_MAX = 96, CONFIG_KEY_BYTES = 64 };

extern const ConfigOption config_options[];
extern const int config_n_options;

// NULL when there is none of that name; `key` is "section.name" or "name".
const ConfigOption *config_option_find(const char *key);

// Whether there are keys "section.name".
bool config_is_section(const char *section);

// What stands behind the dot, or the whole key.
const char *config_option_name(const ConfigOption *option);

// The key, or section, that was probably meant by an unknown key, or NULL.
const char *config_nearest_key(const char *key);

// ": no such key; did you mean ...": STATUS_USAGE. place: "path:line:column" or "command line".
Status config_unknown_key(const char *place, const char *key, Error *err);

// Sets the option from its text [size]; STATUS_USAGE: "place: key: expected ..., found ...". On
// failure the config is as it was.
Status option_set(const ConfigOption *option, RunConfig *config, const char *text, int64_t size,
                  const char *place, Error *err);

// A list in steps, for YAML: clear, then add.
bool option_is_list(const ConfigOption *option);
void option_list_clear(const ConfigOption *option, RunConfig *config);
Status option_list_add(const ConfigOption *option, RunConfig *config, const char *text,
                       int64_t size, const char *place, Error *err);

// The value as YAML.
void option_print(const ConfigOption *option, const RunConfig *config, FILE *out);

// "an integer from 1 to 1024", "true or false", ...
typedef struct OptionExpected {
  char text[200];
} OptionExpected;
OptionExpected option_expected(const ConfigOption *option);

#endif
