#include "tokenizer_json.h"

#include "quote.h"

#include <stdio.h>
#include <string.h>

static const char *type_of(const json_t *value) {
  const char *type = json_string_value(json_object_get(value, "type"));
  return type == NULL ? "" : type;
}

static bool is_type(const json_t *value, const char *type) {
  return strcmp(type_of(value), type) == 0;
}

static Status unsupported(const char *path, const char *part, const char *what, Error *err) {
  return error_set(err, STATUS_DATA, "%s: %s: %s is not supported", path, part,
                   quote_text(what).text);
}

static Status malformed(const char *path, const char *part, const char *key, Error *err) {
  return error_set(err, STATUS_DATA, "%s: %s: '%s' is missing or of the wrong type", path, part,
                   key);
}

// A flag that may be absent.
static Status get_flag(bool *flag, const json_t *value, const char *key, const char *path,
                       const char *part, Error *err) {
  const json_t *item = json_object_get(value, key);
  if (item == NULL || json_is_null(item)) return STATUS_OK;
  if (!json_is_boolean(item)) return malformed(path, part, key, err);
  *flag = json_is_true(item);
  return STATUS_OK;
}

// The steps of a Sequence (its list is called `list`), or the one step itself. NULL at the end.
static const json_t *step_at(const json_t *value, const char *list, size_t i) {
  if (is_type(value, "Sequence")) return json_array_get(json_object_get(value, list), i);
  return i == 0 ? value : NULL;
}

static bool is_nothing(const json_t *value) {
  return value == NULL || json_is_null(value);
}

bool json_has_byte_level(const json_t *pre_tokenizer) {
  if (is_nothing(pre_tokenizer)) return false;
  const json_t *step;
  for (size_t i = 0; (step = step_at(pre_tokenizer, "pretokenizers", i)) != NULL; i++) {
    if (is_type(step, "ByteLevel")) return true;
  }
  return false;
}

// {"String": S} of a Replace or Split; NULL when it is something else. Escaped NULs cannot be
// there: jansson refuses them.
static const char *string_pattern(const json_t *step) {
  return json_string_value(json_object_get(json_object_get(step, "pattern"), "String"));
}

static Status read_normalizer_step(Tokenizer *tokenizer, const json_t *step, const char *path,
                                   Error *err) {
  static const char part[] = "normalizer";
  if (tokenizer->normalizer.n == TEXT_OPS_MAX) {
    return unsupported(path, part, "a long Sequence", err);
  }
  if (is_type(step, "Prepend")) {
    const char *text = json_string_value(json_object_get(step, "prepend"));
    if (text == NULL) return malformed(path, part, "prepend", err);
    text_ops_add(&tokenizer->normalizer, TEXT_PREPEND, NULL, text);
  } else if (is_type(step, "Replace")) {
    const char *from = string_pattern(step);
    const char *to = json_string_value(json_object_get(step, "content"));
    if (from == NULL || from[0] == 0) return unsupported(path, part, "Replace of a Regex", err);
    if (to == NULL) return malformed(path, part, "content", err);
    text_ops_add(&tokenizer->normalizer, TEXT_REPLACE, from, to);
  } else {
    return unsupported(path, part, type_of(step), err);
  }
  return STATUS_OK;
}

Status json_read_normalizer(Tokenizer *tokenizer, const json_t *value, const char *path,
                            Error *err) {
  if (is_nothing(value)) return STATUS_OK;
  const json_t *step;
  for (size_t i = 0; (step = step_at(value, "normalizers", i)) != NULL; i++) {
    Status status = read_normalizer_step(tokenizer, step, path, err);
    if (status != STATUS_OK) return status;
  }
  return STATUS_OK;
}

// The regular expressions that are matched by hand. `whole`: it matches every character, so that it
// does not matter whether what is matched is cut out or what is between is thrown away.
#define GPT2_REGEX                                                                                 \
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define ANY_CASE "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define ASCII_CASE "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define LLAMA3_REGEX(contractions, numbers)                                                        \
  contractions "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers                                           \
               "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct {
  const char *regex;
  SplitStep step;
  bool whole;
} known_splits[] = {
    {GPT2_REGEX, {.kind = SPLIT_GPT2}, true},
    {LLAMA3_REGEX(ANY_CASE, "\\p{N}{1,3}"),
     {.kind = SPLIT_LLAMA3, .digits = 3, .long_s = true},
     true},
    {LLAMA3_REGEX(ANY_CASE, "\\p{N}"), {.kind = SPLIT_LLAMA3, .digits = 1, .long_s = true}, true},
    {LLAMA3_REGEX(ASCII_CASE, "\\p{N}{1,3}"), {.kind = SPLIT_LLAMA3, .digits = 3}, true},
    {LLAMA3_REGEX(ASCII_CASE, "\\p{N}"), {.kind = SPLIT_LLAMA3, .digits = 1}, true},
    {"\\p{N}", {.kind = SPLIT_NUMBERS}, false},
    {"\\p{N}+", {.kind = SPLIT_NUMBER_RUNS}, false},
    {"[0-9][0-9][0-9]", {.kind = SPLIT_THREE_DIGITS}, false},
    {"[\\p{P}\\$\\+<=>\\^~\\|]+", {.kind = SPLIT_PUNCTUATION}, false},
};

const char *json_split_regex(SplitStep step) {
  int n = (int)(sizeof known_splits / sizeof known_splits[0]);
  for (int i = 0; i < n; i++) {
    const SplitStep *known = &known_splits[i].step;
    if (known->kind == step.kind && known->digits == step.digits && known->long_s == step.long_s)
      return known_splits[i].regex;
  }
  return NULL;
}

static Status add_step(Tokenizer *tokenizer, SplitStep step, const char *path, Error *err) {
  if (tokenizer->pre.n == PRETOKENIZER_STEPS_MAX) {
    return unsupported(path, "pre_tokenizer", "a long Sequence", err);
  }
  tokenizer->pre.steps[tokenizer->pre.n++] = step;
  return STATUS_OK;
}

static Status read_split(Tokenizer *tokenizer, const json_t *step, const char *path, Error *err) {
  static const char part[] = "pre_tokenizer: Split";
  const char *regex = json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
  const char *behavior = json_string_value(json_object_get(step, "behavior"));
  bool invert = false;
  Status status = get_flag(&invert, step, "invert", path, part, err);
  if (status != STATUS_OK) return status;
  if (regex == NULL) return unsupported(path, part, "a pattern that is no Regex", err);
  if (behavior == NULL) return malformed(path, part, "behavior", err);
  int n = (int)(sizeof known_splits / sizeof known_splits[0]);
  for (int i = 0; i < n; i++) {
    if (strcmp(regex, known_splits[i].regex) != 0) continue;
    bool isolates = strcmp(behavior, "Isolated") == 0 && (!invert || known_splits[i].whole);
    bool removes_rest = strcmp(behavior, "Removed") == 0 && invert && known_splits[i].whole;
    if (!isolates && !removes_rest) {
      return unsupported(path, part, invert ? "this behavior with invert" : behavior, err);
    }
    return add_step(tokenizer, known_splits[i].step, path, err);
  }
  return error_set(err, STATUS_DATA, "%s: %s: the regular expression %s is not supported", path,
                   part, quote_text(regex).text);
}

static Status read_byte_level(Tokenizer *tokenizer, const json_t *step, const char *path,
                              Error *err) {
  static const char part[] = "pre_tokenizer: ByteLevel";
  Status status = STATUS_OK;
  bool prefix = true, regex = true;
  TRY(get_flag(&prefix, step, "add_prefix_space", path, part, err));
  TRY(get_flag(&regex, step, "use_regex", path, part, err));
  if (prefix) TRY(add_step(tokenizer, (SplitStep){.kind = PREFIX_SPACE}, path, err));
  if (regex) TRY(add_step(tokenizer, (SplitStep){.kind = SPLIT_GPT2}, path, err));
done:
  return status;
}

static Status read_byte_step(Tokenizer *tokenizer, const json_t *step, const char *path,
                             Error *err) {
  if (is_type(step, "ByteLevel")) return read_byte_level(tokenizer, step, path, err);
  if (is_type(step, "Split")) return read_split(tokenizer, step, path, err);
  if (!is_type(step, "Digits")) return unsupported(path, "pre_tokenizer", type_of(step), err);
  bool single = false;
  Status status = get_flag(&single, step, "individual_digits", path, "pre_tokenizer: Digits", err);
  if (status != STATUS_OK) return status;
  return add_step(tokenizer, (SplitStep){.kind = single ? SPLIT_DIGITS : SPLIT_DIGIT_RUNS}, path,
                  err);
}

static Status read_metaspace(Tokenizer *tokenizer, const json_t *step, const char *path,
                             Error *err) {
  static const char part[] = "pre_tokenizer: Metaspace";
  Status status = STATUS_OK;
  const char *space = json_string_value(json_object_get(step, "replacement"));
  const char *scheme = json_string_value(json_object_get(step, "prepend_scheme"));
  bool prefix = true, split = true;
  TRY(get_flag(&prefix, step, "add_prefix_space", path, part, err)); // before prepend_scheme
  TRY(get_flag(&split, step, "split", path, part, err));
  if (space == NULL || strcmp(space, SPM_SPACE) != 0) {
    TRY(unsupported(path, part, space == NULL ? "no replacement" : space, err));
  }
  if (scheme == NULL) scheme = prefix ? "always" : "never";
  text_ops_add(&tokenizer->prefix, TEXT_REPLACE, " ", SPM_SPACE);
  if (strcmp(scheme, "always") == 0) {
    text_ops_add(&tokenizer->prefix, TEXT_PREPEND_UNLESS, NULL, SPM_SPACE);
  } else if (strcmp(scheme, "first") == 0) {
    text_ops_add(&tokenizer->prefix, TEXT_PREPEND_FIRST, NULL, SPM_SPACE);
  } else if (strcmp(scheme, "never") != 0) {
    TRY(unsupported(path, part, scheme, err));
  }
  tokenizer->split_spaces = split;
done:
  return status;
}

Status json_read_pre_tokenizer(Tokenizer *tokenizer, const json_t *value, const char *path,
                               Error *err) {
  if (is_nothing(value)) return STATUS_OK;
  const json_t *step;
  for (size_t i = 0; (step = step_at(value, "pretokenizers", i)) != NULL; i++) {
    Status status = STATUS_OK;
    if (tokenizer->family == FAMILY_BYTE_BPE) {
      bool last = step_at(value, "pretokenizers", i + 1) == NULL;
      if (!last && is_type(step, "ByteLevel")) {
        status = unsupported(path, "pre_tokenizer", "a step after ByteLevel", err);
      } else {
        status = read_byte_step(tokenizer, step, path, err);
      }
    } else if (is_type(step, "Metaspace") && tokenizer->prefix.n == 0) {
      status = read_metaspace(tokenizer, step, path, err);
    } else {
      status = unsupported(path, "pre_tokenizer", type_of(step), err);
    }
    if (status != STATUS_OK) return status;
  }
  return STATUS_OK;
}

// The decoder of LLaMA is a Sequence of some of these, in this order.
enum { STAGE_START, STAGE_REPLACE, STAGE_BYTES, STAGE_FUSE, STAGE_STRIP };

static Status read_decoder_step(Tokenizer *tokenizer, const json_t *step, int *stage,
                                const char *path, Error *err) {
  static const char part[] = "decoder";
  int now = STAGE_START;
  if (is_type(step, "Replace")) {
    const char *from = string_pattern(step);
    const char *to = json_string_value(json_object_get(step, "content"));
    if (from == NULL || to == NULL || strcmp(from, SPM_SPACE) != 0 || strcmp(to, " ") != 0) {
      return unsupported(path, part, "Replace of anything but U+2581 by a space", err);
    }
    now = STAGE_REPLACE;
  } else if (is_type(step, "ByteFallback")) {
    tokenizer->bytes_by_name = true;
    now = STAGE_BYTES;
  } else if (is_type(step, "Fuse")) {
    now = STAGE_FUSE;
  } else if (is_type(step, "Strip")) {
    const char *content = json_string_value(json_object_get(step, "content"));
    json_int_t start = json_integer_value(json_object_get(step, "start"));
    json_int_t stop = json_integer_value(json_object_get(step, "stop"));
    if (content == NULL || strcmp(content, " ") != 0 || start < 0 || start > 1 || stop != 0) {
      return unsupported(path, part, "Strip of anything but one space at the beginning", err);
    }
    if (*stage != STAGE_FUSE) return unsupported(path, part, "Strip without Fuse", err);
    if (start == 1) tokenizer->leading = LEADING_OF_TEXT;
    now = STAGE_STRIP;
  } else {
    return unsupported(path, part, type_of(step), err);
  }
  if (now <= *stage || *stage == STAGE_START) {
    if (now != STAGE_REPLACE) return unsupported(path, part, "a Sequence in this order", err);
  }
  *stage = now;
  return STATUS_OK;
}

Status json_read_decoder(Tokenizer *tokenizer, const json_t *value, const char *path, Error *err) {
  static const char part[] = "decoder";
  const json_t *step;
  int stage = STAGE_START;
  if (is_nothing(value)) return unsupported(path, part, "none at all", err);
  if (tokenizer->family == FAMILY_BYTE_BPE) {
    for (size_t i = 0; (step = step_at(value, "decoders", i)) != NULL; i++) {
      if (i > 0 || !is_type(step, "ByteLevel")) return unsupported(path, part, type_of(step), err);
    }
    return STATUS_OK;
  }
  tokenizer->bytes_decoding = BYTES_RUN;
  if (is_type(value, "Metaspace")) {
    const char *scheme = json_string_value(json_object_get(value, "prepend_scheme"));
    bool prefix = true;
    Status status = get_flag(&prefix, value, "add_prefix_space", path, part, err);
    if (scheme != NULL) prefix = strcmp(scheme, "never") != 0;
    if (prefix) tokenizer->leading = LEADING_OF_FIRST;
    return status;
  }
  for (size_t i = 0; (step = step_at(value, "decoders", i)) != NULL; i++) {
    Status status = read_decoder_step(tokenizer, step, &stage, path, err);
    if (status != STATUS_OK) return status;
  }
  if (stage == STAGE_START) return unsupported(path, part, "an empty Sequence", err);
  return STATUS_OK;
}

// The id of a template's special token: "special_tokens" says it by name.
static Status template_id(int32_t *id, const Tokenizer *tokenizer, const json_t *value,
                          const json_t *special, const char *path, Error *err) {
  const char *name = json_string_value(json_object_get(special, "id"));
  const json_t *entry =
      json_object_get(json_object_get(value, "special_tokens"), name == NULL ? "" : name);
  const json_t *ids = json_object_get(entry, "ids");
  const json_t *first = json_array_get(ids, 0);
  json_int_t found = json_is_integer(first) ? json_integer_value(first) : -1;
  if (json_array_size(ids) != 1 || found < 0 || found >= tokenizer->pieces.n) {
    return malformed(path, "post_processor: TemplateProcessing", "special_tokens", err);
  }
  *id = (int32_t)found;
  return STATUS_OK;
}

static Status read_template(Tokenizer *tokenizer, const json_t *value, const char *path,
                            Error *err) {
  const json_t *single = json_object_get(value, "single");
  bool after = false;
  size_t i;
  json_t *item;
  if (!json_is_array(single)) {
    return malformed(path, "post_processor: TemplateProcessing", "single", err);
  }
  json_array_foreach(single, i, item) {
    const json_t *special = json_object_get(item, "SpecialToken");
    if (special == NULL) {
      after = true; // the text
      continue;
    }
    if (after ? tokenizer->adds_eos : tokenizer->adds_bos) {
      return unsupported(path, "post_processor", "a template with two tokens on one side", err);
    }
    int32_t *id = after ? &tokenizer->eos : &tokenizer->bos;
    Status status = template_id(id, tokenizer, value, special, path, err);
    if (status != STATUS_OK) return status;
    *(after ? &tokenizer->adds_eos : &tokenizer->adds_bos) = true;
  }
  return STATUS_OK;
}

Status json_read_post_processor(Tokenizer *tokenizer, const json_t *value, const char *path,
                                Error *err) {
  if (is_nothing(value)) return STATUS_OK;
  const json_t *step;
  for (size_t i = 0; (step = step_at(value, "processors", i)) != NULL; i++) {
    if (is_type(step, "ByteLevel")) continue; // only changes offsets
    if (!is_type(step, "TemplateProcessing")) {
      return unsupported(path, "post_processor", type_of(step), err);
    }
    Status status = read_template(tokenizer, step, path, err);
    if (status != STATUS_OK) return status;
  }
  return STATUS_OK;
}
