#include "engine.h"

#include <algorithm>
#include <tuple>

#include "failure.h"
#include "fields.h"
#include "files.h"

namespace gp {
namespace {

constexpr int64_t kContract = 4;
constexpr std::string_view kDigestMark = "\"digest\": \"";
constexpr const char* kBackend = "onnxruntime";

[[noreturn]] void fail(const std::string& message) { throw Failure(GP_ENGINE, message); }

bool is_plain(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of("/\\:") == std::string::npos &&
         name.find('\0') == std::string::npos;
}

EngineSpec read_fields(const Fields& fields) {
  EngineSpec spec;
  spec.encoder = read_encoder(fields.object("encoder"));
  for (const Json& one : fields.array("files")) {
    const Fields file(one, "a file");
    spec.files.push_back({file.text("name"), file.integer("size", 0, int64_t{1} << 50), file.text("sha256")});
    if (!is_plain(spec.files.back().name)) throw Damaged("a file's name is not a plain file name");
  }
  const Fields plain = fields.object("graphs").object("plain"), variants = plain.object("variants");
  for (const auto& [precision, value] : plain.at("variants").items()) {
    const Fields field = variants.object(precision.c_str());
    Variant& variant = spec.variants[precision];
    variant.graph = field.text("graph");
    variant.weights = field.text("weights");
    for (const std::string* name : {&variant.graph, &variant.weights})
      if (std::none_of(spec.files.begin(), spec.files.end(), [&](const auto& file) { return file.name == *name; }))
        throw Damaged(precision + " names a file that is not listed in files");
    for (const Json& record : field.array("parity"))
      variant.backends.push_back(Fields(record, "a parity record").text("backend"));
  }
  return spec;
}

}  // namespace

std::string Encoder::text() const {
  std::string text = backbone + " at " + std::to_string(image_size) + " px, weights " + weights.substr(0, 12);
  for (size_t index = 0; index < taps.size(); ++index)
    text += (index ? "," : ", memory taps ") + std::to_string(taps[index].block);
  return text + " on " + std::to_string(grid_height) + "×" + std::to_string(grid_width) + " patches, neighbourhood " +
         std::to_string(neighbourhood);
}

Encoder read_encoder(const Fields& fields) {
  constexpr int64_t kMostWidth = 65536, kMostSide = 4096;  // the largest that the core accepts
  Encoder encoder;
  encoder.backbone = fields.text("backbone");
  encoder.weights = fields.text("weights");
  encoder.image_size = fields.integer("image_size", 1, kMostSide);
  std::tie(encoder.grid_height, encoder.grid_width) = fields.pair("grid", 1, encoder.image_size);
  encoder.width = fields.integer("width", 1, kMostWidth);
  if (fields.has("neighbourhood")) encoder.neighbourhood = fields.integer("neighbourhood", 1, encoder.image_size);
  for (const Json& one : fields.array("taps")) {
    const Fields tap(one, "a tap");
    encoder.taps.push_back({tap.integer("block", 0, 1 << 20), tap.integer("width", 1, kMostWidth)});
  }
  if (encoder.taps.empty() || encoder.taps.size() > GP_MAX_BANKS)
    throw Damaged(std::to_string(encoder.taps.size()) + " taps: from 1 to " + std::to_string(GP_MAX_BANKS) +
                  " are accepted");
  return encoder;
}

std::string EngineSpec::graph_id(const std::string& precision) const {
  const Variant& variant = variants.at(precision);
  std::string text = precision;
  for (const EngineFile& file : files)
    if (file.name == variant.graph || file.name == variant.weights) text += file.name + file.sha256;
  return sha256(text);
}

EngineSpec parse_engine_spec(std::string_view data, const std::string& name) {
  try {
    const Json json = parse_json(data);
    const Fields fields(json, "it");
    const Json& contract = fields.at("contract");
    if (contract != kContract)
      fail(name + (contract.is_number() ? " has contract " + contract.dump() : " has a contract that is not a number") +
           "; this version reads " + std::to_string(kContract) + ": export again");
    if (!is_sealed(data, kDigestMark, fields.text("digest"))) throw Damaged("its digest does not match");
    EngineSpec spec = read_fields(fields);
    if (spec.encoder.backbone == kGoneBackbone)
      fail(name +
           " was made with the backbone demo, which small replaced: export small to another folder with `goodparts "
           "export --engine`");
    return spec;
  } catch (const Damaged& problem) {
    fail(name + " is damaged (" + problem.what() + "): export the engine again");
  }
}

EngineSpec read_engine_spec(const std::filesystem::path& folder, bool verify) {
  const std::string shown = text_of(folder);
  const auto path = folder / "engine.json";
  std::error_code problem;
  if (!std::filesystem::is_directory(folder, problem))
    fail("no engine at " + shown + ": an engine is a folder; make one with `goodparts export`");
  if (!std::filesystem::is_regular_file(path, problem))
    fail(shown + " is not an engine: it has no engine.json; make one with `goodparts export`");
  EngineSpec spec = parse_engine_spec(read_bytes(path), text_of(path));
  for (const EngineFile& file : spec.files) {
    const auto one = folder / path_of(file.name);
    const bool there = std::filesystem::is_regular_file(one, problem);
    const auto size = there ? std::filesystem::file_size(one, problem) : 0;
    if (!there || size != static_cast<uint64_t>(file.size))
      fail(text_of(one) + " is " + (there ? std::to_string(size) + " bytes" : "missing") + ", should be " +
           std::to_string(file.size) + " bytes: export the engine again");
    if (verify && sha256_of_file(one) != file.sha256)
      fail(text_of(one) + " is damaged: its SHA-256 does not match engine.json; export the engine again");
  }
  return spec;
}

const Variant& variant_for_onnxruntime(const EngineSpec& spec, const std::string& precision) {
  std::string have;
  for (const auto& [name, variant] : spec.variants) {
    const bool recorded = std::count(variant.backends.begin(), variant.backends.end(), kBackend) > 0;
    if (recorded && name == precision) return variant;
    if (recorded) have += (have.empty() ? "" : ", ") + name;
  }
  fail("this engine has no " + precision + " graph with a parity record for " + kBackend + " (has: " +
       (have.empty() ? "none" : have) + "): export again with onnxruntime installed, or choose another precision");
}

}  // namespace gp
