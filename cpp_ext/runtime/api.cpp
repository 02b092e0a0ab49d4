// The functions of goodparts_runtime.h.
#include <algorithm>

#include "detector.h"
#include "files.h"
#include "goodparts_runtime.h"
#include "guard.h"

struct gp_engine {
  std::shared_ptr<const gp::Engine> engine;
};

struct gp_recipe {
  gp::Recipe recipe;
};

struct gp_detector {
  gp::Detector detector;
};

struct gp_inspection {
  std::unique_ptr<const gp::Inspection> inspection;
};

extern "C" {

gp_engine* gp_engine_open(const char* folder, const gp_engine_options* options, gp_error* error) {
  return gp::created<gp_engine>(error, [&] {
    gp::require(folder != nullptr, "folder is null");
    return new gp_engine{
        std::make_shared<const gp::Engine>(gp::path_of(folder), options ? *options : gp_engine_options{})};
  });
}

void gp_engine_free(gp_engine* engine) { delete engine; }
const char* gp_engine_graph(const gp_engine* engine) { return engine ? engine->engine->graph.c_str() : ""; }
const char* gp_engine_backend(const gp_engine* engine) {
  return engine ? engine->engine->session->description().c_str() : "";
}

gp_recipe* gp_recipe_open(const char* path, gp_error* error) {
  return gp::created<gp_recipe>(error, [&] {
    gp::require(path != nullptr, "path is null");
    return new gp_recipe{gp::read_recipe(gp::path_of(path))};
  });
}

gp_recipe* gp_recipe_read(const void* data, size_t size, const char* name, gp_error* error) {
  return gp::created<gp_recipe>(error, [&] {
    gp::require(data != nullptr || size == 0, "data is null");
    return new gp_recipe{gp::parse_recipe({static_cast<const char*>(data), size}, name ? name : "recipe")};
  });
}

void gp_recipe_free(gp_recipe* recipe) { delete recipe; }
const char* gp_recipe_product(const gp_recipe* recipe) { return recipe ? recipe->recipe.header.product.c_str() : ""; }
const char* gp_recipe_digest(const gp_recipe* recipe) { return recipe ? recipe->recipe.header.digest.c_str() : ""; }

gp_detector* gp_detector_create(const gp_engine* engine, const gp_recipe* recipe, gp_error* error) {
  return gp::created<gp_detector>(error, [&] {
    gp::require(engine && recipe, "engine or recipe is null");
    return new gp_detector{gp::Detector(engine->engine, recipe->recipe)};
  });
}

void gp_detector_free(gp_detector* detector) { delete detector; }

bool gp_detector_use(gp_detector* detector, const gp_recipe* recipe, gp_error* error) {
  return gp::guarded(error, [&] {
    gp::require(detector && recipe, "detector or recipe is null");
    detector->detector.use(recipe->recipe);
  });
}

gp_thresholds gp_detector_thresholds(const gp_detector* detector) {
  return detector ? detector->detector.thresholds() : gp_thresholds{};
}

bool gp_detector_set_thresholds(gp_detector* detector, const gp_thresholds* thresholds, gp_error* error) {
  return gp::guarded(error, [&] {
    gp::require(detector && thresholds, "detector or thresholds is null");
    detector->detector.set_thresholds(*thresholds);
  });
}

gp_inspection* gp_detector_inspect(const gp_detector* detector, const gp_frame* frame, gp_error* error) {
  return gp::created<gp_inspection>(error, [&] {
    gp::require(detector && frame, "detector or frame is null");
    return new gp_inspection{detector->detector.inspect(*frame)};
  });
}

void gp_inspection_free(gp_inspection* inspection) { delete inspection; }

gp_verdict gp_inspection_verdict(const gp_inspection* inspection) {
  return inspection ? inspection->inspection->verdict() : gp_verdict{};
}

const char* gp_inspection_recipe(const gp_inspection* inspection) {
  return inspection ? inspection->inspection->recipe().digest.c_str() : "";
}

const char* gp_inspection_graph(const gp_inspection* inspection) {
  return inspection ? inspection->inspection->engine().graph.c_str() : "";
}

const char* gp_inspection_backend(const gp_inspection* inspection) {
  return inspection ? inspection->inspection->engine().session->description().c_str() : "";
}

gp_box gp_inspection_extent(const gp_inspection* inspection) {
  return inspection ? inspection->inspection->extent() : gp_box{};
}

const float* gp_inspection_map(const gp_inspection* inspection, int64_t* height, int64_t* width, gp_error* error) {
  const float* scores = nullptr;
  gp::guarded(error, [&] {
    gp::require(inspection && height && width, "inspection, height or width is null");
    const gp::Map& map = inspection->inspection->map();
    *height = map.height;
    *width = map.width;
    scores = map.scores.data();
  });
  return scores;
}

bool gp_inspection_regions(const gp_inspection* inspection, gp_region* out_regions, int64_t capacity,
                           int64_t* out_count, gp_error* error) {
  return gp::guarded(error, [&] {
    gp::require(inspection && out_count, "inspection or out_count is null");
    gp::require(capacity >= 0, "capacity is " + std::to_string(capacity) + ": 0 or more is accepted");
    const auto& regions = inspection->inspection->regions();
    *out_count = static_cast<int64_t>(regions.size());
    if (out_regions) std::copy_n(regions.begin(), std::min(capacity, *out_count), out_regions);
  });
}

}  // extern "C"
