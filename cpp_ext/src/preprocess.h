// From a camera's frame to the square the encoder reads.
#pragma once

#include <cstdint>

#include "goodparts.h"

namespace gp {

// gp_resize; throws Invalid.
void resize(const gp_frame& frame, const gp_box* box, uint8_t* out, int64_t out_width, int64_t out_height, int threads);

// What resize refuses, for callers that allocate `out`.
void check_resize(const gp_frame& frame, const gp_box* box, int64_t out_width, int64_t out_height, int threads);

}  // namespace gp
