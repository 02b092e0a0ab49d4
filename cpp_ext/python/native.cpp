// goodparts._native: Python's door to the C++ core.
#include <nanobind/nanobind.h>

NB_MODULE(_native, m) {
  m.doc() = "The C++ core of goodparts.";
  m.attr("__version__") = GOODPARTS_VERSION;
}
