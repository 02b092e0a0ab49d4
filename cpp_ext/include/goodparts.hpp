// goodparts.hpp: the runtime for C++17. It wraps goodparts_runtime.h: handles free themselves, and a failed call throws
// goodparts::Error. Header only.
//
//   goodparts::Engine engine("engine");
//   goodparts::Detector detector(engine, goodparts::Recipe("nut.safetensors"));
//   goodparts::Inspection inspection = detector.inspect(frame);  // a gp_frame
//   if (inspection.verdict().answer == GP_REJECT) for (const gp_region& region : inspection.regions()) …
//   detector.use(goodparts::Recipe("bolt.safetensors"));         // the next product, same engine
//
// The rules of goodparts_runtime.h about threads, ownership and units apply here too. Engine, Recipe, Detector and
// Inspection can be moved but not copied. A constructor or function throws Error if the C function named in its comment
// fails.
#ifndef GOODPARTS_HPP
#define GOODPARTS_HPP

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "goodparts_runtime.h"

namespace goodparts {

// A failed call of the C API: its code, and its message of one line (what()).
class Error : public std::runtime_error {
 public:
  explicit Error(const gp_error& error) : std::runtime_error(error.message), code_(error.code) {}
  gp_code code() const { return code_; }

 private:
  gp_code code_;
};

namespace detail {

// Call function(…, &error). Return its result; throw Error if the result is false or null.
template <class Function, class... Arguments>
auto call(Function function, Arguments... arguments) {
  gp_error error{};
  auto result = function(arguments..., &error);
  if (!result) throw Error(error);
  return result;
}

template <class T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* handle) const { Free(handle); }
};

template <class T, void (*Free)(T*)>
using Handle = std::unique_ptr<T, Deleter<T, Free>>;

}  // namespace detail

// The anomaly map: scores[y·width + x]. The scores belong to the inspection and are valid as long as it is.
struct Map {
  const float* scores;
  int64_t height, width;
};

// The encoder, opened in one precision.
class Engine {
 public:
  // Open the engine in a folder (gp_engine_open).
  explicit Engine(const std::string& folder, const gp_engine_options& options = {})
      : handle_(detail::call(gp_engine_open, folder.c_str(), &options)) {}

  // Return the id of the graph, which recipes are valid for.
  std::string graph() const { return gp_engine_graph(get()); }

  // Return what runs the graph: library and version, device, precision.
  std::string backend() const { return gp_engine_backend(get()); }

  // Return the handle for the C API; it stays this object's.
  const gp_engine* get() const { return handle_.get(); }

 private:
  detail::Handle<gp_engine, gp_engine_free> handle_;
};

// Everything learned for one product.
class Recipe {
 public:
  // Open the recipe in a file (gp_recipe_open).
  explicit Recipe(const std::string& path) : handle_(detail::call(gp_recipe_open, path.c_str())) {}

  // Read a recipe from memory; `name` is its name in error messages (gp_recipe_read).
  Recipe(const void* data, size_t size, const std::string& name)
      : handle_(detail::call(gp_recipe_read, data, size, name.c_str())) {}

  // Return the name of the product.
  std::string product() const { return gp_recipe_product(get()); }

  // Return the digest of the recipe, 64 hexadecimal digits.
  std::string digest() const { return gp_recipe_digest(get()); }

  // Return the handle for the C API; it stays this object's.
  const gp_recipe* get() const { return handle_.get(); }

 private:
  detail::Handle<gp_recipe, gp_recipe_free> handle_;
};

// The results for one frame, which Detector::inspect returns.
class Inspection {
 public:
  // Take over a handle, which this object will free.
  explicit Inspection(gp_inspection* handle) : handle_(handle) {}

  // Return the verdict on the part.
  gp_verdict verdict() const { return gp_inspection_verdict(get()); }

  // Return the part of the frame that was inspected, in pixels of the frame.
  gp_box extent() const { return gp_inspection_extent(get()); }

  // Return the digest of the recipe that was used.
  std::string recipe() const { return gp_inspection_recipe(get()); }

  // Return the id of the graph that ran.
  std::string graph() const { return gp_inspection_graph(get()); }

  // Return what ran the graph: library and version, device, precision.
  std::string backend() const { return gp_inspection_backend(get()); }

  // Return the anomaly map, computed at the first call (gp_inspection_map).
  Map map() const {
    Map map{};
    map.scores = detail::call(gp_inspection_map, get(), &map.height, &map.width);
    return map;
  }

  // Return the suspicious regions, the highest peak first (gp_inspection_regions).
  std::vector<gp_region> regions() const {
    int64_t count = 0;
    detail::call(gp_inspection_regions, get(), static_cast<gp_region*>(nullptr), int64_t{0}, &count);
    std::vector<gp_region> regions(static_cast<size_t>(count));
    detail::call(gp_inspection_regions, get(), regions.data(), count, &count);
    return regions;
  }

  // Return the handle for the C API; it stays this object's.
  const gp_inspection* get() const { return handle_.get(); }

 private:
  detail::Handle<gp_inspection, gp_inspection_free> handle_;
};

// An engine with the product in use. The engine and the recipe may be destroyed before the detector.
class Detector {
 public:
  // Combine an engine and a recipe (gp_detector_create).
  Detector(const Engine& engine, const Recipe& recipe)
      : handle_(detail::call(gp_detector_create, engine.get(), recipe.get())) {}

  // Change the product. If the recipe does not fit the engine, throw Error and keep the product in use.
  void use(const Recipe& recipe) { detail::call(gp_detector_use, handle_.get(), recipe.get()); }

  // Return the thresholds in use.
  gp_thresholds thresholds() const { return gp_detector_thresholds(handle_.get()); }

  // Change the thresholds until the product is changed. If one is out of range, throw Error and keep those in use.
  void set_thresholds(const gp_thresholds& thresholds) {
    detail::call(gp_detector_set_thresholds, handle_.get(), &thresholds);
  }

  // Inspect one frame (gp_detector_inspect). Several threads may call this at once.
  Inspection inspect(const gp_frame& frame) const {
    return Inspection(detail::call(gp_detector_inspect, static_cast<const gp_detector*>(handle_.get()), &frame));
  }

 private:
  detail::Handle<gp_detector, gp_detector_free> handle_;
};

}  // namespace goodparts
#endif
