// Resampling of a camera's frame to the image that the encoder reads.
#pragma once

#include <cstdint>

#include "goodparts.h"

namespace gp {

// gp_resize. Throws Invalid for arguments out of range.
void resize(const gp_frame& frame, const gp_box* box, uint8_t* out, int64_t out_width, int64_t out_height, int threads);

// Throw Invalid if resize would throw it for these arguments. So a caller can check them before it allocates `out`.
void check_resize(const gp_frame& frame, const gp_box* box, int64_t out_width, int64_t out_height, int threads);

}  // namespace gp
