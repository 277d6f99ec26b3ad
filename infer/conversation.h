// The turns of a chat, and the prompt that they make.
#ifndef VMA_CONVERSATION_H
#define VMA_CONVERSATION_H

#include "template_encode.h"

typedef struct Conversation {
  const Tokenizer *tokenizer;
  const Template *template;
  bool one_turn; // the template was made for one question: those before it are not shown
  Turn *turns;   // [n] texts of its own; a system text, if any, is the first
  int64_t n, capacity;
  int64_t n_left_out; // turns behind the system text that no longer fit into the context
} Conversation;

void conversation_free(Conversation *c);

// Adds a turn of ROLE_USER or ROLE_ASSISTANT; the text is copied.
void conversation_add(Conversation *c, Role role, const char *text);

// Takes the newest turn back.
void conversation_drop_last(Conversation *c);

// Sets the system text; "": none.
void conversation_set_system(Conversation *c, const char *text);

// Forgets all turns but the system text.
void conversation_reset(Conversation *c);

// The ids of the prompt whose answer comes next, in place of what `ids` holds. Of a prompt of more
// than `limit` ids the oldest turns are left out, from now on; false when that does not help: then
// the last question alone is too long.
bool conversation_prompt(Conversation *c, int64_t limit, TokenIds *ids);

// {"messages": [{"role": ..., "content": ...}, ...]} of all turns, as vma-train reads it.
Status conversation_save(const Conversation *c, const char *path, Error *err);

#endif
