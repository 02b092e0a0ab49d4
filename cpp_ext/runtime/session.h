// A graph in ONNX Runtime, on the CPU.
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
  // Failure (GP_BACKEND) where ONNX Runtime cannot open the graph.
  Session(const std::filesystem::path& graph, const std::string& precision, int threads);
  ~Session();

  // Library and version, device, precision.
  const std::string& description() const { return description_; }

  // What the encoder says of views uint8 [count,size,size,3]; what `features` points to lives as long as this.
  struct Outputs;
  struct Encoded {
    gp_features features{};
    std::shared_ptr<const Outputs> outputs;
  };

  // Several threads may call at once. Failure (GP_ENGINE) where the outputs are not an encoder's such as this.
  Encoded run(uint8_t* views, int64_t count, const Encoder& encoder) const;

 private:
  struct Open;
  std::unique_ptr<Open> open_;
  std::string description_;
};

}  // namespace gp
