// A graph that ONNX Runtime runs on the CPU.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "engine.h"
#include "goodparts.h"

namespace gp {

class Session {
 public:
  // Throws Failure: GP_BACKEND if ONNX Runtime cannot open the graph, GP_ENGINE if the graph is not an encoder's.
  Session(const std::filesystem::path& graph, const std::string& precision, int threads);
  ~Session();

  // Return the library with its version, the device and the precision.
  const std::string& description() const { return description_; }

  // The encoder's features of some views. `outputs` owns the memory that `features` points to.
  struct Outputs;
  struct Encoded {
    gp_features features{};
    std::shared_ptr<const Outputs> outputs;
  };

  // Encode views [count,size,size,3]. Several threads may call this at once. Throws Failure: GP_ENGINE if the outputs
  // do not fit this encoder, GP_BACKEND if ONNX Runtime fails.
  Encoded run(uint8_t* views, int64_t count, const Encoder& encoder) const;

 private:
  struct Open;
  std::unique_ptr<Open> open_;
  std::string description_;
};

}  // namespace gp
