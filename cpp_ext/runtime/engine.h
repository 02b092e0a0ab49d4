// The engine folder: engine.json, and which of its graphs is to run (goodparts.runtime.engine.engine).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gp {

class Fields;

struct Tap {
  int64_t block, width;
  bool operator==(const Tap&) const = default;
};

// An earlier version's backbone: its engines and recipes are refused.
constexpr std::string_view kGoneBackbone = "demo";

// The identity of a visual encoder. A recipe fits the engines that carry an equal one.
struct Encoder {
  std::string backbone, weights;
  int64_t image_size = 0, grid_height = 0, grid_width = 0, width = 0;
  int64_t neighbourhood = 1;  // older recipes do not name it
  std::vector<Tap> taps;

  bool operator==(const Encoder&) const = default;
  int64_t patches() const { return grid_height * grid_width; }
  int64_t view_bytes() const { return image_size * image_size * 3; }
  std::string text() const;
};

// Damaged for anything else than an encoder that the C++ core can score.
Encoder read_encoder(const Fields& fields);

struct EngineFile {
  std::string name;
  int64_t size;
  std::string sha256;
};

struct Variant {
  std::string graph, weights;
  std::vector<std::string> backends;  // that have a parity record
};

struct EngineSpec {
  Encoder encoder;
  std::vector<EngineFile> files;
  std::map<std::string, Variant> variants;  // of the plain graph, by precision; the prompted one does not run here

  // What memories and calibrations are valid for: a hash of the precision and of the plain graph's files.
  std::string graph_id(const std::string& precision) const;
};

// The bytes of an engine.json, called `name` in errors; Failure (GP_ENGINE).
EngineSpec parse_engine_spec(std::string_view data, const std::string& name);

// Read and check engine.json and the sizes, with `verify` also the digests, of the files it lists.
EngineSpec read_engine_spec(const std::filesystem::path& folder, bool verify);

// The graph of a precision that may run in ONNX Runtime; Failure (GP_ENGINE).
const Variant& variant_for_onnxruntime(const EngineSpec& spec, const std::string& precision);

}  // namespace gp
