// Texts in a page that is HTML and XML.
#include "html.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

static void expect(const char *text, const char *expected) {
  char *found = NULL;
  size_t size = 0;
  FILE *to = open_memstream(&found, &size);
  EXPECT(to != NULL);
  html_text(to, text);
  fclose(to);
  EXPECT(strcmp(found, expected) == 0, "%s becomes %s, not %s", text, found, expected);
  free(found);
}

static void marks_are_escaped(void) {
  expect("", "");
  expect("plain \xC3\xA9 \xF0\x9F\x98\x80 text\n\tof lines",
         "plain \xC3\xA9 \xF0\x9F\x98\x80 text\n\tof lines");
  expect("<b onload='x' id=\"y\">&lt;</b>",
         "&lt;b onload=&#39;x&#39; id=&quot;y&quot;&gt;&amp;lt;&lt;/b&gt;");
}

// What XML has no character for.
static void no_characters(void) {
  expect("a\001\033\rb", "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                         "b");
  expect("a\xFF\xC3", "a\xEF\xBF\xBD\xEF\xBF\xBD");
  expect("\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"); // half of a surrogate pair
  expect("\xEF\xBF\xBE|\xEF\xBF\xBF|\xEF\xBF\xBD", "\xEF\xBF\xBD|\xEF\xBF\xBD|\xEF\xBF\xBD");
  expect("\xC0\xBC", "\xEF\xBF\xBD\xEF\xBF\xBD"); // '<' at length
}

int main(void) {
  RUN(marks_are_escaped);
  RUN(no_characters);
  return test_done();
}
