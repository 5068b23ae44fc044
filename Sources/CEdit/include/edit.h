// libedit, wrapped once by LineEditing: its functions take variable arguments and callbacks, which Swift can't express.
#ifndef SKERRY_EDIT_H
#define SKERRY_EDIT_H

typedef struct skerry_editor skerry_editor;

enum skerry_read { SKERRY_LINE, SKERRY_END, SKERRY_INTERRUPTED };

// An editor on standard input and output with an empty history of at most `size` entries; NULL when there is no memory or
// no terminal. ~/.editrc holds for it under the name `program`.
skerry_editor *skerry_editor_open(const char *program, int size);
void skerry_editor_close(skerry_editor *editor);

// Reads a line. `*line` is its text without the final newline, good until the next call. Ctrl-C gives
// SKERRY_INTERRUPTED, Ctrl-D on an empty line SKERRY_END.
enum skerry_read skerry_editor_read(skerry_editor *editor, const char *prompt, const char **line);

void skerry_editor_remember(skerry_editor *editor, const char *line);

// The terminal as it was before, for who ends the program meanwhile.
void skerry_terminal_restore(void);

#endif
