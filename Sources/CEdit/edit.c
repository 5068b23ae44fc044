#include "edit.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

struct skerry_editor {
  EditLine *edit;
  History *history;
  char *prompt;
  char *line;
  int interrupted;
};

static struct termios before;
static volatile sig_atomic_t is_kept;

// Pasted text longer than this is cut.
enum { LONGEST_PASTE = 1 << 20 };

static char *prompt(EditLine *edit) {
  skerry_editor *editor = NULL;
  el_get(edit, EL_CLIENTDATA, &editor);
  return editor && editor->prompt ? editor->prompt : (char *)"";
}

static unsigned char on_interrupt(EditLine *edit, int key) {
  (void)key;
  skerry_editor *editor = NULL;
  el_get(edit, EL_CLIENTDATA, &editor);
  if (editor) editor->interrupted = 1;
  return CC_NEWLINE;
}

// Signals by keys are off while a line is read, so that Ctrl-C is ours; Ctrl-Z still does what it always does.
static unsigned char on_suspend(EditLine *edit, int key) {
  (void)key;
  el_set(edit, EL_PREP_TERM, 0);
  raise(SIGTSTP);
  el_set(edit, EL_PREP_TERM, 1);
  return CC_REDISPLAY;
}

// Text between the terminal's marks of a paste goes into the line as it is, with its line feeds, instead of being taken
// for so many lines.
static unsigned char on_paste(EditLine *edit, int key) {
  (void)key;
  static const wchar_t end[] = L"\033[201~";
  const size_t length = wcslen(end);
  size_t count = 0, room = 256;
  wchar_t *text = malloc(room * sizeof *text);
  wchar_t character;
  while (text && count < LONGEST_PASTE && el_wgetc(edit, &character) == 1) {
    text[count++] = character == L'\r' ? L'\n' : character;
    if (count >= length && wmemcmp(text + count - length, end, length) == 0) {
      count -= length;
      break;
    }
    if (count + 1 >= room) {
      wchar_t *larger = realloc(text, (room *= 2) * sizeof *text);
      if (!larger) break;
      text = larger;
    }
  }
  if (!text) return CC_ERROR;
  // A last line feed would only make an empty line.
  while (count > 0 && text[count - 1] == L'\n') count--;
  text[count] = 0;
  int failed = count > 0 && el_winsertstr(edit, text) != 0;
  free(text);
  return failed ? CC_REFRESH_BEEP : CC_REFRESH;
}

static void set_up(skerry_editor *editor, int size) {
  HistEvent event;
  history(editor->history, &event, H_SETSIZE, size);
  history(editor->history, &event, H_SETUNIQUE, 1);
  el_set(editor->edit, EL_CLIENTDATA, editor);
  el_set(editor->edit, EL_PROMPT, prompt);
  el_set(editor->edit, EL_EDITOR, "emacs");
  el_set(editor->edit, EL_HIST, history, editor->history);
  el_set(editor->edit, EL_ADDFN, "skerry-interrupt", "Give up this line", on_interrupt);
  el_set(editor->edit, EL_ADDFN, "skerry-suspend", "Stop the program until fg", on_suspend);
  el_set(editor->edit, EL_ADDFN, "skerry-paste", "Take what is pasted", on_paste);
  el_set(editor->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
  el_set(editor->edit, EL_BIND, "\\e[1~", "ed-move-to-beg", NULL);
  el_set(editor->edit, EL_BIND, "\\e[4~", "ed-move-to-end", NULL);
  el_set(editor->edit, EL_BIND, "\\e[3~", "ed-delete-next-char", NULL);
  el_set(editor->edit, EL_BIND, "\\e[1;5C", "em-next-word", NULL);
  el_set(editor->edit, EL_BIND, "\\e[1;5D", "ed-prev-word", NULL);
  el_source(editor->edit, NULL);
  el_set(editor->edit, EL_BIND, "^C", "skerry-interrupt", NULL);
  el_set(editor->edit, EL_BIND, "^Z", "skerry-suspend", NULL);
  el_set(editor->edit, EL_BIND, "\\e[200~", "skerry-paste", NULL);
  el_set(editor->edit, EL_SETTY, "-d", "-isig", NULL);
}

skerry_editor *skerry_editor_open(const char *program, int size) {
  if (tcgetattr(STDIN_FILENO, &before) != 0) return NULL;
  is_kept = 1;
  setlocale(LC_CTYPE, "");
  // In a locale of bytes every letter beyond ASCII would be several.
  if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
  skerry_editor *editor = calloc(1, sizeof *editor);
  if (!editor) return NULL;
  editor->edit = el_init(program, stdin, stdout, stderr);
  editor->history = history_init();
  if (!editor->edit || !editor->history) {
    skerry_editor_close(editor);
    return NULL;
  }
  set_up(editor, size);
  return editor;
}

void skerry_editor_close(skerry_editor *editor) {
  if (editor->edit) el_end(editor->edit);
  if (editor->history) history_end(editor->history);
  free(editor->prompt);
  free(editor->line);
  free(editor);
  skerry_terminal_restore();
}

static void bracketed_paste(int on) {
  fputs(on ? "\033[?2004h" : "\033[?2004l", stdout);
  fflush(stdout);
}

enum skerry_read skerry_editor_read(skerry_editor *editor, const char *prompt, const char **line) {
  free(editor->prompt);
  editor->prompt = strdup(prompt);
  free(editor->line);
  editor->line = NULL;
  editor->interrupted = 0;
  el_resize(editor->edit);
  int count = 0;
  // Before the prompt shows: el_gets would do it after, and what is typed in between would be taken by the terminal.
  el_set(editor->edit, EL_PREP_TERM, 1);
  bracketed_paste(1);
  const char *got = el_gets(editor->edit, &count);
  bracketed_paste(0);
  if (editor->interrupted) {
    fputs("^C\n", stdout);
    fflush(stdout);
    el_reset(editor->edit);
    return SKERRY_INTERRUPTED;
  }
  if (!got || count <= 0) return SKERRY_END;
  editor->line = strdup(got);
  if (!editor->line) return SKERRY_END;
  size_t length = strlen(editor->line);
  if (length > 0 && editor->line[length - 1] == '\n') editor->line[length - 1] = 0;
  *line = editor->line;
  return SKERRY_LINE;
}

void skerry_editor_remember(skerry_editor *editor, const char *line) {
  HistEvent event;
  history(editor->history, &event, H_ENTER, line);
}

void skerry_terminal_restore(void) {
  if (is_kept) tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}
