#include "session.h"

#define ORT_API_MANUAL_INIT  // so that a library older than the header gives an error message instead of a crash
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <vector>

#include "failure.h"
#include "files.h"
#include "parallel.h"

namespace gp {
namespace {

constexpr const char* kProvider = "CPUExecutionProvider";
constexpr int64_t kViewsAtOnce = 8;  // in one pass; ONNX Runtime's intermediate memory grows with their number

std::string version() { return OrtGetApiBase()->GetVersionString(); }

void load_api() {
  static const OrtApi* const api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (!api)
    throw Failure(GP_BACKEND, "ONNX Runtime " + version() +
                                  " is older than the headers that goodparts was built with: " + "1." +
                                  std::to_string(ORT_API_VERSION) + " or newer is needed");
  Ort::InitApi(api);
}

// Return the names of an encoder's outputs: global, local, memory_0 …
std::vector<std::string> output_names(const Encoder& encoder) {
  std::vector<std::string> names{"global", "local"};
  for (size_t tap = 0; tap < encoder.taps.size(); ++tap) names.push_back("memory_" + std::to_string(tap));
  return names;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

struct Session::Open {
  Ort::Env env{ORT_LOGGING_LEVEL_ERROR, "goodparts"};
  Ort::Session session{nullptr};
  std::vector<std::string> inputs, outputs;

  // Run one pass. Return the outputs in the order of output_names, after a check of their shapes.
  std::vector<Ort::Value> run(uint8_t* views, int64_t count, const Encoder& encoder);
};

// The outputs of the last pass. If there were several passes, `joined` has the outputs of all.
struct Session::Outputs {
  std::vector<Ort::Value> values;
  std::vector<std::vector<float>> joined;
};

Session::Session(const std::filesystem::path& graph, const std::string& precision, int threads) {
  load_api();
  try {
    open_ = std::make_unique<Open>();
    Ort::SessionOptions options;
    options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_ERROR);
    if (threads > 0) options.SetIntraOpNumThreads(thread_count(threads));  // at most one per processor
    open_->session = Ort::Session(open_->env, graph.c_str(), options);
    const Ort::AllocatorWithDefaultOptions allocator;
    for (size_t at = 0; at < open_->session.GetInputCount(); ++at)
      open_->inputs.emplace_back(open_->session.GetInputNameAllocated(at, allocator).get());
    for (size_t at = 0; at < open_->session.GetOutputCount(); ++at)
      open_->outputs.emplace_back(open_->session.GetOutputNameAllocated(at, allocator).get());
  } catch (const Ort::Exception& problem) {
    throw Failure(GP_BACKEND,
                  "ONNX Runtime " + version() + " cannot open " + text_of(graph) + ": " + first_line(problem.what()));
  }
  if (open_->inputs.size() != 1)
    throw Failure(GP_ENGINE, text_of(graph) + " has " + std::to_string(open_->inputs.size()) +
                                 " inputs, an encoder has one: export the engine again");
  description_ = "onnxruntime " + version() + " " + kProvider + " " + precision;
  if (precision == "fp16") description_ += ", computed in fp32";  // it multiplies fp16 values in fp32
}

Session::~Session() = default;

std::vector<Ort::Value> Session::Open::run(uint8_t* views, int64_t count, const Encoder& encoder) {
  const auto refuse = [](const std::string& name) {
    throw Failure(GP_ENGINE,
                  "output " + name + " of the graph does not fit the encoder in engine.json: export the engine again");
  };
  const std::vector<std::string> expected = output_names(encoder);
  std::vector<const char*> names;
  names.reserve(expected.size());
  for (const std::string& name : expected) {
    if (std::find(outputs.begin(), outputs.end(), name) == outputs.end()) refuse(name);
    names.push_back(name.c_str());
  }
  const std::array<int64_t, 4> shape{count, encoder.image_size, encoder.image_size, 3};
  std::vector<Ort::Value> values;
  try {
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const Ort::Value input = Ort::Value::CreateTensor<uint8_t>(
        memory, views, static_cast<size_t>(count * encoder.view_bytes()), shape.data(), shape.size());
    const char* name = inputs[0].c_str();
    values = session.Run(Ort::RunOptions{nullptr}, &name, &input, 1, names.data(), names.size());
  } catch (const Ort::Exception& problem) {
    throw Failure(GP_BACKEND, "ONNX Runtime " + version() + " cannot run the graph: " + first_line(problem.what()));
  }
  std::vector<std::vector<int64_t>> shapes{{count, encoder.width}, {count, encoder.patches(), encoder.width}};
  for (const Tap& tap : encoder.taps) shapes.push_back({count, encoder.patches(), tap.width});
  for (size_t at = 0; at < values.size(); ++at) {
    const auto info = values[at].GetTensorTypeAndShapeInfo();
    if (info.GetShape() != shapes[at] || info.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
      refuse(expected[at]);
  }
  return values;
}

Session::Encoded Session::run(uint8_t* views, int64_t count, const Encoder& encoder) const {
  auto outputs = std::make_shared<Outputs>();
  const int64_t parts = (count + kViewsAtOnce - 1) / kViewsAtOnce;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t start = count * part / parts, stop = count * (part + 1) / parts;
    outputs->values = open_->run(views + start * encoder.view_bytes(), stop - start, encoder);
    if (parts == 1) break;
    outputs->joined.resize(outputs->values.size());
    for (size_t at = 0; at < outputs->values.size(); ++at) {
      const Ort::Value& value = outputs->values[at];
      const float* data = value.GetTensorData<float>();
      outputs->joined[at].insert(outputs->joined[at].end(), data,
                                 data + value.GetTensorTypeAndShapeInfo().GetElementCount());
    }
  }
  // In the order of output_names.
  std::vector<const float*> data;
  data.reserve(outputs->values.size());
  for (size_t at = 0; at < outputs->values.size(); ++at)
    data.push_back(parts == 1 ? outputs->values[at].GetTensorData<float>() : outputs->joined[at].data());
  Encoded encoded;
  encoded.features.views = count;
  encoded.features.global = data[0];
  encoded.features.local = data[1];
  std::copy(data.begin() + 2, data.end(), encoded.features.memory);
  encoded.outputs = std::move(outputs);
  return encoded;
}

}  // namespace gp
