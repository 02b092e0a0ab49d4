// Errors inside the core. The C API turns them into gp_error, and the Python module into exceptions.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "goodparts.h"

namespace gp {

// An argument is out of range. The message names it, the value seen and what is accepted.
struct Invalid : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// An input cannot be used for a reason other than its range. `code` is the C API's code for the reason. The message
// names the input and the reason.
struct Failure : std::runtime_error {
  Failure(gp_code code, const std::string& message) : std::runtime_error(message), code(code) {}
  gp_code code;
};

// Throw Invalid with the message unless the condition is met.
inline void require(bool met, const std::string& message) {
  if (!met) throw Invalid(message);
}

}  // namespace gp
