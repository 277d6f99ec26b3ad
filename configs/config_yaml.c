// A YAML text, event by event, into a RunConfig: a mapping of sections, each a mapping of values.
//
// What YAML can do beyond that (anchors, aliases, tags, several documents, deeper nesting) is
// refused where it begins. So libyaml never gets to nest deeply, which takes it quadratic time: it
// reads at most a line of 1024 characters ahead of the event that it gives out.
#include "config_options.h"
#include "quote.h"

#include <string.h>
#include <yaml.h>

typedef struct Reader {
  yaml_parser_t parser;
  yaml_event_t event; // the newest; none after a failure
  const char *name;
  RunConfig *config;
  int64_t key_line[CONFIG_OPTIONS_MAX]; // where an option was set, from 1; 0: it was not
  Error *err;
  char place[CONFIG_TEXT_BYTES + 64]; // "name:line:column" of what is looked at
} Reader;

static const char *set_place(Reader *r, yaml_mark_t mark) {
  snprintf(r->place, sizeof r->place, "%.*s:%zu:%zu", CONFIG_TEXT_BYTES, r->name, mark.line + 1,
           mark.column + 1);
  return r->place;
}

static Status fail(Reader *r, const char *text) {
  return error_set(r->err, STATUS_USAGE, "%s: %s", set_place(r, r->event.start_mark), text);
}

static Status syntax_error(Reader *r) {
  const yaml_parser_t *p = &r->parser;
  if (p->error == YAML_MEMORY_ERROR) {
    return error_set(r->err, STATUS_MEMORY, "%s: no memory to read it", r->name);
  }
  const char *problem = p->problem != NULL ? p->problem : "not YAML";
  if (p->error == YAML_READER_ERROR) { // has no line
    return error_set(r->err, STATUS_USAGE, "%s: byte %zu: expected UTF-8 text, found: %s", r->name,
                     p->problem_offset, problem);
  }
  return error_set(r->err, STATUS_USAGE, "%s: not YAML: %s%s%s", set_place(r, p->problem_mark),
                   problem, p->context != NULL ? " " : "", p->context != NULL ? p->context : "");
}

// The next event, without the kinds that no config may hold.
static Status next(Reader *r) {
  yaml_event_delete(&r->event);
  if (!yaml_parser_parse(&r->parser, &r->event)) return syntax_error(r);
  const yaml_event_t *e = &r->event;
  bool anchor = false, tag = false;
  switch (e->type) {
  case YAML_ALIAS_EVENT:
    return fail(r, "aliases (*name) are not supported in a config: write the value out");
  case YAML_SCALAR_EVENT:
    anchor = e->data.scalar.anchor != NULL;
    tag = e->data.scalar.tag != NULL;
    if (memchr(e->data.scalar.value, '\0', e->data.scalar.length) != NULL) {
      return fail(r, "expected a text, found a NUL character (\\0) in it");
    }
    break;
  case YAML_SEQUENCE_START_EVENT:
    anchor = e->data.sequence_start.anchor != NULL;
    tag = e->data.sequence_start.tag != NULL;
    break;
  case YAML_MAPPING_START_EVENT:
    anchor = e->data.mapping_start.anchor != NULL;
    tag = e->data.mapping_start.tag != NULL;
    break;
  default:
    break;
  }
  if (anchor) return fail(r, "anchors (&name) are not supported in a config");
  if (tag) return fail(r, "tags (!name) are not supported in a config: types follow from the key");
  return STATUS_OK;
}

static const char *scalar(const Reader *r) {
  return (const char *)r->event.data.scalar.value;
}

static int64_t scalar_size(const Reader *r) {
  return (int64_t)r->event.data.scalar.length;
}

static bool scalar_is_plain(const Reader *r) {
  return r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static const char *found(const Reader *r) {
  if (r->event.type == YAML_MAPPING_START_EVENT) return "a mapping";
  if (r->event.type == YAML_SEQUENCE_START_EVENT) return "a list";
  return "something else";
}

static Status wrong_kind(Reader *r, const ConfigOption *option, const char *what) {
  return error_set(r->err, STATUS_USAGE, "%s: %s: expected %s, found %s",
                   set_place(r, r->event.start_mark), option->key, option_expected(option).text,
                   what);
}

static Status read_list(Reader *r, const ConfigOption *option) {
  Status status = STATUS_OK;
  yaml_mark_t begin = r->event.start_mark;
  bool empty = true;
  option_list_clear(option, r->config);
  for (;;) {
    TRY(next(r));
    if (r->event.type == YAML_SEQUENCE_END_EVENT) break;
    if (r->event.type != YAML_SCALAR_EVENT) TRY(wrong_kind(r, option, found(r)));
    empty = false;
    TRY(option_list_add(option, r->config, scalar(r), scalar_size(r),
                        set_place(r, r->event.start_mark), r->err));
  }
  if (empty && !option->may_be_empty) {
    r->event.start_mark = begin;
    TRY(wrong_kind(r, option, "an empty list"));
  }
done:
  return status;
}

// The value of an option: the next event, or a list of them.
static Status read_value(Reader *r, const ConfigOption *option) {
  Status status = STATUS_OK;
  TRY(next(r));
  if (r->event.type == YAML_SEQUENCE_START_EVENT && option_is_list(option)) {
    return read_list(r, option);
  }
  if (r->event.type != YAML_SCALAR_EVENT) return wrong_kind(r, option, found(r));
  const char *text = scalar(r);
  bool plain = scalar_is_plain(r);
  bool is_null =
      plain && (strcmp(text, "") == 0 || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
  if (is_null) {
    return wrong_kind(r, option,
                      option->type == OPTION_TEXT ? "nothing (an empty text is \"\")" : "nothing");
  }
  bool number = option->type == OPTION_INT || option->type == OPTION_REAL ||
                option->type == OPTION_SHARE || option->type == OPTION_BOOL;
  if (number && !plain) return wrong_kind(r, option, "a text in quotes");
  return option_set(option, r->config, text, scalar_size(r), set_place(r, r->event.start_mark),
                    r->err);
done:
  return status;
}

static Status read_option(Reader *r, const ConfigOption *option) {
  int64_t *line = &r->key_line[option - config_options];
  if (*line != 0) {
    return error_set(r->err, STATUS_USAGE, "%s: the key '%s' stands twice, first in line %lld",
                     set_place(r, r->event.start_mark), option->key, (long long)*line);
  }
  *line = (int64_t)r->event.start_mark.line + 1;
  return read_value(r, option);
}

static Status unknown_key(Reader *r, const char *section) {
  char key[2 * CONFIG_KEY_BYTES];
  snprintf(key, sizeof key, "%s%s%.*s", section, section[0] != '\0' ? "." : "", CONFIG_KEY_BYTES,
           scalar(r));
  set_place(r, r->event.start_mark);
  if (section[0] == '\0' && strchr(key, '.') != NULL && config_option_find(key) != NULL) {
    return error_set(r->err, STATUS_USAGE,
                     "%s: '%s' is written as a section here: '%.*s:' and '%s:' indented below it",
                     r->place, key, (int)strcspn(key, "."), key, strchr(key, '.') + 1);
  }
  return config_unknown_key(r->place, key, r->err);
}

static Status expect_key(Reader *r) {
  if (r->event.type == YAML_SCALAR_EVENT) return STATUS_OK;
  return error_set(r->err, STATUS_USAGE, "%s: expected a key, found %s",
                   set_place(r, r->event.start_mark), found(r));
}

// From the section's key on.
static Status read_section(Reader *r, const char *section) {
  Status status = STATUS_OK;
  TRY(next(r));
  bool is_empty = r->event.type == YAML_SCALAR_EVENT && scalar_is_plain(r) && scalar_size(r) == 0;
  if (is_empty) return STATUS_OK; // all its keys are comments
  if (r->event.type != YAML_MAPPING_START_EVENT) {
    TRY(error_set(r->err, STATUS_USAGE,
                  "%s: '%s' is a section: expected keys and values indented below it, found %s",
                  set_place(r, r->event.start_mark), section,
                  r->event.type == YAML_SCALAR_EVENT ? quote_bytes(scalar(r), scalar_size(r)).text
                                                     : found(r)));
  }
  for (;;) {
    char key[2 * CONFIG_KEY_BYTES];
    TRY(next(r));
    if (r->event.type == YAML_MAPPING_END_EVENT) break;
    TRY(expect_key(r));
    snprintf(key, sizeof key, "%s.%.*s", section, CONFIG_KEY_BYTES, scalar(r));
    const ConfigOption *option = config_option_find(key);
    if (option == NULL) return unknown_key(r, section);
    TRY(read_option(r, option));
  }
done:
  return status;
}

static Status read_root(Reader *r) {
  Status status = STATUS_OK;
  char sections[CONFIG_OPTIONS_MAX][CONFIG_KEY_BYTES];
  int64_t lines[CONFIG_OPTIONS_MAX];
  int n = 0; // sections so far
  for (;;) {
    TRY(next(r));
    if (r->event.type == YAML_MAPPING_END_EVENT) break;
    TRY(expect_key(r));
    const ConfigOption *option = config_option_find(scalar(r));
    bool is_section = config_is_section(scalar(r));
    if (is_section) {
      for (int i = 0; i < n; i++) {
        if (strcmp(sections[i], scalar(r)) != 0) continue;
        TRY(error_set(r->err, STATUS_USAGE, "%s: the section '%s' stands twice, first in line %lld",
                      set_place(r, r->event.start_mark), sections[i], (long long)lines[i]));
      }
      snprintf(sections[n], sizeof *sections, "%s", scalar(r));
      lines[n++] = (int64_t)r->event.start_mark.line + 1;
      TRY(read_section(r, sections[n - 1]));
    } else if (option != NULL && strchr(option->key, '.') == NULL) {
      TRY(read_option(r, option));
    } else {
      TRY(unknown_key(r, ""));
    }
  }
done:
  return status;
}

static Status read_stream(Reader *r) {
  Status status = STATUS_OK;
  TRY(next(r)); // the stream's start
  TRY(next(r));
  if (r->event.type == YAML_STREAM_END_EVENT) return STATUS_OK; // nothing but comments
  TRY(next(r));
  if (r->event.type == YAML_MAPPING_START_EVENT) {
    TRY(read_root(r));
  } else if (r->event.type != YAML_SCALAR_EVENT || scalar_size(r) != 0) {
    TRY(fail(r, "expected keys and values (\"train:\" and \"lr: 1e-4\" indented below it)"));
  }
  TRY(next(r)); // the document's end
  TRY(next(r));
  if (r->event.type != YAML_STREAM_END_EVENT) {
    TRY(fail(r, "expected the end of the config, found a second document (---)"));
  }
done:
  return status;
}

Status config_read_text(RunConfig *config, const char *name, const void *text, int64_t size,
                        Error *err) {
  if (size > CONFIG_FILE_BYTES_MAX) {
    return error_set(err, STATUS_USAGE, "%s: expected a config of at most %d bytes, found %lld",
                     name, CONFIG_FILE_BYTES_MAX, (long long)size);
  }
  RunConfig read = *config;
  Reader reader = {.name = name, .config = &read, .err = err};
  if (!yaml_parser_initialize(&reader.parser)) {
    return error_set(err, STATUS_MEMORY, "%s: no memory to read it", name);
  }
  yaml_parser_set_input_string(&reader.parser, text, (size_t)size);
  Status status = read_stream(&reader);
  yaml_event_delete(&reader.event);
  yaml_parser_delete(&reader.parser);
  if (status == STATUS_OK) *config = read;
  return status;
}
