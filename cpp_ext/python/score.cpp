#include "score.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>
#include <vector>

#include "bind.h"
#include "failure.h"

namespace {

namespace nb = nanobind;
using namespace nb::literals;

// A scorer and the banks that it refers to.
struct PyScorer {
  gp::Scorer scorer;
  std::vector<nb::object> banks;
  std::vector<int64_t> widths;
  int64_t width, height, columns;
};

gp_product describe(const gp::Array& image_prompts, const gp::Array& pixel_prompts,
                    const std::vector<nb::object>& banks, float temperature, std::pair<int64_t, int64_t> grid,
                    bool maximum_of_map, const std::string& fusion, const std::vector<gp::Array>& margins,
                    float residual_weight) {
  gp::require(image_prompts.ndim() == 2, "image_prompts is " + gp::shape_of(image_prompts) + ": [2,width] is accepted");
  gp::require(!banks.empty() && banks.size() <= GP_MAX_BANKS,
              std::to_string(banks.size()) + " banks: from 1 to " + std::to_string(GP_MAX_BANKS) + " are accepted");
  gp_product product{};
  product.width = static_cast<int64_t>(image_prompts.shape(1));
  product.grid_height = grid.first;
  product.grid_width = grid.second;
  product.image_prompts = gp::floats(image_prompts, "image_prompts", {2, product.width});
  product.pixel_prompts = gp::floats(pixel_prompts, "pixel_prompts", {2, product.width});
  product.temperature = temperature;
  for (const nb::object& bank : banks) product.banks[product.bank_count++] = &nb::cast<const gp_bank&>(bank);
  product.maximum_of_map = maximum_of_map;
  product.fusion = gp::fusion_named(fusion);
  gp::require(margins.empty() || margins.size() == banks.size(),
              std::to_string(margins.size()) + " arrays of margins: none, or " + std::to_string(banks.size()) +
                  ", one per bank, are accepted");
  for (size_t bank = 0; bank < margins.size(); ++bank)
    product.margins[bank] = gp::floats(margins[bank], "margins", {product.banks[bank]->bank.rows()});
  product.residual_weight = residual_weight;
  return product;
}

using Out = nb::ndarray<nb::numpy, float>;

std::tuple<Out, Out, Out, Out, Out, Out, Out> run(const PyScorer& self, const gp::Array& global, const gp::Array& local,
                                                  const std::vector<gp::Array>& memory, int threads) {
  const int64_t patches = self.height * self.columns;
  gp_features features{};
  features.global = gp::floats(global, "global", {-1, self.width});
  features.views = static_cast<int64_t>(global.shape(0));
  features.local = gp::floats(local, "local", {features.views, patches, self.width});
  gp::require(memory.size() == self.widths.size(), std::to_string(memory.size()) +
                                                       " memory arrays: " + std::to_string(self.widths.size()) +
                                                       ", one per bank, are accepted");
  for (size_t bank = 0; bank < memory.size(); ++bank)
    features.memory[bank] = gp::floats(memory[bank], "memory", {features.views, patches, self.widths[bank]});

  const std::vector<size_t> views = {static_cast<size_t>(features.views)};
  const std::vector<size_t> grids = {views[0], static_cast<size_t>(self.height), static_cast<size_t>(self.columns)};
  gp::Made<float> image(views), grid(grids), image_prompt(views), image_memory(views), grid_prompt(grids),
      grid_memory(grids), grid_residual(grids);
  {
    nb::gil_scoped_release release;
    self.scorer.run(features,
                    {image.data, grid.data, image_prompt.data, image_memory.data, grid_prompt.data, grid_memory.data,
                     grid_residual.data},
                    threads);
  }
  return {image.array,       grid.array,        image_prompt.array, image_memory.array,
          grid_prompt.array, grid_memory.array, grid_residual.array};
}

}  // namespace

void bind_score(nb::module_& m) {
  nb::class_<PyScorer>(m, "Scorer", "Scores a product's views: what goodparts.runtime.core.scoring.score does.")
      .def(
          "__init__",
          [](PyScorer* self, const gp::Array& image_prompts, const gp::Array& pixel_prompts,
             std::vector<nb::object> banks, float temperature, std::pair<int64_t, int64_t> grid, bool maximum_of_map,
             const std::string& fusion, const std::vector<gp::Array>& margins, float residual_weight) {
            const gp_product product = describe(image_prompts, pixel_prompts, banks, temperature, grid, maximum_of_map,
                                                fusion, margins, residual_weight);
            std::vector<int64_t> widths;
            for (int bank = 0; bank < product.bank_count; ++bank) widths.push_back(product.banks[bank]->bank.width());
            new (self) PyScorer{gp::Scorer(product), std::move(banks), std::move(widths),
                                product.width,       grid.first,       grid.second};
          },
          "image_prompts"_a, "pixel_prompts"_a, "banks"_a, "temperature"_a, "grid"_a, "maximum_of_map"_a = false,
          "fusion"_a = "paper", "margins"_a = std::vector<gp::Array>{}, "residual_weight"_a = 0.0f,
          nb::sig("def __init__(self, image_prompts: numpy.typing.NDArray[numpy.float32], "
                  "pixel_prompts: numpy.typing.NDArray[numpy.float32], banks: collections.abc.Sequence[Bank], "
                  "temperature: float, grid: tuple[int, int], maximum_of_map: bool = False, "
                  "fusion: str = \"paper\", "
                  "margins: collections.abc.Sequence[numpy.typing.NDArray[numpy.float32]] = (), "
                  "residual_weight: float = 0.0) -> None"),
          "Prompts float32 [2,width], normal and anomalous. fusion: paper, residual, prompt or memory. margins: "
          "float32 "
          "[R] of each bank's rows, needed for residual; residual_weight: of the residual margin.")
      .def("run", &run, "global_"_a, "local"_a, "memory"_a, "threads"_a = 0,
           "Features float32 [B,width], [B,P,width], one [B,P,W] per bank → image [B], grid [B,h,w], and the branches: "
           "image prompt, image memory [B], grid prompt, grid memory, grid residual [B,h,w].");
  m.def(
      "anomaly_map",
      [](const gp::Array& grid, int64_t size, float sigma) {
        const float* data = gp::floats(grid, "grid", {-1, -1});
        gp::require(size >= 1 && size <= 16384, "size " + std::to_string(size) + ": from 1 to 16384 is accepted");
        gp::Made<float> out({static_cast<size_t>(size), static_cast<size_t>(size)});
        nb::gil_scoped_release release;
        gp::anomaly_map(data, static_cast<int64_t>(grid.shape(0)), static_cast<int64_t>(grid.shape(1)), out.data, size,
                        sigma);
        return out.array;
      },
      "grid"_a, "size"_a = 400, "sigma"_a = 4.0f, "Bilinear, then a Gaussian: float32 [h,w] → [size,size].");
}
