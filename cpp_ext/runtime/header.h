// The recipe's header: JSON with a fixed structure.
#pragma once

#include <stdexcept>

#include "recipe.h"

namespace gp {

// The recipe has a version, a field or a value that this version of goodparts does not know.
struct Unknown : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throw Unknown unless this reader supports the format version.
void check_version(const Fields& fields);

// Parse a header of that version. Throws Damaged if a field is missing, has another type or is out of range, Unknown
// for a field or a value that this version does not support, and Invalid for a mask that cannot be read.
Header parse_header(const Fields& fields);

}  // namespace gp
