// Regions: the connected parts of an anomaly map whose scores reach the pixel threshold, as
// goodparts.runtime.core.regions finds them in Python.
#pragma once

#include <vector>

#include "goodparts_runtime.h"
#include "view.h"

namespace gp {

// Find the regions of a map: 8-connected parts with scores of at least `threshold`. extent: the part of the frame that
// the map covers; min_area: the smallest area to report. Boxes and areas are in pixels of the frame. Returns the region
// with the highest peak first.
std::vector<gp_region> find_regions(const Map& map, double threshold, double min_area, const gp_box& extent);

}  // namespace gp
