// Errors inside the core; the C API turns them into gp_error, the Python module into exceptions.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace gp {

// An argument is out of range. The message names it, the value seen and what is accepted.
struct Invalid : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

inline void require(bool met, const std::string& message) {
  if (!met) throw Invalid(message);
}

}  // namespace gp
