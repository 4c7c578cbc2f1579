"""lookup.py DOMAIN: the mode and the patterns of its policy, by nothing but ctypes."""

import ctypes
import sys

library = ctypes.CDLL("libmtasts.so.0")
library.mtasts_last_error.restype = ctypes.c_char_p
patterns = ctypes.create_string_buffer(65537)
mode = library.mtasts_lookup(sys.argv[1].encode(), patterns, ctypes.c_size_t(len(patterns)))
if mode < 0:
    sys.exit(library.mtasts_last_error().decode())
print(mode, patterns.value.decode())
library.mtasts_cleanup()
