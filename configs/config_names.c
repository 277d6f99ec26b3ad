// Names of the templates as configs and command lines spell them.
#include "config.h"

#include <string.h>

static const char *const template_names[TEMPLATE_COUNT] = {
    [TEMPLATE_ALPACA] = "alpaca",
    [TEMPLATE_ALPACA_STANFORD] = "alpaca_stanford",
    [TEMPLATE_ALPACA_SHORT] = "alpaca_short",
    [TEMPLATE_CHATML] = "chatml",
    [TEMPLATE_NONE] = "none",
};

const char *template_kind_name(TemplateKind kind) {
  return kind >= 0 && kind < TEMPLATE_COUNT ? template_names[kind] : "unknown";
}

TemplateKind template_kind_from_name(const char *name) {
  for (int i = 0; i < TEMPLATE_COUNT; i++) {
    if (strcmp(template_names[i], name) == 0) return (TemplateKind)i;
  }
  return TEMPLATE_COUNT;
}
