// goodparts._native: the Python module of the C++ core.
#include "bind.h"
#include "failure.h"
#include "isa.h"

namespace nb = nanobind;

NB_MODULE(_native, m) {
  // At the end of a process, daemon threads of `watch` and `studio` may still hold objects. That is no fault of the
  // binding, as nanobind's warning would say.
  nb::set_leak_warnings(false);
  m.doc() = "The C++ core of goodparts. It computes the same results as the numpy code in goodparts.runtime, faster.";
  m.attr("__version__") = GOODPARTS_VERSION;
  m.def("isa", &gp::isa_name,
        "Return the instruction set in use: generic, avx2, avx512 or amx.\n\n"
        "It is the best one that the processor and the operating system support. The environment variable\n"
        "GOODPARTS_ISA can name a lower one; it is read once.");
  // gp::Invalid derives from std::invalid_argument, which nanobind turns into ValueError.
  bind_resize(m);
  bind_search(m);
  bind_score(m);
  bind_cuda(m);
}
