// A chat (vma-infer on a terminal, or --chat): a line is a question, its answer comes as it is
// drawn, and the next question goes on from there. Only what is new of the conversation is read
// each time: the cache keeps the rest.
//
// A line that ends in \ goes on in the next one. Commands begin with /; see /help. Ctrl-C ends an
// answer, the end of the input ends the chat.
#ifndef VMA_CHAT_H
#define VMA_CHAT_H

#include "engine.h"
#include "generate.h"

typedef struct ChatOptions {
  GenerateOptions generate; // stop ids, context and adapter are seen to here
  const Template *template; // as in PromptRequest
  int64_t context; // tokens of the conversation that the model sees; 0: CHAT_CONTEXT, or all that
                   // the model has if it is less
} ChatOptions;

enum { CHAT_CONTEXT = 4096 };

// Loads the engine (opened, not loaded); questions come from standard input, answers go to standard
// output, and what is said about them to standard error. Errors: those of generate.h and of
// writing; a mistake in a command or a question that is too long ends nothing.
Status chat_run(Engine *engine, const ChatOptions *options, Error *err);

#endif
