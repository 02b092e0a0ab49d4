// goodparts.hpp: goodparts_runtime.h for C++17, with handles that free themselves and errors that are thrown. Header
// only.
//
//   goodparts::Engine engine("engine");
//   goodparts::Detector detector(engine, goodparts::Recipe("nut.safetensors"));
//   goodparts::Inspection inspection = detector.inspect(frame);  // a gp_frame
//   if (inspection.verdict().answer == GP_REJECT) for (const gp_region& region : inspection.regions()) …
//   detector.use(goodparts::Recipe("bolt.safetensors"));         // the next product, same engine
//
// What goodparts_runtime.h says of threads, ownership and units holds.
#ifndef GOODPARTS_HPP
#define GOODPARTS_HPP

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "goodparts_runtime.h"

namespace goodparts {

// What a function of the C API refused, and its one line.
class Error : public std::runtime_error {
 public:
  explicit Error(const gp_error& error) : std::runtime_error(error.message), code_(error.code) {}
  gp_code code() const { return code_; }

 private:
  gp_code code_;
};

namespace detail {

// Calls function(…, &error); throws where the result says that it failed.
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

// The anomaly map: scores[y·width + x], in the memory of the inspection it came from.
struct Map {
  const float* scores;
  int64_t height, width;
};

class Engine {
 public:
  explicit Engine(const std::string& folder, const gp_engine_options& options = {})
      : handle_(detail::call(gp_engine_open, folder.c_str(), &options)) {}

  std::string graph() const { return gp_engine_graph(get()); }
  std::string backend() const { return gp_engine_backend(get()); }
  const gp_engine* get() const { return handle_.get(); }

 private:
  detail::Handle<gp_engine, gp_engine_free> handle_;
};

class Recipe {
 public:
  explicit Recipe(const std::string& path) : handle_(detail::call(gp_recipe_open, path.c_str())) {}
  Recipe(const void* data, size_t size, const std::string& name)
      : handle_(detail::call(gp_recipe_read, data, size, name.c_str())) {}

  std::string product() const { return gp_recipe_product(get()); }
  std::string digest() const { return gp_recipe_digest(get()); }
  const gp_recipe* get() const { return handle_.get(); }

 private:
  detail::Handle<gp_recipe, gp_recipe_free> handle_;
};

class Inspection {
 public:
  explicit Inspection(gp_inspection* handle) : handle_(handle) {}

  gp_verdict verdict() const { return gp_inspection_verdict(get()); }
  gp_box extent() const { return gp_inspection_extent(get()); }
  std::string recipe() const { return gp_inspection_recipe(get()); }
  std::string graph() const { return gp_inspection_graph(get()); }
  std::string backend() const { return gp_inspection_backend(get()); }

  Map map() const {
    Map map{};
    map.scores = detail::call(gp_inspection_map, get(), &map.height, &map.width);
    return map;
  }

  std::vector<gp_region> regions() const {
    int64_t count = 0;
    detail::call(gp_inspection_regions, get(), static_cast<gp_region*>(nullptr), int64_t{0}, &count);
    std::vector<gp_region> regions(static_cast<size_t>(count));
    detail::call(gp_inspection_regions, get(), regions.data(), count, &count);
    return regions;
  }

  const gp_inspection* get() const { return handle_.get(); }

 private:
  detail::Handle<gp_inspection, gp_inspection_free> handle_;
};

class Detector {
 public:
  Detector(const Engine& engine, const Recipe& recipe)
      : handle_(detail::call(gp_detector_create, engine.get(), recipe.get())) {}

  // Change the product; throws and keeps the one in use where the recipe does not fit the engine.
  void use(const Recipe& recipe) { detail::call(gp_detector_use, handle_.get(), recipe.get()); }

  gp_thresholds thresholds() const { return gp_detector_thresholds(handle_.get()); }
  void set_thresholds(const gp_thresholds& thresholds) {
    detail::call(gp_detector_set_thresholds, handle_.get(), &thresholds);
  }

  Inspection inspect(const gp_frame& frame) const {
    return Inspection(detail::call(gp_detector_inspect, static_cast<const gp_detector*>(handle_.get()), &frame));
  }

 private:
  detail::Handle<gp_detector, gp_detector_free> handle_;
};

}  // namespace goodparts
#endif
