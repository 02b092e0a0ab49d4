// The recipe: everything learned for one product, in one safetensors file, as goodparts.runtime.recipe.recipe reads it
// in Python.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine.h"
#include "goodparts_runtime.h"
#include "view.h"

namespace gp {

// The part of a recipe's header that inspection needs.
struct Header {
  std::string product, graph, digest;
  Encoder encoder;
  View view;
  float temperature;
  bool maximum_of_map;
  bool mean_of_top;  // the image score is the mean of the largest hundredth of the patch scores; GP_MEMORY_ONLY only
  gp_fusion fusion;
  float residual_weight;
  gp_thresholds thresholds;
  int64_t shots;
  bool poses;  // the banks also hold the turned and mirrored views of the shots
};

// A recipe. Both prompts are [2,width]. For each tap there is a bank [rows,width of the tap] and its margins [rows].
struct Recipe {
  Header header;
  std::vector<float> image_prompts, pixel_prompts;
  std::vector<std::vector<float>> banks, margins;
};

// Parse the bytes of a recipe; `name` is its name in messages. Throws Failure (GP_RECIPE).
Recipe parse_recipe(std::string_view data, const std::string& name);

// Read a recipe's file. Throws Failure (GP_FILE, GP_RECIPE).
Recipe read_recipe(const std::filesystem::path& path);

// Throw Invalid if a threshold is out of range (gp_thresholds).
void check_thresholds(const gp_thresholds& thresholds);

// Return the answer to a part's score, which is its raw score divided by the image threshold.
gp_answer answer_to(double score, const gp_thresholds& thresholds);

}  // namespace gp
