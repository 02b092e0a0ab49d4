// The recipe: everything learned for one product, in one safetensors file (goodparts.runtime.recipe.recipe).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine.h"
#include "goodparts_runtime.h"
#include "view.h"

namespace gp {

// What inspection needs of a recipe's header.
struct Header {
  std::string product, graph, digest;
  Encoder encoder;
  View view;
  float temperature;
  bool maximum_of_map;
  bool mean_of_top;  // the image score is the mean of the largest hundredth of the patches; for the memory only
  gp_fusion fusion;
  float residual_weight;
  gp_thresholds thresholds;
  int64_t shots;
  bool poses;  // the banks also hold the shots' views turned and mirrored
};

// prompts: [2,width]; banks: [rows,width of the tap] each; margins: [rows] of each.
struct Recipe {
  Header header;
  std::vector<float> image_prompts, pixel_prompts;
  std::vector<std::vector<float>> banks, margins;
};

// The bytes of a recipe, called `name` in errors; Failure (GP_RECIPE).
Recipe parse_recipe(std::string_view data, const std::string& name);

Recipe read_recipe(const std::filesystem::path& path);

// Throws Invalid for values that decide nothing.
void check_thresholds(const gp_thresholds& thresholds);

// The answer to a part's score, which is a share of the image threshold (goodparts.runtime.recipe.header.Thresholds).
gp_answer answer_to(double score, const gp_thresholds& thresholds);

}  // namespace gp
