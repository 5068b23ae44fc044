// libzstd, wrapped once by Storage: chunks travel compressed.
#include <zstd.h>
