// Text for a page that is HTML and well-formed XML at once.
#ifndef VMA_HTML_H
#define VMA_HTML_H

#include <stdio.h>

// The text with all that has a meaning in HTML escaped, fit for an element or a quoted attribute.
// What XML has no character for (control characters, bytes that are not UTF-8) becomes U+FFFD.
void html_text(FILE *to, const char *text);

#endif
