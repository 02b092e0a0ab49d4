// The recipe's header: JSON of a fixed structure.
#pragma once

#include <stdexcept>

#include "recipe.h"

namespace gp {

// A version, a field or a value that only another version of goodparts knows.
struct Unknown : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Unknown for a version that this reader does not read.
void check_version(const Fields& fields);

// Of that version. Damaged for what is no header, Unknown for what a newer one may hold.
Header parse_header(const Fields& fields);

}  // namespace gp
