// Templates of one's own (data.template_file), as JSON in one of two forms:
//
//   Alpaca-LoRA's   {"prompt_input", "prompt_no_input"} with {instruction} and {input} in them,
//   "{{"
//                   and "}}" for braces; "description" and "response_split" may be there. EOS ends
//                   the answer; further turns follow behind a blank line
//   a chat's        {"system", "user", "assistant"}: each a frame around {content}. What stands
//                   before an answer's {content} ends a prompt, what stands behind it ends an
//                   answer. "begin": what the text begins with; "default_system": the system text
//                   of a conversation without one; "trim": true: white space at the ends of
//                   people's texts is left out. {bos} and {eos} stand for those tokens. Special
//                   tokens are spelled out; <|name|> has to be one
#ifndef VMA_TEMPLATE_FILE_H
#define VMA_TEMPLATE_FILE_H

#include "error.h"
#include "template.h"

#include <stdint.h>

enum { TEMPLATE_FILE_BYTES_MAX = 1 << 16 };

// STATUS_NO_INPUT, STATUS_IO, or STATUS_DATA: "path: key: expected ..., found ...". To be freed by
// template_free.
Status template_load(Template **result, const char *path, Error *err);

// The same from the file's text, as an adapter carries it; `name` is for messages.
Status template_parse(Template **result, const char *name, const char *text, int64_t size,
                      Error *err);

// May be given NULL; not a built-in one.
void template_free(Template *own);

#endif
