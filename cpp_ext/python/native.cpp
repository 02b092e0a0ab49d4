// goodparts._native: Python's door to the C++ core.
#include "bind.h"
#include "failure.h"
#include "isa.h"

namespace nb = nanobind;

NB_MODULE(_native, m) {
  m.doc() = "The C++ core of goodparts: the same results as goodparts.runtime's numpy, sooner.";
  m.attr("__version__") = GOODPARTS_VERSION;
  m.def("isa", &gp::isa_name,
        "Instruction set in use: generic, avx2, avx512 or amx; GOODPARTS_ISA asks for a lower one.");
  // gp::Invalid derives from std::invalid_argument, which nanobind turns into ValueError.
  bind_resize(m);
  bind_search(m);
  bind_score(m);
  bind_cuda(m);
}
