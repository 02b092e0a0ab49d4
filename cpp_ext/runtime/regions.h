// Regions: the connected parts of an anomaly map above the pixel threshold (goodparts.runtime.core.regions).
#pragma once

#include <vector>

#include "goodparts_runtime.h"
#include "view.h"

namespace gp {

// Of a map that covers `extent` of the frame, in frame pixels, highest peak first (8-connected).
std::vector<gp_region> find_regions(const Map& map, double threshold, double min_area, const gp_box& extent);

}  // namespace gp
