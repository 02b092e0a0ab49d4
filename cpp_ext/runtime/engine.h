// The engine folder: engine.json and the choice of a graph, as goodparts.runtime.engine.engine reads them in Python.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gp {

class Fields;

// A block of the backbone whose patch features the memory uses, and the number of their components.
struct Tap {
  int64_t block, width;
  bool operator==(const Tap&) const = default;
};

// A backbone of an earlier version. Its engines and recipes are rejected.
constexpr std::string_view kGoneBackbone = "demo";

// The identity of a visual encoder. A recipe fits an engine with an equal encoder.
struct Encoder {
  std::string backbone, weights;
  int64_t image_size = 0, grid_height = 0, grid_width = 0, width = 0;
  int64_t neighbourhood = 1;  // older recipes have no such field
  std::vector<Tap> taps;

  bool operator==(const Encoder&) const = default;
  int64_t patches() const { return grid_height * grid_width; }
  int64_t view_bytes() const { return image_size * image_size * 3; }
  std::string text() const;
};

// Read the fields of an encoder. Throws Damaged unless the C++ core can score its features.
Encoder read_encoder(const Fields& fields);

// A file that engine.json lists.
struct EngineFile {
  std::string name;
  int64_t size;
  std::string sha256;
};

// A graph in one precision.
struct Variant {
  std::string graph, weights;         // file names
  std::vector<std::string> backends;  // those with a parity record
};

// The content of engine.json.
struct EngineSpec {
  Encoder encoder;
  std::vector<EngineFile> files;
  std::map<std::string, Variant> variants;  // of the plain graph, by precision; the prompted graph runs in Python only

  // Return the id of the plain graph in a precision: a hash of the precision and of the graph's files. A memory and a
  // calibration are valid for one graph id.
  std::string graph_id(const std::string& precision) const;
};

// Parse the bytes of an engine.json; `name` is its name in messages. Throws Failure (GP_ENGINE).
EngineSpec parse_engine_spec(std::string_view data, const std::string& name);

// Read engine.json and check the files that it lists: their sizes, and with `verify` also their digests. Throws Failure
// (GP_FILE, GP_ENGINE).
EngineSpec read_engine_spec(const std::filesystem::path& folder, bool verify);

// Return the graph of a precision. Throws Failure (GP_ENGINE) unless it has a parity record of ONNX Runtime.
const Variant& variant_for_onnxruntime(const EngineSpec& spec, const std::string& precision);

}  // namespace gp
